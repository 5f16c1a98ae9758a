//! What is left to do once the hub's lock is released.

use core::task::Waker;
use std::sync::Arc;

use crate::pool::dispatch::Placement;
use crate::pool::flight::Keep;
use crate::pool::launch::JobEntry;
use crate::protocol::lanes::Takers;

/// What is to be done once the hub's lock is released: all of it may take time or take the lock.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    /// How many workers what was published keeps busy.
    pub(super) workers: u32,
    /// How many tasks, beside that, were published that any worker may take.
    pub(super) tasks: u32,
    /// Whether something was published that can wait for a worker that is awake, if one is.
    pub(super) needs_one: bool,
    /// Whose outcomes have come.
    pub(super) wakers: Vec<Waker>,
    /// Workers that were asked for something.
    pub(super) asked: Vec<u16>,
    /// The supervisor sleeps for too long.
    pub(super) nudge: bool,
    /// What callers sent along with tasks and jobs that have ended.
    pub(super) discarded: Vec<Keep>,
    /// Jobs that have ended, which nobody may take the outcome of.
    pub(super) ended: Vec<Arc<JobEntry>>,
    /// Who has a task that not every worker may take, once for each.
    pub(super) takers: Vec<Takers>,
    /// Tasks whose end the scheduler is to be told.
    pub(super) completed: Vec<Placement>,
}

impl Aftermath {
    /// Whether there is nothing to do but to wake workers, if that.
    pub(super) fn is_waking(&self) -> bool {
        !(self.needs_one || self.nudge)
            && self.wakers.is_empty()
            && self.asked.is_empty()
            && self.discarded.is_empty()
            && self.takers.is_empty()
            && self.completed.is_empty()
    }
}
