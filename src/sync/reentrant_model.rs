//! Loom models of the lock that its owner may have again: owners exclude each other, also those of
//! one process, of whom the word says the same.

#![expect(unsafe_code, reason = "data under a lock, as loom sees it")]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::lockword::Hold;
use super::reentrant::ReentrantWords;
use crate::memory::owner::Owner;
use crate::primitive::model::explore;

/// A lock, and what it guards in the eyes of loom.
struct Guarded {
    words: ReentrantWords,
    data: UnsafeCell<u64>,
}

/// A process with as many tasks as there are numbers, one that died, and one that lives.
const ME: Owner = Owner::new(0, 1);
const DEAD: Owner = Owner::new(1, 1);
const OTHER: Owner = Owner::new(2, 1);

impl Guarded {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            words: ReentrantWords::new(),
            data: UnsafeCell::new(0),
        })
    }

    fn write(&self) {
        self.data.with_mut(|data| {
            // SAFETY: under the lock; loom reports if it is not exclusive.
            unsafe { *data += 1 };
        });
    }

    fn read(&self) -> u64 {
        // SAFETY: nobody writes, or loom reports it.
        self.data.with(|data| unsafe { *data })
    }

    fn lock(&self, task: u64) -> Hold {
        self.words.try_lock(ME, task).unwrap()
    }

    /// Locks it, if it can be had now, and once more; and writes.
    fn try_add(&self, task: u64) -> u64 {
        let Some(outer) = self.words.try_lock(ME, task) else {
            return 0;
        };
        let inner = self.lock(task);
        self.write();
        assert!(!self.words.unlock(inner, false));
        self.words.unlock(outer, false);
        1
    }
}

#[test]
fn two_tasks_of_one_process_exclude_each_other() {
    explore(|| {
        let guarded = Guarded::new();
        let other = Arc::clone(&guarded);
        let other = thread::spawn(move || other.try_add(2));
        let mine = guarded.try_add(1);
        let theirs = other.join().unwrap();
        assert!(mine + theirs > 0);
        assert_eq!(guarded.read(), mine + theirs);
        assert_eq!(guarded.try_add(3), 1, "it is free again");
    });
}

#[test]
fn a_task_whose_guard_went_elsewhere_is_kept_out() {
    // Another thread drops the guard of task 1 and then locks it for task 2. Task 1 has it until
    // then, and later only if it is free.
    explore(|| {
        let guarded = Guarded::new();
        let hold = guarded.lock(1);
        let other = Arc::clone(&guarded);
        let other = thread::spawn(move || {
            other.words.unlock(hold, false);
            other.try_add(2);
        });
        guarded.try_add(1);
        other.join().unwrap();
        assert_eq!(guarded.try_add(3), 1, "it is free again");
    });
}

#[test]
fn a_task_that_looks_late_is_kept_out() {
    // As above, but nobody gives it back, so that the first task may look when all is over.
    explore(|| {
        let guarded = Guarded::new();
        let hold = guarded.lock(1);
        let first = Arc::clone(&guarded);
        let first = thread::spawn(move || {
            if first.words.try_lock(ME, 1).is_some() {
                first.write();
            }
        });
        guarded.words.unlock(hold, false);
        if guarded.words.try_lock(ME, 2).is_some() {
            guarded.write();
        }
        first.join().unwrap();
    });
}

#[test]
fn a_task_that_shares_a_number_with_the_dead_is_kept_out() {
    explore(|| {
        let guarded = Guarded::new();
        assert!(guarded.words.try_lock(DEAD, 2).is_some());
        assert!(guarded.words.try_lock(DEAD, 2).is_some());
        for _ in 0..2 {
            guarded.words.word.recover(DEAD);
        }
        assert_eq!(guarded.words.word.free(), Some(true), "it is poisoned");
        let other = Arc::clone(&guarded);
        let other = thread::spawn(move || other.try_add(2));
        guarded.try_add(1);
        other.join().unwrap();
        assert_eq!(guarded.try_add(3), 1, "it is free again");
    });
}

#[test]
fn a_task_that_shares_a_number_with_a_living_owner_is_kept_out() {
    // A task that looks at the hold of its process finds, by the time that it looks whose it is,
    // the number of a task of another process, which is its own, too.
    explore(|| {
        let guarded = Guarded::new();
        let hold = guarded.lock(1);
        let looks = Arc::clone(&guarded);
        let looks = thread::spawn(move || {
            if looks.words.try_lock(ME, 2).is_some() {
                looks.write();
            }
        });
        let follows = Arc::clone(&guarded);
        let follows = thread::spawn(move || {
            follows.words.unlock(hold, false);
            if follows.words.try_lock(OTHER, 2).is_some() {
                follows.write();
            }
        });
        looks.join().unwrap();
        follows.join().unwrap();
    });
}

#[test]
fn guards_that_are_dropped_apart_unlock_once() {
    // Two guards of one task: one thread writes and drops its own, the other just drops. A third
    // task follows as soon as it can.
    explore(|| {
        let guarded = Guarded::new();
        let (outer, inner) = (guarded.lock(1), guarded.lock(1));
        let other = Arc::clone(&guarded);
        let other = thread::spawn(move || {
            other.write();
            other.words.unlock(inner, false)
        });
        let mine = guarded.words.unlock(outer, false);
        guarded.try_add(3);
        let theirs = other.join().unwrap();
        assert!(mine != theirs, "one of them was the last");
    });
}

#[test]
fn poison_of_an_inner_guard_stays() {
    explore(|| {
        let guarded = Guarded::new();
        let (outer, inner) = (guarded.lock(1), guarded.lock(1));
        let other = Arc::clone(&guarded);
        let other = thread::spawn(move || other.words.unlock(inner, true));
        guarded.words.unlock(outer, false);
        other.join().unwrap();
        assert!(guarded.words.word.is_poisoned());
    });
}
