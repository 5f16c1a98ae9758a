//! A refused system call: what was asked for, and the kernel's answer.

use nix::errno::Errno;

/// A system call failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the system refused to {what}: {errno}")]
pub(crate) struct SysError {
    /// What was asked for, as the end of a sentence: "map the region".
    pub(crate) what: &'static str,
    /// The kernel's answer.
    pub(crate) errno: Errno,
}

impl SysError {
    /// For `map_err`: names what was asked for.
    pub(crate) fn when(what: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self { what, errno }
    }

    /// The error that libc left behind in `errno`.
    pub(crate) fn last(what: &'static str) -> Self {
        Self {
            what,
            errno: Errno::last(),
        }
    }
}
