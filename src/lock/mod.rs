//! Locks between processes that survive their holders.
//!
//! Each is an object in a region: words, whose transitions are `sync`'s, a wait set or more, and
//! behind them the value that is guarded ([`place`]). One attempt at a time is made to have it;
//! futures and blocking calls repeat attempts while they wait ([`locking`]).
//!
//! *Invariants:* a guard is made by a claim and gives it back, from whichever thread or task it is
//! dropped in; in a forked child its drop does nothing. What is guarded is referred to through a
//! guard only, and never by two of which one may write.

mod condvar;
mod error;
mod locking;
mod mutex;
mod place;
mod reentrant;
mod rwlock;
mod rwlock_guards;

pub(crate) use condvar::CONDVAR;
pub use condvar::{Condvar, Noticing};
pub use error::{LockError, LockResult};
pub use locking::{Locking, Way};
pub(crate) use mutex::MUTEX;
pub use mutex::{Mutex, MutexGuard};
pub(crate) use reentrant::REENTRANT;
pub use reentrant::{ReentrantMutex, ReentrantMutexGuard};
pub(crate) use rwlock::RWLOCK;
pub use rwlock::{Read, RwLock};
pub use rwlock_guards::{RwLockReadGuard, RwLockWriteGuard, Writing};
