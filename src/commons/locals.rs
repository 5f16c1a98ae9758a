//! This process's waiting tasks: wakers, by wait set, in order of arrival.
//!
//! While a set has a task here, the member's bit stands in it; both change under one lock.

use core::task::Waker;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sync::waitset::{Call, Tide, WaitSet};

/// A task's place among those that wait; none at first.
#[derive(Debug, Default)]
pub(crate) struct Ticket {
    /// 0: none.
    number: u64,
    since: Tide,
}

impl Ticket {
    pub(crate) const fn new() -> Self {
        Self {
            number: 0,
            since: Tide::ZERO,
        }
    }

    pub(super) fn is_some(&self) -> bool {
        self.number != 0
    }

    /// How far wake-ups had come when it was taken.
    pub(super) fn since(&self) -> Tide {
        self.since
    }
}

#[derive(Debug, Default)]
pub(super) struct Locals(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    last: u64,
    sets: HashMap<u64, Set>,
}

#[derive(Debug)]
struct Set {
    seen: Tide,
    waiters: VecDeque<(u64, Waker)>,
}

/// What became of a ticket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) struct Withdrawn {
    /// Its task was woken.
    pub(super) called: bool,
    /// The member was rung, maybe, and has no task for it: the wake-up is to be passed on.
    pub(super) unheard: bool,
}

/// What a listener owes after a look.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub(super) wakers: Vec<Waker>,
    /// Sets, by offset, of which a wake-up is to be passed on.
    pub(super) unheard: Vec<u64>,
}

impl Locals {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        // Nothing panics half-way but an allocation that fails.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the task is still to be woken.
    pub(super) fn waits(&self, offset: u64, ticket: &Ticket) -> bool {
        let inside = self.lock();
        let set = inside.sets.get(&offset);
        set.is_some_and(|set| set.position(ticket).is_some())
    }

    /// Makes the task wait, or gives it another waker. Look at the truth once more.
    pub(super) fn enrol(
        &self,
        (offset, set): (u64, &WaitSet),
        member: u16,
        ticket: &mut Ticket,
        waker: &Waker,
    ) {
        let mut inside = self.lock();
        inside.last += 1;
        let number = inside.last;
        let local = inside.sets.entry(offset).or_insert_with(|| Set {
            seen: set.tide(),
            waiters: VecDeque::new(),
        });
        match local.position(ticket) {
            Some(place) => local.waiters[place].1.clone_from(waker),
            None => {
                *ticket = Ticket {
                    number,
                    since: set.tide(),
                };
                local.waiters.push_back((number, waker.clone()));
            }
        }
        // Also where the bit is set: its fence is needed.
        set.enlist(member);
    }

    /// The task waits no longer.
    pub(super) fn withdraw(
        &self,
        (offset, set): (u64, &WaitSet),
        member: u16,
        ticket: &mut Ticket,
    ) -> Withdrawn {
        let mut out = Withdrawn {
            called: ticket.is_some(),
            unheard: false,
        };
        let mut inside = self.lock();
        if let Some(local) = inside.sets.get_mut(&offset)
            && let Some(place) = local.position(ticket)
        {
            out.called = false;
            local.waiters.remove(place);
            if local.waiters.is_empty() {
                out.unheard = set.retire(member, local.seen);
                inside.sets.remove(&offset);
            }
        }
        *ticket = Ticket::new();
        out
    }

    /// After a ring: whom to wake. `find` says where a set lies.
    pub(super) fn serve<'a>(&self, member: u16, find: impl Fn(u64) -> &'a WaitSet) -> Due {
        let mut due = Due::default();
        let mut inside = self.lock();
        inside.sets.retain(|&offset, local| {
            let set = find(offset);
            let (call, now) = set.look(local.seen);
            local.seen = now;
            let there = local.waiters.len();
            let count = match call {
                Call::All => there,
                Call::UpTo(count) => there.min(count as usize),
            };
            due.wakers
                .extend(local.waiters.drain(..count).map(|(_, waker)| waker));
            if !local.waiters.is_empty() {
                return true;
            }
            let more = matches!(call, Call::UpTo(wanted) if wanted as usize > there);
            if set.retire(member, now) || more {
                due.unheard.push(offset);
            }
            false
        });
        due
    }
}

impl Set {
    fn position(&self, ticket: &Ticket) -> Option<usize> {
        // Numbers ascend in order of arrival.
        let found = self
            .waiters
            .binary_search_by_key(&ticket.number, |(number, _)| *number);
        found.ok()
    }
}
