//! Regions that a process is given when it is started: their descriptors, and a variable that names
//! them.
//!
//! ```text
//! GRISTMILL_REGIONS_0_1_0=<fd>,<fd>...
//! ```

#![expect(
    unsafe_code,
    reason = "takes over descriptors, and changes the environment at the start"
)]

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

use crate::sys::failure::SysError;
use crate::sys::process;

const VARIABLE: &str = concat!(
    "GRISTMILL_REGIONS_",
    env!("CARGO_PKG_VERSION_MAJOR"),
    "_",
    env!("CARGO_PKG_VERSION_MINOR"),
    "_",
    env!("CARGO_PKG_VERSION_PATCH"),
);

/// What this process was given.
static GIVEN: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

/// What is to be given to a process.
#[derive(Clone, Default)]
pub(crate) struct Inheritance(Vec<Arc<dyn AsFd + Send + Sync>>);

impl Inheritance {
    pub(crate) fn add(&mut self, file: Arc<dyn AsFd + Send + Sync>) {
        self.0.push(file);
    }

    /// The descriptors, which it finds under the same numbers.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|file| file.as_fd())
    }

    /// The variable that names them, if there are any.
    pub(crate) fn variable(&self) -> Option<(OsString, OsString)> {
        let numbers = self.descriptors().map(|file| file.as_raw_fd().to_string());
        let numbers: Vec<_> = numbers.collect();
        (!numbers.is_empty()).then(|| (VARIABLE.into(), numbers.join(",").into()))
    }
}

impl fmt::Debug for Inheritance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Inheritance").field(&self.0.len()).finish()
    }
}

/// Takes over what this process was given, so that programs which it starts do not have it. A
/// descriptor that is not open is an error.
///
/// # Safety
/// This is the only thread, and nobody else owns the descriptors that are named.
pub(crate) unsafe fn adopt() -> Result<(), SysError> {
    let Some(text) = env::var_os(VARIABLE) else {
        return Ok(());
    };
    // SAFETY: the only thread, by the caller's promise.
    unsafe { env::remove_var(VARIABLE) };
    let text = text.to_string_lossy();
    let numbers = text
        .split(',')
        .filter_map(|number| number.parse::<RawFd>().ok());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for number in numbers.filter(|&number| number > 2) {
        // SAFETY: the caller's promise.
        given.push(unsafe { process::adopt(number) }?);
    }
    Ok(())
}

/// What this process was given.
pub(crate) fn given() -> Vec<OwnedFd> {
    let given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    given
        .iter()
        .filter_map(|file| file.try_clone().ok())
        .collect()
}
