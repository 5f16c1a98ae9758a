//! Blocking until an outcome is there, without any runtime.
//!
//! A waiter spins for a while: most outcomes come sooner than a sleeper could be woken. Then one
//! of the blocked threads, the leader, listens to the kernel and delivers for all of them; the
//! others sleep until they have their outcome or are to lead.

use core::hint;
use core::task::Waker;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::Wake;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::pool::engine::Engine;
use crate::pool::entry::Entry;
use crate::pool::hub::Hub;
use crate::sys::cpu;
use crate::sys::eventfd::wait_readable;

/// How long a waiter spins before it sleeps: about what waking it would cost.
const SPIN: Duration = Duration::from_micros(50);
/// Looks at shared memory between two looks at the clock.
const LOOKS: u32 = 32;

impl Engine {
    /// Blocks until the entry has its outcome (`true`) or the deadline has passed.
    pub(crate) fn wait<T>(&self, entry: &Entry<T>, deadline: Option<Instant>) -> bool {
        if self.spin(entry, SPIN) {
            return true;
        }
        let there = self.sleep(entry, deadline);
        // Whoever handed the leadership over may have meant this thread, which needs it no more.
        self.hub().appoint();
        there
    }

    fn sleep<T>(&self, entry: &Entry<T>, deadline: Option<Instant>) -> bool {
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return entry.is_ready();
            }
            if self.hub().take_lead() {
                self.lead(entry, left);
            } else {
                self.follow(entry, left);
            }
            if self.spin(entry, SPIN) {
                return true;
            }
        }
    }

    /// Looks for outcomes until the entry has its own or the time is up.
    pub(crate) fn spin<T>(&self, entry: &Entry<T>, limit: Duration) -> bool {
        let began = Instant::now();
        loop {
            for _ in 0..LOOKS {
                if entry.is_ready() {
                    return true;
                }
                if self.sees_completions()
                    && let Some(mut hub) = self.try_hub()
                {
                    hub.harvest(self.control(), self);
                }
                hint::spin_loop();
            }
            if began.elapsed() >= limit {
                return entry.is_ready();
            }
            if self.is_oversubscribed() {
                cpu::yield_now();
            }
        }
    }

    /// Listens to the kernel for everybody, once.
    fn lead<T>(&self, entry: &Entry<T>, left: Option<Duration>) {
        let doorbell = self.control().doorbell();
        doorbell.arm();
        // What finished before the doorbell was armed did not ring.
        self.harvest();
        if !entry.is_ready() {
            // An interrupted or failed wait is a spurious wake-up: the caller looks again.
            let _ = wait_readable([self.event().as_fd()], left);
            let _ = self.event().clear();
        }
        doorbell.disarm();
        self.harvest();
        let mut hub = self.hub();
        hub.has_leader = false;
        hub.appoint();
    }

    /// Wakes the thread that listens for all, after outcomes that no worker rings for.
    pub(crate) fn tell_leader(&self) {
        if self.hub().has_leader {
            // A refusal means that it has been rung already.
            let _ = self.event().ring();
        }
    }

    /// Sleeps until the outcome is delivered or the leadership is free.
    fn follow<T>(&self, entry: &Entry<T>, left: Option<Duration>) {
        if entry.register(&Waker::from(Arc::new(Unpark(thread::current())))) {
            match left {
                Some(left) => thread::park_timeout(left),
                None => thread::park(),
            }
        }
        let me = thread::current().id();
        self.hub().followers.retain(|thread| thread.id() != me);
    }
}

impl Hub {
    /// Makes the calling thread the leader, or else one of the followers.
    fn take_lead(&mut self) -> bool {
        let leads = !self.has_leader;
        if leads {
            self.has_leader = true;
        } else {
            self.followers.push(thread::current());
        }
        leads
    }

    /// Wakes a follower to lead, if there is no leader.
    fn appoint(&mut self) {
        if !self.has_leader
            && let Some(next) = self.followers.pop()
        {
            next.unpark();
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
