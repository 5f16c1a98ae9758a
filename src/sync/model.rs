//! Loom models of waiting: no wake-up is lost in any interleaving.
//!
//! The work is a counter in an atomic, announced and taken by read-modify-writes as in the ring,
//! with no ordering of its own. A worker that sleeps for ever is a deadlock, which loom reports.

use core::time::Duration;

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::*;
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::primitive::model::{explore, explore_bounded};

/// A wait queue for all words: wakes too many, which is allowed.
pub(super) struct Queue {
    lock: Mutex<()>,
    sleepers: Condvar,
}

impl Queue {
    fn new() -> Self {
        Self {
            lock: Mutex::new(()),
            sleepers: Condvar::new(),
        }
    }
}

impl Futex for Queue {
    fn wait(&self, word: &AtomicU32, expected: u32, _timeout: Option<Duration>) {
        let mut guard = self.lock.lock().unwrap();
        if word.load(Ordering::Relaxed) == expected {
            guard = self.sleepers.wait(guard).unwrap();
        }
        drop(guard);
    }

    fn wake(&self, _word: &AtomicU32, _count: u32) {
        drop(self.lock.lock().unwrap());
        self.sleepers.notify_all();
    }
}

/// A parking place with a heap of work.
pub(super) struct Memory {
    words: Vec<ParkWord>,
    spinning: Vec<AtomicU64>,
    parked: Vec<AtomicU64>,
    sentry: SentryWord,
    pub(super) queue: Queue,
    pub(super) work: AtomicU64,
}

