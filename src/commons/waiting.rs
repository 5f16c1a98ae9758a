//! How threads and tasks of this process wait, and how they and others are woken.

use core::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::commons::layout::MEMBERS;
use crate::commons::locals::{Local, Number};
use crate::commons::region::Core;
use crate::commons::threads;
use crate::commons::wait::{WaitSet, is_any, members, set};
use crate::primitive::atomic::{Ordering, fence_after_rmw};
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
}

impl Core {
    fn place(&self, set: &WaitSet) -> u64 {
        (core::ptr::from_ref(set).addr() - self.memory().base().addr().get()) as u64
    }

    /// Wakes one waiter: the caller has just changed the object with a read-modify-write.
    #[inline]
    pub(super) fn wake_one(&self, set: &WaitSet) {
        // ORDERING: W1, SeqCst; whoever waits and is not seen here sees the change.
        fence_after_rmw();
        if set.has_waiters() {
            self.wake(set, 1);
        }
    }

    /// Wakes all who wait.
    pub(super) fn wake_all(&self, set: &WaitSet) {
        // ORDERING: W1, SeqCst; as above.
        fence_after_rmw();
        if set.has_waiters() {
            self.wake(set, u32::MAX);
        }
    }

    #[cold]
    fn wake(&self, set: &WaitSet, count: u32) {
        let all = count > 1;
        if all {
            // ORDERING: SeqCst; before `seq`, so that who sees that moved sees that all are meant.
            set.calls.fetch_add(1, Ordering::SeqCst);
        }
        // ORDERING: SeqCst; a thread that is about to sleep finds it moved.
        let seq = set.seq.fetch_add(1, Ordering::SeqCst);
        let woken = match is_any(&set.blocked) {
            true => futex::wake(&set.seq, count),
            false => 0,
        };
        if woken > 0 && !all {
            return;
        }
        // In turn, so that no member is always the first.
        let first = seq as usize % MEMBERS;
        for index in members(&set.listening, first) {
            if index == usize::from(self.me.index()) {
                self.tell(set);
            } else {
                threads::ring(&self.tables().members[index]);
            }
            if !all {
                return;
            }
        }
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
        // ORDERING: SeqCst; pairs with the waker.
        let now = (
            set.seq.load(Ordering::SeqCst),
            set.calls.load(Ordering::SeqCst),
        );
        let mut locals = self.locals();
        let Local { tasks, seen, .. } = locals.at(place);
        let count = match now.1 == seen.1 {
            true => now.0.wrapping_sub(seen.0) as usize,
            false => tasks.len(),
        };
        *seen = now;
        let count = count.min(tasks.len());
        let wakers: Vec<_> = tasks.drain(..count).map(|(_, waker)| waker).collect();
        self.note_tasks(set, locals.at(place));
        locals.tidy(place);
        drop(locals);
        for waker in wakers {
            waker.wake();
        }
    }

    /// Clears this member's bit once no task waits; under the lock.
    fn note_tasks(&self, waiting: &WaitSet, local: &Local) {
        if local.tasks.is_empty() {
            set(&waiting.listening, self.me, false);
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
            // ORDERING: SeqCst; before the last look: a waker that comes after it moves `seq`.
            let seq = waiting.seq.load(Ordering::SeqCst);
            // ORDERING: W1, SeqCst; either the waker sees our bit, or we see its change.
            fence_after_rmw();
            let mut found = attempt();
            let left = limit.map(|limit| limit.saturating_duration_since(Instant::now()));
            if found.is_none() && left != Some(Duration::ZERO) {
                let _ = futex::wait(&waiting.seq, seq, left);
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
        set(&waiting.blocked, self.me, true);
    }

    fn exit(&self, waiting: &WaitSet, place: u64) {
        let mut locals = self.locals();
        let local = locals.at(place);
        local.blocked -= 1;
        if local.blocked == 0 {
            set(&waiting.blocked, self.me, false);
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
        // Woken or not, it looks now; a wake-up that it does not use it passes on.
        let was_woken = self.forget(waiting, ticket);
        let place = self.place(waiting);
        let mut locals = self.locals();
        let number = locals.number();
        let local = locals.at(place);
        if local.tasks.is_empty() {
            local.seen = (
                // ORDERING: SeqCst; a waker that comes after this moves them.
                waiting.seq.load(Ordering::SeqCst),
                waiting.calls.load(Ordering::SeqCst),
            );
        }
        local.tasks.push_back((number, context.waker().clone()));
        set(&waiting.listening, self.me, true);
        drop(locals);
        ticket.0 = Some(number);
        // ORDERING: W1, SeqCst; either the waker sees our bit, or we see its change.
        fence_after_rmw();
        match attempt() {
            Some(found) => {
                if self.forget(waiting, ticket) && !was_woken {
                    self.wake_one(waiting);
                }
                Poll::Ready(found)
            }
            None => Poll::Pending,
        }
    }

    /// Takes the task off the list; whether it had been woken.
    pub(super) fn forget(&self, waiting: &WaitSet, ticket: &mut Ticket) -> bool {
        let Some(number) = ticket.0.take() else {
            return false;
        };
        let place = self.place(waiting);
        let mut locals = self.locals();
        let waker = locals.remove(place, number);
        let was_woken = waker.is_none();
        if !was_woken {
            self.note_tasks(waiting, locals.at(place));
        }
        locals.tidy(place);
        drop(locals);
        drop(waker);
        was_woken
    }
}
