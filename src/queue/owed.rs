//! What has been received from a queue and not called done.

use super::channel::Channel;
use crate::error::Error;
use crate::memory::owner::Owner;
use crate::primitive::atomic::{AtomicU32, Ordering, fence_after_rmw};

impl Channel {
    /// One more received item is to be called done, before it leaves its place.
    pub(super) fn owe(&self, me: Owner) {
        // Relaxed: published by what frees the place (F6, `Slot::is_occupied`).
        self.owed(me).fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn owed(&self, member: Owner) -> &AtomicU32 {
        let owed = &self.front().owed;
        &owed[member.index() as usize % owed.len()]
    }

    /// Takes one off this member's account. False: it has none.
    pub(super) fn settle(&self, member: Owner) -> bool {
        // ORDERING: F6, Release; what was sent before is seen by who finds nothing owed
        // (`is_done`). Model: an_item_is_always_counted.
        self.owed(member)
            .fetch_update(Ordering::Release, Ordering::Relaxed, |owed| {
                owed.checked_sub(1)
            })
            .is_ok()
    }

    /// One received item is done; whoever received it. False: none was to be.
    pub(super) fn task_done(&self) -> Result<bool, Error> {
        let me = self.seat.me()?;
        let settled = self.settle(me)
            || (0..self.front().owed.len() as u16).any(|index| self.settle(Owner::new(index, 0)));
        if settled {
            fence_after_rmw();
            if self.seat.anybody(&self.front().joiners) && self.is_done() {
                self.seat.wake_all(&self.front().joiners);
            }
        }
        Ok(settled)
    }

    /// Whether all that was ever sent is done.
    pub(super) fn is_done(&self) -> bool {
        self.fifo().is_done(|| {
            let owed = &self.front().owed;
            // ORDERING: F6, Acquire; see `settle`.
            owed.iter().any(|owed| owed.load(Ordering::Acquire) != 0)
        })
    }

    /// How many items are not done yet, as far as a look tells.
    pub(super) fn unfinished(&self) -> usize {
        let owed = &self.front().owed;
        // Relaxed: a look.
        let owed = owed
            .iter()
            .map(|owed| owed.load(Ordering::Relaxed) as usize);
        self.fifo().len() as usize + owed.sum::<usize>()
    }
}
