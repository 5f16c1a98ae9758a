//! What a semaphore or a barrier can answer instead of doing what it was asked.

use crate::error::Error;

/// Why no permit was acquired. Nothing was taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// Too few are free, or somebody waits in front (`try_acquire` and `try_acquire_many` only).
    #[error("too few permits are free, or somebody is first in line for them")]
    NoPermits,
    /// The time was over before there were enough.
    #[error("there were too few permits in time")]
    TimedOut,
    /// There can never be so many.
    #[error(
        "{wanted} permits were wanted, and there can be {limit} at most; ask for fewer at once"
    )]
    TooMany {
        /// How many were wanted.
        wanted: u32,
        /// How many there can be.
        limit: u32,
    },
    /// The region cannot be used: this process was forked from one that uses it.
    #[error(transparent)]
    Region(Error),
}

/// Why no permit was released. Nothing was added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// There would be more permits than there may be: of a `BoundedSemaphore`, more than it was
    /// made with. Guards release what they hold by themselves.
    #[error(
        "releasing {released} permits would make more than the {limit} that there may be; release \
         only what was acquired and forgotten, and let guards release theirs"
    )]
    TooMany {
        /// How many were to be released.
        released: u32,
        /// How many there may be.
        limit: u32,
    },
    /// The region cannot be used: this process was forked from one that uses it.
    #[error(transparent)]
    Region(Error),
}

/// Why a party was not let through a barrier.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BarrierError {
    /// The barrier is broken: a party died or timed out, an action panicked, or somebody aborted or
    /// reset it.
    #[error("the barrier is broken, because a party died or gave up; reset it to begin anew")]
    Broken,
    /// The time was over before all had come. The barrier is broken now.
    #[error("not all parties came in time, and the barrier is broken now; reset it to begin anew")]
    TimedOut,
    /// The region cannot be used: this process was forked from one that uses it.
    #[error(transparent)]
    Region(Error),
}
