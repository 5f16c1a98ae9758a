//! Readers announce themselves, so that what they may read is not handed out again.
//!
//! There is an epoch, and each process has two counts of its readers: those of even epochs and those
//! of odd ones. A reader counts itself under the epoch and then looks whether it still is that one.
//! The epoch goes from e to e + 1 only when nobody is counted under e - 1, which has the same parity
//! as e + 1. So at any time readers are of this epoch or of the one before, and a record that was
//! given up in epoch e has no reader left in epoch e + 2:
//!
//! 1. A reader of epoch e or earlier keeps the epoch from e + 2, because its count is not zero: it
//!    counted before it looked at the epoch, it saw e or earlier, and the writer looks at the counts
//!    after it stored e + 1. All of these are sequentially consistent.
//! 2. A reader of epoch e + 1 or later saw that epoch, which was stored after the record was given
//!    up; so it does not find the record any more.
//!
//! A process that died has its counts set to zero by whoever recovers from its death.

use super::{Table, TableHeader};
use crate::primitive::atomic::{AtomicU64, Ordering};

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
            // ORDERING: SeqCst, as all here; see the proof above.
            let epoch = header.epoch.load(Ordering::SeqCst);
            let count = &self.count[(epoch % 2) as usize];
            count.fetch_add(1, Ordering::SeqCst);
            let pin = Pin(count);
            if header.epoch.load(Ordering::SeqCst) == epoch {
                return pin;
            }
        }
    }

    /// Forgets the readers of a process that is dead.
    pub(crate) fn forget(&self) {
        for count in &self.count {
            // ORDERING: SeqCst; read by the writer as all counts are.
            count.store(0, Ordering::SeqCst);
        }
    }

    /// Whether nobody of this process is counted under epochs of `parity`.
    fn is_over(&self, parity: u64) -> bool {
        // ORDERING: SeqCst; see the proof above. Also Acquire, for the Release in `drop`.
        self.count[(parity % 2) as usize].load(Ordering::SeqCst) == 0
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
            // ORDERING: SeqCst; see the proof above.
            self.header.epoch.store(next, Ordering::SeqCst);
        }
        is_free
    }
}
