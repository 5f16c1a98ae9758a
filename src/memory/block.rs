//! A block: the unique right to some bytes of the region, given back on drop.

#![expect(
    unsafe_code,
    reason = "sends a pointer into the mapping between threads"
)]

use std::ptr::NonNull;
use std::sync::Arc;

use super::extents::Run;
use super::heap::Heap;
use super::region::Region;
use super::span::{GRANULE_BYTES, Piece};

/// Where a block came from and goes back to.
#[derive(Debug)]
pub(super) enum Place {
    Nowhere,
    Piece(Piece),
    Run(Run),
    Reserved(Run),
}

/// Some bytes of the region that nobody else was given.
///
/// Invariant: unless empty, `[pointer, pointer + size)` is `[offset, offset + size)` of the mapping
/// of the heap's region, which `heap` keeps alive.
#[derive(Debug)]
pub(crate) struct Block {
    pub(super) heap: Option<Arc<Heap>>,
    pub(super) place: Place,
    pub(super) pointer: NonNull<u8>,
    pub(super) offset: u64,
    pub(super) size: usize,
}

// SAFETY: the bytes belong to the process, and the handle says nothing about who may access them.
unsafe impl Send for Block {}
// SAFETY: no method reads or writes the bytes.
unsafe impl Sync for Block {}

impl Block {
    /// A block of no bytes, which needs no heap.
    pub(crate) const fn empty() -> Self {
        const {
            assert!(size_of::<Aligned>() == GRANULE_BYTES);
        }
        Self {
            heap: None,
            place: Place::Nowhere,
            pointer: NonNull::<Aligned>::dangling().cast(),
            offset: 0,
            size: 0,
        }
    }

    /// Where the block starts in the region. Zero if it is empty.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes that were asked for.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The first byte in this process. Committed, but if it was only reserved.
    pub(crate) fn as_ptr(&self) -> NonNull<u8> {
        self.pointer
    }

    /// Whether the block is this process's, and not that of the parent that forked it.
    pub(crate) fn is_home(&self) -> bool {
        self.heap.as_ref().is_none_or(|heap| heap.is_home())
    }

    /// The region that the block is in; an empty one is in none.
    pub(crate) fn region(&self) -> Option<&Arc<Region>> {
        self.heap.as_ref().map(|heap| heap.region())
    }
}

/// What an empty block pretends to point to.
#[repr(align(64))]
struct Aligned(#[expect(dead_code, reason = "gives the type a size")] u8);

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(heap) = self.heap.take() {
            heap.free(
                std::mem::replace(&mut self.place, Place::Nowhere),
                self.size,
            );
        }
    }
}
