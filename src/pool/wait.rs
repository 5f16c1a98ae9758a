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
use crate::pool::entry::{Entry, Place};
use crate::primitive::flag::Flag;
use crate::sys::cpu;
use crate::sys::eventfd::{Bell, wait_readable};

/// How long a waiter spins before it sleeps: about what waking it would cost.
const SPIN: Duration = Duration::from_micros(50);
/// Looks at shared memory between two looks at the clock.
const LOOKS: u32 = 32;
/// Looks at the clock between two offers of the core, which cost a microsecond each.
const PATIENCE: u32 = 8;

impl Engine {
    /// Blocks until the entry has its outcome (`true`) or the deadline has passed.
    pub(crate) fn wait<T>(&self, entry: &Entry<T>, deadline: Option<Instant>) -> bool {
        if entry.is_ready() {
            return true;
        }
        let mut followed = false;
        let there = self.block(entry, deadline, &mut followed);
        if followed {
            // It may have been this thread's turn to lead just when its outcome came.
            self.call_next_leader();
        }
        there
    }

    fn block<T>(&self, entry: &Entry<T>, deadline: Option<Instant>, followed: &mut bool) -> bool {
        loop {
            if self.spin(entry, SPIN) {
                return true;
            }
            let left =
                match deadline.map(|deadline| deadline.checked_duration_since(Instant::now())) {
                    None => None,
                    Some(Some(left)) if !left.is_zero() => Some(left),
                    Some(_) => {
                        // Whoever only looks in now and then, and does something else meanwhile,
                        // counts on the work going on.
                        self.share_out();
                        self.keep_watch();
                        return entry.is_ready();
                    }
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
            self.share_out();
            self.keep_watch();
            if leads {
                self.lead(entry, left);
            } else {
                *followed = true;
                self.follow(entry, left);
            }
        }
    }

    /// Looks for outcomes until the entry has its own or the time is up.
    pub(crate) fn spin<T>(&self, entry: &Entry<T>, limit: Duration) -> bool {
        // Much comes so soon that to ask for the time and the core would take longer.
        if self.look(entry) {
            return true;
        }
        let control = self.control();
        control.callers().note_waiter(cpu::current());
        let found = self.look_until(entry, limit);
        control.callers().note_waiter(None);
        found
    }

    fn look_until<T>(&self, entry: &Entry<T>, limit: Duration) -> bool {
        // Most outcomes come before the clock is looked at first: it costs as much as a small call.
        let mut began = None;
        for round in 1_u32.. {
            if self.look(entry) {
                return true;
            }
            if began.get_or_insert_with(Instant::now).elapsed() >= limit {
                return entry.is_ready();
            }
            if self.is_oversubscribed() && round.is_multiple_of(PATIENCE) {
                cpu::yield_now();
            }
        }
        false
    }

    /// Some looks at the entry and at the word of its task or only chunk, which is all that workers
    /// write for it in a line that nobody else writes; and one at all else that may have ended.
    fn look<T>(&self, entry: &Entry<T>) -> bool {
        for _ in 0..LOOKS {
            if entry.is_ready() {
                return true;
            }
            let ended = self.ended_place(entry);
            let is_placed = matches!(entry.place(), Place::Slot { .. } | Place::Job { .. });
            let sees = ended.is_some() || !is_placed && self.sees_completions();
            if sees && let Some(mut hub) = self.try_hub() {
                hub.harvest_with(self.control(), self, ended);
                continue;
            }
            hint::spin_loop();
        }
        if self.sees_completions()
            && let Some(mut hub) = self.try_hub()
        {
            hub.harvest(self.control(), self);
        }
        entry.is_ready()
    }

    /// Listens to the kernel for everybody, once.
    fn lead<T>(&self, entry: &Entry<T>, left: Option<Duration>) {
        self.arm_doorbell();
        // What finished before the doorbell was armed did not ring.
        self.harvest();
        // The supervisor and the runtimes' listeners hear the workers' bell, too. One that is
        // quicker silences it and delivers our outcome: then it must ring for us alone.
        let ring = Arc::new(RingLeader {
            bell: Arc::clone(self.leader_bell()),
            awake: Flag::new(),
        });
        if entry.register(&Waker::from(Arc::clone(&ring))) {
            // An interrupted or failed wait is a spurious wake-up: the caller looks again.
            let _ = wait_readable(
                [self.event(), self.leader_bell()].map(|bell| bell.as_fd()),
                left,
            );
            // An outcome that does not ring from here on is found when we look again.
            ring.awake.raise();
            let _ = self.event().clear();
            let _ = self.leader_bell().clear();
        }
        self.disarm_doorbell();
        self.harvest();
        self.hub().has_leader = false;
        self.call_next_leader();
    }

    /// Wakes one of those who sleep, unless somebody listens for them.
    ///
    /// Whoever is called takes the lead or, having its own outcome by then, calls the next.
    fn call_next_leader(&self) {
        let mut hub = self.hub();
        if hub.has_leader {
            return;
        }
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

/// Wakes the leader, unless it is awake.
struct RingLeader {
    bell: Arc<Bell>,
    awake: Flag,
}

impl Wake for RingLeader {
    fn wake(self: Arc<Self>) {
        if !self.awake.is_raised() {
            // A full counter means that a wake-up is pending already.
            let _ = self.bell.ring();
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
