//! What the tests of events, semaphores and barriers share.

#![allow(dead_code, reason = "not every test file uses all of it")]

use std::time::Duration;

use gristmill::{Handle, Object, Region};

/// Far more than any of this takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const MOMENT: Duration = Duration::from_millis(20);

pub(crate) fn region() -> Region {
    Region::new(4 << 20).unwrap()
}

pub(crate) fn open<T: Object>(words: &rkyv::Archived<[u64; 2]>) -> T {
    let words = [words[0].into(), words[1].into()];
    Handle::from_words(words).open().unwrap()
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let builder = tokio::runtime::Builder::new_current_thread().build();
    builder.unwrap()
}
