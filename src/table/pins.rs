//! Readers announce themselves, so that what they may read is not handed out again.
//!
//! There is an epoch, and each process has two counts of its readers: those of even epochs and
//! those of odd ones. A reader counts itself under the epoch and then looks whether it still is
//! that one. The epoch goes from e to e + 1 only when nobody is counted under e - 1, which has the
//! same parity as e + 1. So at any time readers are of this epoch or of the one before, and a
//! record that was given up in epoch e has no reader left in epoch e + 2:
//!
//! 1. A reader of epoch e or earlier keeps the epoch from e + 2. It counted itself, fenced, and
//!    then saw e or earlier; a writer stored e + 1, fenced, and then looks at the counts. Whichever
//!    fence comes second sees what the other side wrote before its own.
//! 2. A reader of epoch e + 1 or later saw that epoch, which was stored after the record was given
//!    up; so it does not find the record any more.
//!
//! A process that died has its counts set to zero by whoever recovers from its death.

use super::{Table, TableHeader};
use crate::primitive::atomic::{AtomicU64, Ordering, fence_after_rmw};

/// The readers of one process.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Pins {
    count: [AtomicU64; 2],
}

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<Pins>() == 16);

/// Proof of a reader: while it lives, what the reader finds stays as it is.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pin<'a>(&'a AtomicU64);

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        // ORDERING: Release; whatever was read was read before the writer sees this in `is_over`.
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Pins {
    /// Of nobody.
    pub(crate) fn new() -> Self {
        Self {
            count: [AtomicU64::new(0), AtomicU64::new(0)],
        }
    }

    /// Announces a reader of this process.
    pub(super) fn pin<'a>(&'a self, header: &TableHeader) -> Pin<'a> {
        loop {
            // ORDERING: Relaxed; a guess, looked at again below.
            let epoch = header.epoch.load(Ordering::Relaxed);
            let count = &self.count[(epoch % 2) as usize];
            // ORDERING: E1, Relaxed; the fence orders it before the load E2.
            count.fetch_add(1, Ordering::Relaxed);
            let pin = Pin(count);
            fence_after_rmw();
            // ORDERING: E2, Acquire; pairs with the Release E3: what was given up before that epoch
            // is not found in it.
            if header.epoch.load(Ordering::Acquire) == epoch {
                return pin;
            }
        }
    }

    /// Forgets the readers of a process that is dead.
    pub(crate) fn forget(&self) {
        for count in &self.count {
            // ORDERING: Relaxed; nothing of the dead can follow, and what it read, it has read.
            count.store(0, Ordering::Relaxed);
        }
    }

    /// Whether nobody of this process is counted under epochs of `parity`.
    fn is_over(&self, parity: u64) -> bool {
        // ORDERING: Acquire; pairs with the Release in `drop`. After the fence that follows E3.
        self.count[(parity % 2) as usize].load(Ordering::Acquire) == 0
    }
}

impl<'a> Table<'a> {
    /// Announces a reader of the process `member`; `None` if there is no such process.
    pub(crate) fn pin(&self, member: usize) -> Option<Pin<'a>> {
        Some(self.pins.get(member)?.pin(self.header))
    }

    /// Forgets the readers of a process that is dead.
    pub(crate) fn forget(&self, member: usize) {
        if let Some(pins) = self.pins.get(member) {
            pins.forget();
        }
    }

    /// The epoch; for the writer.
    pub(super) fn epoch(&self) -> u64 {
        // ORDERING: Relaxed; only the writer stores it, under its lock.
        self.header.epoch.load(Ordering::Relaxed)
    }

    /// Moves the epoch on, if the readers let it; for the writer.
    pub(super) fn advance(&self) -> bool {
        let next = self.epoch().wrapping_add(1);
        let is_free = self.pins.iter().all(|pins| pins.is_over(next));
        if is_free {
            // ORDERING: E3, Release; publishes to E2 what has been given up, and the fence orders
            // it before the next look at the counts.
            self.header.epoch.swap(next, Ordering::AcqRel);
            fence_after_rmw();
        }
        is_free
    }
}
