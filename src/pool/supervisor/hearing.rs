//! Listening to the workers on behalf of everybody who does not.
//!
//! Futures outside tokio, work that waits in the parent, and what was dropped while it ran: this
//! thread delivers for them, from when it is asked until nothing is pending.

use std::os::fd::AsFd;

use super::{WORKERS_BELL, Watch};

impl Watch<'_> {
    pub(super) fn hear_workers_if_asked(&mut self) {
        if self.hears_workers || !self.engine.hub().reactors.supervisor_listens {
            return;
        }
        if self
            .poller
            .add(self.engine.event().as_fd(), WORKERS_BELL)
            .is_ok()
        {
            self.hears_workers = true;
            self.engine.arm_doorbell();
            self.engine.harvest();
        }
    }

    pub(super) fn deliver(&mut self) {
        let _ = self.engine.event().clear();
        // Armed anew, so that what finishes from now on rings again.
        self.engine.disarm_doorbell();
        self.engine.arm_doorbell();
        self.engine.harvest();
        let mut hub = self.engine.hub();
        if hub.pending() > 0 {
            return;
        }
        // Whoever needs this thread again says so under the same lock, and nudges it.
        hub.reactors.supervisor_listens = false;
        drop(hub);
        self.hears_workers = false;
        self.engine.disarm_doorbell();
        let _ = self.poller.remove(self.engine.event().as_fd());
    }
}
