//! A pool's settings.

#![expect(unsafe_code, reason = "a set-up function summons its closure")]

mod completion;
mod looking;
mod starting;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::pool::Pool;
use crate::pool::engine::Engine;
use crate::pool::life::{LifePlan, Service};
#[cfg(feature = "sandbox")]
use crate::pool::sandbox::Sandbox;
use crate::pool::scheduler::{self, Scheduler};
use crate::pool::start::{Manner, StartMethod};
use crate::pool::supervisor::{Supervisor, Upcoming};
use crate::protocol::closure::{require_no_captures, summon};
use crate::protocol::function::FunctionId;
use crate::protocol::inherited::Inheritance;
use crate::protocol::settings::Settings;
use crate::sys::environment::Variables;
use crate::sys::sandbox::Policy;

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
    queues: Option<usize>,
    scheduler: Option<scheduler::Policy>,
    memory_budget: Option<u64>,
    keep_warm: Option<u64>,
    attempts: Option<u32>,
    cancel_grace: Option<Duration>,
    queue_depth: Option<usize>,
    settings: Settings,
    variables: Variables,
    pub(super) regions: Inheritance,
    cores: Vec<usize>,
    setup: Option<fn()>,
    pub(super) life: LifePlan,
    start_method: StartMethod,
    preload: Option<fn()>,
    forks: bool,
    command: Vec<OsString>,
    captured_lines: Option<usize>,
    #[cfg(feature = "sandbox")]
    sandbox: Option<Sandbox>,
}

/// The settings, checked and completed.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) workers: usize,
    pub(crate) queues: usize,
    /// Who chooses the queue of a task; nobody where there is no choice.
    pub(crate) scheduler: Option<scheduler::Policy>,
    pub(crate) cores: usize,
    pub(crate) memory_budget: u64,
    pub(crate) keep_warm: u64,
    pub(crate) attempts: u32,
    pub(crate) cancel_grace: Duration,
    pub(crate) queue_depth: Option<usize>,
    pub(crate) settings: Settings,
    /// Of the workers' environment.
    pub(crate) variables: Variables,
    /// Regions that workers are given.
    pub(crate) regions: Inheritance,
    pub(crate) service: Service,
    pub(crate) manner: Manner,
    pub(crate) captured_lines: Option<usize>,
    pub(crate) setup: Option<FunctionId>,
    /// The ruleset that workers bind themselves to, and what else they may do.
    pub(crate) sandbox: Option<(Arc<OwnedFd>, Policy)>,
}

impl Config {
    /// How many cores the workers may keep busy.
    pub(crate) fn worker_cores(&self) -> usize {
        let chosen = self.settings.cores.map(|cores| {
            let each = cores.iter().map(|word| word.count_ones() as usize);
            each.sum::<usize>().max(1)
        });
        chosen.map_or(self.cores, |chosen| chosen.min(self.cores))
    }
}

impl Builder {
    /// How many worker processes to keep: 1 to 1024. Default: one a core that this process may
    /// use.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// How many queues tasks wait in: 1 to 64, and no more than workers. Default: 1.
    ///
    /// Each worker takes tasks from one queue: worker `w` of those in order of their index from
    /// queue `w % queues`. Which queue a task goes to, a [`Scheduler`] says:
    /// [`RoundRobin`](crate::RoundRobin) unless [another](Builder::scheduler) is set. Chunks of
    /// jobs over ranges are taken by all workers, and a [sticky](crate::TaskBuilder::sticky) task
    /// by its own.
    ///
    /// Queues keep tasks apart. They do not balance: a task does not move to another queue whose
    /// workers have nothing to do.
    pub fn queues(mut self, queues: usize) -> Self {
        self.queues = Some(queues);
        self
    }

