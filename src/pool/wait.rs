//! Blocking until an outcome is there, without any runtime.
//!
//! A waiter spins for a while: most outcomes come sooner than a sleeper could be woken. Then one
//! of the blocked threads, the leader, listens to the kernel and delivers for all of them; the
//! others sleep until they have their outcome or are to lead.

use core::cell::Cell;
use core::hint;
use core::mem::replace;
use core::task::Waker;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::Wake;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::pool::engine::Engine;
use crate::pool::entry::{Entry, Place};
use crate::primitive::flag::Flag;
use crate::protocol::gauge::Gauge;
#[cfg(feature = "tokio")]
use crate::protocol::lanes::Priority;
use crate::protocol::lanes::Takers;
use crate::sync::Group;
use crate::sync::kernel::KernelFutex;
use crate::sys::cpu;
use crate::sys::eventfd::{Bell, wait_readable};

/// How long a waiter spins before it sleeps: about what waking it would cost.
const SPIN: Duration = Duration::from_micros(50);
/// Looks at shared memory between two looks at the clock.
const LOOKS: u32 = 32;
/// Looks at the clock between two offers of the core, which cost a microsecond each.
const PATIENCE: u32 = 8;
/// From one look at the clock to the next, when it was another program's turn in between, which the
/// kernel ends when it ticks.
const DISTURBED: Duration = Duration::from_millis(1);
/// For so long after that a waiter does not yield, but sleeps: who yields gets the core back only
/// when the other program's turn is over, some milliseconds later, but who sleeps, when its
/// outcome is there.
const BESIDE_OTHERS: Duration = Duration::from_millis(100);

/// A waiter looks where so many workers are, which costs up to two lines' trips each.
const MOST_WORKERS: usize = 16;

thread_local! {
    /// When another program last had this thread's core for long.
    static DISTURBED_AT: Cell<Option<Instant>> = const { Cell::new(None) };
}

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
            self.call_for(entry);
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
        if entry.is_shared() {
            self.make_room();
        }
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
        let mut spell = Spell::new(limit);
        loop {
            if self.look(entry) {
                return true;
            }
            if !self.looks_on(&mut spell, Self::is_in_the_way) {
                return entry.is_ready();
            }
        }
    }

    /// Between two looks: whether to look again, or to sleep. Lets a worker have this core now and
    /// then, where one may need it.
    pub(super) fn looks_on(
        &self,
        spell: &mut Spell,
        is_in_the_way: impl Fn(&Self) -> bool,
    ) -> bool {
        let began = *spell.began.get_or_insert_with(Instant::now);
        let before = replace(&mut spell.waited, began.elapsed());
        if spell.waited - before > DISTURBED {
            DISTURBED_AT.set(Some(began + spell.waited));
        }
        if spell.waited >= spell.limit {
            return false;
        }
        spell.rounds += 1;
        if spell.rounds.is_multiple_of(PATIENCE) && is_in_the_way(self) {
            if is_beside_others() {
                return false;
            }
            cpu::yield_now();
        }
        true
    }

    /// Lets a worker have this core that may need it, if there is one; whether it did.
    pub(super) fn make_way(&self) -> bool {
        if is_beside_others() || !self.is_awaited() {
            return false;
        }
        let began = Instant::now();
        cpu::yield_now();
        if began.elapsed() > DISTURBED {
            DISTURBED_AT.set(Some(Instant::now()));
        }
        true
    }

    /// Lets a worker have this core at once, where all others are busy with the same job: it ends
    /// sooner, and there is nothing else to do here. It gives the core back when it has done its
    /// part (`worker/idle.rs`).
    fn make_room(&self) {
        if self.is_oversubscribed() {
            self.make_way();
        }
    }

    /// Whether this thread may have the core that a worker needs.
    fn is_in_the_way(&self) -> bool {
        self.is_oversubscribed() || self.is_awaited()
    }

    /// Whether a worker says that it is on this core, or was woken and has not run yet.
    pub(super) fn is_awaited(&self) -> bool {
        let (control, here) = (self.control(), cpu::current());
        (0..control.workers().min(MOST_WORKERS) as u16).any(|worker| {
            let is_here = |gauge: &Gauge| here.is_some_and(|here| gauge.is_on(here));
            control.parking().rises_from(worker).is_some()
                || control.gauge(worker).is_some_and(is_here)
        })
    }

    /// Wakes one more worker for a task that nobody has begun, if one sleeps: who was counted on
    /// may look for work on a core that another program has just now.
    fn call_for<T>(&self, entry: &Entry<T>) {
        let shape = self.shape();
        if let Place::Slot { slot, .. } = entry.place()
            && let Some(lane) = self.control().ring().lane_of_waiting(slot)
            && let Takers::Queue(queue) = shape.takers(lane)
        {
            let group = Group::new(queue, shape.queues());
            let woken = self.parking().wake_more(group, &KernelFutex);
            self.count_wake_ups(woken);
        }
    }

    /// The same for whoever waits on behalf of several.
    #[cfg(feature = "tokio")]
    pub(super) fn call_for_any(&self) {
        let (control, shape) = (self.control(), self.shape());
        for queue in 0..shape.queues() {
            let waits = |&priority: &Priority| {
                let lane = shape.queue_lane(queue, priority);
                !control.lane(lane).looks_empty()
            };
            if [Priority::Normal, Priority::High, Priority::Low]
                .iter()
                .any(waits)
            {
                let group = Group::new(queue, shape.queues());
                let woken = self.parking().wake_more(group, &KernelFutex);
                self.count_wake_ups(woken);
            }
        }
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

/// Looks at what may have ended, for a while.
pub(super) struct Spell {
    limit: Duration,
    /// Most outcomes come before the clock is looked at first: it costs as much as a small call.
    began: Option<Instant>,
    waited: Duration,
    rounds: u32,
}

impl Spell {
    pub(super) const fn new(limit: Duration) -> Self {
        Self {
            limit,
            began: None,
            waited: Duration::ZERO,
            rounds: 0,
        }
    }
}

/// Whether another program had this thread's core for long a moment ago.
fn is_beside_others() -> bool {
    let then = DISTURBED_AT.get();
    then.is_some_and(|then| then.elapsed() < BESIDE_OTHERS)
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
