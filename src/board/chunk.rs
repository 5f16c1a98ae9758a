//! One chunk of a range job: its word, and the range that the word stands for.
//!
//! ```text
//!             everybody's             the parent's to write
//! byte 0      8        16        0       8     16
//!      [ word ][ detail ]        [ start ][ len ]
//!
//! word: UNCLAIMED(g) -> CLAIMED(owner, g) -> DONE(owner, g) | FAILED(owner, g)
//!         ^   |             |         \
//!         |   |             |          +--> FAILED(dead, g)      (recover)
//!         +---|-------------+ (recover)
//!             +--> CANCELLED(g)
//! ```
//!
//! Who may touch the chunk's part of the output, and `detail`:
//! * UNCLAIMED, CANCELLED: the parent.
//! * CLAIMED: the owner, alone; once that process is reaped, the parent.
//! * DONE, FAILED: the parent.
//!
//! `start` and `len` are written by the parent before the job opens and stay until it closes. A
//! chunk's place is never used for anything else, so that a late exchange meets older generations
//! of itself only, and fails.

use crate::memory::owner::{Owner, Word};
use crate::primitive::atomic::{AtomicU64, Ordering};

use super::{ChunkOutcome, Outcome, Verdict};

const VACANT: u8 = 0;
const UNCLAIMED: u8 = 1;
const CLAIMED: u8 = 2;
const DONE: u8 = 3;
const FAILED: u8 = 4;
const CANCELLED: u8 = 5;

/// A chunk's entry in its job's table.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Chunk {
    word: AtomicU64,
    detail: AtomicU64,
}

/// What a chunk covers.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct ChunkRange {
    start: AtomicU64,
    len: AtomicU64,
}

#[cfg(not(gristmill_loom))]
const _: () = {
    assert!(size_of::<Chunk>() == 16);
    assert!(size_of::<ChunkRange>() == 16);
};

const fn nobodys(state: u8, generation: u32) -> u64 {
    Word::new(state, Owner::NONE, generation).to_bits()
}

impl ChunkRange {
    /// No elements, to be written in place.
    pub(crate) fn new() -> Self {
        Self {
            start: AtomicU64::new(0),
            len: AtomicU64::new(0),
        }
    }

    /// Start and length, for the owner of the chunk or the parent.
    pub(super) fn get(&self) -> (u64, u64) {
        // Relaxed: both were published with the job (B1).
        (
            self.start.load(Ordering::Relaxed),
            self.len.load(Ordering::Relaxed),
        )
    }

