//! The word of a lock: who holds it, and whether what it guards may be half-written.
//!
//! ```text
//! FREE(g) ── lock ──▶ HELD(owner, g+1) ── unlock ──▶ FREE(g+1)
//!    │                  ▲        └─ death, or a panic ─▶ FREE, poisoned
//!    └─ claim ─▶ CLAIMED(owner, g+1) ── death ──▶ FREE(g+1)
//! ```
//! A claim is a lock that has not been had yet: others are kept out, and nothing is written. Poison
//! is one bit beside any of these states; it stays until somebody says that the data is whole.
//!
//! Only its holder and, once that is dead, who takes care of the dead, move a word that is held.
//! The generation counts the holds, so a late unlock or recovery meets another word.

use crate::memory::owner::{Owner, Word};
use crate::primitive::atomic::{AtomicU64, Ordering};

const FREE: u8 = 0;
const HELD: u8 = 1;
const CLAIMED: u8 = 2;
/// Beside any of them.
const POISONED: u8 = 8;

/// The word, in shared memory.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct LockWord(AtomicU64);

/// A hold on a lock; `unlock` wants it back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) struct Hold {
    owner: Owner,
    pub(crate) generation: u32,
    /// What it guards may be half-written.
    pub(crate) poisoned: bool,
}

impl Hold {
    /// What tells it from others, in two registers.
    #[inline]
    pub(crate) fn parts(self) -> (Owner, u32) {
        (self.owner, self.generation)
    }

    /// The hold that these are of, good for giving it back only: what was found poisoned is not
    /// among them.
    #[inline]
    pub(crate) fn of_parts((owner, generation): (Owner, u32)) -> Self {
        Self {
            owner,
            generation,
            poisoned: false,
        }
    }
}

const fn is_poisoned(word: Word) -> bool {
    word.state() & POISONED != 0
}

impl LockWord {
    /// Free; to be written in place.
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(Word::new(FREE, Owner::NONE, 0).to_bits()))
    }

    /// The bare word, for tests that write wild ones.
    #[cfg(all(test, not(gristmill_loom)))]
    pub(crate) fn bits(&self) -> &AtomicU64 {
        &self.0
    }

    #[inline]
    fn look(&self) -> Word {
        // ORDERING: Relaxed; a guess, which an exchange verifies, or a snapshot.
        Word::from_bits(self.0.load(Ordering::Relaxed))
    }

    #[inline]
    fn take(&self, state: u8, me: Owner) -> Option<Hold> {
        let mut seen = self.look();
        while seen.state() & !POISONED == FREE {
            let poison = seen.state() & POISONED;
            let generation = seen.generation().wrapping_add(1);
            // ORDERING: M1, Acquire; sees what was written under the lock before (`unlock`,
            // `recover`). For a claim SeqCst, see `rwlock`. Model: a_lock_excludes.
            match self.0.compare_exchange(
                seen.to_bits(),
                Word::new(state | poison, me, generation).to_bits(),
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    return Some(Hold {
                        owner: me,
                        generation,
                        poisoned: poison != 0,
                    });
                }
                Err(now) => seen = Word::from_bits(now),
            }
        }
        None
    }

    /// FREE -> HELD. `None`: somebody holds it.
    #[inline]
    pub(crate) fn try_lock(&self, me: Owner) -> Option<Hold> {
        self.take(HELD, me)
    }

    /// FREE -> CLAIMED. `None`: somebody holds or claims it.
    pub(crate) fn try_claim(&self, me: Owner) -> Option<Hold> {
        self.take(CLAIMED, me)
    }

    /// CLAIMED -> HELD.
    pub(crate) fn confirm(&self, hold: Hold) {
        // ORDERING: Relaxed; the claim has acquired.
        self.change(hold, Ordering::Relaxed, |poison| {
            Word::new(HELD | poison, hold.owner, hold.generation)
        });
    }

    /// Gives the hold back, or the claim. False if it was no longer held.
    #[inline]
    pub(crate) fn unlock(&self, hold: Hold, poisons: bool) -> bool {
        let added = if poisons { POISONED } else { 0 };
        // ORDERING: M1, Release; pairs with the Acquire in `take`. Model: a_lock_excludes.
        self.change(hold, Ordering::Release, |poison| {
            Word::new(FREE | poison | added, Owner::NONE, hold.generation)
        })
    }

    /// What it guards may be half-written; by the holder.
    pub(crate) fn poison(&self, hold: Hold) {
        // ORDERING: Relaxed; the unlock publishes it.
        self.change(hold, Ordering::Relaxed, |_| {
            Word::new(HELD | POISONED, hold.owner, hold.generation)
        });
    }

    #[inline]
    fn change(&self, hold: Hold, order: Ordering, to: impl Fn(u8) -> Word) -> bool {
        let mut seen = self.look();
        // Only poison comes or goes meanwhile.
        while seen.owner() == hold.owner && seen.generation() == hold.generation {
            let next = to(seen.state() & POISONED);
            match self
                .0
                .compare_exchange(seen.to_bits(), next.to_bits(), order, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => seen = Word::from_bits(now),
            }
        }
        false
    }

    /// Somebody says that the data is whole.
    pub(crate) fn clear_poison(&self) {
        let mut seen = self.look();
        while is_poisoned(seen) {
            let state = seen.state() & !POISONED;
            let clean = Word::new(state, seen.owner(), seen.generation());
            // ORDERING: AcqRel; passes on what was written before it was unlocked, or is the
            // holder's own.
            match self.0.compare_exchange(
                seen.to_bits(),
                clean.to_bits(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => seen = Word::from_bits(now),
            }
        }
    }

    /// Whether the next one to lock it will be told that the data may be half-written.
    pub(crate) fn is_poisoned(&self) -> bool {
        is_poisoned(self.look())
    }

    /// Whether nobody holds or claims it, and whether it is poisoned. Acquires.
    #[inline]
    pub(crate) fn free(&self) -> Option<bool> {
        // ORDERING: Acquire; sees what was written under the lock before. Model:
        // readers_and_writers_exclude_each_other.
        let word = Word::from_bits(self.0.load(Ordering::Acquire));
        (word.state() & !POISONED == FREE).then(|| is_poisoned(word))
    }

    /// This member's hold, if it has it.
    pub(crate) fn hold_of(&self, me: Owner) -> Option<Hold> {
        let word = self.look();
        (word.state() & !POISONED == HELD && word.owner() == me).then(|| Hold {
            owner: me,
            generation: word.generation(),
            poisoned: is_poisoned(word),
        })
    }

    /// After the death of `dead`: what it held is free and poisoned, what it claimed is free. Wake
    /// all afterwards. May be repeated.
    pub(crate) fn recover(&self, dead: Owner) {
        let mut seen = self.look();
        while seen.owner() == dead {
            let poison = match seen.state() & !POISONED {
                HELD => POISONED,
                _ => seen.state() & POISONED,
            };
            let free = Word::new(FREE | poison, Owner::NONE, seen.generation());
            // ORDERING: M1, AcqRel; passes on what the dead had written, as an unlock.
            // Model: a_dead_holder_is_followed.
            match self.0.compare_exchange(
                seen.to_bits(),
                free.to_bits(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => seen = Word::from_bits(now),
            }
        }
    }
}
