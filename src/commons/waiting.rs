//! How threads and tasks of this process wait, and how they and others are woken.

use core::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::commons::locals::Number;
use crate::commons::region::Core;
use crate::commons::threads;
use crate::primitive::atomic::AtomicU32;
use crate::sync::waitset::{Door, WaitSet};
use crate::sys::{cpu, futex};

/// How long a thread looks before it sleeps: about what waking it would cost.
const SPIN: Duration = Duration::from_micros(40);
/// Looks between two looks at the clock.
const LOOKS: u32 = 32;

/// When a wait of this length ends; `None` if it is too long to end.
pub(crate) fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// A task's place among those that wait.
#[derive(Debug, Default)]
pub(crate) struct Ticket(Option<Number>);

impl Ticket {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Whether the task has not waited yet.
    pub(crate) fn is_new(&self) -> bool {
        self.0.is_none()
    }
}

impl Core {
    fn place(&self, set: &WaitSet) -> u64 {
        (core::ptr::from_ref(set).addr() - self.memory().base().addr().get()) as u64
    }

    /// Wakes one waiter: the caller has just changed the object with a read-modify-write.
    #[inline]
    pub(super) fn wake_one(&self, set: &WaitSet) {
        set.wake_one(self);
    }

    /// Wakes all who wait: as above.
    pub(super) fn wake_all(&self, set: &WaitSet) {
        set.wake_all(self);
    }

    /// Wakes everybody in the region: somebody has gone.
    pub(super) fn call_everybody(&self) {
        for member in &self.tables().members {
            if member.live().is_some() {
                threads::ring(member);
            }
        }
    }

    /// The tasks of this process whose objects have moved are woken.
    pub(super) fn tell_tasks(&self) {
        let places = self.locals().places();
        for place in places {
            if let Some(set) = self.wait_set(place) {
                self.tell(set);
            }
        }
    }

    fn tell(&self, set: &WaitSet) {
        let place = self.place(set);
        let mut locals = self.locals();
        let local = locals.at(place);
        let (count, now) = set.call(local.seen);
        local.seen = now;
        let count = count.min(local.tasks.len());
        let wakers: Vec<_> = local.tasks.drain(..count).map(|(_, waker)| waker).collect();
        // One more wake-up may have come for those who are gone.
        let missed = count > 0 && local.tasks.is_empty() && set.retire(self.me, now);
        locals.tidy(place);
        drop(locals);
        for waker in wakers {
            waker.wake();
        }
        if missed {
            self.wake_one(set);
        }
    }

    /// Blocks until `attempt` gives something, or until `limit`: `None`.
    pub(super) fn block<R>(
        &self,
        waiting: &WaitSet,
        limit: Option<Instant>,
        mut attempt: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        let began = Instant::now();
        loop {
            for _ in 0..LOOKS {
                if let Some(found) = attempt() {
                    return Some(found);
                }
                core::hint::spin_loop();
            }
            let now = Instant::now();
            if limit.is_some_and(|limit| limit <= now) {
                return None;
            }
            if now - began >= SPIN {
                break;
            }
            cpu::yield_now();
        }
        let place = self.place(waiting);
        loop {
            self.enter(waiting, place);
            let seq = waiting.prepare();
            let mut found = attempt();
            let left = limit.map(|limit| limit.saturating_duration_since(Instant::now()));
            if found.is_none() && left != Some(Duration::ZERO) {
                let _ = futex::wait(waiting.word(), seq, left);
                found = attempt();
            }
            self.exit(waiting, place);
            if found.is_some() || left == Some(Duration::ZERO) {
                return found;
            }
        }
    }

    fn enter(&self, waiting: &WaitSet, place: u64) {
        let mut locals = self.locals();
        let local = locals.at(place);
        local.blocked += 1;
        waiting.enter(self.me);
    }

    fn exit(&self, waiting: &WaitSet, place: u64) {
        let mut locals = self.locals();
        let local = locals.at(place);
        local.blocked -= 1;
        if local.blocked == 0 {
            waiting.exit(self.me);
        }
        locals.tidy(place);
    }

    /// Looks by `attempt`, and has the task woken if that gives nothing.
    pub(super) fn listen<R>(
        &self,
        waiting: &WaitSet,
        ticket: &mut Ticket,
        context: &mut Context<'_>,
        mut attempt: impl FnMut() -> Option<R>,
    ) -> Poll<R> {
        self.enlist(waiting, ticket, context);
        match attempt() {
            Some(found) => {
                self.forget(waiting, ticket);
                Poll::Ready(found)
            }
            None => Poll::Pending,
        }
    }

    /// Puts the task on the list, unless it is there; it keeps its place.
    fn enlist(&self, waiting: &WaitSet, ticket: &mut Ticket, context: &Context<'_>) {
        let place = self.place(waiting);
        let mut locals = self.locals();
        let known = ticket.0.and_then(|number| locals.waker(place, number));
        // Dropped below, unlocked: it may be the last of a task that waits, too.
        let mut earlier = None;
        if let Some(waker) = known {
            if !waker.will_wake(context.waker()) {
                earlier = Some(core::mem::replace(waker, context.waker().clone()));
            }
        } else {
            let number = locals.number();
            let local = locals.at(place);
            if local.tasks.is_empty() {
                local.seen = waiting.tide();
            }
            local.tasks.push_back((number, context.waker().clone()));
            ticket.0 = Some(number);
        }
        waiting.enlist(self.me);
        drop(locals);
        drop(earlier);
    }

    /// Takes the task off the list. A wake-up that it had, or may have had, is passed on.
    pub(super) fn forget(&self, waiting: &WaitSet, ticket: &mut Ticket) {
        let Some(number) = ticket.0.take() else {
            return;
        };
        let place = self.place(waiting);
        let mut locals = self.locals();
        let waker = locals.remove(place, number);
        let local = locals.at(place);
        let seen = local.seen;
        let missed = match waker {
            Some(_) => local.tasks.is_empty() && waiting.retire(self.me, seen),
            None => true,
        };
        locals.tidy(place);
        drop(locals);
        drop(waker);
        if missed {
            self.wake_one(waiting);
        }
    }
}

impl Door for Core {
    fn wake(&self, word: &AtomicU32, count: u32) -> u32 {
        futex::wake(word, count)
    }

    fn ring(&self, set: &WaitSet, member: usize) {
        match member == usize::from(self.me.index()) {
            true => self.tell(set),
            false => threads::ring(&self.tables().members[member]),
        }
    }
}
