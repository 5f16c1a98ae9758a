//! The two ends of a pipe: which of them anybody still has.
//!
//! ```text
//! one word a member   31         16 15           0
//!                     [  senders   ][  receivers  ]     how often it has opened each end
//! ```
//!
//! An end has gone when no member has it. Whoever lets go takes itself off its own word, fences,
//! and looks at all: of two that let go at once, at least one sees that nobody is left. The words
//! of the dead are emptied by whoever recovers, which then looks, too.

use crate::memory::owner::Owner;
use crate::primitive::atomic::{AtomicU32, Ordering, fence_after_rmw};

/// An end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    /// What is put in here comes out at the other end.
    Sender,
    /// What was put in comes out here.
    Receiver,
}

impl Side {
    const fn shift(self) -> u32 {
        match self {
            Self::Sender => 16,
            Self::Receiver => 0,
        }
    }
}

/// Both ends, over a borrowed word for each member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends<'a>(pub(crate) &'a [AtomicU32]);

impl Ends<'_> {
    fn word(&self, member: Owner) -> &AtomicU32 {
        &self.0[member.index() as usize % self.0.len()]
    }

    /// This member has an end once more. False: it has it 65,535 times already.
    #[must_use]
    pub(crate) fn add(&self, me: Owner, side: Side) -> bool {
        // Relaxed: it publishes nothing; whoever gave us the end has it until we have, and lets go
        // afterwards (`remove`).
        self.word(me)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                let count = word >> side.shift() & 0xffff;
                (count < 0xffff).then(|| word + (1 << side.shift()))
            })
            .is_ok()
    }

    /// This member has it once less. True: nobody has it any more.
    #[must_use]
    pub(crate) fn remove(&self, me: Owner, side: Side) -> bool {
        // Relaxed, with the fence below.
        let _ = self
            .word(me)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                let count = word >> side.shift() & 0xffff;
                (count > 0).then(|| word - (1 << side.shift()))
            });
        // ORDERING: F10, SeqCst; of two that let go at once one sees the other gone.
        // Model: the_last_to_let_go_knows.
        fence_after_rmw();
        self.is_gone(side)
    }

    /// Whether nobody has it.
    pub(crate) fn is_gone(&self, side: Side) -> bool {
        // Relaxed: see the fence in `remove`.
        let mut words = self.0.iter().map(|word| word.load(Ordering::Relaxed));
        words.all(|word| word >> side.shift() & 0xffff == 0)
    }

    /// The dead member has nothing. True: one of the ends has gone with it, or had before.
    #[must_use]
    pub(crate) fn bury(&self, dead: Owner) -> bool {
        // Relaxed: as in `remove`.
        self.word(dead).swap(0, Ordering::Relaxed);
        // ORDERING: F10, SeqCst; as in `remove`.
        fence_after_rmw();
        self.is_gone(Side::Sender) || self.is_gone(Side::Receiver)
    }
}
