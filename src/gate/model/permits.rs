//! Permits: what is taken is somebody's, what is given is free, and the first in line is woken.

use loom::cell::UnsafeCell;

use super::*;
use crate::memory::owner::Owner;

struct Memory {
    head: PermitHead,
    accounts: [Account; 3],
    first: Bell,
    behind: Bell,
    payload: UnsafeCell<u32>,
}

const ONE: Owner = Owner::new(0, 0);
const TWO: Owner = Owner::new(1, 0);
const THREE: Owner = Owner::new(2, 0);

impl Memory {
    fn new(permits: u32, limit: u32) -> Arc<Self> {
        Arc::new(Self {
            head: PermitHead::new(permits, limit),
            accounts: [Account::new(), Account::new(), Account::new()],
            first: Bell::new(),
            behind: Bell::new(),
            payload: UnsafeCell::new(0),
        })
    }

    fn permits(&self) -> Permits<'_> {
        Permits::new(&self.head, &self.accounts)
    }

    /// Adds one to what the only permit guards.
    fn use_payload(&self) -> u32 {
        self.payload.with_mut(|value| {
            // SAFETY: whoever has the permit is alone; loom watches.
            let value = unsafe { &mut *value };
            *value += 1;
            *value
        })
    }

    /// What the room above does to give.
    fn give(&self, me: Owner, count: u32) {
        assert_eq!(self.permits().make(me, Change::Give, count), Made::Done);
        self.first.wake_one();
        if !self.permits().has_first() {
            self.behind.wake_one();
        }
    }

    /// What the room above does to acquire.
    fn acquire(&self, me: Owner, count: u32) {
        let enter = || match self.permits().enter(me, 1, count) {
            Entered::Behind => None,
            entered => Some(entered),
        };
        let entered = enter().unwrap_or_else(|| {
            let entered = self.behind.wait(enter);
            if entered == Entered::Got {
                self.behind.wake_one();
            }
            entered
        });
        if entered == Entered::Got {
            return;
        }
        assert_eq!(entered, Entered::First);
        self.first.wait(|| {
            let made = self.permits().make(me, Change::Take, count);
            (made == Made::Done).then_some(())
        });
        self.permits().leave(me, 1);
        self.behind.wake_one();
    }
}

#[test]
fn permits_publish() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(1, 1);
        let other = Arc::clone(&memory);
        let use_it = |memory: &Memory, me| {
            if memory.permits().make(me, Change::Take, 1) == Made::Done {
                memory.use_payload();
                assert_eq!(memory.permits().make(me, Change::Give, 1), Made::Done);
            }
        };
        let thread = thread::spawn(move || use_it(&other, ONE));
        use_it(&memory, TWO);
        thread.join().unwrap();
        assert_eq!(memory.permits().free(), 1);
    });
}

#[test]
fn nothing_is_lost_between_two() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(5, 5);
        let other = Arc::clone(&memory);
        let thread = thread::spawn(move || {
            assert_eq!(other.permits().make(ONE, Change::Take, 2), Made::Done);
            assert_eq!(other.permits().make(ONE, Change::Give, 1), Made::Done);
        });
        assert_eq!(memory.permits().make(TWO, Change::Take, 3), Made::Done);
        thread.join().unwrap();
        let permits = memory.permits();
        assert_eq!((permits.held(ONE), permits.held(TWO)), (1, 3));
        assert_eq!(permits.free(), 1);
    });
}

#[test]
fn a_change_that_is_noted_is_made_once_among_three() {
    explore_bounded(Some(2), || {
        let memory = Memory::new(6, 6);
        let threads = [(ONE, 1), (TWO, 2)].map(|(me, count)| {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                assert_eq!(memory.permits().make(me, Change::Take, count), Made::Done);
            })
        });
        assert_eq!(memory.permits().make(THREE, Change::Take, 3), Made::Done);
        for thread in threads {
            thread.join().unwrap();
        }
        let permits = memory.permits();
        let held = [ONE, TWO, THREE].map(|member| permits.held(member));
        assert_eq!((held, permits.free()), ([1, 2, 3], 0));
    });
}

#[test]
fn the_limit_is_kept_between_two() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(1, 2);
        let other = Arc::clone(&memory);
        let thread = thread::spawn(move || other.permits().make(ONE, Change::Add, 1));
        let ours = memory.permits().make(TWO, Change::Add, 1);
        let theirs = thread.join().unwrap();
        let mut both = [ours, theirs];
        both.sort_by_key(|made| *made == Made::Done);
        assert_eq!(both, [Made::TooMany, Made::Done]);
        assert_eq!(memory.permits().free(), 2);
    });
}

