//! A pool's settings.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::pool::Pool;
use crate::pool::engine::Engine;
use crate::pool::supervisor::Supervisor;
use crate::protocol::control::WORKERS;
use crate::sys::cpu;

const WORKERS_WANTED: &str = "1 to 1024";
const _: () = assert!(WORKERS == 1024, "the sentence above says so");

/// How often a pure job's chunk is tried before the job fails, unless set otherwise.
const ATTEMPTS: u32 = 3;
/// How long a worker may go on with what was cancelled, unless set otherwise.
const CANCEL_GRACE: Duration = Duration::from_millis(100);

/// Settings of a [`Pool`], all optional.
///
/// # Examples
///
/// ```
/// use gristmill::Pool;
///
/// let pool = Pool::builder().workers(2).memory_budget(1 << 30).build()?;
/// assert_eq!(pool.workers(), 2);
/// # Ok::<(), gristmill::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Builder {
    workers: Option<usize>,
    memory_budget: Option<u64>,
    keep_warm: Option<u64>,
    attempts: Option<u32>,
    cancel_grace: Option<Duration>,
}

/// The settings, checked and completed.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) workers: usize,
    pub(crate) cores: usize,
    pub(crate) memory_budget: u64,
    pub(crate) keep_warm: u64,
    pub(crate) attempts: u32,
    pub(crate) cancel_grace: Duration,
}

impl Builder {
    /// How many worker processes to keep: 1 to 1024. Default: one a core that this process may
    /// use.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// The most bytes of shared memory that buffers, contexts and arguments may take together,
    /// 4 MiB to 16 TiB. Default: three quarters of the machine's or the container's memory.
    ///
    /// Beyond it, allocation fails with [`Error::OutOfMemory`]. Memory is counted in extents of
    /// 2 MiB, which small buffers share; what is kept warm gives way first. The results of tasks
    /// are not counted: they lie in their worker's memory, at most 4 GiB each, or the budget if
    /// that is less.
    pub fn memory_budget(mut self, size: u64) -> Self {
        self.memory_budget = Some(size);
        self
    }

    /// How many freed bytes to keep committed for reuse instead of returning them to the kernel.
    /// Default: half the budget; 0 returns everything.
    ///
    /// Memory that is warm costs nothing to use again, where the first touch of fresh memory
    /// costs up to a second a GiB.
    pub fn keep_warm(mut self, size: u64) -> Self {
        self.keep_warm = Some(size);
        self
    }

    /// How often a part of a pure job is tried when workers die over it, at least once.
    /// Default: 3. A panic is not tried again.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// How long a worker may go on with a task or a part of a job that was cancelled, before it is
    /// killed and replaced. Default: 100 milliseconds. [`Duration::MAX`]: for ever.
    ///
    /// It is about [`TaskHandle::cancel`](crate::TaskHandle::cancel) and
    /// [`Job::cancel`](crate::Job::cancel); what is merely dropped is never killed.
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.cancel_grace = Some(grace);
        self
    }

    /// Starts the workers and blocks until they are ready: some milliseconds.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for a setting out of range, [`Error::System`] when the kernel
    /// refuses memory (also because of `ulimit -v` or `ulimit -f`, which count the address space
    /// that is reserved), [`Error::Thread`] or [`Error::Spawn`] when it refuses a thread or a
    /// process or when this program cannot be started as a worker, [`Error::WorkersKeepDying`]
    /// when a worker dies before it is ready, [`Error::Handshake`] when it finds itself in another
    /// program. Workers started so far are ended first.
    pub fn build(self) -> Result<Pool, Error> {
        let config = self.complete()?;
        let engine = Engine::new(config)?;
        let supervisor = Supervisor::start(Arc::clone(&engine))?;
        Ok(Pool { engine, supervisor })
    }

    fn complete(self) -> Result<Config, Error> {
        let cores = cpu::available();
        let workers = self.workers.unwrap_or_else(|| cores.min(WORKERS));
        if !(1..=WORKERS).contains(&workers) {
            return Err(invalid("workers", WORKERS_WANTED, workers));
        }
        let memory_budget = self
            .memory_budget
            .unwrap_or_else(|| cpu::memory_limit() / 4 * 3);
        if !(4 << 20..=1 << 44).contains(&memory_budget) {
            return Err(invalid("memory_budget", "4 MiB to 16 TiB", memory_budget));
        }
        let attempts = self.attempts.unwrap_or(ATTEMPTS);
        if attempts == 0 {
            return Err(invalid("attempts", "at least 1", attempts));
        }
        let keep_warm = self.keep_warm.unwrap_or(memory_budget / 2);
        Ok(Config {
            workers,
            cores,
            memory_budget,
            keep_warm,
            attempts,
            cancel_grace: self.cancel_grace.unwrap_or(CANCEL_GRACE),
        })
    }
}

fn invalid(setting: &'static str, wanted: &'static str, found: impl ToString) -> Error {
    Error::InvalidConfig {
        setting,
        wanted,
        found: found.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_settings_are_refused_with_what_was_wanted() {
        let refused = [
            Builder::default().workers(0),
            Builder::default().workers(WORKERS + 1),
            Builder::default().memory_budget(0),
            Builder::default().memory_budget(u64::MAX),
            Builder::default().attempts(0),
        ];
        for builder in refused {
            let error = builder.clone().build().unwrap_err();
            assert!(
                matches!(error, Error::InvalidConfig { .. }),
                "{builder:?}: {error}"
            );
        }
    }
}
