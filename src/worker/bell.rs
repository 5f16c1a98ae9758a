//! Ringing the parent, once for each time it lay down.

use crate::sync::Doorbell;
use crate::sys::eventfd;

/// A worker's hand on the parent's doorbell.
#[derive(Debug)]
pub(crate) struct Bell<'a> {
    doorbell: &'a Doorbell,
    event: &'a eventfd::Bell,
    last_rung: u64,
}

impl<'a> Bell<'a> {
    pub(crate) fn new(doorbell: &'a Doorbell, event: &'a eventfd::Bell) -> Self {
        Self {
            doorbell,
            event,
            last_rung: 0,
        }
    }

    /// Wakes the parent if it sleeps and this worker has not rung since it lay down.
    ///
    /// Called after a completion was published.
    pub(crate) fn ring(&mut self) {
        if self.doorbell.should_ring(&mut self.last_rung) {
            self.ring_always();
        }
    }

    /// Wakes the parent, asleep or not.
    pub(crate) fn ring_always(&self) {
        // A full counter means that a wake-up is pending already, which is all that is wanted.
        let _ = self.event.ring();
    }
}
