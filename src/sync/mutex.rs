//! A mutex between processes: one word that names who holds it.
//!
//! ```text
//! FREE(g) ──lock──▶ HELD(owner, g+1) ──unlock──▶ FREE(g+1)
//!                       │ death of the owner
//!                       ▼
//! SPOILT(g+1) ──lock──▶ REPAIRED-BY(owner, g+2) ──unlock──▶ SPOILT(g+2)
//!                       │ heal (the holder says that the data is whole)
//!                       ▼
//!                    HELD(owner, g+2)
//! ```
//!
//! A holder whose process dies leaves SPOILT, in either state: the next one is told. Only the holder
//! and, once it is dead, its recoverer move a word that is held; everybody else's exchange wants it
//! free. The generation counts the holds, so that a late unlock or recovery meets another word.

use crate::memory::owner::{Owner, Word};
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::sync::waitset::{Door, WaitSet};

const FREE: u8 = 1;
const HELD: u8 = 2;
const SPOILT: u8 = 3;
const REPAIRED_BY: u8 = 4;

/// The mutex in shared memory.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct RawMutex {
    pub(crate) waiters: WaitSet,
    word: AtomicU64,
    reserved: [u64; 7],
}

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<RawMutex>() == 192);

/// A hold on a mutex; `unlock` wants it back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) struct Hold {
    owner: Owner,
    generation: u32,
    /// Somebody died holding it, and nobody has said since that the data is whole.
    pub(crate) spoilt: bool,
}

impl Hold {
    fn word(self) -> Word {
        let state = if self.spoilt { REPAIRED_BY } else { HELD };
        Word::new(state, self.owner, self.generation)
    }
}

impl RawMutex {
    /// Free; to be written in place.
    pub(crate) fn new() -> Self {
        Self {
            waiters: WaitSet::new(),
            word: AtomicU64::new(Word::new(FREE, Owner::NONE, 0).to_bits()),
            reserved: [0; 7],
        }
    }

    /// FREE -> HELD, or SPOILT -> REPAIRED-BY. `None`: somebody holds it.
    #[inline]
    pub(crate) fn try_lock(&self, me: Owner) -> Option<Hold> {
        // Relaxed: a guess, which the exchange verifies.
        let mut seen = Word::from_bits(self.word.load(Ordering::Relaxed));
        loop {
            let spoilt = match seen.state() {
                FREE => false,
                SPOILT => true,
                _ => return None,
            };
            let hold = Hold {
                owner: me,
                generation: seen.generation().wrapping_add(1),
                spoilt,
            };
            // ORDERING: M1, Acquire; sees what was written under the lock before (`unlock`,
            // `recover`). Model: a_mutex_excludes.
            match self.word.compare_exchange(
                seen.to_bits(),
                hold.word().to_bits(),
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(hold),
                Err(bits) => seen = Word::from_bits(bits),
            }
        }
    }

    /// Gives the hold back and wakes whoever is next. Nothing happens if it is no longer held.
    #[inline]
    pub(crate) fn unlock(&self, hold: Hold, door: &impl Door) {
        let state = if hold.spoilt { SPOILT } else { FREE };
        let free = Word::new(state, Owner::NONE, hold.generation);
        // ORDERING: M1, Release; pairs with the Acquire in `try_lock`. Model: a_mutex_excludes.
        let moved = self.word.compare_exchange(
            hold.word().to_bits(),
            free.to_bits(),
            Ordering::Release,
            Ordering::Relaxed,
        );
        if moved.is_ok() {
            self.waiters.wake(1, door);
        }
    }

    /// REPAIRED-BY -> HELD: the data is whole again.
    pub(crate) fn heal(&self, hold: &mut Hold) {
        let healed = Hold {
            spoilt: false,
            ..*hold
        };
        // Relaxed: the holder's own word; the unlock publishes.
        let moved = self.word.compare_exchange(
            hold.word().to_bits(),
            healed.word().to_bits(),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if moved.is_ok() {
            *hold = healed;
        }
    }

    /// Whether the next one to lock it will be told of a death.
    pub(crate) fn is_spoilt(&self) -> bool {
        // Relaxed: a snapshot.
        let word = Word::from_bits(self.word.load(Ordering::Relaxed));
        matches!(word.state(), SPOILT | REPAIRED_BY)
    }

    /// Who holds it at this moment.
    pub(crate) fn holder(&self) -> Option<Owner> {
        // Relaxed: a snapshot.
        let word = Word::from_bits(self.word.load(Ordering::Relaxed));
        matches!(word.state(), HELD | REPAIRED_BY).then(|| word.owner())
    }

    /// After the death of `dead`: a word that names it becomes SPOILT. Wake all afterwards. May be
    /// repeated.
    pub(crate) fn recover(&self, dead: Owner) {
        // ORDERING: Acquire; what the dead had written is passed on by the exchange.
        let seen = Word::from_bits(self.word.load(Ordering::Acquire));
        if !matches!(seen.state(), HELD | REPAIRED_BY) || seen.owner() != dead {
            return;
        }
        let spoilt = Word::new(SPOILT, Owner::NONE, seen.generation());
        // ORDERING: M1, AcqRel; as an unlock. Who fails has been overtaken by another recovery.
        let _ = self.word.compare_exchange(
            seen.to_bits(),
            spoilt.to_bits(),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }
}
