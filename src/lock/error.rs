//! Why a lock was not had, or not as it should be.

use core::fmt;

use crate::error::Error;

/// Why a lock was not had; or that it was had, with a warning.
#[non_exhaustive]
pub enum LockError<G> {
    /// It is locked, and here is the guard; but a process died, or a thread panicked, while it held
    /// the lock, so that the data may be half-written. Make it whole and say so by the lock's
    /// `clear_poison`, or others will be told the same.
    Poisoned(G),
    /// Somebody holds it (`try_` only).
    WouldBlock,
    /// Somebody held it all the time.
    TimedOut,
    /// The region cannot be used: this process was forked from one that used it.
    Region(Error),
}

/// A guard, or why there is none or one with a warning.
pub type LockResult<G> = Result<G, LockError<G>>;

impl<G> LockError<G> {
    /// The guard, if there is one: whatever the data is like.
    pub fn into_guard(self) -> Option<G> {
        match self {
            Self::Poisoned(guard) => Some(guard),
            _ => None,
        }
    }

    /// Whether it is locked, but the data may be half-written.
    pub fn is_poisoned(&self) -> bool {
        matches!(self, Self::Poisoned(_))
    }

    /// The same with another guard.
    pub(super) fn map<H>(self, change: impl FnOnce(G) -> H) -> LockError<H> {
        match self {
            Self::Poisoned(guard) => LockError::Poisoned(change(guard)),
            Self::WouldBlock => LockError::WouldBlock,
            Self::TimedOut => LockError::TimedOut,
            Self::Region(error) => LockError::Region(error),
        }
    }
}

/// A guard, as poisoned as it is.
pub(super) fn result<G>(guard: G, poisoned: bool) -> LockResult<G> {
    match poisoned {
        false => Ok(guard),
        true => Err(LockError::Poisoned(guard)),
    }
}

impl<G> fmt::Debug for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisoned(_) => f.write_str("Poisoned(..)"),
            Self::WouldBlock => f.write_str("WouldBlock"),
            Self::TimedOut => f.write_str("TimedOut"),
            Self::Region(error) => f.debug_tuple("Region").field(error).finish(),
        }
    }
}

impl<G> fmt::Display for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisoned(_) => f.write_str(
                "a process died or a thread panicked while it held the lock; take the guard out of \
                 the error, make the data whole, and say so by `clear_poison`",
            ),
            Self::WouldBlock => f.write_str("somebody else holds the lock"),
            Self::TimedOut => f.write_str("others held the lock all the time"),
            Self::Region(error) => error.fmt(f),
        }
    }
}

impl<G> std::error::Error for LockError<G> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Region(error) => error.source(),
            _ => None,
        }
    }
}
