//! One sealed memfd, what is allocated in it, and the words that say who owns what.

#[cfg(not(gristmill_loom))]
pub(crate) mod block;
#[cfg(not(gristmill_loom))]
pub(crate) mod extents;
#[cfg(not(gristmill_loom))]
pub(crate) mod heap;
#[cfg(not(gristmill_loom))]
mod limit;
#[cfg(all(test, not(gristmill_loom)))]
mod model;
pub(crate) mod owner;
#[cfg(not(gristmill_loom))]
pub(crate) mod region;
#[cfg(not(gristmill_loom))]
pub(crate) mod span;
#[cfg(not(gristmill_loom))]
mod stats;

#[cfg(not(gristmill_loom))]
pub(crate) use limit::AllocError;
#[cfg(not(gristmill_loom))]
pub use limit::{MemoryLimit, OutOfMemory};
#[cfg(not(gristmill_loom))]
pub use stats::MemoryStats;