    /// Who chooses the queue of each task. It is made by `make` when the pool is built, once for
    /// each pool.
    ///
    /// # Examples
    ///
    /// ```
    /// use gristmill::{Pool, Priority, QueueId, Scheduler, TaskInfo};
    ///
    /// /// One queue for what is urgent, the other for the rest.
    /// struct Lanes;
    ///
    /// impl Scheduler for Lanes {
    ///     fn queue_for(&mut self, task: &TaskInfo) -> QueueId {
    ///         QueueId::new(usize::from(task.priority != Priority::High))
    ///     }
    /// }
    ///
    /// let pool = Pool::builder().workers(3).queues(2).scheduler(|| Lanes).build()?;
    /// let urgent = pool.task(20_u32, |x| x.to_native() + 1).priority(Priority::High).spawn()?;
    /// assert_eq!(*urgent.wait()?, 21);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn scheduler<S, F>(mut self, make: F) -> Self
    where
        S: Scheduler + 'static,
        F: Fn() -> S + Send + Sync + 'static,
    {
        self.scheduler = Some(scheduler::Policy::new(make));
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

    /// How many tasks may be pending, waiting for a worker or running, before
    /// [`Pool::try_spawn`] gives its arguments back and [`Pool::spawn_when_free`] waits; at least
    /// one. Default: no limit.
    ///
    /// [`Pool::spawn`] queues beyond it, and a [`Map`](crate::Map) has a bound of its own. Tasks of
    /// both count.
    pub fn queue_depth(mut self, tasks: usize) -> Self {
        self.queue_depth = Some(tasks);
        self
    }

    /// The most memory that a worker may have for itself, at least 16 MiB: its heap, its statics
    /// and what else only it can write. The pool's shared memory does not count. Default: no limit.
    ///
    /// An allocation beyond it fails, which in most programs ends the worker with `SIGABRT`.
    pub fn worker_memory(mut self, size: u64) -> Self {
        self.settings.memory = Some(size);
        self
    }

    /// The processor time that a worker may use in its life, rounded up to seconds; at least one.
    /// Then it is ended by `SIGXCPU` and replaced, whatever it works on. Default: no limit.
    pub fn worker_cpu_time(mut self, time: Duration) -> Self {
        let part = u64::from(time.subsec_nanos() > 0);
        self.settings.cpu_seconds = Some(time.as_secs().saturating_add(part));
        self
    }

    /// How many files a worker may have open, at least 16: some are open already. Default: as this
    /// process.
    pub fn worker_open_files(mut self, count: u64) -> Self {
        self.settings.open_files = Some(count);
        self
    }

    /// How much workers give way to other programs: -20 (not at all, for privileged users) to 19.
    /// Default: as this process.
    pub fn worker_nice(mut self, nice: i32) -> Self {
        self.settings.nice = Some(nice);
        self
    }

    /// The cores that workers may run on, by their numbers below 1024. Default: as this process.
    ///
    /// It does not change how many workers there are.
    pub fn worker_cores(mut self, cores: impl IntoIterator<Item = usize>) -> Self {
        self.settings.cores = Some(Default::default());
        self.cores = cores.into_iter().collect();
        self
    }

    /// Runs `f` in each worker before its first task, after all other settings: to set what has no
    /// method here. `f` must capture nothing. A worker in which it panics does not serve.
    ///
    /// # Examples
    ///
    /// ```
    /// use gristmill::Pool;
    ///
    /// let setup = || std::env::set_current_dir("/").expect("there is a root");
    /// let pool = Pool::builder().worker_setup(setup).build()?;
    /// let place = pool.spawn((), |()| std::env::current_dir().unwrap().display().to_string())?;
    /// assert_eq!(*place.wait()?, *"/");
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn worker_setup<F>(mut self, f: F) -> Self
    where
        F: Fn() + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        self.setup = Some(setup::<F>);
        self
    }

