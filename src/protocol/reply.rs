//! The reply to a task: in memory that only the worker which gives it can write.
//!
//! Each worker has a block for each slot, at the start of its arena:
//!
//! ```text
//! byte 0        8       16                   24                     32              160    192
//!      [ offset ][ size ][ verdict:32, slot's ][ batch:32, slot's   ][ the reply, if ][ 32 ]
//!                          generation:32         generation:32         it fits        unused
//! ```
//!
//! `batch` is where in the arena the results of a batch come to lie, in units of 64 bytes, for
//! whoever looks after the worker's death.
//!
//! The parent looks for it where the owner named in the slot's word must have left it. The
//! generation tells the reply from an older one to another task in the same slot.

#![expect(unsafe_code, reason = "views a block of an arena in the region")]

use core::cell::UnsafeCell;
use core::mem::offset_of;

use crate::memory::region::Region;
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::protocol::control::SLOTS;
use crate::protocol::freed::BLOCK_ALIGN;
use crate::protocol::range::Span;

/// Bytes in a block for a reply that fits.
pub(crate) const REPLY_SIZE: usize = 128;

/// Where the block of slot 0 is in an arena; behind the head of the freed stack.
const FIRST: u64 = 64;
/// The end of the blocks in an arena.
pub(crate) const REPLIES_END: u64 = FIRST + (SLOTS * size_of::<ReplyBlock>()) as u64;

/// The word about a batch.
const BATCH: usize = 3;

/// How a task ended, by its worker's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) place: Span,
    pub(crate) verdict: Verdict,
}

/// What the bytes of a reply are. Zero, which fresh memory is, stands for none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Verdict {
    /// The archived result.
    Value = 1,
    /// The report of a panic.
    Panicked = 2,
    /// Nothing: the arguments were no valid archive.
    BadArguments = 3,
    /// Nothing: the result's archive would be larger than the format can hold.
    TooLarge = 4,
    /// Nothing: the worker's arena had no room for the result. The place is none: its offset says
    /// how many bytes there were, its size how many were wanted.
    NoRoom = 5,
    /// The report of what the result's own `Serialize` had to say.
    Refused = 6,
    /// Nothing: it was a future, and was dropped because the parent asked for it.
    Cancelled = 7,
}

impl Verdict {
    const ALL: [Self; 7] = [
        Self::Value,
        Self::Panicked,
        Self::BadArguments,
        Self::TooLarge,
        Self::NoRoom,
        Self::Refused,
        Self::Cancelled,
    ];

    /// As it was written; `None` for a verdict that does not exist.
    #[inline]
    pub(crate) fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(code.wrapping_sub(1) as usize).copied()
    }
}

// Each stands where its code says.
const _: () = {
    let mut code = 1;
    while code <= Verdict::ALL.len() {
        assert!(Verdict::ALL[code - 1] as usize == code);
        code += 1;
    }
};

/// A block for the reply to the task in one slot; drawn above.
#[repr(C, align(64))]
pub(crate) struct ReplyBlock {
    words: [AtomicU64; 4],
    inline: UnsafeCell<[u8; REPLY_SIZE]>,
}

const _: () = {
    assert!(size_of::<ReplyBlock>() == 192);
    assert!(offset_of!(ReplyBlock, inline) == 32);
};

impl ReplyBlock {
    /// A block without a reply.
    #[cfg(test)]
    pub(crate) fn new() -> Self {
        Self {
            words: Default::default(),
            inline: UnsafeCell::new([0; REPLY_SIZE]),
        }
    }

    /// Bytes from the start of the arena to the block of a slot.
    pub(crate) const fn offset_in_arena(slot: u32) -> u64 {
        FIRST + (slot as usize % SLOTS * size_of::<Self>()) as u64
    }

    /// Where a reply that fits into the block of a slot lies in the region.
    pub(crate) const fn inline_offset(arena: Span, slot: u32) -> u64 {
        let block = arena.offset.saturating_add(Self::offset_in_arena(slot));
        block.saturating_add(offset_of!(Self, inline) as u64)
    }

