//! One sealed memfd, what is allocated in it, and the words that say who owns what.

pub(crate) mod extents;
pub(crate) mod heap;
mod limit;
pub(crate) mod owner;
pub(crate) mod region;

pub(crate) use limit::AllocError;
pub use limit::{MemoryLimit, OutOfMemory};
