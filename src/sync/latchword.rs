//! The word of a latch: who writes to an object, and whether a writer has died with it.
//!
//! ```text
//! word  63    60 59             32 31        1  0
//!       [ state ][     owner     ][ unused    ][ left ]   left: a writer died with it
//!
//! FREE(left) ── take ──▶ HELD(owner, left) ── release ──▶ FREE(left)
//!                            │  └─ clear ─▶ HELD(owner)
//!                            └─ death ─▶ FREE(left)
//! ```
//! Only its holder and, once that is dead, who takes care of the dead, move a word that is held.

use crate::memory::owner::{Owner, Word};
use crate::primitive::atomic::{AtomicU64, Ordering};

const FREE: u8 = 0;
const HELD: u8 = 1;
/// In place of a generation.
const LEFT: u32 = 1;

/// The word, in shared memory.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct LatchWord(AtomicU64);

impl LatchWord {
    /// Free; to be written in place.
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(Word::new(FREE, Owner::NONE, 0).to_bits()))
    }

    fn look(&self) -> Word {
        // ORDERING: Relaxed; a guess, which an exchange verifies, or the holder's own.
        Word::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// FREE -> HELD. `None`: somebody holds it, or was faster just now.
    pub(crate) fn try_take(&self, me: Owner) -> Option<()> {
        let found = self.look();
        if found.state() != FREE {
            return None;
        }
        let held = Word::new(HELD, me, found.generation());
        // ORDERING: A1, Acquire; pairs with the Release in `release`: what the last one wrote is
        // seen. Model: a_latch_excludes.
        let taken = self.0.compare_exchange(
            found.to_bits(),
            held.to_bits(),
            Ordering::Acquire,
            Ordering::Relaxed,
        );
        taken.ok().map(drop)
    }

    /// HELD -> FREE, by the owner, or by who takes care of it once it has died. False: it does not
    /// hold it. Wake one afterwards, or all after a death.
    pub(crate) fn release(&self, owner: Owner, has_died: bool) -> bool {
        let mut found = self.look();
        while found.state() == HELD && found.owner() == owner {
            let left = found.generation() | if has_died { LEFT } else { 0 };
            let free = Word::new(FREE, Owner::NONE, left);
            // ORDERING: A1, Release; pairs with `try_take`. Acquire besides, so that waking, which
            // follows, stays behind it. Models: a_latch_excludes, a_dead_writer_is_followed.
            match self.0.compare_exchange(
                found.to_bits(),
                free.to_bits(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => found = Word::from_bits(now),
            }
        }
        false
    }

    /// Whether a writer has died with it since that was cleared; for the holder.
    pub(crate) fn has_died(&self) -> bool {
        self.look().generation() & LEFT != 0
    }

    /// Forgets that a writer has died; for the holder, which is `me`.
    pub(crate) fn clear(&self, me: Owner) {
        // ORDERING: Relaxed; the holder's own word, published when it lets go.
        self.0
            .store(Word::new(HELD, me, 0).to_bits(), Ordering::Relaxed);
    }
}
