//! One task slot: the word that is the truth about it. The task itself, its body, lies elsewhere,
//! on pages that only the parent writes; so does its reply, which only the worker writes.
//!
//! ```text
//! byte 0        8        16       64
//!      [  word  ][  note  ][ unused ]
//!
//! word: FREE(g) -> FILLING(g) -> READY(g) -> CLAIMED(o, g) -> DONE(o, g) | FAILED(o, g)
//!         ^           ^  |          |  ^            |                      |
//!         |           +--+- retract-+  +-- g + 1 ---+ (recover)            |
//!         +-- g + 1 -----+ (abandon)                                       |
//!         +-- g + 1 -------------------------------------------------------+ (free)
//! ```
//!
//! A READY word names the lane in which the task waits, where a CLAIMED one names its owner: lane 0
//! by [`Owner::NONE`]. So whoever meets the word, by whatever hint, knows who may claim it.
//!
//! Who may touch the body, its reply, and what they point to:
//! * FREE: nobody.
//! * FILLING: the submitter that moved the word there, alone.
//! * READY: nobody; whoever moves the word on gets it.
//! * CLAIMED: the owner, alone; once that process is reaped, the parent.
//! * DONE, FAILED: the parent.

use crate::memory::owner::{Owner, Word};
use crate::primitive::atomic::{AtomicU64, Ordering};

use super::check::{Put, Stand};
use super::{Harvest, Lane, Outcome, Verdict};

const FREE: u8 = 0;
const FILLING: u8 = 1;
const READY: u8 = 2;
const CLAIMED: u8 = 3;
const DONE: u8 = 4;
const FAILED: u8 = 5;

/// A task's place in the ring.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Slot {
    word: AtomicU64,
    note: AtomicU64,
}

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<Slot>() == 64);

const fn nobodys(state: u8, generation: u32) -> u64 {
    Word::new(state, Owner::NONE, generation).to_bits()
}

/// READY, in this lane.
const fn waits(lane: Lane, generation: u32) -> u64 {
    Word::new(READY, Owner::nobody(lane.number()), generation).to_bits()
}

/// What became of one slot when its owner was found dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum Recovered {
    /// The dead process had nothing to do with it.
    Untouched,
    /// READY again under this generation, in our lane: it wants a hint.
    Ready(u32),
    /// READY again in another lane, where the caller leaves a hint.
    Diverted,
    /// DONE or FAILED by the dead process, now or before: it wants its done bit.
    Finished,
}

impl Slot {
    /// A free slot, to be written in place.
    pub(crate) fn new() -> Self {
        Self::starting_at(0)
    }

    /// A free slot in its `generation`-th use.
    pub(crate) fn starting_at(generation: u32) -> Self {
        Self {
            word: AtomicU64::new(nobodys(FREE, generation)),
            note: AtomicU64::new(0),
        }
    }

    /// A word in which the owner may leave a hint; the ring never reads it.
    pub(crate) fn note(&self) -> &AtomicU64 {
        &self.note
    }

    /// FREE(g) -> FILLING(g).
    pub(super) fn fill(&self) -> Option<u32> {
        // Relaxed: only a guess at what the exchange below will find.
        let seen = Word::from_bits(self.word.load(Ordering::Relaxed));
        let generation = seen.generation();
        // ORDERING: R4, Acquire; whoever freed the slot is done with the body (`vacate`).
        // Model: a_freed_slot_may_be_refilled.
        (seen.state() == FREE
            && self
                .word
                .compare_exchange(
                    nobodys(FREE, generation),
                    nobodys(FILLING, generation),
                    Ordering::Acquire,
                    Ordering::Relaxed,
                )
                .is_ok())
        .then_some(generation)
    }

    /// Whether the word is FREE(g): then `post` will probably do.
    pub(super) fn is_free(&self, generation: u32) -> bool {
        // Relaxed: a guess, proved by the exchange in `post`.
        self.word.load(Ordering::Relaxed) == nobodys(FREE, generation)
    }

    /// FREE(g) -> READY(g), by whoever keeps all others from filling it: that whoever freed the
    /// slot is done with the body, its lock says.
    pub(super) fn post(&self, lane: Lane, generation: u32) -> bool {
        self.make_ready(FREE, lane, generation)
    }

