//! Workers that take over from others: recycling, and what a death means to those who wait.
//!
//! ```text
//! Vacant ─ start ─▶ Reserve ─ its predecessor is spent, or dead ─▶ Serving ─ spent ─▶ Leaving
//!   ▲                  │                                              │                  │
//!   └──── its end ─────┴──────── its end, if a successor is there ────┴──── its end ─────┘
//! ```
//!
//! A worker says when its end is near; the supervisor starts another one in a vacant place, which
//! waits, ready, until it is told to serve. So as many workers as the pool has serve at any time,
//! and the wait for a successor is that for a message. A worker that dies is replaced in its place
//! unless it has a successor already.
//!
//! Which queue a worker serves follows from its place, so a successor's place is one of the same
//! queue. Sticky keys, and the tasks that wait for one worker alone, are handed over with the
//! office: to the successor, if there is one.

use std::time::{Duration, Instant};

use super::ears::Ears;
use super::raise::{BACKOFF, START_ATTEMPTS};
use super::{COMMANDS, WORKERS_BELL, Watch};
use crate::error::WorkerDeath;
use crate::pool::dispatch::Event;
use crate::protocol::control::{Order, Status};
use crate::sync::Futex;
use crate::sync::kernel::KernelFutex;
use crate::sys::clock;
use crate::sys::process::KILL;

/// What a place, and the worker in it, is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Nobody is here.
    Vacant,
    /// One of the pool's workers, or to be one when it is started again.
    Serving,
    /// Waits to take over from the worker in this place.
    Reserve(usize),
    /// Has served, and another does so in its stead.
    Leaving,
}

/// What is known of a worker's service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    pub(super) role: Role,
    /// When it must have said that it is ready or, once it has served, be gone.
    pub(super) limit: Option<Instant>,
    /// Since when it serves, as far as that was seen.
    since: Option<Instant>,
    /// The place of the worker that is to take over.
    successor: Option<usize>,
    /// Successors in a row that did not come to be.
    failures: u32,
    /// When to start a successor again.
    again: Option<Instant>,
}

impl Service {
    pub(super) const fn new(role: Role) -> Self {
        Self {
            role,
            limit: None,
            since: None,
            successor: None,
            failures: 0,
            again: None,
        }
    }

    /// Whether the next one at this place will serve in this one's stead.
    pub(super) fn awaits_successor_in_place(&self) -> bool {
        self.role == Role::Serving && self.successor.is_none()
    }
}

