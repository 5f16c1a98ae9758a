//! The parent's look at the whole ring: does it stand as the books say, and how to make it so.
//!
//! A slot's word is legal in each state that its task may be in at that moment, whatever workers
//! do meanwhile, so one look at it is enough. The queue is looked at while nobody pushes: only the
//! parent does, under the lock of its books. Then the tail stands still, and each cell holds
//! either the hint of the last position that lies in it, or is empty and waits for the next lap;
//! workers turn the one into the other, and move the head towards the tail.

use crate::memory::owner::{Owner, Word};

use super::{DoneBits, Ring};

/// What a slot's word says of the generation that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Stand {
    /// It waits for a task.
    Free,
    /// A submitter writes the task.
    Filling,
    /// Nobody has begun the task.
    Ready,
    /// This process works on it, or says so.
    Claimed(Owner),
    /// This process ended it, or says so.
    Ended(Owner),
    /// Nothing that can be.
    Nonsense(Word),
}

/// What the parent makes of a slot's word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Put {
    /// A slot without a task.
    Free,
    /// A slot whose task is being written.
    Filling,
    /// A slot whose task nobody has begun.
    Ready,
}

/// A position or a cell of the queue that nobody honest left so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct QueueFault {
    /// What stands there.
    pub(crate) found: u64,
}

impl Ring<'_> {
    /// What the slot's word says about this generation.
    pub(crate) fn stand(&self, slot: u32, generation: u32) -> Stand {
        self.slot(slot).stand(self.lane, generation)
    }

    /// The slot's word as it is, for a report.
    pub(crate) fn bits(&self, slot: u32) -> u64 {
        self.slot(slot).bits()
    }

    /// Whether the queue is as honest processes leave it, while nobody pushes.
    pub(crate) fn check_queue(&self) -> Result<(), QueueFault> {
        self.hints.check(self.used().len())
    }

    /// Has workers look through all slots for READY ones, as if a hint had been dropped.
    pub(crate) fn call_for_a_look(&self) {
        self.hints.count_missed();
    }

    /// Empties the queue and the done bits, when no worker lives and nobody pushes.
    pub(crate) fn clear(&self, done: DoneBits<'_>) {
        self.hints.clear();
        done.drain(|_| ());
    }

    /// Makes a slot what the books say, when no worker lives, with a hint if it is READY.
    pub(crate) fn put(&self, slot: u32, place: Put, generation: u32) {
        self.slot(slot).put(place, self.lane, generation);
        if place == Put::Ready {
            self.hint(slot, generation);
        }
    }
}

#[cfg(test)]
impl<'a> Ring<'a> {
    /// All the words that a worker may write, for those that run wild.
    pub(crate) fn words(&self) -> Vec<&'a crate::primitive::atomic::AtomicU64> {
        let slots = self.slots.iter().map(super::Slot::word);
        slots.chain(self.hints.words()).collect()
    }
}
