//! A one-way flag between threads of one process.

use core::sync::atomic::{AtomicBool, Ordering};

/// Raised once, never lowered.
#[derive(Debug)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Raises the flag; everything before is visible to whoever sees it raised.
    pub(crate) fn raise(&self) {
        // ORDERING: Release; pairs with the Acquire in `is_raised`.
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_raised(&self) -> bool {
        // ORDERING: Acquire; pairs with the Release in `raise`.
        self.0.load(Ordering::Acquire)
    }
}
