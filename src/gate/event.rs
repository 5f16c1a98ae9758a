//! An event's word: whether it is set, and how often it was.
//!
//! ```text
//! 63          1    0
//! [ how often ][ set ]
//! ```
//! Who waits has looked at the word before: so it gets through when the event was set then or
//! since, even if it was cleared again before the waiter came to look.

use crate::primitive::atomic::{AtomicU64, Ordering};

const SET: u64 = 1;
const ONCE: u64 = 2;

/// The truth about an event.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct EventWord {
    word: AtomicU64,
    unused: [u64; 7],
}

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<EventWord>() == 64);

/// How often an event had been set at some moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Since(u64);

impl EventWord {
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            unused: [0; 7],
        }
    }

    /// Sets it. A read-modify-write in any case, also if it was set: whoever set it may have died
    /// or stand still before it woke those who wait.
    pub(crate) fn set(&self) {
        // ORDERING: Relaxed; the exchange compares.
        let mut now = self.word.load(Ordering::Relaxed);
        loop {
            let then = match now & SET {
                0 => now.wrapping_add(ONCE) | SET,
                _ => now,
            };
            // ORDERING: G1, Release; what the setter did before is seen by whoever gets through
            // (`has_passed`, `is_set`). Model: an_event_publishes.
            match self
                .word
                .compare_exchange(now, then, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(other) => now = other,
            }
        }
    }

    /// Clears it.
    pub(crate) fn clear(&self) {
        // ORDERING: Relaxed; a clear publishes nothing, and what a set published stays so.
        self.word.fetch_and(!SET, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        // ORDERING: G1, Acquire; pairs with `set`.
        self.word.load(Ordering::Acquire) & SET != 0
    }

    /// The moment from which a set counts: this one, or that of the set that it still shows, so
    /// that a clear that comes before the first look takes nothing back.
    pub(crate) fn now(&self) -> Since {
        // ORDERING: Relaxed; only compared.
        match self.word.load(Ordering::Relaxed) {
            word if word & SET != 0 => Since((word & !SET).wrapping_sub(ONCE)),
            word => Since(word),
        }
    }

    /// Whether it is set, or was set since then.
    pub(crate) fn has_passed(&self, since: Since) -> bool {
        // ORDERING: G1, Acquire; pairs with `set`. A clear in between continues its release.
        let now = self.word.load(Ordering::Acquire);
        now & SET != 0 || now != since.0
    }
}