impl Watch<'_> {
    /// Looks at how far the workers are in their lives, and has others started, serve and retire.
    pub(super) fn tend(&mut self) {
        let now = Instant::now();
        for index in 0..self.charges.len() {
            let charge = &mut self.charges[index];
            let role = charge.service.role;
            if charge.process.is_none() || !matches!(role, Role::Serving | Role::Leaving) {
                continue;
            }
            let status = self.status(index);
            if status == Status::Ending {
                self.limit_exit(index, now);
            }
            if role == Role::Leaving {
                continue;
            }
            if !status.has_begun() {
                continue;
            }
            let age = self.engine.config().service.max_age;
            let service = &mut self.charges[index].service;
            let since = *service.since.get_or_insert(now);
            let is_aged = age.is_some_and(|age| now.duration_since(since) >= age);
            match status {
                Status::Spent | Status::Ending => self.relieve(index, now),
                _ if is_aged || status == Status::Overgrown => self.retire(index, now),
                Status::Waning => self.provide(index, now),
                _ => {}
            }
        }
    }

    /// Kills those who were not ready, or not gone, in time.
    pub(super) fn end_slow(&mut self) {
        let now = Instant::now();
        for index in 0..self.charges.len() {
            let Some(limit) = self.charges[index].service.limit else {
                continue;
            };
            let status = self.status(index);
            let charge = &mut self.charges[index];
            let has_left = status == Status::Ending;
            if status.has_begun() && !has_left {
                charge.service.limit = None;
            } else if limit <= now {
                charge.service.limit = None;
                charge.condemned = true;
                if !has_left {
                    let limit = self.engine.config().service.start_timeout;
                    charge.reason = Some(format!("it was not ready after {limit:?}"));
                }
                if let Some(process) = &charge.process {
                    // One that has ended by itself is reaped like any other.
                    let _ = process.signal(KILL);
                }
            }
        }
    }

    /// When to look again unasked.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let now = Instant::now();
        let age = self.engine.config().service.max_age;
        let times = self.charges.iter().flat_map(|charge| {
            let service = &charge.service;
            let serves = charge.process.is_some() && service.role == Role::Serving;
            let since = service.since.filter(|_| serves);
            let aged = since
                .zip(age)
                .and_then(|(since, age)| since.checked_add(age));
            // What is overdue already waits for something else to happen.
            let later = [aged, service.again].map(|time| time.filter(|&time| time > now));
            [service.limit, later[0], later[1]]
        });
        times.flatten().min()
    }

    /// Has a worker retire once its successor is ready, which is started if there is none.
    fn retire(&mut self, index: usize, now: Instant) {
        let has_spares = self.charges.len() > self.engine.workers();
        if has_spares {
            self.provide(index, now);
            let heir = self.charges[index].service.successor;
            if !heir.is_some_and(|heir| self.status(heir).has_begun()) {
                return;
            }
        }
        self.order(index, Order::Retire);
    }

    /// Starts a successor, unless there is one, or no place for one.
    fn provide(&mut self, index: usize, now: Instant) {
        let service = &mut self.charges[index].service;
        let is_too_early = service.again.is_some_and(|again| again > now);
        // After so many failures the worker serves to its end, and its own place is filled anew.
        if service.successor.is_some() || is_too_early || service.failures >= START_ATTEMPTS {
            return;
        }
        service.again = None;
        let Some(place) = self.vacancy(index) else {
            return;
        };
        self.charges[place].service = Service::new(Role::Reserve(index));
        self.charges[index].service.successor = Some(place);
        if self.raise(place).is_err() {
            self.forget_successor(place, index, false);
        }
    }

    /// From now on its last words take their time.
    fn limit_exit(&mut self, index: usize, now: Instant) {
        let timeout = self.engine.config().service.start_timeout;
        let service = &mut self.charges[index].service;
        if service.limit.is_none() {
            service.limit = now.checked_add(timeout);
        }
    }

    /// A worker takes no more work: its successor serves, or somebody else in its stead.
    fn relieve(&mut self, index: usize, now: Instant) {
        if self.inherit(index) {
            return;
        }
        // Else it is replaced where it is, when it has gone.
        if let Some(place) = self.vacancy(index) {
            self.charges[place].service = Service::new(Role::Serving);
            self.charges[place].due = Some(now);
            self.engine.hub().roster.set_awaited(place as u16, true);
            self.hand_over(index, place);
        }
    }

    /// Lets the successor of a worker serve, if it has one.
    pub(super) fn inherit(&mut self, index: usize) -> bool {
        let service = &mut self.charges[index].service;
        let heir = match service.role {
            Role::Serving => service.successor.take(),
            Role::Vacant | Role::Reserve(_) | Role::Leaving => None,
        };
        if let Some(heir) = heir {
            self.promote(heir);
            self.hand_over(index, heir);
        }
        heir.is_some()
    }

    /// What is one worker's alone becomes another's.
    fn hand_over(&mut self, index: usize, next: usize) {
        debug_assert_ne!(next, index, "nobody succeeds himself");
        self.charges[index].service.role = Role::Leaving;
        let (place, next) = (index as u16, next as u16);
        let mut hub = self.engine.hub();
        let pid = hub.roster.at(place).0.and_then(|member| member.pid);
        hub.roster.set_serves(place, false);
        hub.hand_sticky(self.engine.control(), place, next);
        drop(hub);
        if let Some(pid) = pid {
            self.engine.tell_scheduler(place, pid, Event::Ended);
        }
    }

    fn promote(&mut self, place: usize) {
        let service = &mut self.charges[place].service;
        service.role = Role::Serving;
        service.since = None;
        self.order(place, Order::Serve);
        self.engine.hub().roster.set_serves(place as u16, true);
        if let Some(process) = &self.charges[place].process {
            let pid = process.pid() as u32;
            self.engine
                .tell_scheduler(place as u16, pid, Event::Started);
        }
    }

    /// Tells a worker what to do, and wakes it wherever it waits.
    pub(super) fn order(&self, index: usize, order: Order) {
        let owner = self.charges[index].owner;
        if let Some(orders) = self.engine.control().orders(owner.index()) {
            orders.give(order);
            KernelFutex.wake(&orders.order, 1);
            self.engine.parking().rouse(owner.index(), &KernelFutex);
        }
    }

    /// A place for a successor of the worker at `index`: one whose worker serves the same queue.
    fn vacancy(&self, index: usize) -> Option<usize> {
        let shape = self.engine.shape();
        let is_vacant = |place: &usize| {
            let charge = &self.charges[*place];
            charge.service.role == Role::Vacant
                && charge.process.is_none()
                && shape.queue_of(*place as u16) == shape.queue_of(index as u16)
        };
        (0..self.charges.len()).find(is_vacant)
    }

    /// What follows from the end of the worker in this place, which was taken care of.
    pub(super) fn fill(&mut self, index: usize, was_ready: bool, death: WorkerDeath) {
        let charge = &mut self.charges[index];
        let ended = charge.service;
        charge.service = Service::new(Role::Vacant);
        match ended.role {
            Role::Vacant | Role::Leaving => {}
            Role::Reserve(of) => self.forget_successor(index, of, was_ready),
            // One with a successor has been relieved by it.
            Role::Serving => {
                charge.service.role = Role::Serving;
                charge.stillbirths = if was_ready { 0 } else { charge.stillbirths + 1 };
                charge.last_death = Some(death);
                self.plan(index);
            }
        }
    }

    /// After all workers were ended: who is to serve is started again, and nobody waits or leaves.
    pub(super) fn start_over(&mut self, index: usize) {
        let charge = &mut self.charges[index];
        charge.stillbirths = 0;
        if charge.service.role == Role::Serving {
            charge.service = Service::new(Role::Serving);
            self.plan(index);
        } else {
            charge.service = Service::new(Role::Vacant);
        }
    }

    fn forget_successor(&mut self, place: usize, of: usize, was_ready: bool) {
        self.charges[place].service = Service::new(Role::Vacant);
        let service = &mut self.charges[of].service;
        service.successor = None;
        service.failures = if was_ready { 0 } else { service.failures + 1 };
        let pause = BACKOFF * 2u32.pow(service.failures.min(START_ATTEMPTS));
        service.again = Instant::now().checked_add(pause);
    }

    /// Has all workers end by themselves, if the pool ends in order and they have something to do
    /// then. Returns when they are gone, when it takes too long, or when there is no time any more.
    pub(super) fn part(&mut self) {
        let service = self.engine.config().service;
        if !service.has_exit || !self.engine.hub().ends_in_order() {
            return;
        }
        for index in 0..self.charges.len() {
            if self.charges[index].process.is_some() {
                self.order(index, Order::Retire);
            }
        }
        let limit = clock::after(clock::now(), service.start_timeout);
        let mut tokens = Vec::new();
        while self.charges.iter().any(|charge| charge.process.is_some()) {
            let limit = limit.min(self.engine.hub().end_limit());
            let left = limit.saturating_sub(clock::now());
            if left == 0 || !self.engine.hub().ends_in_order() {
                return;
            }
            // A failed wait is one without events.
            let _ = self
                .poller
                .wait(Some(Duration::from_nanos(left)), &mut tokens);
            for &token in &tokens {
                match token {
                    COMMANDS => {
                        let _ = self.engine.commands().clear();
                    }
                    WORKERS_BELL => self.deliver(),
                    // What is not heard stays readable, and the wait would end at once.
                    pipe if Ears::are_meant(pipe) => self.ears.hear(pipe, &self.poller),
                    _ => {}
                }
            }
            for index in 0..self.charges.len() {
                let _ = self.reap(index);
            }
        }
    }
}
