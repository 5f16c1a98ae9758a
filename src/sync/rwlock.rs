//! Readers and writers: one word for the writer, one count of readers for each member.
//!
//! ```text
//! reader   its member's count + 1 | fence (L1) | word free? reads : count - 1, waits
//! writer   claims the word        | fence (L1) | counts all zero? holds : waits for them
//! ```
//! Whichever fence comes second sees what the other wrote: a reader finds the claim, or the writer
//! the reader. A claim keeps new readers out, so a writer waits only for those that are in. What a
//! dead member's readers counted is zeroed.

use crate::memory::owner::Owner;
use crate::primitive::atomic::{AtomicU32, Ordering, fence_after_rmw};
use crate::sync::lockword::LockWord;
use crate::sync::waitset::MEMBERS;

/// In a model there are two members.
const COUNTS: usize = if cfg!(gristmill_loom) { 2 } else { MEMBERS };

/// Who reads, by member.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Readers([AtomicU32; COUNTS]);

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<Readers>() == 1024);

/// What became of an attempt to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Read {
    Entered {
        poisoned: bool,
    },
    /// A writer has it, or claims it.
    Shut,
    /// As above, and it may have seen us: wake it.
    Left,
}

impl Readers {
    pub(crate) fn new() -> Self {
        Self(core::array::from_fn(|_| AtomicU32::new(0)))
    }

    fn count(&self, member: Owner) -> &AtomicU32 {
        &self.0[usize::from(member.index()) % COUNTS]
    }

    /// One more reader of this member.
    #[inline]
    pub(crate) fn enter(&self, word: &LockWord, me: Owner) -> Read {
        if word.free().is_none() {
            return Read::Shut;
        }
        // ORDERING: Relaxed; the fence orders it.
        self.count(me).fetch_add(1, Ordering::Relaxed);
        // ORDERING: L1, SeqCst; pairs with `are_gone`.
        // Model: readers_and_writers_exclude_each_other.
        fence_after_rmw();
        match word.free() {
            Some(poisoned) => Read::Entered { poisoned },
            None => {
                self.count(me).fetch_sub(1, Ordering::Relaxed);
                Read::Left
            }
        }
    }

    /// One reader less. True: a writer waits for it, perhaps.
    #[inline]
    pub(crate) fn leave(&self, word: &LockWord, me: Owner) -> bool {
        // ORDERING: L2, Release; what was read was read before the writer writes (`are_gone`).
        // Model: readers_and_writers_exclude_each_other.
        self.count(me).fetch_sub(1, Ordering::Release);
        // ORDERING: L1, SeqCst; the writer that claims after this sees the count.
        // Model: a_writer_is_woken_by_the_last_reader.
        fence_after_rmw();
        word.free().is_none()
    }

    /// Whether nobody reads; asked by whoever has claimed the word.
    pub(crate) fn are_gone(&self) -> bool {
        // ORDERING: L1, SeqCst; behind the claim, or before a sleep.
        fence_after_rmw();
        // ORDERING: L2, Acquire; pairs with `leave`.
        let mut counts = self.0.iter();
        counts.all(|count| count.load(Ordering::Acquire) == 0)
    }

    /// How many read.
    pub(crate) fn len(&self) -> usize {
        let counts = self.0.iter();
        // ORDERING: Relaxed; a look.
        counts
            .map(|count| count.load(Ordering::Relaxed) as usize)
            .sum()
    }

    /// A dead member reads no more.
    pub(crate) fn forget(&self, dead: Owner) {
        // ORDERING: Relaxed; it wrote nothing.
        self.count(dead).store(0, Ordering::Relaxed);
    }
}
