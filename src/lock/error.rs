//! Why a lock was not had, or not as it should be.

use core::fmt;

use crate::error::Error;

/// Why a lock, or the like, was not had; or why it was had with a warning.
#[non_exhaustive]
pub enum LockError<G> {
    /// It was locked, and here is the guard; but a process died while it held the lock, so that the
    /// data may be half-written. Repair it and say so (`clear_poison`), or others will be told the
    /// same.
    Poisoned(G),
    /// Somebody holds it (`try_` forms).
    WouldBlock,
    /// Somebody held it all the time (`_timeout` forms).
    TimedOut,
    /// It cannot be used here at all, as in a process that was forked.
    Failed(Error),
}

impl<G> LockError<G> {
    /// The guard, if there is one: whatever the data is like.
    pub fn into_guard(self) -> Option<G> {
        match self {
            Self::Poisoned(guard) => Some(guard),
            _ => None,
        }
    }

    /// Whether a process died while it held the lock.
    pub fn is_poisoned(&self) -> bool {
        matches!(self, Self::Poisoned(_))
    }
}

impl<G> From<Error> for LockError<G> {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<G> fmt::Debug for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisoned(_) => f.write_str("Poisoned(..)"),
            Self::WouldBlock => f.write_str("WouldBlock"),
            Self::TimedOut => f.write_str("TimedOut"),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

impl<G> fmt::Display for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisoned(_) => f.write_str(
                "a process died while it held the lock; take the guard out of the error, make the \
                 data whole, and say so with `clear_poison`",
            ),
            Self::WouldBlock => f.write_str("the lock is held by somebody else"),
            Self::TimedOut => f.write_str("the lock was held by others for the time given"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<G> core::error::Error for LockError<G> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            _ => None,
        }
    }
}
