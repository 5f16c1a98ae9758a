//! Regions' descriptors, as a process that is started gets them: by number, in a second variable of
//! its environment, which is removed at once.
//!
//! ```text
//! 7:8:12
//! ```

use core::fmt;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

/// The variable's name.
pub(crate) const VARIABLE: &str = concat!("GRISTMILL_REGIONS_", env!("CARGO_PKG_VERSION_MAJOR"));

/// What was passed to this process.
static PASSED: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

/// What is passed on to each process that is started, and lives as long.
#[derive(Clone)]
pub(crate) struct Passed(Arc<dyn AsFd + Send + Sync>);

impl Passed {
    pub(crate) fn new(what: impl AsFd + Send + Sync + 'static) -> Self {
        Self(Arc::new(what))
    }
}

impl AsFd for Passed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl fmt::Debug for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Passed").field(&self.as_fd()).finish()
    }
}

/// The variable for these, if there are any.
pub(crate) fn variable(passed: &[Passed]) -> Vec<(OsString, OsString)> {
    let descriptors: Vec<_> = passed.iter().map(Passed::as_fd).collect();
    match descriptors[..] {
        [] => Vec::new(),
        _ => vec![(VARIABLE.into(), write(&descriptors).into())],
    }
}

/// The variable's value.
pub(crate) fn write(descriptors: &[BorrowedFd<'_>]) -> String {
    // One that was given twice is there once.
    let numbers: BTreeSet<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let numbers: Vec<_> = numbers.into_iter().map(|fd| fd.to_string()).collect();
    numbers.join(":")
}

/// The numbers that a value names: above the standard streams, and different.
pub(crate) fn read(text: &str) -> Option<Vec<RawFd>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let numbers: Result<Vec<RawFd>, _> = text.split(':').map(str::parse).collect();
    let mut sorted = numbers.ok()?;
    sorted.sort_unstable();
    let fit = sorted[0] > 2 && sorted.windows(2).all(|pair| pair[0] < pair[1]);
    fit.then_some(sorted)
}

/// These are what this process has got, from now on and instead of others.
pub(crate) fn keep(descriptors: Vec<OwnedFd>) {
    *PASSED.lock().unwrap_or_else(PoisonError::into_inner) = descriptors;
}

/// What was passed to this process and was not yet taken.
pub(crate) fn take() -> Vec<OwnedFd> {
    core::mem::take(&mut PASSED.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let text = write(&[file.as_fd()]);
        assert_eq!(read(&text), Some(vec![file.as_raw_fd()]));
        assert_eq!(read(&write(&[])), Some(vec![]));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["x", "2", "3:3", "3:", ":", "-1", "3 4"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
