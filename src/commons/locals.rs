//! Who waits in this process, by the wait set's place in the region.

use core::hash::{BuildHasherDefault, Hasher};
use core::task::Waker;
use std::collections::{HashMap, VecDeque};

use crate::sync::waitset::Tide;

/// A task's place in the list; 0 is none.
pub(super) type Number = u64;

/// The waiting tasks and threads of this process for one wait set.
#[derive(Debug, Default)]
pub(super) struct Local {
    /// Threads that sleep, or are about to.
    pub(super) blocked: usize,
    pub(super) tasks: VecDeque<(Number, Waker)>,
    /// How far wake-ups had come when the tasks were told of them last.
    pub(super) seen: Tide,
}

/// Spreads places, which are few, and multiples of 64. The standard hasher, which nobody here needs
/// to be safe from, took a twelfth of a task's waiting.
#[derive(Default)]
pub(super) struct PlaceHasher(u64);

impl Hasher for PlaceHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0 ^ u64::from(byte));
        }
    }

    fn write_u64(&mut self, place: u64) {
        // The golden ratio's bits; the table takes the lowest and the highest.
        self.0 = place.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Everything that waits in this process.
#[derive(Debug, Default)]
pub(super) struct Locals {
    sets: HashMap<u64, Local, BuildHasherDefault<PlaceHasher>>,
    next: Number,
}

impl Locals {
    pub(super) fn at(&mut self, place: u64) -> &mut Local {
        self.sets.entry(place).or_default()
    }

    /// Forgets a set for which nobody waits.
    pub(super) fn tidy(&mut self, place: u64) {
        if self
            .sets
            .get(&place)
            .is_some_and(|local| local.blocked == 0 && local.tasks.is_empty())
        {
            self.sets.remove(&place);
        }
    }

    pub(super) fn number(&mut self) -> Number {
        self.next += 1;
        self.next
    }

    /// The places of sets for which tasks wait.
    pub(super) fn places(&self) -> Vec<u64> {
        let waiting = self
            .sets
            .iter()
            .filter(|(_, local)| !local.tasks.is_empty());
        waiting.map(|(&place, _)| place).collect()
    }

    /// The waker of a task that is on its list still.
    pub(super) fn waker(&mut self, place: u64, number: Number) -> Option<&mut Waker> {
        let local = self.sets.get_mut(&place)?;
        let found = local.tasks.iter_mut().find(|(other, _)| *other == number);
        found.map(|(_, waker)| waker)
    }

    /// Takes a task off its list. `None` for one that is not there any more: it was woken.
    pub(super) fn remove(&mut self, place: u64, number: Number) -> Option<Waker> {
        let local = self.sets.get_mut(&place)?;
        let found = local.tasks.iter().position(|(other, _)| *other == number)?;
        local.tasks.remove(found).map(|(_, waker)| waker)
    }
}