    /// FILLING(g) -> READY(g).
    pub(super) fn publish(&self, lane: Lane, generation: u32) -> bool {
        self.make_ready(FILLING, lane, generation)
    }

    fn make_ready(&self, from: u8, lane: Lane, generation: u32) -> bool {
        // ORDERING: R1, Release; publishes the body to the Acquire in `claim` and `retract`.
        // Model: a_swept_task_has_its_body. (After a hint, R5 would do.)
        self.word
            .compare_exchange(
                nobodys(from, generation),
                waits(lane, generation),
                Ordering::Release,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// READY(g) -> FILLING(g).
    pub(super) fn retract(&self, lane: Lane, generation: u32) -> bool {
        // ORDERING: R1, Acquire; the body may have been written by another thread (`publish`).
        // Model: a_retracted_task_is_nobody_elses.
        self.word
            .compare_exchange(
                waits(lane, generation),
                nobodys(FILLING, generation),
                Ordering::Acquire,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// READY(g) in one lane -> READY(g) in another. False: somebody has claimed it.
    pub(super) fn divert(&self, from: Lane, to: Lane, generation: u32) -> bool {
        // Relaxed: it publishes nothing of its own, and a read-modify-write carries on the release
        // of `publish` or `recover`. Model: a_diverted_task_is_claimed_once.
        self.word
            .compare_exchange(
                waits(from, generation),
                waits(to, generation),
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// The lane and the generation, if the slot is READY just now.
    pub(super) fn waiting(&self) -> Option<(Lane, u32)> {
        // Relaxed: a guess, proved by the exchange in `claim`. That it does not miss a READY older
        // than the hint which led here is the business of the hint's own Acquire (R5, R6).
        let seen = Word::from_bits(self.word.load(Ordering::Relaxed));
        let lane = Lane::new(seen.owner().note()?);
        (seen.state() == READY).then(|| (lane, seen.generation()))
    }

    /// The generation, if the slot is READY in this lane just now.
    pub(super) fn ready(&self, lane: Lane) -> Option<u32> {
        let (found, generation) = self.waiting()?;
        (found == lane).then_some(generation)
    }

    /// READY(g) -> CLAIMED(me, g): the linearisation point of a claim.
    pub(super) fn claim(&self, lane: Lane, me: Owner, generation: u32) -> bool {
        // ORDERING: R1, Acquire; sees the body that `publish` released, or that `recover` did.
        // Model: a_swept_task_has_its_body, a_retried_task_sees_what_recovery_wrote.
        self.word
            .compare_exchange(
                waits(lane, generation),
                Word::new(CLAIMED, me, generation).to_bits(),
                Ordering::Acquire,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// CLAIMED(me, g) -> DONE(me, g) | FAILED(me, g).
    pub(super) fn complete(&self, me: Owner, generation: u32, outcome: Outcome) -> bool {
        // ORDERING: R2, Release; publishes the result to the Acquire in `harvest`.
        // Model: a_harvest_sees_the_result.
        self.word
            .compare_exchange(
                Word::new(CLAIMED, me, generation).to_bits(),
                Word::new(outcome.state(), me, generation).to_bits(),
                Ordering::Release,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// What the word says about the task of `generation`.
    pub(super) fn harvest(&self, generation: u32) -> Harvest {
        // ORDERING: R2, Acquire; sees the result that `complete` released.
        // Model: a_harvest_sees_the_result.
        Self::read(self.word.load(Ordering::Acquire), generation)
    }

    fn read(bits: u64, generation: u32) -> Harvest {
        let word = Word::from_bits(bits);
        if word.generation() != generation {
            return Harvest::Foreign(word);
        }
        let owner = word.owner();
        match word.state() {
            FILLING if owner == Owner::NONE => Harvest::Pending,
            READY if owner.note().is_some() => Harvest::Pending,
            CLAIMED => Harvest::Running(owner),
            DONE => Harvest::Finished {
                owner,
                outcome: Outcome::Done,
            },
            FAILED => Harvest::Finished {
                owner,
                outcome: Outcome::Failed,
            },
            _ => Harvest::Foreign(word),
        }
    }

    /// Whatever it is -> FREE(g + 1): what the parent knows beats what the word says.
    pub(super) fn vacate(&self, generation: u32) -> u32 {
        let next = generation.wrapping_add(1);
        // ORDERING: R4, Release; we are done with the body, `fill` may write it.
        // Model: a_freed_slot_may_be_refilled.
        self.word.store(nobodys(FREE, next), Ordering::Release);
        next
    }

    /// What the word says, to the letter.
    pub(super) fn stand(&self, lane: Lane, generation: u32) -> Stand {
        // ORDERING: R2, Acquire; as in `harvest`.
        let bits = self.word.load(Ordering::Acquire);
        match Self::read(bits, generation) {
            Harvest::Pending if bits == waits(lane, generation) => Stand::Ready,
            Harvest::Pending => Stand::Filling,
            Harvest::Running(owner) => Stand::Claimed(owner),
            Harvest::Finished { owner, .. } => Stand::Ended(owner),
            Harvest::Foreign(_) if bits == nobodys(FREE, generation) => Stand::Free,
            Harvest::Foreign(word) => Stand::Nonsense(word),
        }
    }

    /// The word as it is.
    pub(super) fn bits(&self) -> u64 {
        // Relaxed: for a report only.
        self.word.load(Ordering::Relaxed)
    }

    /// Any -> FREE(g) | FILLING(g) | READY(g), by the parent's books, when no worker lives.
    pub(super) fn put(&self, place: Put, lane: Lane, generation: u32) {
        let word = match place {
            Put::Free => nobodys(FREE, generation),
            Put::Filling => nobodys(FILLING, generation),
            Put::Ready => waits(lane, generation),
        };
        // ORDERING: R1, Release; hands the body to the next `claim` or `fill`.
        self.word.store(word, Ordering::Release);
    }

    /// CLAIMED(dead, g) -> READY(g + 1) | FAILED(dead, g), as `decide(g)` says.
    pub(super) fn recover(
        &self,
        dead: Owner,
        lane: Lane,
        decide: impl FnOnce(u32) -> Verdict,
    ) -> Recovered {
        // ORDERING: R1, Acquire; `decide` may read the body, published by any submitter. A claim
        // is a read-modify-write, so its word still carries that release.
        // Model: recovery_sees_the_body.
        let seen = Word::from_bits(self.word.load(Ordering::Acquire));
        if seen.owner() != dead {
            return Recovered::Untouched;
        }
        match seen.state() {
            DONE | FAILED => Recovered::Finished,
            CLAIMED => {
                let again = seen.generation().wrapping_add(1);
                let (next, recovered) = match decide(seen.generation()) {
                    Verdict::Retry => (waits(lane, again), Recovered::Ready(again)),
                    Verdict::Divert(other) => (waits(other, again), Recovered::Diverted),
                    Verdict::Fail => {
                        let failed = Word::new(FAILED, dead, seen.generation());
                        (failed.to_bits(), Recovered::Finished)
                    }
                };
                // ORDERING: R1, Release; publishes what `decide` wrote to the next `claim`.
                // Model: a_retried_task_sees_what_recovery_wrote.
                let moved = self.word.compare_exchange(
                    seen.to_bits(),
                    next,
                    Ordering::Release,
                    Ordering::Relaxed,
                );
                // It can only have changed by a write that no honest process makes.
                moved.map_or(Recovered::Untouched, |_| recovered)
            }
            _ => Recovered::Untouched,
        }
    }
}

impl Outcome {
    const fn state(self) -> u8 {
        match self {
            Self::Done => DONE,
            Self::Failed => FAILED,
        }
    }
}

#[cfg(test)]
impl Slot {
    /// Whatever a wild store may leave behind.
    pub(super) fn scribble(&self, bits: u64) {
        self.word.store(bits, Ordering::Relaxed);
    }
}

#[cfg(test)]
impl Slot {
    /// The word itself, for those that run wild.
    pub(super) fn word(&self) -> &AtomicU64 {
        &self.word
    }
}
