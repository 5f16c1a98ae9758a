//! One sealed memfd, what is allocated in it, and the words that say who owns what.

#[cfg(not(gristmill_loom))]
pub(crate) mod extents;
#[cfg(not(gristmill_loom))]
pub(crate) mod heap;
pub(crate) mod owner;
#[cfg(not(gristmill_loom))]
pub(crate) mod region;
