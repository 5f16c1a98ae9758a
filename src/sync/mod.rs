//! Waiting: parked workers, the parent's doorbell, and who waits for an object of a region.
//!
//! All follow one pattern. The one side writes what it has to say, fences, and looks whether the
//! other sleeps; the other says that it will sleep, fences, and looks once more whether there is
//! something to do. Whichever fence comes second, that side sees the other's write.

mod doorbell;
#[cfg(not(gristmill_loom))]
pub(crate) mod kernel;
#[cfg(all(test, gristmill_loom))]
mod latch_model;
pub(crate) mod latchword;
#[cfg(all(test, gristmill_loom))]
mod lock_model;
pub(crate) mod lockword;
#[cfg(all(test, gristmill_loom))]
mod model;
mod parking;
pub(crate) mod reentrant;
#[cfg(all(test, gristmill_loom))]
mod reentrant_model;
pub(crate) mod rwlock;
mod sentry;
#[cfg(all(test, gristmill_loom))]
mod sentry_model;
#[cfg(all(test, not(gristmill_loom)))]
mod tests;
pub(crate) mod waitset;
#[cfg(all(test, gristmill_loom))]
mod waitset_model;

use core::time::Duration;

use crate::primitive::atomic::AtomicU32;

pub(crate) use doorbell::Doorbell;
pub(crate) use parking::{Duty, Group, ParkWord, Parking};
pub(crate) use sentry::SentryWord;

/// The kernel's wait queue on a word, as the algorithms need it.
pub(crate) trait Futex {
    /// Sleeps if `word` holds `expected`, until woken, until `timeout` passed, or for no reason.
    fn wait(&self, word: &AtomicU32, expected: u32, timeout: Option<Duration>);

    /// Wakes up to `count` sleepers on `word`.
    fn wake(&self, word: &AtomicU32, count: u32);

    /// The core that runs the caller: a hint, where it matters to the sleepers.
    fn here(&self) -> Option<u32> {
        None
    }
}
