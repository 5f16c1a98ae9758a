//! Locks and their kin between processes, for threads and for tasks.
//!
//! Each is an object in a region: words, whose transitions are `sync`'s, a wait set or two, and
//! what lies beside them. Each operation has a form that gives up at once (`try_`), one that
//! blocks, one that blocks for a limited time (`_timeout`), and one that is awaited (`_async`).
//!
//! Invariant: a guard is made by a claim and gives it back, from whichever thread or task it is
//! dropped in; in a forked child its drop does nothing.

mod error;
mod mutex;
mod regions;
#[cfg(test)]
mod tests;

pub use error::LockError;
pub use mutex::{LockFuture, Mutex, MutexGuard};
