//! The doorbell: whether a thread of the parent sleeps until a worker writes to its eventfd.
//!
//! ```text
//! word 63        16 15         0
//!      [   epoch   ][ sleepers ]
//! ```
//!
//! Workers only load it: each rings once an epoch while anybody sleeps, and none can silence the
//! others by dying, or by being stopped, half-way. Only the parent writes it. Both fields move in
//! one addition; the epoch is above, so that its overflow falls off the top, after 2^48 sleeps.

use crate::primitive::atomic::{AtomicU64, Ordering, fence_after_rmw};
use crate::primitive::line::Line;

const EPOCH_SHIFT: u32 = 16;
const EPOCH: u64 = 1 << EPOCH_SHIFT;
const SLEEPERS: u64 = EPOCH - 1;

/// The doorbell's word, on a line of its own.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Doorbell(Line<AtomicU64>);

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<Doorbell>() == 64);

impl Doorbell {
    /// Nobody sleeps; to be written in place.
    pub(crate) fn new() -> Self {
        Self(Line(AtomicU64::new(0)))
    }

    /// Parent: from now on results ring. Look for results once more, then sleep.
    pub(crate) fn arm(&self) {
        // Relaxed, with the fence below: it publishes nothing, it is to be seen in time.
        self.0.0.fetch_add(EPOCH + 1, Ordering::Relaxed);
        // ORDERING: D1, SeqCst; a worker that does not see us armed has its result seen by our
        // next look (`should_ring`). Model: a_result_is_seen_or_rung.
        fence_after_rmw();
    }

    /// Parent: awake again, after one `arm`. Look for results, and tell the other sleepers: the
    /// ring that woke us may have been meant for them. They are rung anew for later ones.
    pub(crate) fn disarm(&self) {
        // Sleepers down and epoch up at once: the borrow from the lower half is the carry.
        // Relaxed, with the fence below, as in `arm`.
        let before = self.0.0.fetch_add(EPOCH - 1, Ordering::Relaxed);
        if before & SLEEPERS == 0 {
            // Overwritten by somebody: none of ours sleep, so far as we know.
            self.0.0.store(before & !SLEEPERS, Ordering::Relaxed);
        }
        // ORDERING: D1, SeqCst; a worker that still sees the old epoch has its result seen by our
        // next look (`should_ring`). Model: a_sleeper_that_leaves_silences_no_other.
        fence_after_rmw();
    }

    /// Parent: makes the word speak of as many sleepers as there are, should it not; `count` says
    /// how many there are just now.
    ///
    /// A thread counts itself first and then moves the word, so that for a moment they may differ.
    /// What is put right by mistake is off by one until the next call; a ring that is missed
    /// meanwhile is answered by whoever calls this, who looks for results before and after.
    pub(crate) fn mend(&self, count: impl Fn() -> u64) {
        // Relaxed, all: whoever moves the word fences (`arm`).
        let seen = self.0.0.load(Ordering::Relaxed);
        let wanted = count() & SLEEPERS;
        if seen & SLEEPERS != wanted {
            // Another epoch, so that whoever rang in this one rings again.
            let next = (seen & !SLEEPERS).wrapping_add(EPOCH) | wanted;
            let _ = self
                .0
                .0
                .compare_exchange(seen, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Whether a thread of the parent sleeps, or has been rung and has not run since: a hint.
    pub(crate) fn has_sleepers(&self) -> bool {
        // Relaxed: a hint.
        self.0.0.load(Ordering::Relaxed) & SLEEPERS != 0
    }

    /// Worker: after the exchange that finished something. True: write to the eventfd, once an
    /// epoch. `last` is the worker's own memory of the last ring, at first 0.
    #[must_use]
    pub(crate) fn should_ring(&self, last: &mut u64) -> bool {
        // ORDERING: D1, SeqCst; either we see the sleeper, or it sees our result (`arm`).
        // Model: a_result_is_seen_or_rung.
        fence_after_rmw();
        // Relaxed: see the fence.
        let word = self.0.0.load(Ordering::Relaxed);
        let epoch = word >> EPOCH_SHIFT;
        let ring = word & SLEEPERS != 0 && epoch != *last;
        if ring {
            *last = epoch;
        }
        ring
    }
}

#[cfg(test)]
impl Doorbell {
    /// The word itself, for those that run wild.
    pub(crate) fn word(&self) -> &AtomicU64 {
        &self.0.0
    }
}
