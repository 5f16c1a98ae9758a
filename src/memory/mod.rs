//! One sealed memfd, what is allocated in it, and the words that say who owns what.

pub(crate) mod block;
pub(crate) mod extents;
pub(crate) mod heap;
mod limit;
#[cfg(test)]
mod model;
pub(crate) mod owner;
pub(crate) mod region;
pub(crate) mod span;

pub(crate) use limit::AllocError;
pub use limit::{MemoryLimit, OutOfMemory};