    /// The block of a slot in an arena; `None` when the arena is not in the region, or too small.
    /// Its memory is committed by the worker before it claims to have written there.
    pub(crate) fn of(region: &Region, arena: Span, slot: u32) -> Option<&Self> {
        let offset = arena.offset.checked_add(Self::offset_in_arena(slot))?;
        let block = region
            .pointer(offset, size_of::<Self>())
            .filter(|_| arena.size >= REPLIES_END)?
            .cast::<Self>();
        if !block.is_aligned() {
            return None;
        }
        // SAFETY: in bounds and aligned; all atomics and an `UnsafeCell` of bytes, for which any
        // bit pattern will do; the region keeps the mapping for the lifetime of the borrow.
        Some(unsafe { block.as_ref() })
    }
}

impl ReplyBlock {
    /// Says how far into the arena the results of the batch of `generation` come to lie; by the
    /// worker that claimed it.
    pub(crate) fn announce(&self, generation: u32, inside: u64) {
        let word = (u64::from(generation) << 32) | (inside / BLOCK_ALIGN);
        // ORDERING: Relaxed; read once the worker has been reaped, which orders everything.
        self.words[BATCH].store(word, Ordering::Relaxed);
    }

    /// Where in the region the results of that batch were coming to lie when its worker died;
    /// `None` if it had not begun.
    pub(crate) fn announced(&self, generation: u32, arena: Span) -> Option<u64> {
        // ORDERING: Relaxed; as above.
        let word = self.words[BATCH].load(Ordering::Relaxed);
        let inside = u64::from(word as u32) * BLOCK_ALIGN;
        (word >> 32 == u64::from(generation) && inside != 0)
            .then(|| arena.offset.saturating_add(inside))
    }
}

impl Reply {
    /// A reply without bytes.
    pub(crate) const fn empty(verdict: Verdict) -> Self {
        Self {
            place: Span { offset: 0, size: 0 },
            verdict,
        }
    }

    /// Writes the reply to the task of `generation`; by the worker that runs it.
    pub(crate) fn store(&self, block: &ReplyBlock, generation: u32) {
        let verdict = self.verdict as u64 | u64::from(generation) << 32;
        let words = [self.place.offset, self.place.size, verdict];
        for (word, value) in block.words.iter().zip(words) {
            // ORDERING: Relaxed; the ring's `complete` releases them with DONE or FAILED.
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Reads the reply to a finished task; `None` when there is none to that of `generation`.
    pub(crate) fn load(block: &ReplyBlock, generation: u32) -> Option<Self> {
        // ORDERING: Relaxed; the harvest acquired what `complete` released.
        let [offset, size, verdict] = [0, 1, 2].map(|at| block.words[at].load(Ordering::Relaxed));
        let code = verdict as u32;
        if verdict >> 32 != u64::from(generation) {
            return None;
        }
        Some(Self {
            place: Span { offset, size },
            verdict: Verdict::from_code(code)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_speaks_of_one_task_only() {
        let block = ReplyBlock::new();
        assert_eq!(Reply::load(&block, 0), None, "nobody has replied");
        for verdict in Verdict::ALL {
            let place = Span {
                offset: 64,
                size: u64::MAX,
            };
            let reply = Reply { place, verdict };
            reply.store(&block, 7);
            assert_eq!(Reply::load(&block, 7), Some(reply));
            assert_eq!(Reply::load(&block, 8), None);
        }
        block.words[2].store(7 << 32 | 99, Ordering::Relaxed);
        assert_eq!(Reply::load(&block, 7), None);
    }

    #[test]
    fn a_batch_is_announced_for_one_task_only() {
        let block = ReplyBlock::new();
        let arena = Span {
            offset: 1 << 21,
            size: 4 << 30,
        };
        assert_eq!(block.announced(0, arena), None, "nobody has begun");
        for inside in [64, REPLIES_END.next_multiple_of(64), (4 << 30) - 64] {
            block.announce(7, inside);
            assert_eq!(block.announced(7, arena), Some(arena.offset + inside));
            assert_eq!(block.announced(8, arena), None);
        }
    }

    #[test]
    fn blocks_lie_apart_inside_their_arena() {
        let arena = Span {
            offset: 1 << 21,
            size: REPLIES_END,
        };
        for slot in [0, 1, SLOTS as u32 - 1] {
            let offset = ReplyBlock::inline_offset(arena, slot);
            assert!(offset + REPLY_SIZE as u64 <= arena.offset + arena.size);
            let next = ReplyBlock::inline_offset(arena, (slot + 1) % SLOTS as u32);
            assert!(next.abs_diff(offset) >= size_of::<ReplyBlock>() as u64);
        }
    }
}
