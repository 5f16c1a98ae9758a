//! The cores on which the parent's threads are that call workers: hints.

use crate::primitive::atomic::{AtomicU64, Ordering};

/// Such cores, plus one; zero: nowhere. The parent writes them.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Callers {
    waiter: AtomicU64,
    submitter: AtomicU64,
}

impl Callers {
    /// A thread spins on this core for an outcome, or none does.
    pub(crate) fn note_waiter(&self, core: Option<u32>) {
        // ORDERING: Relaxed; a hint.
        self.waiter.store(bits(core), Ordering::Relaxed);
    }

    /// Whether a thread spins for an outcome.
    pub(crate) fn has_waiter(&self) -> bool {
        // ORDERING: Relaxed; a hint.
        self.waiter.load(Ordering::Relaxed) != bits(None)
    }

    /// A thread submits a task or a job, on this core.
    pub(crate) fn note_submitter(&self, core: Option<u32>) {
        // ORDERING: Relaxed; a hint. It seldom changes, and workers read its line.
        if self.submitter.load(Ordering::Relaxed) != bits(core) {
            self.submitter.store(bits(core), Ordering::Relaxed);
        }
    }

    /// Whether a thread spins on this core for an outcome, or submitted the last task there.
    pub(crate) fn are_on(&self, core: u32) -> bool {
        // ORDERING: Relaxed; hints.
        [&self.waiter, &self.submitter]
            .iter()
            .any(|place| place.load(Ordering::Relaxed) == bits(Some(core)))
    }
}

fn bits(core: Option<u32>) -> u64 {
    core.map_or(0, |core| u64::from(core) + 1)
}