    /// Has everything that workers write to their standard output and standard error read by the
    /// pool, and handed out by [`Pool::output_lines`]. Default: workers write where this process
    /// does.
    ///
    /// So many lines are kept until somebody takes them; then the oldest are dropped and counted,
    /// so that no worker ever waits for a reader. Each has at most 8 KiB; longer ones come in
    /// pieces. What a worker wrote before it died is handed out, also the beginning of a line,
    /// before its death is told; what was still in a buffer of its own, such as that of `print!`
    /// without a newline, has died with it. Programs that a task starts write to the same place;
    /// from their worker's end on they cannot.
    pub fn capture_output(mut self, lines: usize) -> Self {
        self.captured_lines = Some(lines);
        self
    }

    /// Confines workers to computing, after [`worker_setup`](Self::worker_setup) and before the
    /// first task: see [`Sandbox`]. Default: they may do what this process may. It goes with every
    /// way to start workers but [`fork`](Self::fork), where `build` fails with
    /// [`Error::InvalidConfig`]: a fork has all that this process has open and mapped.
    #[cfg(feature = "sandbox")]
    pub fn sandbox(mut self, sandbox: Sandbox) -> Self {
        self.sandbox = Some(sandbox);
        self
    }

    /// Starts the workers and blocks until they are ready: some milliseconds.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for a setting out of range, [`Error::System`] when the kernel
    /// refuses memory (also because of `ulimit -v` or `ulimit -f`, which count the address space
    /// that is reserved), [`Error::Thread`] or [`Error::Spawn`] when it refuses a thread or a
    /// process or when this program cannot be started as a worker, [`Error::WorkersKeepDying`]
    /// when a worker dies before it is ready, [`Error::SettingRefused`] when it cannot apply a
    /// setting to itself or a function that it is to run first panics, [`Error::StartTimedOut`]
    /// when it takes too long, `Error::SandboxUnavailable` when the kernel lacks what a sandbox is
    /// made of, [`Error::Handshake`] when it finds itself in another
    /// program. Workers started so far are ended first.
    pub fn build(self) -> Result<Pool, Error> {
        let plan = self.life.clone();
        let config = self.complete()?;
        // It comes up while the rest is made.
        let upcoming = Upcoming::new()?;
        let engine = Engine::new(config)?;
        let instructions = plan.instruct(&engine)?;
        let supervisor = Supervisor::start(upcoming, Arc::clone(&engine), instructions)?;
        Ok(Pool { engine, supervisor })
    }
}

fn setup<F: Fn() + Copy + Sync>() {
    // SAFETY: the parent holds the closure whose type this function was made for.
    let f = unsafe { summon::<F>() };
    f();
}

pub(super) fn invalid(setting: &'static str, wanted: &'static str, found: impl ToString) -> Error {
    Error::InvalidConfig {
        setting,
        wanted,
        found: found.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::control::WORKERS;
    use crate::protocol::lanes::QUEUES;

    #[test]
    fn absurd_settings_are_refused_with_what_was_wanted() {
        let refused = [
            Builder::default().workers(0),
            Builder::default().workers(WORKERS + 1),
            Builder::default().workers(2).queues(3),
            Builder::default().workers(2).queues(0),
            Builder::default().workers(100).queues(QUEUES + 1),
            Builder::default().memory_budget(0),
            Builder::default().memory_budget(u64::MAX),
            Builder::default().attempts(0),
            Builder::default().queue_depth(0),
            Builder::default().worker_memory(1 << 20),
            Builder::default().worker_cpu_time(Duration::ZERO),
            Builder::default().worker_open_files(3),
            Builder::default().worker_nice(20),
            Builder::default().worker_nice(i32::MIN),
            Builder::default().worker_cores([]),
            Builder::default().capture_output(0),
            Builder::default().worker_env("A=B", "1"),
            Builder::default().worker_env("", "1"),
            Builder::default().worker_env("A", "1\0"),
            Builder::default().worker_cores([0, 1024]),
            Builder::default().max_tasks_per_worker(0),
            Builder::default().max_worker_memory(1 << 20),
            Builder::default().max_worker_age(Duration::ZERO),
            Builder::default().start_timeout(Duration::ZERO),
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
