//! Loom models: what is published, what is owed, and that nobody sleeps for ever.

#![expect(unsafe_code, reason = "looks into loom's cells")]

mod barriers;
mod events;
mod permits;

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::*;
use crate::primitive::atomic::{AtomicU64, Ordering, fence_after_rmw};
use crate::primitive::model::{explore, explore_bounded, others_first};

/// What a wait set is to the words, in small: a bit, a fence on either side, and the kernel's queue
/// on a number, which wakes one sleeper or all.
struct Bell {
    waiting: AtomicU64,
    seq: Mutex<u64>,
    sleepers: Condvar,
}

impl Bell {
    fn new() -> Self {
        Self {
            waiting: AtomicU64::new(0),
            seq: Mutex::new(0),
            sleepers: Condvar::new(),
        }
    }

    fn move_on(&self) -> bool {
        fence_after_rmw();
        let anybody = self.waiting.load(Ordering::Relaxed) != 0;
        if anybody {
            *self.seq.lock().unwrap() += 1;
        }
        anybody
    }

    fn wake_one(&self) {
        if self.move_on() {
            self.sleepers.notify_one();
        }
    }

    fn wake_all(&self) {
        if self.move_on() {
            self.sleepers.notify_all();
        }
    }

    /// Sleeps until `attempt` gives something.
    fn wait<R>(&self, mut attempt: impl FnMut() -> Option<R>) -> R {
        loop {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let seen = *self.seq.lock().unwrap();
            fence_after_rmw();
            let mut found = attempt();
            if found.is_none() {
                let seq = self.seq.lock().unwrap();
                if *seq == seen {
                    drop(self.sleepers.wait(seq).unwrap());
                } else {
                    drop(seq);
                }
                found = attempt();
            }
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            if let Some(found) = found {
                return found;
            }
        }
    }
}
