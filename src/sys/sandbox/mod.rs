//! Confinement of a process to computing: what is left to it, and the steps that cannot be undone.
//!
//! Two walls, either of which would do for most of it. Landlock ([`files`]) knows paths; the system
//! call filter ([`calls`]) knows everything else. A ruleset is a descriptor: it is made once, in
//! the parent, so that paths are looked up there and no path has to cross.

#[cfg(feature = "sandbox")]
mod calls;
#[cfg(feature = "sandbox")]
mod files;

use std::os::fd::OwnedFd;

use super::failure::SysError;
use crate::primitive::flag::Flag;

/// Raised in the last moment before.
static CONFINED: Flag = Flag::new();

/// Whether this process may look at no other one: trying would be a violation.
pub(crate) fn is_confined() -> bool {
    CONFINED.is_raised()
}

#[cfg(feature = "sandbox")]
pub(crate) use files::{Rights, Unprepared, prepare};

/// What a confined process may do besides computing, and what becomes of it when it does more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Some path may be read; which ones, the ruleset knows.
    pub(crate) reads: bool,
    /// Some path may be written.
    pub(crate) writes: bool,
    /// A violation ends the process.
    pub(crate) kills: bool,
}

impl Policy {
    /// Bits that mean something.
    const ALL: u8 = 0b111;

    pub(crate) const fn to_bits(self) -> u8 {
        self.reads as u8 | (self.writes as u8) << 1 | (self.kills as u8) << 2
    }

    /// `None` for bits that nobody writes: a policy that is not understood is not applied in part.
    pub(crate) const fn from_bits(bits: u8) -> Option<Self> {
        if bits & !Self::ALL != 0 {
            return None;
        }
        Some(Self {
            reads: bits & 1 != 0,
            writes: bits & 2 != 0,
            kills: bits & 4 != 0,
        })
    }
}

/// Confines this process for the rest of its life.
///
/// The filter holds for all its threads, the ruleset for the calling thread and those that it
/// starts. So fails with `EBUSY` if there are others already and some path may be opened, else with
/// what the kernel refused; then the process is confined in part and should end.
#[cfg(feature = "sandbox")]
pub(crate) fn confine(ruleset: OwnedFd, policy: Policy) -> Result<(), SysError> {
    if policy.reads || policy.writes {
        files::require_one_thread()?;
    }
    files::restrict(ruleset)?;
    CONFINED.raise();
    calls::filter(policy)
}

/// A worker of a program that was built without the feature is never asked for this; should it be,
/// it refuses to serve.
#[cfg(not(feature = "sandbox"))]
pub(crate) fn confine(_: OwnedFd, _: Policy) -> Result<(), SysError> {
    Err(SysError::of(
        "confine a process without the feature `sandbox`",
    )(nix::errno::Errno::ENOSYS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_survives_its_bits_and_others_are_refused() {
        for bits in 0..=u8::MAX {
            match Policy::from_bits(bits) {
                Some(policy) => assert_eq!(policy.to_bits(), bits),
                None => assert!(bits > Policy::ALL),
            }
        }
    }
}
