//! An event: set, cleared and waited for.

use loom::cell::UnsafeCell;

use super::*;

struct Memory {
    event: EventWord,
    bell: Bell,
    /// Written before the event is set.
    payload: UnsafeCell<u32>,
}

impl Memory {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            event: EventWord::new(),
            bell: Bell::new(),
            payload: UnsafeCell::new(0),
        })
    }

    fn set(&self) {
        self.event.set();
        self.bell.wake_all();
    }

    fn wait(&self, since: Since) {
        self.bell
            .wait(|| self.event.has_passed(since).then_some(()));
    }

    fn write(&self) {
        self.payload.with_mut(|value| {
            // SAFETY: the only writer; loom watches.
            unsafe { *value = 7 };
        });
    }

    fn read(&self) -> u32 {
        // SAFETY: the writer has set the event; loom watches.
        self.payload.with(|value| unsafe { *value })
    }
}

#[test]
fn an_event_publishes() {
    explore(|| {
        let memory = Memory::new();
        let setter = Arc::clone(&memory);
        let since = memory.event.now();
        let setter = thread::spawn(move || {
            setter.write();
            setter.event.set();
        });
        others_first();
        if memory.event.has_passed(since) {
            assert_eq!(memory.read(), 7);
        }
        setter.join().unwrap();
    });
}

#[test]
fn an_event_that_is_seen_set_publishes() {
    explore(|| {
        let memory = Memory::new();
        let setter = Arc::clone(&memory);
        let setter = thread::spawn(move || {
            setter.write();
            setter.event.set();
        });
        others_first();
        if memory.event.is_set() {
            assert_eq!(memory.read(), 7);
        }
        setter.join().unwrap();
    });
}

#[test]
fn nobody_sleeps_through_a_set() {
    explore_bounded(Some(3), || {
        let memory = Memory::new();
        let since = memory.event.now();
        let waiters = [0, 1].map(|_| {
            let memory = Arc::clone(&memory);
            thread::spawn(move || memory.wait(since))
        });
        memory.set();
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

#[test]
fn a_set_that_is_cleared_at_once_lets_all_through() {
    explore_bounded(Some(3), || {
        let memory = Memory::new();
        let since = memory.event.now();
        let waiter = Arc::clone(&memory);
        let waiter = thread::spawn(move || waiter.wait(since));
        memory.set();
        memory.event.clear();
        waiter.join().unwrap();
    });
}

/// Whoever sets it first stands still before it wakes anybody: the second one must.
#[test]
fn whoever_sets_it_again_wakes_all() {
    explore_bounded(Some(3), || {
        let memory = Memory::new();
        let since = memory.event.now();
        let waiter = Arc::clone(&memory);
        let waiter = thread::spawn(move || waiter.wait(since));
        let other = Arc::clone(&memory);
        let other = thread::spawn(move || other.event.set());
        memory.set();
        waiter.join().unwrap();
        other.join().unwrap();
    });
}
