//! Loom models of the wait set: no wake-up is lost in any interleaving.
//!
//! The truth is a counter of permits, given and taken by read-modify-writes without an ordering of
//! their own. A waiter that sleeps for ever is a deadlock, which loom reports.

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::waitset::{Door, Tide, WaitSet};
use crate::memory::owner::Owner;
use crate::primitive::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::primitive::model::{explore, explore_bounded, others_first};

/// The kernel's queue for one word, and the bells.
pub(super) struct Kernel {
    inside: Mutex<Inside>,
    news: Condvar,
}

#[derive(Default)]
struct Inside {
    /// Dead threads that the kernel has not forgotten yet.
    ghosts: u32,
    /// Sleepers, and how many of them were told to go.
    asleep: u32,
    to_wake: u32,
    rings: [u32; 2],
}

impl Kernel {
    pub(super) fn new() -> Self {
        Self {
            inside: Mutex::new(Inside::default()),
            news: Condvar::new(),
        }
    }

    fn wait(&self, word: &AtomicU32, expected: u32) {
        let mut inside = self.inside.lock().unwrap();
        if word.load(Ordering::Relaxed) != expected {
            return;
        }
        inside.asleep += 1;
        while inside.to_wake == 0 {
            inside = self.news.wait(inside).unwrap();
        }
        inside.to_wake -= 1;
    }

    /// Until the member's bell was rung.
    fn hear(&self, member: usize) {
        let mut inside = self.inside.lock().unwrap();
        while inside.rings[member] == 0 {
            inside = self.news.wait(inside).unwrap();
        }
        inside.rings[member] = 0;
    }

    /// A thread that blocks until `attempt` gives something, as `commons` has it.
    pub(super) fn block<R>(
        &self,
        set: &WaitSet,
        me: Owner,
        mut attempt: impl FnMut() -> Option<R>,
    ) -> R {
        loop {
            set.enter(me);
            let seq = set.prepare();
            let mut found = attempt();
            if found.is_none() {
                self.wait(set.word(), seq);
                found = attempt();
            }
            set.exit(me);
            if let Some(found) = found {
                return found;
            }
        }
    }
}

impl Door for Kernel {
    fn wake(&self, _word: &AtomicU32, count: u32) -> u32 {
        let mut inside = self.inside.lock().unwrap();
        let ghosts = count.min(inside.ghosts);
        let woken = (count - ghosts).min(inside.asleep);
        inside.ghosts -= ghosts;
        inside.asleep -= woken;
        inside.to_wake += woken;
        drop(inside);
        self.news.notify_all();
        ghosts + woken
    }

    fn ring(&self, _set: &WaitSet, member: usize) {
        self.inside.lock().unwrap().rings[member] += 1;
        self.news.notify_all();
    }
}

fn member(index: u16) -> Owner {
    Owner::new(index, 0)
}

struct Memory {
    set: WaitSet,
    permits: AtomicU64,
    kernel: Kernel,
}

impl Memory {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            set: WaitSet::new(),
            permits: AtomicU64::new(0),
            kernel: Kernel::new(),
        })
    }

    fn give(&self) {
        self.permits.fetch_add(1, Ordering::Relaxed);
        self.set.wake_one(&self.kernel);
    }

    /// Looks first: a failed look is no read-modify-write.
    fn take(&self) -> Option<()> {
        let mut seen = self.permits.load(Ordering::Relaxed);
        while seen != 0 {
            match self.permits.compare_exchange(
                seen,
                seen - 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(()),
                Err(now) => seen = now,
            }
        }
        None
    }

    fn block(&self, me: u16) {
        self.kernel.block(&self.set, member(me), || self.take());
    }

    /// A task that waits, and its member's listener.
    fn listen(&self, me: u16) {
        let mut seen = self.set.tide();
        self.set.enlist(member(me));
        while self.take().is_none() {
            // Pending; until the listener is rung and finds that it is called.
            loop {
                self.kernel.hear(me.into());
                let (count, now) = self.set.call(seen);
                seen = now;
                if count > 0 {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_sleeper_is_woken_or_sees_it() {
    explore(|| {
        let memory = Memory::new();
        let waiter = Arc::clone(&memory);
        let waiter = thread::spawn(move || waiter.block(0));
        memory.give();
        waiter.join().unwrap();
    });
}

#[test]
fn each_sleeper_is_woken_or_sees_it() {
    explore_bounded(Some(1), || {
        let memory = Memory::new();
        let waiters = [0, 1].map(|me| {
            let waiter = Arc::clone(&memory);
            thread::spawn(move || waiter.block(me))
        });
        memory.give();
        memory.give();
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

#[test]
fn a_listener_is_rung_or_sees_it() {
    explore(|| {
        let memory = Memory::new();
        let waiter = Arc::clone(&memory);
        let waiter = thread::spawn(move || waiter.listen(0));
        memory.give();
        waiter.join().unwrap();
    });
}

#[test]
fn a_ring_for_nobody_is_passed_on() {
    // A member's task gives up while another's waits: the one wake-up may have gone to the first.
    explore_bounded(Some(3), || {
        let memory = Memory::new();
        let seen: Tide = memory.set.tide();
        memory.set.enlist(member(0));
        let waiter = Arc::clone(&memory);
        let waiter = thread::spawn(move || waiter.listen(1));
        let giver = Arc::clone(&memory);
        let giver = thread::spawn(move || giver.give());
        if memory.set.retire(member(0), seen) {
            memory.set.wake_one(&memory.kernel);
        }
        giver.join().unwrap();
        waiter.join().unwrap();
    });
}

#[test]
fn who_hears_a_call_of_all_knows_it() {
    explore(|| {
        let memory = Memory::new();
        let seen = memory.set.tide();
        memory.set.enlist(member(0));
        let caller = Arc::clone(&memory);
        let caller = thread::spawn(move || caller.set.wake_all(&caller.kernel));
        let (count, now) = memory.set.call(seen);
        assert!(matches!(count, 0 | usize::MAX), "{count} of all");
        // Who was early hears of it again.
        memory.kernel.hear(0);
        let (again, _) = memory.set.call(now);
        assert!(count == usize::MAX || again == usize::MAX);
        caller.join().unwrap();
    });
}

#[test]
fn the_dead_swallow_no_wake_up() {
    // Two threads of member 1 are woken, and die; whoever takes care of them wakes all, thread and
    // task.
    explore_bounded(Some(1), || {
        let memory = Memory::new();
        memory.set.enter(member(1));
        memory.kernel.inside.lock().unwrap().ghosts = 2;
        let sleeper = Arc::clone(&memory);
        let sleeper = thread::spawn(move || sleeper.block(0));
        let task = Arc::clone(&memory);
        let task = thread::spawn(move || task.listen(0));
        others_first();
        memory.give();
        memory.give();
        memory.set.forget(member(1));
        memory.set.wake_all(&memory.kernel);
        sleeper.join().unwrap();
        task.join().unwrap();
    });
}
