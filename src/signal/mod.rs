//! Events, semaphores and barriers between processes: the words of `gate` in a region's memory.
//!
//! *Invariants:* an attempt is whole or has done nothing, so that a future may be dropped between
//! any two. Whoever changes what others wait for wakes them after it; a death wakes all.

mod acquiring;
mod arriving;
mod barrier;
mod error;
mod event;
mod permits;
mod semaphore;

pub use acquiring::{Acquiring, Permit};
pub use arriving::BarrierWaiting;
pub(crate) use barrier::BARRIER;
pub use barrier::{Barrier, BarrierWait};
pub use error::{AcquireError, BarrierError, ReleaseError};
pub(crate) use event::EVENT;
pub use event::{Event, EventWaiting};
pub(crate) use permits::SEMAPHORE;
pub use semaphore::{BoundedSemaphore, Semaphore};