#[test]
fn the_limit_is_kept_between_threads_of_one() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(1, 2);
        let other = Arc::clone(&memory);
        let add = |memory: &Memory| {
            loop {
                match memory.permits().make(ONE, Change::Add, 1) {
                    Made::Busy => thread::yield_now(),
                    made => return made,
                }
            }
        };
        let thread = thread::spawn(move || add(&other));
        let ours = add(&memory);
        let theirs = thread.join().unwrap();
        assert_ne!(ours, theirs);
        assert_eq!(memory.permits().free(), 2);
    });
}

/// The one who adds meets a note that was written for the next turn already.
#[test]
fn a_later_note_says_that_the_one_before_was_carried_out() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(1, 2);
        let [one, two] = [(); 2].map(|()| Arc::clone(&memory));
        let one = thread::spawn(move || {
            let made = one.permits().make(ONE, Change::Add, 1);
            let _ = one.permits().make(ONE, Change::Take, 1);
            made
        });
        let two = thread::spawn(move || {
            others_first();
            two.permits().make(TWO, Change::Add, 1)
        });
        let both = [one.join().unwrap(), two.join().unwrap()];
        assert_ne!(both, [Made::Done; 2]);
    });
}

/// One thread of a process takes and another adds: what the one has done is not the other's.
#[test]
fn what_a_thread_does_is_not_counted_for_another_of_its_process() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(1, 3);
        // The word is another member's to begin with.
        assert_eq!(memory.permits().make(TWO, Change::Add, 1), Made::Done);
        let [one, two] = [(); 2].map(|()| Arc::clone(&memory));
        let one = thread::spawn(move || one.permits().make(ONE, Change::Take, 1));
        let two = thread::spawn(move || {
            others_first();
            two.permits().make(ONE, Change::Add, 1)
        });
        let both = [one.join().unwrap(), two.join().unwrap()];
        if both.contains(&Made::Busy) {
            return;
        }
        assert_eq!(both, [Made::Done; 2]);
        let permits = memory.permits();
        // What is free, held, and how many may still be added.
        assert_eq!(
            (permits.free(), permits.held(ONE), permits.held(TWO)),
            (2, 1, 0)
        );
        assert_eq!(permits.make(TWO, Change::Add, 1), Made::TooMany);
    });
}

/// Threads of one process take turns at its note.
#[test]
fn a_note_is_one_thread_s_at_a_time() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(2, 2);
        let other = Arc::clone(&memory);
        let take = |memory: &Memory| {
            while memory.permits().make(ONE, Change::Take, 1) == Made::Busy {
                thread::yield_now();
            }
        };
        let thread = thread::spawn(move || take(&other));
        take(&memory);
        thread.join().unwrap();
        assert_eq!(memory.permits().held(ONE), 2);
        assert_eq!(memory.permits().free(), 0);
    });
}

#[test]
fn the_dead_give_back_while_others_take() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(3, 3);
        assert_eq!(memory.permits().make(ONE, Change::Take, 2), Made::Done);
        let other = Arc::clone(&memory);
        let thread = thread::spawn(move || other.permits().recover(ONE));
        assert_eq!(memory.permits().make(TWO, Change::Take, 1), Made::Done);
        thread.join().unwrap();
        let permits = memory.permits();
        assert_eq!((permits.held(ONE), permits.held(TWO)), (0, 1));
        assert_eq!(permits.free(), 2);
    });
}

#[test]
fn who_is_first_in_line_is_woken() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(1, 2);
        assert_eq!(memory.permits().make(ONE, Change::Take, 1), Made::Done);
        let waiter = Arc::clone(&memory);
        let waiter = thread::spawn(move || waiter.acquire(TWO, 1));
        memory.give(ONE, 1);
        waiter.join().unwrap();
    });
}

#[test]
fn who_is_behind_is_called() {
    explore_bounded(Some(2), || {
        let memory = Memory::new(1, 1);
        assert_eq!(memory.permits().make(ONE, Change::Take, 1), Made::Done);
        let waiters = [TWO, THREE].map(|me| {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                memory.acquire(me, 1);
                memory.give(me, 1);
            })
        });
        memory.give(ONE, 1);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert_eq!(memory.permits().free(), 1);
    });
}

/// One is first in line and gives up: whoever is behind gets what it did not want.
#[test]
fn who_leaves_the_line_calls_the_next() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(1, 3);
        assert_eq!(memory.permits().enter(ONE, 7, 3), Entered::First);
        let waiter = Arc::clone(&memory);
        let waiter = thread::spawn(move || waiter.acquire(TWO, 1));
        memory.permits().leave(ONE, 7);
        memory.behind.wake_one();
        waiter.join().unwrap();
    });
}
