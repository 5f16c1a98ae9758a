//! The parent's side: a pool of workers, their supervision, and what they are asked to do.
//!
//! ```text
//! Pool ─ Engine ┬ region, heap, control area      what is shared, and who owns it
//!               ├ Hub (one mutex)                 every task and job that has no outcome yet
//!               ├ Supervisor (one thread)         starts, reaps and replaces workers
//!               └ wait / reactor                  how callers learn of outcomes
//! ```
//!
//! # Invariants
//! - Whatever a caller waits for has an entry in the hub until it has an outcome, and the outcome
//!   is delivered exactly once, under the hub's lock.
//! - Only the supervisor creates and reaps processes; only after reaping is a worker's work
//!   taken back.
//! - Wakers are called after the hub's lock was released.

pub(crate) mod alarm;
pub(crate) mod arena;
pub(crate) mod audit;
pub(crate) mod builder;
pub(crate) mod caller;
pub(crate) mod chunking;
pub(crate) mod closing;
pub(crate) mod dispatch;
#[cfg(feature = "tracing")]
pub(crate) mod echo;
pub(crate) mod engine;
pub(crate) mod entry;
pub(crate) mod flight;
pub(crate) mod helping;
pub(crate) mod hub;
pub(crate) mod job;
pub(crate) mod lanes;
pub(crate) mod launch;
pub(crate) mod life;
pub(crate) mod reply;
mod room;
pub(crate) mod roster;
#[cfg(feature = "sandbox")]
pub(crate) mod sandbox;
pub(crate) mod scheduler;
pub(crate) mod sticky;
pub(crate) mod submit;
pub(crate) mod terms;

mod aftermath;
mod deadline;
mod draft;
mod harvest;
mod inquiry;
mod memory;
mod output;
mod pace;
mod reactor;
mod rebuild;
mod recovery;
mod reserve;
pub(crate) mod spare;
mod start;
mod stats;
mod supervisor;
mod wait;

use std::fmt;
use std::sync::Arc;

pub use builder::Builder;
pub use closing::{Closed, Closing};
pub use output::{OutputLines, OutputStream, WorkerLine};
#[cfg(feature = "sandbox")]
pub use sandbox::{Sandbox, Violation};
pub use scheduler::{QueueId, RoundRobin, Scheduler, TaskInfo, WorkerInfo};
pub use start::StartMethod;
pub use stats::{Stats, WorkerState, WorkerStats};

use crate::error::Error;
use crate::pool::engine::Engine;
use crate::pool::supervisor::Supervisor;

/// A pool of worker processes and the shared memory they work on.
///
/// Workers are started by [`Pool::new`] or [`Builder::build`], which return when all of them are
/// ready. A worker that dies is replaced. Dropping the pool kills the workers and blocks until
/// they are gone; whatever is still pending then fails with
/// [`TaskError::PoolClosed`](crate::TaskError::PoolClosed).
/// Buffers and results live on for as long as somebody holds them.
///
/// All methods take `&self` and may be called from any number of threads. A process that was
/// forked from the pool's owner must not use it.
///
/// # Examples
///
/// ```
/// use gristmill::Pool;
///
/// let pool = Pool::new()?;
/// let xs = pool.alloc_from_fn(1_000, |i| i as f64)?.freeze();
/// let ys = pool.par_map(&xs, |x| x.sqrt()).wait()?;
/// assert_eq!(ys[81], 9.0);
/// # Ok::<(), gristmill::Error>(())
/// ```
pub struct Pool {
    engine: Arc<Engine>,
    supervisor: Supervisor,
}

impl Pool {
    /// A pool with one worker a core.
    ///
    /// Blocks until the workers are ready: some milliseconds.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// A pool with settings of your own.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// How many workers the pool keeps.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.engine.workers()
    }

    /// The process ids of the workers alive now, in order of their index.
    ///
    /// A worker that has just died may still be listed, one that is just starting may not be. A
    /// child that this process forked has no workers.
    #[must_use]
    pub fn worker_pids(&self) -> Vec<u32> {
        match self.engine.check_process() {
            Ok(()) => self.engine.hub().roster.pids(),
            Err(_) => Vec::new(),
        }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.supervisor.stop();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("workers", &self.workers())
            .finish_non_exhaustive()
    }
}
