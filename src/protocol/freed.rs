//! Blocks on their way back: from whoever read a result to the worker whose arena it lies in.
//!
//! A stack that runs through the freed blocks themselves. Its head lies in the first 64 bytes of
//! the arena, so that a reader who outlives the worker pushes into the old arena, which nobody
//! takes from, and never into a successor's.
//!
//! ```text
//! arena:  0      8        64                         832 KiB
//!         | head | unused | blocks for replies | …   | pages of blocks …
//! block:  0      8
//!         | next | (was the result)
//! ```

#![expect(unsafe_code, reason = "views the head and the links in the region")]

use crate::memory::region::{PAGE_BYTES, Region};
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::protocol::range::Span;
use crate::protocol::reply::REPLIES_END;

/// Bytes at the start of an arena that hold no results: the head, and the blocks for replies.
pub(crate) const ARENA_HEADER_SIZE: u64 = REPLIES_END.next_multiple_of(64 << 10);
/// Results of this size and more are read in place, in pages that their worker has made read-only.
/// Smaller ones are copied by the parent when it harvests: 16 KiB in about 1 µs, where taking the
/// right to write and giving it again costs 5 µs.
pub(crate) const SEALED_BYTES: u64 = if PAGE_BYTES < 16 << 10 {
    16 << 10
} else {
    PAGE_BYTES
};
/// Every block begins at a multiple of this.
pub(crate) const BLOCK_ALIGN: u64 = 64;

/// The stack of freed blocks of one arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freed<'a> {
    region: &'a Region,
    arena: Span,
    head: &'a AtomicU64,
}

impl<'a> Freed<'a> {
    /// The stack of the arena at `arena`, whose first page is committed; `None` when the span is
    /// not in the region.
    pub(crate) fn of(region: &'a Region, arena: Span) -> Option<Self> {
        let head = region
            .pointer(arena.offset, size_of::<AtomicU64>())?
            .cast::<AtomicU64>();
        if !head.is_aligned() {
            return None;
        }
        // SAFETY: in bounds and aligned; every bit pattern is an atomic; the region keeps the
        // mapping for the lifetime of the borrow.
        let head = unsafe { head.as_ref() };
        Some(Self {
            region,
            arena,
            head,
        })
    }

    /// Gives back the block at `offset`, which the caller has held until now.
    pub(crate) fn push(&self, offset: u64) {
        let Some(link) = self.link(offset) else {
            return;
        };
        // ORDERING: Relaxed; the exchange below confirms the value.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // ORDERING: Relaxed; the exchange below publishes it.
            link.store(head, Ordering::Relaxed);
            // ORDERING: FR1, Release; pairs with FR2 in `take`: our last reads of the block and
            // the link come before the worker reuses it.
            match self.head.compare_exchange_weak(
                head,
                offset,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes all freed blocks and hands each to `release`; by the arena's worker.
    pub(crate) fn take(&self, mut release: impl FnMut(u64)) {
        // ORDERING: Relaxed; a hint that saves the exchange.
        if self.head.load(Ordering::Relaxed) == 0 {
            return;
        }
        // ORDERING: FR2, Acquire; pairs with FR1 in `push`.
        let mut next = self.head.swap(0, Ordering::Acquire);
        // No list is longer than the blocks there are; a longer one runs in a circle.
        for _ in 0..self.arena.size / BLOCK_ALIGN {
            let Some(link) = self.link(next) else { return };
            // ORDERING: Relaxed; acquired with the head.
            let after = link.load(Ordering::Relaxed);
            release(next);
            next = after;
        }
    }

    fn link(&self, offset: u64) -> Option<&'a AtomicU64> {
        let inside = offset.checked_sub(self.arena.offset)?;
        let sound = inside >= ARENA_HEADER_SIZE
            && inside < self.arena.size
            && offset.is_multiple_of(BLOCK_ALIGN);
        let block = self
            .region
            .pointer(offset, size_of::<AtomicU64>())
            .filter(|_| sound)?;
        // SAFETY: in bounds and aligned (checked above); every bit pattern is an atomic; while a
        // block is on its way back its first word is used as an atomic only.
        Some(unsafe { block.cast::<AtomicU64>().as_ref() })
    }
}
