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
use crate::sys::cpu;
use crate::sys::eventfd::{Bell, wait_readable};

/// How long a waiter spins before it sleeps: about what waking it would cost.
const SPIN: Duration = Duration::from_micros(50);
/// Looks at shared memory between two looks at the clock.
const LOOKS: u32 = 32;

impl Engine {
    /// Blocks until the entry has its outcome (`true`) or the deadline has passed.
    pub(crate) fn wait<T>(&self, entry: &Entry<T>, deadline: Option<Instant>) -> bool {
        loop {
            if self.spin(entry, SPIN) {
                return true;
            }
            let left =
                match deadline.map(|deadline| deadline.checked_duration_since(Instant::now())) {
                    None => None,
                    Some(Some(left)) if !left.is_zero() => Some(left),
                    Some(_) => return entry.is_ready(),
                };
            let leads = {
                let mut hub = self.hub();
                let leads = !hub.has_leader;
                if leads {
                    hub.has_leader = true;
                } else {
                    hub.followers.push(thread::current());
                }
                leads
            };
            if leads {
                self.lead(entry, left);
            } else {
                self.follow(entry, left);
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
        // A runtime's listener, or the supervisor, may hear the workers' bell first, silence it and
        // deliver. This thread would sleep on: so whoever delivers rings a bell of its own.
        let waker = Waker::from(Arc::clone(self.leader()));
        if entry.register(&waker) {
            // An interrupted or failed wait is a spurious wake-up: the caller looks again.
            let bells = [self.event().as_fd(), self.leader().0.as_fd()];
            let _ = wait_readable(bells, left);
            let _ = self.event().clear();
            let _ = self.leader().0.clear();
            entry.register(Waker::noop());
        }
        doorbell.disarm();
        self.harvest();
        let mut hub = self.hub();
        hub.has_leader = false;
        let next = hub.followers.pop();
        drop(hub);
        if let Some(next) = next {
            next.unpark();
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

/// What wakes the leader when another has delivered its outcome.
#[derive(Debug)]
pub(crate) struct Leader(pub(crate) Bell);

impl Wake for Leader {
    fn wake(self: Arc<Self>) {
        // A full counter means that it has been rung already.
        let _ = self.0.ring();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
