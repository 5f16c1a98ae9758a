//! What the kernel refused: the call, in words, and its error number.

use nix::errno::Errno;

/// A system call that failed, with what it was meant to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("could not {attempt}: {errno}")]
pub struct SysError {
    /// What was tried, as the end of the sentence "could not …".
    pub(crate) attempt: &'static str,
    /// Why the kernel refused.
    pub(crate) errno: Errno,
}

impl SysError {
    /// For `map_err`: names the attempt whose error number follows.
    pub(crate) fn of(attempt: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self { attempt, errno }
    }

    /// The failure that `errno` describes right now; call it straight after the libc function.
    pub(crate) fn last(attempt: &'static str) -> Self {
        Self {
            attempt,
            errno: Errno::last(),
        }
    }

    /// The kernel's error number, as in `std::io::Error::raw_os_error`.
    pub fn raw_os_error(&self) -> i32 {
        self.errno as i32
    }
}