impl Memory {
    pub(super) fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            words: (0..workers).map(|_| ParkWord::new()).collect(),
            spinning: vec![AtomicU64::new(0)],
            parked: vec![AtomicU64::new(0)],
            sentry: SentryWord::new(),
            queue: Queue::new(),
            work: AtomicU64::new(0),
        })
    }

    pub(super) fn parking(&self) -> Parking<'_> {
        Parking::new(&self.words, &self.spinning, &self.parked, &self.sentry)
    }

    fn submit(&self) {
        self.work.fetch_add(1, Ordering::Relaxed);
        self.parking().wake(1, &self.queue);
    }

    /// Looks first, as `Ring::claim` does: a failed look is no read-modify-write.
    pub(super) fn take(&self) -> bool {
        let seen = self.work.load(Ordering::Relaxed);
        seen != 0
            && self
                .work
                .compare_exchange(seen, seen - 1, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    fn busy(&self, me: u16) {
        if self.parking().busy(me, Group::ALL) == Duty::WakeAnother
            && self.work.load(Ordering::Relaxed) != 0
        {
            self.parking().wake(1, &self.queue);
        }
    }

    /// An idle worker, until it found one piece of work; how the pool uses all this.
    pub(super) fn idle(&self, me: u16) {
        loop {
            self.parking().spin(me);
            if self.take() {
                return self.busy(me);
            }
            self.parking().announce(me);
            if self.take() {
                return self.busy(me);
            }
            self.parking().sleep(me, &self.queue, None);
        }
    }
}

#[test]
fn a_parked_worker_is_woken_or_sees_the_work() {
    explore(|| {
        let memory = Memory::new(1);
        let worker = Arc::clone(&memory);
        let worker = thread::spawn(move || worker.idle(0));
        memory.submit();
        worker.join().unwrap();
        assert_eq!(memory.work.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_named_worker_is_woken_or_sees_its_work() {
    // Another one spins, on which a submitter of such work must not count.
    explore_bounded(Some(3), || {
        let memory = Memory::new(2);
        memory.parking().spin(1);
        let worker = Arc::clone(&memory);
        let worker = thread::spawn(move || worker.idle(0));
        memory.work.fetch_add(1, Ordering::Relaxed);
        memory.parking().wake_worker(0, &memory.queue);
        worker.join().unwrap();
        assert_eq!(memory.work.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn work_of_a_group_is_not_left_to_another() {
    // Worker 1 is of another group and spins for ever; worker 0 is to be woken or to see the work.
    explore_bounded(Some(3), || {
        let memory = Memory::new(2);
        memory.parking().spin(1);
        let worker = Arc::clone(&memory);
        let worker = thread::spawn(move || worker.idle(0));
        memory.work.fetch_add(1, Ordering::Relaxed);
        memory
            .parking()
            .wake_among(Group::new(0, 2), 1, &memory.queue);
        worker.join().unwrap();
        assert_eq!(memory.work.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn if_all_sleep_one_is_woken() {
    explore(|| {
        let memory = Memory::new(1);
        let worker = Arc::clone(&memory);
        let worker = thread::spawn(move || worker.idle(0));
        memory.work.fetch_add(1, Ordering::Relaxed);
        memory.parking().wake_if_all_sleep(&memory.queue);
        worker.join().unwrap();
        assert_eq!(memory.work.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn work_that_answers_a_finishing_worker_is_seen() {
    // The worker says that it will look for work, then publishes a result; the submitter that saw
    // the result wakes nobody for its next task, for it sees the worker's bit.
    explore(|| {
        let memory = Memory::new(1);
        let result = Arc::new(AtomicU64::new(0));
        let (worker, done) = (Arc::clone(&memory), Arc::clone(&result));
        let worker = thread::spawn(move || {
            worker.parking().spin(0);
            done.fetch_add(1, Ordering::Release);
            worker.idle(0);
        });
        while result.load(Ordering::Acquire) == 0 {
            thread::yield_now();
        }
        memory.submit();
        worker.join().unwrap();
        assert_eq!(memory.work.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_worker_parks_twice() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(1);
        let worker = Arc::clone(&memory);
        let worker = thread::spawn(move || {
            worker.idle(0);
            worker.idle(0);
        });
        memory.submit();
        memory.submit();
        worker.join().unwrap();
    });
}

#[test]
fn the_last_spinner_passes_the_wake_on() {
    // Two submissions meet one worker that spins and one that sleeps; each worker takes one piece
    // and never comes back, so both must have been called.
    explore_bounded(Some(2), || {
        let memory = Memory::new(2);
        let workers = [0, 1].map(|me| {
            let memory = Arc::clone(&memory);
            thread::spawn(move || memory.idle(me))
        });
        memory.submit();
        memory.submit();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn a_worker_that_stands_by_passes_the_wake_on() {
    // As above, but the first is one that is not counted on from some moment on: it says that it
    // is busy, looks for work, and only then goes to sleep. What it finds it passes on later.
    explore_bounded(Some(2), || {
        let memory = Memory::new(2);
        let (stander, worker) = (Arc::clone(&memory), Arc::clone(&memory));
        let stander = thread::spawn(move || {
            stander.parking().spin(0);
            let _duty = stander.parking().busy(0, Group::ALL);
            match stander.take() {
                true => stander.busy(0),
                false => stander.idle(0),
            }
        });
        let worker = thread::spawn(move || worker.idle(1));
        memory.submit();
        memory.submit();
        stander.join().unwrap();
        worker.join().unwrap();
    });
}

#[test]
fn a_worker_that_leaves_passes_the_wake_on() {
    for all_sleep in [false, true] {
        explore_bounded(Some(3), move || {
            let memory = Memory::new(2);
            let (leaver, worker) = (Arc::clone(&memory), Arc::clone(&memory));
            let leaver = thread::spawn(move || {
                leaver.parking().spin(0);
                leaver.parking().leave(0);
                if leaver.work.load(Ordering::Relaxed) != 0 {
                    leaver.parking().wake(1, &leaver.queue);
                }
            });
            let worker = thread::spawn(move || worker.idle(1));
            match all_sleep {
                true => {
                    memory.work.fetch_add(1, Ordering::Relaxed);
                    memory.parking().wake_if_all_sleep(&memory.queue);
                }
                false => memory.submit(),
            }
            leaver.join().unwrap();
            worker.join().unwrap();
            assert_eq!(memory.work.load(Ordering::Relaxed), 0);
        });
    }
}

#[test]
fn a_wake_swallowed_by_the_dead_is_repaired() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(2);
        // Worker 0 dies spinning: the submitter counts on it.
        memory.parking().spin(0);
        let worker = Arc::clone(&memory);
        let worker = thread::spawn(move || worker.idle(1));
        memory.submit();
        memory.parking().reset(0);
        memory.parking().wake_all(&memory.queue);
        worker.join().unwrap();
    });
}

/// An eventfd, results that are counted, and what the parent's threads tell one another.
struct Bell {
    doorbell: Doorbell,
    results: AtomicU64,
    parent: Mutex<Parent>,
    news: Condvar,
}

struct Parent {
    /// The eventfd was written: any thread of the parent may eat it.
    event: bool,
    /// Results that some thread of the parent has seen.
    harvested: u64,
}

impl Bell {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            doorbell: Doorbell::new(),
            results: AtomicU64::new(0),
            parent: Mutex::new(Parent {
                event: false,
                harvested: 0,
            }),
            news: Condvar::new(),
        })
    }

    fn finish(&self, last: &mut u64) {
        self.results.fetch_add(1, Ordering::Relaxed);
        if self.doorbell.should_ring(last) {
            self.parent.lock().unwrap().event = true;
            self.news.notify_all();
        }
    }

    /// Looks for results, tells the other threads of the parent, and says whether it is enough.
    fn harvest(&self, wanted: u64) -> bool {
        let seen = self.results.load(Ordering::Relaxed);
        let mut parent = self.parent.lock().unwrap();
        if seen > parent.harvested {
            parent.harvested = seen;
            self.news.notify_all();
        }
        parent.harvested >= wanted
    }

    /// A parent thread that waits for so many results.
    fn wait_for(&self, wanted: u64) {
        while !self.harvest(wanted) {
            self.doorbell.arm();
            if !self.harvest(wanted) {
                let mut parent = self.parent.lock().unwrap();
                while parent.harvested < wanted && !parent.event {
                    parent = self.news.wait(parent).unwrap();
                }
                // Eaten before the next harvest, never after it.
                parent.event = false;
            }
            self.doorbell.disarm();
        }
    }
}

#[test]
fn a_result_is_seen_or_rung() {
    explore(|| {
        let bell = Bell::new();
        let worker = Arc::clone(&bell);
        let worker = thread::spawn(move || worker.finish(&mut 0));
        bell.wait_for(1);
        worker.join().unwrap();
    });
}

#[test]
fn no_worker_silences_another() {
    // A worker is stopped after it decided to ring, before it writes: it never does.
    explore_bounded(Some(3), || {
        let bell = Bell::new();
        let stopped = Arc::clone(&bell);
        let stopped = thread::spawn(move || {
            let _ = stopped.doorbell.should_ring(&mut 0);
        });
        let worker = Arc::clone(&bell);
        let worker = thread::spawn(move || worker.finish(&mut 0));
        bell.wait_for(1);
        worker.join().unwrap();
        stopped.join().unwrap();
    });
}

#[test]
fn the_second_result_rings_again() {
    explore_bounded(Some(3), || {
        let bell = Bell::new();
        let worker = Arc::clone(&bell);
        let worker = thread::spawn(move || {
            let mut last = 0;
            worker.finish(&mut last);
            worker.finish(&mut last);
        });
        bell.wait_for(2);
        worker.join().unwrap();
    });
}

#[test]
fn a_sleeper_that_leaves_silences_no_other() {
    explore_bounded(Some(2), || {
        let bell = Bell::new();
        let worker = Arc::clone(&bell);
        let worker = thread::spawn(move || {
            let mut last = 0;
            worker.finish(&mut last);
            worker.finish(&mut last);
        });
        let other = Arc::clone(&bell);
        let other = thread::spawn(move || other.wait_for(1));
        bell.wait_for(2);
        other.join().unwrap();
        worker.join().unwrap();
    });
}
