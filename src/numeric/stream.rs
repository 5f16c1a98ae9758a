//! Stores that pass the cache.

#![expect(unsafe_code, reason = "stores of which the processor was asked")]

use std::mem::MaybeUninit;

use super::isa;

/// Bytes of a cache line, the unit in which stores are combined on their way to memory.
pub(super) const LINE: usize = 64;

/// Writes whole lines past the cache; its end orders these writes before whatever comes next.
///
/// Non-temporal stores are weakly ordered: a later Release store, an ordinary one on x86-64, does
/// not wait for them. Without a fence of their own, whoever learns through that store that the
/// chunk is done might read memory from before it; or a buffer that was given up after a panic
/// might be written by a straggler when it belongs to somebody else. So the fence sits in `Drop`,
/// which an unwind passes too.
pub(super) struct Streamer {
    /// Something is under way. A fence drains the store buffer, which a small job should not pay.
    dirty: bool,
    /// Lines are written in two halves.
    in_halves: bool,
}

impl Streamer {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self {
            dirty: false,
            in_halves: isa::likes_halves(),
        }
    }

    /// Copies `lines` to `target`.
    #[inline(always)]
    pub(super) fn write(&mut self, lines: &[Line], target: &mut [MaybeUninit<Line>]) {
        self.dirty = true;
        for (line, target) in lines.iter().zip(target) {
            match self.in_halves {
                // SAFETY: `likes_halves` said so when this was made.
                true => unsafe { isa::store_halves(line, target) },
                false => isa::store(line, target),
            }
        }
    }
}

impl Drop for Streamer {
    #[inline]
    fn drop(&mut self) {
        if self.dirty {
            isa::fence();
        }
    }
}

/// One cache line of plain bytes.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([u8; LINE]);

const _: () = assert!(size_of::<Line>() == LINE && align_of::<Line>() == LINE);