    pub(super) fn set(&self, start: u64, len: u64) {
        // Relaxed: published with the job (B1).
        self.start.store(start, Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
    }
}

impl Chunk {
    /// An entry that belongs to no job yet, to be written in place.
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU64::new(nobodys(VACANT, 0)),
            detail: AtomicU64::new(0),
        }
    }

    /// A word that the owner leaves to the parent, such as the element that failed; all ones until
    /// then.
    pub(crate) fn detail(&self) -> &AtomicU64 {
        &self.detail
    }

    /// Any -> UNCLAIMED(g), before the job opens.
    pub(super) fn reset(&self, generation: u32) {
        // Relaxed: published with the job (B1). What an earlier owner left is not this one's.
        self.detail.store(u64::MAX, Ordering::Relaxed);
        // Relaxed: published with the job (B1).
        self.word
            .store(nobodys(UNCLAIMED, generation), Ordering::Relaxed);
    }

    /// Any -> CANCELLED(g), before the job opens.
    pub(super) fn withhold(&self, generation: u32) {
        // Relaxed, both: as in `reset`.
        self.detail.store(u64::MAX, Ordering::Relaxed);
        self.word
            .store(nobodys(CANCELLED, generation), Ordering::Relaxed);
    }

    /// UNCLAIMED(g) -> CLAIMED(me, g): the linearisation point of a claim. It pins the job, which
    /// cannot close before this chunk ends.
    pub(super) fn claim(&self, me: Owner, generation: u32) -> bool {
        let free = nobodys(UNCLAIMED, generation);
        // Relaxed: a guess that saves the sweep an exchange. That it does not miss a chunk that
        // became UNCLAIMED again is the business of the sweep epoch (B3).
        self.word.load(Ordering::Relaxed) == free
            // ORDERING: B2, Acquire; whoever had the chunk before is dead, and `recover` saw it.
            // Model: a_recovered_chunk_is_handed_over.
            && self
                .word
                .compare_exchange(
                    free,
                    Word::new(CLAIMED, me, generation).to_bits(),
                    Ordering::Acquire,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// CLAIMED(me, g) -> DONE(me, g) | FAILED(me, g).
    pub(super) fn complete(&self, me: Owner, generation: u32, outcome: Outcome) -> bool {
        let state = match outcome {
            Outcome::Done => DONE,
            Outcome::Failed => FAILED,
        };
        // ORDERING: B4, Release; publishes the output and `detail` to `outcome`.
        // Model: a_settled_job_has_its_output.
        self.word
            .compare_exchange(
                Word::new(CLAIMED, me, generation).to_bits(),
                Word::new(state, me, generation).to_bits(),
                Ordering::Release,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// Whether nobody has claimed it just now: a guess.
    pub(super) fn is_unclaimed(&self, generation: u32) -> bool {
        // Relaxed: proved by the exchange that follows.
        self.word.load(Ordering::Relaxed) == nobodys(UNCLAIMED, generation)
    }

    /// Whether somebody may still have it to do: a hint, whichever job it speaks of.
    pub(super) fn seems_pending(&self) -> bool {
        // Relaxed: a hint; whoever sleeps on it fences first (doorbell).
        let word = Word::from_bits(self.word.load(Ordering::Relaxed));
        matches!(word.state(), UNCLAIMED | CLAIMED)
    }

    /// UNCLAIMED(g) -> CANCELLED(g).
    pub(super) fn cancel(&self, generation: u32) -> bool {
        // Relaxed: nothing was written for it, nothing is.
        self.word
            .compare_exchange(
                nobodys(UNCLAIMED, generation),
                nobodys(CANCELLED, generation),
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    pub(super) fn outcome(&self, generation: u32) -> ChunkOutcome {
        // ORDERING: B4, Acquire; sees the output and `detail` of a finished chunk (`complete`).
        // Model: a_settled_job_has_its_output.
        let word = Word::from_bits(self.word.load(Ordering::Acquire));
        if word.generation() != generation {
            return ChunkOutcome::Foreign(word);
        }
        match word.state() {
            UNCLAIMED if word.owner() == Owner::NONE => ChunkOutcome::Unclaimed,
            CLAIMED => ChunkOutcome::Claimed(word.owner()),
            DONE => ChunkOutcome::Done(word.owner()),
            FAILED => ChunkOutcome::Failed(word.owner()),
            CANCELLED if word.owner() == Owner::NONE => ChunkOutcome::Cancelled,
            _ => ChunkOutcome::Foreign(word),
        }
    }

    /// CLAIMED(dead, g) -> UNCLAIMED(g) | FAILED(dead, g), as `decide` says; which it was.
    pub(super) fn recover(
        &self,
        dead: Owner,
        generation: u32,
        decide: impl FnOnce() -> Verdict,
    ) -> Option<Verdict> {
        let held = Word::new(CLAIMED, dead, generation).to_bits();
        // Relaxed: the owner is reaped, all its stores came before.
        if self.word.load(Ordering::Relaxed) != held {
            return None;
        }
        let verdict = decide();
        let next = match verdict {
            Verdict::Retry => nobodys(UNCLAIMED, generation),
            Verdict::Fail => Word::new(FAILED, dead, generation).to_bits(),
        };
        // ORDERING: B2, Release; hands the chunk and what `decide` wrote to the next `claim`.
        // Model: a_recovered_chunk_is_handed_over.
        self.word
            .compare_exchange(held, next, Ordering::Release, Ordering::Relaxed)
            .is_ok()
            .then_some(verdict)
    }
}

#[cfg(test)]
impl Chunk {
    /// The word itself, for those that run wild.
    pub(super) fn word(&self) -> &AtomicU64 {
        &self.word
    }

    /// Whatever a wild store may leave behind.
    pub(super) fn scribble(&self, bits: u64) {
        self.word.store(bits, Ordering::Relaxed);
    }
}
