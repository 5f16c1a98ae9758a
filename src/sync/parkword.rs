//! What one worker sleeps on, and where it lay down.
//!
//! ```text
//! a line of its own:   byte 0 [ word ][ core ]
//! word: AWAKE -> PARKED -> AWAKE (itself, or a waker)
//! core: where it went to sleep, plus one; 0: it did not say
//! ```

use crate::primitive::atomic::{AtomicU32, Ordering};

pub(super) const AWAKE: u32 = 0;
pub(super) const PARKED: u32 = 1;

/// What one worker sleeps on, and where.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct ParkWord {
    pub(super) word: AtomicU32,
    pub(super) core: AtomicU32,
}

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<ParkWord>() == 64);

impl ParkWord {
    /// Awake; to be written in place.
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU32::new(AWAKE),
            core: AtomicU32::new(0),
        }
    }

    pub(super) fn park(&self) {
        // ORDERING: P2, Release; who sees the worker parked sees that it has let go of its work
        // (`is_asleep`). For wakers the bits that follow and the fence after them publish it.
        self.word.store(PARKED, Ordering::Release);
    }

    /// Adds the core that the worker lay down on to these; whether it is a new one.
    pub(super) fn joins(&self, cores: &mut u64) -> bool {
        // Relaxed: a hint.
        let core = self.core.load(Ordering::Relaxed);
        let bit = 1 << (core % 64);
        let is_new = core != 0 && *cores & bit == 0;
        *cores |= if core == 0 { 0 } else { bit };
        is_new
    }

    /// PARKED -> AWAKE. False: somebody else woke it.
    pub(super) fn unpark(&self) -> bool {
        // Relaxed: the worker that wakes looks for work, which has its own publication.
        self.word
            .compare_exchange(PARKED, AWAKE, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    pub(super) fn is_parked(&self) -> bool {
        // Relaxed: the kernel compares once more, and work has its own publication.
        self.word.load(Ordering::Relaxed) == PARKED
    }
}
