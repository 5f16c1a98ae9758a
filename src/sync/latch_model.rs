//! Loom models of a latch: one writes at a time, and whoever follows a dead writer is told.

#![expect(unsafe_code, reason = "data under a latch, as loom sees it")]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::latchword::LatchWord;
use super::waitset::WaitSet;
use super::waitset_model::Kernel;
use crate::memory::owner::Owner;
use crate::primitive::model::{explore, explore_bounded, others_first};

/// A latch, and what is written under it in the eyes of loom.
struct Guarded {
    waiters: WaitSet,
    word: LatchWord,
    kernel: Kernel,
    data: UnsafeCell<u64>,
}

const fn member(index: u16) -> Owner {
    Owner::new(index, 1)
}

impl Guarded {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            waiters: WaitSet::new(),
            word: LatchWord::new(),
            kernel: Kernel::new(),
            data: UnsafeCell::new(0),
        })
    }

    fn write(&self) {
        self.data.with_mut(|data| {
            // SAFETY: under the latch; loom reports if it is not exclusive.
            unsafe { *data += 1 };
        });
    }

    fn read(&self) -> u64 {
        // SAFETY: nobody writes, or loom reports it.
        self.data.with(|data| unsafe { *data })
    }

    /// Writes, if it can be had now.
    fn try_add(&self, me: u16) -> u64 {
        if self.word.try_take(member(me)).is_none() {
            return 0;
        }
        self.write();
        assert!(self.word.release(member(me), false));
        1
    }

    /// Writes, waiting for the right to; whether it followed a dead writer, which it puts right.
    fn add(&self, me: u16) -> bool {
        let attempt = || self.word.try_take(member(me));
        self.kernel.block(&self.waiters, member(me), attempt);
        self.write();
        let has_died = self.word.has_died();
        if has_died {
            self.word.clear(member(me));
        }
        assert!(self.word.release(member(me), false));
        self.waiters.wake_one(&self.kernel);
        has_died
    }
}

#[test]
fn a_latch_excludes() {
    explore(|| {
        let guarded = Guarded::new();
        let other = Arc::clone(&guarded);
        let other = thread::spawn(move || other.try_add(1));
        let mine = guarded.try_add(0);
        let theirs = other.join().unwrap();
        assert!(mine + theirs > 0);
        assert_eq!(guarded.read(), mine + theirs);
    });
}

#[test]
fn a_writer_that_is_done_wakes_the_next() {
    explore_bounded(Some(2), || {
        let guarded = Guarded::new();
        let other = Arc::clone(&guarded);
        let other = thread::spawn(move || other.add(1));
        assert!(!guarded.add(0));
        assert!(!other.join().unwrap());
        assert_eq!(guarded.read(), 2);
    });
}

#[test]
fn a_dead_writer_is_followed() {
    // One died with it, having written; somebody recovers from that, twice, and one waits.
    explore_bounded(Some(2), || {
        let guarded = Guarded::new();
        assert!(guarded.word.try_take(member(1)).is_some());
        let waiter = Arc::clone(&guarded);
        let waiter = thread::spawn(move || waiter.add(0));
        guarded.write();
        for _ in 0..2 {
            guarded.word.release(member(1), true);
            guarded.waiters.wake_all(&guarded.kernel);
        }
        assert!(waiter.join().unwrap(), "it was not told");
        assert!(guarded.word.try_take(member(0)).is_some());
        assert!(!guarded.word.has_died(), "it was put right");
        assert_eq!(guarded.read(), 2);
    });
}

#[test]
fn what_the_dead_left_is_told_until_it_is_cleared() {
    explore(|| {
        let guarded = Guarded::new();
        assert!(guarded.word.try_take(member(1)).is_some());
        let other = Arc::clone(&guarded);
        let other = thread::spawn(move || other.word.release(member(1), true));
        others_first();
        // Writes, and clears nothing.
        guarded.try_add(0);
        assert!(other.join().unwrap());
        guarded.try_add(0);
        assert!(guarded.word.try_take(member(0)).is_some());
        assert!(guarded.word.has_died());
    });
}
