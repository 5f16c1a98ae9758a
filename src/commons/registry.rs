//! The regions that this process has attached, by number, so that handles are found their region.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::error::{RegionError, Result};

use super::inherited;
use super::region::{Attachment, Region};

static ATTACHED: Mutex<Vec<Weak<Attachment>>> = Mutex::new(Vec::new());

/// Adds a region; gives the one that is there already, if it is the same.
pub(super) fn attach(id: u64, make: impl FnOnce() -> Result<Arc<Attachment>>) -> Result<Region> {
    let mut all = ATTACHED.lock().unwrap_or_else(PoisonError::into_inner);
    // In a forked child what was attached by its parent is not attached.
    let is_ours = |one: &Arc<Attachment>| one.inner.is_here() && one.inner.id == id;
    if let Some(there) = all.iter().filter_map(Weak::upgrade).find(is_ours) {
        // The lock is let go first: this may be its last handle by then.
        drop(all);
        return Ok(Region(there));
    }
    let new = make()?;
    all.retain(|one| one.strong_count() > 0);
    all.push(Arc::downgrade(&new));
    Ok(Region(new))
}

/// The region with that number.
pub(super) fn find(id: u64) -> Result<Region> {
    let look = || {
        let all = ATTACHED.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|one| one.inner.is_here() && one.inner.id == id)
            .map(Region)
            .next();
        drop(all);
        found
    };
    if let Some(region) = look() {
        return Ok(region);
    }
    inherited::attach_all()?;
    look().ok_or_else(|| RegionError::NotAttached { region: id }.into())
}
