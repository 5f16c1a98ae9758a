//! The task ring: lock-free, many producers and consumers, and no loss when one dies.
//!
//! Each task has one slot, and the slot's word is the truth about it ([`slot`]). A queue of hints
//! ([`hints`]) leads workers to READY slots, a bit a slot ([`done`]) leads the parent to finished
//! ones. Both may be stale, doubled or dropped; [`Ring::recover`] and [`Ring::repost`] make them
//! whole after a death.
//!
//! There may be several queues of hints over the same slots, the lanes ([`lane`]). A [`Ring`] is
//! the view of one lane: it claims what is READY in that lane only.
//!
//! The steps, each one atomic operation; a process may die between any two:
//!
//! ```text
//! submit    fill | write the body | publish: word, cell, tail
//!           or, under a lock: write the body | post: word, cell, tail
//! claim     word (linearises) | cell | head
//! complete  write the result | word (linearises) | done bit
//! recover   for each slot of the dead: word, cell, tail | done bit
//! ```

#[cfg(all(test, not(gristmill_loom)))]
mod broken;
#[cfg_attr(gristmill_loom, expect(dead_code, reason = "for the parent's audit"))]
mod check;
mod done;
mod hints;
mod lane;
#[cfg(all(test, gristmill_loom))]
mod model;
mod slot;
#[cfg(all(test, not(gristmill_loom)))]
mod tests;
#[cfg(all(test, not(gristmill_loom)))]
mod threads;

use crate::memory::owner::{Owner, Word};
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::primitive::prefetch;

pub(crate) use check::{Put, Stand};
pub(crate) use done::DoneBits;
pub(crate) use hints::{Cell, MAX_SLOTS, RingHeader};
pub(crate) use lane::{LANE_TASKS, Lane, LaneRing};
pub(crate) use slot::Slot;

use hints::{Hints, Peek};
use slot::Recovered;

/// A task that this process owns, and must complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) struct Claim {
    /// Where the task lies.
    pub(crate) slot: u32,
    /// Which use of the slot it is.
    pub(crate) generation: u32,
}

/// How a task ended, as its worker tells it; the body says more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// The result is there.
    Done,
    /// An error is there, or the worker died once too often.
    Failed,
}

/// What to do with a task whose worker died.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Run it again under the next generation, from the ring's own lane.
    Retry,
    /// Run it again from another lane; the caller then leaves a hint there.
    Divert(Lane),
    /// Give it up.
    Fail,
}

/// What a slot's word says about one task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Harvest {
    /// Nobody has claimed it yet.
    Pending,
    /// This process works on it.
    Running(Owner),
    /// It ended, and the slot waits for `free`.
    Finished {
        /// Who ended it.
        owner: Owner,
        /// And how.
        outcome: Outcome,
    },
    /// The word speaks of no such task: the bytes were overwritten.
    Foreign(Word),
}

/// The ring over its borrowed memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring<'a> {
    hints: Hints<'a>,
    slots: &'a [Slot],
    /// How many of them there is memory for, if not all.
    used: Option<&'a AtomicU64>,
    lane: Lane,
}

impl<'a> Ring<'a> {
    /// A view of a ring that lies in the three: the main lane.
    ///
    /// # Panics
    /// Unless both lengths are powers of two, with at most [`MAX_SLOTS`] slots and at least two
    /// cells a slot: the layout is the caller's own, never read from shared memory.
    pub(crate) fn new(header: &'a RingHeader, cells: &'a [Cell], slots: &'a [Slot]) -> Self {
        assert!(slots.len().is_power_of_two() && slots.len() <= MAX_SLOTS);
        assert!(cells.len().is_power_of_two() && cells.len() >= 2 * slots.len());
        Self {
            hints: Hints { header, cells },
            slots,
            used: None,
            lane: Lane::MAIN,
        }
    }

    /// The same, where only the first `used` slots have memory: whoever looks through all slots
    /// looks at these. The number may grow; a slot beyond it is not published, so that a look which
    /// goes by an older number is one that came earlier.
    pub(crate) fn with_used(self, used: &'a AtomicU64) -> Self {
        Self {
            used: Some(used),
            ..self
        }
    }

    /// A view of another lane over the same slots.
    pub(crate) fn beside(&self, lane: Lane, ring: &'a LaneRing) -> Self {
        Self {
            hints: ring.hints(),
            lane,
            ..*self
        }
    }

