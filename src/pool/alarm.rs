//! Wake-ups at a time: the supervisor's epoll has a timeout, so there is no timer of anybody's own.

use core::task::Waker;
use std::sync::Arc;

use crate::pool::deadline::NEVER;
use crate::pool::hub::Hub;
use crate::pool::launch::JobEntry;

/// Somebody who wants to be woken at a time, or when a job ends if that comes first.
#[derive(Debug)]
pub(crate) struct Alarm {
    /// Whose it is: a newer one of the same replaces it.
    pub(crate) key: usize,
    pub(crate) due: u64,
    pub(crate) waker: Waker,
    /// The address of its entry.
    pub(crate) job: usize,
}

impl Hub {
    pub(crate) fn set_alarm(&mut self, alarm: Alarm) {
        self.stop_alarm(alarm.key);
        if alarm.due < self.next_alarm() {
            self.aftermath.nudge = true;
        }
        self.alarms.push(alarm);
    }

    pub(crate) fn stop_alarm(&mut self, key: usize) {
        self.alarms.retain(|alarm| alarm.key != key);
    }

    /// When the next one is due.
    pub(super) fn next_alarm(&self) -> u64 {
        let due = self.alarms.iter().map(|alarm| alarm.due);
        due.min().unwrap_or(NEVER)
    }

    /// Rings those that are due, once the lock is released.
    pub(super) fn ring_due(&mut self, now: u64) {
        self.ring_if(|alarm| alarm.due <= now);
    }

    /// Rings those who watch a job that has ended.
    pub(super) fn ring_for(&mut self, entry: &Arc<JobEntry>) {
        let job = Arc::as_ptr(entry).addr();
        self.ring_if(|alarm| alarm.job == job);
    }

    fn ring_if(&mut self, is_meant: impl FnMut(&mut Alarm) -> bool) {
        let rung = self.alarms.extract_if(.., is_meant);
        self.aftermath.wakers.extend(rung.map(|alarm| alarm.waker));
    }
}
