//! Loom models of the locks' words: nobody is in with a writer, and nobody waits for the dead.

#![expect(unsafe_code, reason = "data under a lock, as loom sees it")]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::lockword::LockWord;
use super::rwlock::{Read, Readers};
use super::waitset::WaitSet;
use super::waitset_model::Kernel;
use crate::memory::owner::Owner;
use crate::primitive::model::{explore, explore_bounded};

/// A lock, and what it guards in the eyes of loom.
struct Guarded {
    waiters: WaitSet,
    word: LockWord,
    readers: Readers,
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
            word: LockWord::new(),
            readers: Readers::new(),
            kernel: Kernel::new(),
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

    /// Locks it once, if it can be had now.
    fn try_add(&self, me: u16) -> u64 {
        let Some(hold) = self.word.try_lock(member(me)) else {
            return 0;
        };
        self.write();
        assert!(self.word.unlock(hold, false));
        1
    }

    /// Locks it, waiting for it; whether it was poisoned.
    fn add(&self, me: u16) -> bool {
        let attempt = || self.word.try_lock(member(me));
        let hold = self.kernel.block(&self.waiters, member(me), attempt);
        self.write();
        assert!(self.word.unlock(hold, false));
        self.waiters.wake_one(&self.kernel);
        hold.poisoned
    }

    fn try_read(&self, me: u16) {
        if let Read::Entered { .. } = self.readers.enter(&self.word, member(me)) {
            self.read();
            self.readers.leave(&self.word, member(me));
        }
    }
}

#[test]
fn a_lock_excludes() {
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
fn an_unlock_wakes_the_next() {
    explore_bounded(Some(2), || {
        let guarded = Guarded::new();
        let other = Arc::clone(&guarded);
        let other = thread::spawn(move || other.add(1));
        guarded.add(0);
        other.join().unwrap();
        assert_eq!(guarded.read(), 2);
    });
}

#[test]
fn a_dead_holder_is_followed() {
    // One died holding it, having written; somebody recovers it, twice, and one waits meanwhile.
    explore_bounded(Some(2), || {
        let guarded = Guarded::new();
        let dead = member(1);
        assert!(guarded.word.try_lock(dead).is_some());
        let waiter = Arc::clone(&guarded);
        let waiter = thread::spawn(move || waiter.add(0));
        guarded.write();
        for _ in 0..2 {
            guarded.word.recover(dead);
            guarded.waiters.wake_all(&guarded.kernel);
        }
        assert!(waiter.join().unwrap(), "it was not told");
        assert!(guarded.word.is_poisoned());
        guarded.word.clear_poison();
        assert_eq!(guarded.word.free(), Some(false));
        assert_eq!(guarded.read(), 2);
    });
}

#[test]
fn poison_goes_while_it_is_held_and_stays_gone() {
    explore(|| {
        let guarded = Guarded::new();
        let hold = guarded.word.try_lock(member(0)).unwrap();
        assert!(guarded.word.unlock(hold, true));
        let other = Arc::clone(&guarded);
        let other = thread::spawn(move || other.word.clear_poison());
        guarded.try_add(0);
        other.join().unwrap();
        assert_eq!(guarded.word.free(), Some(false));
    });
}

#[test]
fn readers_and_writers_exclude_each_other() {
    explore_bounded(Some(3), || {
        let guarded = Guarded::new();
        let reader = Arc::clone(&guarded);
        let reader = thread::spawn(move || reader.try_read(1));
        if let Some(claim) = guarded.word.try_claim(member(0)) {
            if guarded.readers.are_gone() {
                guarded.word.confirm(claim);
                guarded.write();
            }
            guarded.word.unlock(claim, false);
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_reader_sees_what_was_written() {
    explore_bounded(Some(3), || {
        let guarded = Guarded::new();
        let reader = Arc::clone(&guarded);
        let reader = thread::spawn(move || reader.try_read(1));
        let claim = guarded.word.try_claim(member(0)).unwrap();
        if guarded.readers.are_gone() {
            guarded.write();
        }
        guarded.word.unlock(claim, false);
        guarded.try_read(0);
        reader.join().unwrap();
    });
}

#[test]
fn a_writer_is_woken_by_the_last_reader() {
    explore_bounded(Some(2), || {
        let guarded = Guarded::new();
        let entered = guarded.readers.enter(&guarded.word, member(1));
        assert_eq!(entered, Read::Entered { poisoned: false });
        let writer = Arc::clone(&guarded);
        let writer = thread::spawn(move || {
            let claim = writer.word.try_claim(member(0)).unwrap();
            let are_gone = || writer.readers.are_gone().then_some(());
            let waiters = &writer.waiters;
            writer.kernel.block(waiters, member(0), are_gone);
            writer.word.confirm(claim);
            writer.write();
        });
        guarded.read();
        if guarded.readers.leave(&guarded.word, member(1)) {
            guarded.waiters.wake_one(&guarded.kernel);
        }
        writer.join().unwrap();
    });
}