    /// The slots that have memory.
    fn used(&self) -> &'a [Slot] {
        let Some(used) = self.used else {
            return self.slots;
        };
        // ORDERING: Acquire; pairs with the Release in `Control::make_slots`: the slots were made
        // before. A task that a hint speaks of lies in none that is beyond (R5).
        let used = usize::try_from(used.load(Ordering::Acquire)).unwrap_or(usize::MAX);
        &self.slots[..used.min(self.slots.len())]
    }

    /// The slot itself, for its body.
    pub(crate) fn slot(&self, slot: u32) -> &'a Slot {
        &self.slots[slot as usize & (self.slots.len() - 1)]
    }

    /// FREE(g) -> FILLING(g), giving g; `None` if the word is not FREE. The submitter's own list
    /// of free slots says which to try.
    pub(crate) fn fill(&self, slot: u32) -> Option<u32> {
        self.slot(slot).fill()
    }

    /// Whether `post` may be tried: the word is FREE(g).
    pub(crate) fn is_free(&self, slot: u32, generation: u32) -> bool {
        self.slot(slot).is_free(generation)
    }

    /// FREE(g) -> READY(g), then the hint, as `fill` and `publish` in one: for a submitter who
    /// holds a lock from before it writes the body until now, and whose lock it was freed under.
    /// False: the word was not FREE(g).
    #[must_use]
    pub(crate) fn post(&self, slot: u32, generation: u32) -> bool {
        let posted = self.slot(slot).post(self.lane, generation);
        if posted {
            self.hint(slot, generation);
        }
        posted
    }

    /// FILLING(g) -> READY(g), then the hint. False: the word was not FILLING(g).
    ///
    /// The last step is a read-modify-write, so that waking workers may follow without a fence.
    #[must_use]
    pub(crate) fn publish(&self, slot: u32, generation: u32) -> bool {
        let published = self.slot(slot).publish(self.lane, generation);
        if published {
            self.hint(slot, generation);
        }
        published
    }

    /// Leaves a hint that the slot is READY in this lane. One too many does no harm.
    pub(crate) fn hint(&self, slot: u32, generation: u32) {
        self.hints.push(slot, generation, self.used(), self.lane);
    }

    /// READY(g) in the lane `from` -> READY(g) here, then the hint. False: somebody has claimed it.
    #[must_use]
    pub(crate) fn divert(&self, from: Lane, slot: u32, generation: u32) -> bool {
        let diverted = self.slot(slot).divert(from, self.lane, generation);
        if diverted {
            self.hint(slot, generation);
        }
        diverted
    }

    /// FILLING(g) -> FREE(g + 1): the submitter changed its mind.
    pub(crate) fn abandon(&self, slot: u32, generation: u32) {
        self.slot(slot).vacate(generation);
    }

    /// READY(g) -> FILLING(g): takes back a task that nobody claimed. False: somebody had.
    #[must_use]
    pub(crate) fn retract(&self, slot: u32, generation: u32) -> bool {
        self.slot(slot).retract(self.lane, generation)
    }

    /// How many hints of this lane were followed: a hint, and none a claim after a crash.
    pub(crate) fn passed(&self) -> u64 {
        self.hints.passed()
    }

    /// Asks for the lines that `fill` of this slot and `publish` will touch.
    pub(crate) fn expect_submission(&self, slot: u32) {
        self.hints.expect_push();
        prefetch::to_write(self.slot(slot));
    }

    /// Asks for a slot that is about to be harvested and freed, or filled.
    pub(crate) fn expect_slot(&self, slot: u32) {
        prefetch::to_write(self.slot(slot));
    }

    /// The slot of the task that the next claim will probably find.
    pub(crate) fn next(&self) -> Option<u32> {
        Some(self.hints.glimpse()? & (self.slots.len() as u32 - 1))
    }

    /// The same, and asks for the slot's line.
    pub(crate) fn expect_claim(&self) -> Option<u32> {
        let slot = self.next()?;
        prefetch::to_write(self.slot(slot));
        Some(slot)
    }

    /// Takes a READY task, about the oldest.
    pub(crate) fn claim(&self, me: Owner) -> Option<Claim> {
        for _ in 0..2 * self.hints.cells.len() {
            match self.hints.peek() {
                Peek::Hint(hint) => {
                    let slot = hint.slot() & (self.slots.len() as u32 - 1);
                    // A hint that somebody wrote wildly may lead to where there is no memory.
                    let place = self.used().get(slot as usize);
                    let claimed = place.and_then(|place| {
                        place
                            .ready(self.lane)
                            .filter(|&generation| hint.speaks_of(generation))
                            .filter(|&generation| place.claim(self.lane, me, generation))
                    });
                    // Only now: a hint that goes before its task is claimed leaves a READY slot
                    // that nobody finds. Model: a_passed_hint_has_a_claimed_slot.
                    self.hints.pass(hint);
                    if let Some(generation) = claimed {
                        return Some(Claim { slot, generation });
                    }
                }
                Peek::Empty => return self.claim_missed(me),
                Peek::Moved => {}
            }
        }
        // Two laps of other people's progress, or garbage: look at the truth.
        self.claim_any(me)
    }

    fn claim_missed(&self, me: Owner) -> Option<Claim> {
        let missed = self.hints.missed()?;
        let found = self.claim_any(me);
        if found.is_none() {
            self.hints.swept(missed);
        }
        found
    }

    fn claim_any(&self, me: Owner) -> Option<Claim> {
        (0..).zip(self.used()).find_map(|(index, slot)| {
            let generation = slot.ready(self.lane)?;
            slot.claim(self.lane, me, generation).then_some(Claim {
                slot: index,
                generation,
            })
        })
    }

    /// CLAIMED(me, g) -> DONE(me, g) | FAILED(me, g). False: the task was taken from us.
    #[must_use]
    pub(crate) fn complete(&self, me: Owner, claim: Claim, outcome: Outcome) -> bool {
        self.slot(claim.slot)
            .complete(me, claim.generation, outcome)
    }

    /// Whether the task in `slot` seems to have ended: cheap enough to spin on.
    pub(crate) fn has_ended(&self, slot: u32, generation: u32) -> bool {
        matches!(self.harvest(slot, generation), Harvest::Finished { .. })
    }

    /// What became of the task in `slot`; the caller delivers a finished one once, then frees.
    pub(crate) fn harvest(&self, slot: u32, generation: u32) -> Harvest {
        self.slot(slot).harvest(generation)
    }

    /// Any -> FREE(g + 1), giving the new generation. `generation` is what the parent remembers:
    /// a word that lies cannot bring an old generation back.
    pub(crate) fn free(&self, slot: u32, generation: u32) -> u32 {
        self.slot(slot).vacate(generation)
    }

    /// Takes from a reaped process what it held: `decide(slot, g)` chooses for each CLAIMED slot
    /// between READY(g + 1) and FAILED(g), and may rewrite the body. Finished slots get their done
    /// bit, which the dead may not have set. Then wake all workers.
    pub(crate) fn recover(
        &self,
        dead: Owner,
        done: DoneBits<'_>,
        mut decide: impl FnMut(u32, u32) -> Verdict,
    ) {
        for (index, slot) in (0..).zip(self.used()) {
            match slot.recover(dead, self.lane, |generation| decide(index, generation)) {
                Recovered::Untouched | Recovered::Diverted => {}
                Recovered::Ready(generation) => self.hint(index, generation),
                Recovered::Finished => _ = done.set(index),
            }
        }
    }

    /// Pushes a hint for every slot that is READY in this lane, for a dead process may have taken
    /// some out. Doubled hints do no harm.
    pub(crate) fn repost(&self) {
        self.waiting(|slot, lane, generation| {
            if lane == self.lane {
                self.hint(slot, generation);
            }
        });
    }

    /// Names the slots that are READY, whatever the lane.
    pub(crate) fn waiting(&self, mut found: impl FnMut(u32, Lane, u32)) {
        for (index, slot) in (0..).zip(self.used()) {
            if let Some((lane, generation)) = slot.waiting() {
                found(index, lane, generation);
            }
        }
    }

    /// Whether a task in `slot` waits for a worker just now.
    pub(crate) fn is_ready(&self, slot: u32) -> bool {
        self.slot(slot).waiting().is_some()
    }

    /// The lane of the task in `slot`, if it waits for a worker just now.
    pub(crate) fn lane_of_waiting(&self, slot: u32) -> Option<Lane> {
        self.slot(slot).waiting().map(|(lane, _)| lane)
    }

    /// Whether there is probably nothing to claim: cheap enough to spin on.
    pub(crate) fn looks_empty(&self) -> bool {
        self.hints.looks_empty()
    }
}
