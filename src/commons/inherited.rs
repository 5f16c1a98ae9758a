//! Regions that this process was started with; attached when the first of them is needed, and kept
//! to its end.

use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::protocol::passed;

use super::region::Region;

static KEPT: Mutex<Vec<Region>> = Mutex::new(Vec::new());

/// Attaches what was passed to this process and is not attached yet.
pub(super) fn attach_all() -> Result<()> {
    for file in passed::take() {
        let region = Region::from_fd(file)?;
        KEPT.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(region);
    }
    Ok(())
}

/// All of them, in the order of their numbers.
pub(super) fn all() -> Result<Vec<Region>> {
    attach_all()?;
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    // What a forked child has of its parent's is not its own.
    Ok(kept
        .iter()
        .filter(|region| region.0.inner.is_here())
        .cloned()
        .collect())
}
