//! Atomics and fences, from `core` or, under `--cfg gristmill_loom`, from loom.

#[cfg(not(gristmill_loom))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(gristmill_loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
