//! Loom models of the sentry: what is left to workers that are awake is left to nobody who sleeps.
//!
//! One worker is busy for ever, which is enough for a submitter that relies on the sentry.

use loom::sync::Arc;
use loom::thread;

use super::model::Memory;
use super::*;
use crate::primitive::atomic::Ordering;
use crate::primitive::model::explore_bounded;

const ENOUGH: u32 = 1;

impl Memory {
    fn submit_unless_enough(&self) {
        self.work.fetch_add(1, Ordering::Relaxed);
        self.parking().wake_unless_enough(1, ENOUGH, &self.queue);
    }

    /// Has taken one piece of work, and is busy with it for ever.
    fn stay_busy(&self, me: u16) {
        if self.parking().busy(me, Group::ALL) == Duty::WakeAnother
            && self.work.load(Ordering::Relaxed) != 0
        {
            self.parking().wake_unless_enough(1, ENOUGH, &self.queue);
        }
    }

    /// As `idle`, under the rule.
    fn rest(&self, me: u16) {
        loop {
            self.parking().spin(me);
            if self.take() {
                return self.stay_busy(me);
            }
            self.parking().announce(me);
            if self.take() {
                return self.stay_busy(me);
            }
            self.parking().sleep(me, &self.queue, None);
        }
    }

    /// Leaves its post, and looks for work.
    fn lie_down(&self, me: u16) {
        self.parking().leave_post(me);
        if self.take() {
            return self.stay_busy(me);
        }
        self.parking().sleep(me, &self.queue, None);
        self.rest(me);
    }
}

#[test]
fn a_sentry_that_lies_down_sees_the_work() {
    explore_bounded(Some(3), || {
        // Worker 1 is the one that is busy.
        let memory = Memory::new(2);
        let sentry = Arc::clone(&memory);
        let sentry = thread::spawn(move || {
            sentry.parking().announce(0);
            if sentry.take() {
                return sentry.stay_busy(0);
            }
            assert!(sentry.parking().mount_guard(0));
            // Not if it has been woken meanwhile.
            sentry.parking().report_brisk(0);
            sentry.lie_down(0);
        });
        memory.submit_unless_enough();
        sentry.join().unwrap();
        assert_eq!(memory.work.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_sentry_that_finds_work_passes_the_wake_on() {
    // Two submissions meet the sentry and one that sleeps; each takes one piece and never comes
    // back, so both must have been called.
    explore_bounded(Some(2), || {
        let memory = Memory::new(3);
        memory.parking().announce(0);
        assert!(memory.parking().mount_guard(0) && memory.parking().report_brisk(0));
        let (sentry, worker) = (Arc::clone(&memory), Arc::clone(&memory));
        let sentry = thread::spawn(move || sentry.lie_down(0));
        let worker = thread::spawn(move || worker.rest(1));
        memory.submit_unless_enough();
        memory.submit_unless_enough();
        sentry.join().unwrap();
        worker.join().unwrap();
    });
}

#[test]
fn the_post_of_the_dead_is_free() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(3);
        memory.parking().announce(0);
        assert!(memory.parking().mount_guard(0) && memory.parking().report_brisk(0));
        let worker = Arc::clone(&memory);
        let worker = thread::spawn(move || {
            worker.rest(1);
            worker.rest(1);
        });
        memory.submit_unless_enough();
        memory.parking().vacate(0);
        memory.parking().wake_all(&memory.queue);
        memory.submit_unless_enough();
        worker.join().unwrap();
    });
}

#[test]
fn one_stands_sentry() {
    explore_bounded(None, || {
        let memory = Memory::new(3);
        let sentries = [0, 1].map(|me| {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                memory.parking().announce(me);
                memory.parking().mount_guard(me)
            })
        });
        let [first, second] = sentries.map(|sentry| sentry.join().unwrap());
        assert!(first ^ second);
    });
}
