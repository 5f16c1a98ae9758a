//! The sentry: a sleeping worker that looks up now and then, so that others need not be woken.
//!
//! ```text
//! word   31    30           16 15           0
//!       [brisk][   unused     ][ index + 1   ]     0: nobody stands sentry
//! ```
//!
//! While tasks are claimed in quick succession, a worker that is woken for more of them only takes
//! turns with those that are awake. But no task may wait for ever behind one that takes for ever,
//! and nobody knows beforehand which does. So one sleeper sleeps for a short time only, again and
//! again, and compares how many tasks have been claimed meanwhile: it is *brisk* as long as that
//! were many. Only while its bit says so may a submitter leave it at the workers that are awake
//! ([`super::Parking::wake_unless_enough`]).
//!
//! No submission goes unseen by that:
//! - The sentry leaves its post (S1) before it looks for work for the last time, with a fence in
//!   between (F2 of `parking.rs`). A submitter makes work visible, fences (F1) and then reads the
//!   word. If it still finds the bit, F1 comes before F2, and the sentry sees the work.
//! - At its post it looks at the work each time it wakes up, and takes it unless claims go on.
//! - If it dies, its post is freed once it is reaped, and then all sleepers are woken.

use crate::primitive::atomic::{AtomicU32, Ordering};
use crate::primitive::line::Line;

const BRISK: u32 = 1 << 31;

/// Who stands sentry, and how things go.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct SentryWord(Line<AtomicU32>);

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<SentryWord>() == 64);

impl SentryWord {
    /// Nobody's; to be written in place.
    pub(crate) fn new() -> Self {
        Self(Line(AtomicU32::new(0)))
    }

    /// By a worker that has announced that it sleeps: whether it stands sentry now.
    pub(super) fn mount(&self, me: u16) -> bool {
        // Relaxed: a look that saves an exchange. In both the word alone matters.
        self.0.0.load(Ordering::Relaxed) == 0
            && self
                .0
                .0
                .compare_exchange(0, Self::name(me), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// By the sentry: claims go on briskly. False: it is relieved.
    pub(super) fn report_brisk(&self, me: u16) -> bool {
        let name = Self::name(me);
        // Relaxed: nothing hangs on the bit but who is woken; fence F1 is the submitter's part.
        match self
            .0
            .0
            .compare_exchange(name, name | BRISK, Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => true,
            Err(found) => found == name | BRISK,
        }
    }

    /// S1: the post is free, if it was this worker's. A fence follows before it looks for work.
    pub(super) fn leave(&self, me: u16) {
        // Relaxed: a look; who else could have made the word ours?
        let seen = self.0.0.load(Ordering::Relaxed);
        if seen & !BRISK == Self::name(me) {
            // Relaxed: the fence orders it. If it fails, the parent has freed the post.
            let _ = self
                .0
                .0
                .compare_exchange(seen, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// By the parent, who then wakes all: the post is free, whoever had it.
    pub(super) fn clear(&self) {
        // Relaxed: whoever relied on it published before, and is made good by the waking.
        if self.0.0.load(Ordering::Relaxed) != 0 {
            self.0.0.swap(0, Ordering::Relaxed);
        }
    }

    /// Whether a sentry says that claims go on briskly.
    pub(super) fn is_brisk(&self) -> bool {
        // Relaxed: the caller's fence F1 orders it.
        self.0.0.load(Ordering::Relaxed) & BRISK != 0
    }

    fn name(me: u16) -> u32 {
        u32::from(me) + 1
    }

    /// The word, for those that run wild.
    #[cfg(test)]
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.0.0
    }
}
