//! What workers do first and last, and how long each of them serves.

#![expect(unsafe_code, reason = "functions on the wire summon their closures")]

use core::any::{Any, TypeId, type_name};
use core::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::memory::block::Block;
use crate::pool::builder::{Builder, invalid};
use crate::pool::engine::Engine;
use crate::pool::submit::span_of;
use crate::protocol::closure::{require_no_captures, summon};
use crate::protocol::context::Context;
use crate::protocol::control::WORKERS;
use crate::protocol::function::FunctionId;
use crate::protocol::life::{Birth, BirthCall, BirthFunction, Life};
use crate::protocol::range::Span;

/// How long a worker may take to be ready, unless set otherwise.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How many futures a worker polls at a time, unless set otherwise.
const CONCURRENCY: u64 = 16;
/// The least private memory for which a worker can be replaced: it begins with some of it.
const MEMORY_LEAST: u64 = 16 << 20;

/// What the builder was told.
#[derive(Clone, Debug, Default)]
pub(super) struct LifePlan {
    initializer: Option<Prepared>,
    state: Option<(Prepared, StateType)>,
    exit: Option<fn()>,
    max_tasks: Option<u64>,
    max_memory: Option<u64>,
    max_age: Option<Duration>,
    start_timeout: Option<Duration>,
    concurrency: Option<u64>,
    #[cfg(feature = "tokio")]
    runtime: Option<crate::protocol::future::RuntimeFunction>,
}

/// A function with its context, until there is memory to write that to.
#[derive(Clone)]
struct Prepared {
    function: BirthFunction,
    place: Arc<Placing>,
}

type Placing = dyn Fn(&Engine) -> Result<Option<Block>, Error> + Send + Sync;

impl Prepared {
    fn new<C, M>(context: C, function: BirthFunction) -> Self
    where
        C: Context<M> + Send + Sync + 'static,
    {
        Self {
            function,
            place: Arc::new(move |engine| engine.place_context(&context)),
        }
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

/// The type of the workers' state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateType {
    id: TypeId,
    name: &'static str,
}

/// What the parent goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    pub(crate) start_timeout: Duration,
    pub(crate) max_age: Option<Duration>,
    /// How many futures a worker holds at a time.
    pub(crate) concurrency: u64,
    /// Workers are replaced while they live.
    pub(crate) recycles: bool,
    /// There is something to be done at an orderly end.
    pub(crate) has_exit: bool,
    state: Option<StateType>,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            start_timeout: START_TIMEOUT,
            max_age: None,
            concurrency: CONCURRENCY,
            recycles: false,
            has_exit: false,
            state: None,
        }
    }
}

impl Service {
    /// Places for workers: each has one, and some more are for those that wait to succeed them, of
    /// which each of so many queues has one at least.
    pub(crate) fn places(&self, workers: usize, queues: usize) -> usize {
        match self.recycles {
            true => (workers + workers.div_ceil(2).max(queues)).min(WORKERS),
            false => workers,
        }
    }

    /// Refuses a task that borrows a state which the workers do not have.
    pub(crate) fn check_state<S: 'static>(&self) -> Result<(), Error> {
        match self.state {
            Some(state) if state.id == TypeId::of::<S>() => Ok(()),
            state => Err(Error::WrongState {
                wanted: type_name::<S>(),
                found: state.map(|state| state.name),
            }),
        }
    }
}

/// What workers are told, and the contexts that they read, for as long as there are workers.
#[derive(Debug, Default)]
pub(crate) struct Instructions {
    pub(crate) life: Life,
    #[expect(dead_code, reason = "kept while there are workers, which read it")]
    contexts: Vec<Block>,
}

impl LifePlan {
    pub(super) fn service(&self) -> Result<Service, Error> {
        if self.max_tasks == Some(0) {
            return Err(invalid("max_tasks_per_worker", "at least 1", 0));
        }
        if let Some(size @ ..MEMORY_LEAST) = self.max_memory {
            return Err(invalid("max_worker_memory", "at least 16 MiB", size));
        }
        if let Some(Duration::ZERO) = self.max_age {
            return Err(invalid("max_worker_age", "more than nothing", 0));
        }
        if let Some(Duration::ZERO) = self.start_timeout {
            return Err(invalid("start_timeout", "more than nothing", 0));
        }
        if self.concurrency == Some(0) {
            return Err(invalid("async_concurrency", "at least 1", 0));
        }
        Ok(Service {
            start_timeout: self.start_timeout.unwrap_or(START_TIMEOUT),
            max_age: self.max_age,
            concurrency: self.concurrency.unwrap_or(CONCURRENCY),
            recycles: self.max_tasks.is_some()
                || self.max_memory.is_some()
                || self.max_age.is_some(),
            has_exit: self.exit.is_some() || self.state.is_some(),
            state: self.state.as_ref().map(|(_, state)| *state),
        })
    }

    /// Writes the contexts to shared memory.
    pub(super) fn instruct(&self, engine: &Engine) -> Result<Instructions, Error> {
        let mut contexts = Vec::new();
        let mut birth = |prepared: &Prepared| {
            let block = (prepared.place)(engine)?;
            let context = block.as_ref().map_or(Span::default(), span_of);
            contexts.extend(block);
            let function = FunctionId::of(prepared.function as *const ())?;
            Ok::<_, Error>(Birth { function, context })
        };
        let state = self.state.as_ref().map(|(prepared, _)| prepared);
        let life = Life {
            initializer: self.initializer.as_ref().map(&mut birth).transpose()?,
            state: state.map(&mut birth).transpose()?,
            exit: match self.exit {
                Some(exit) => Some(FunctionId::of(exit as *const ())?),
                None => None,
            },
            max_tasks: self.max_tasks,
            max_memory: self.max_memory,
            concurrency: self.concurrency.unwrap_or(CONCURRENCY),
            #[cfg(feature = "tokio")]
            runtime: match self.runtime {
                Some(make) => Some(FunctionId::of(make as *const ())?),
                None => None,
            },
            #[cfg(not(feature = "tokio"))]
            runtime: None,
        };
        Ok(Instructions { life, contexts })
    }
}

fn initializer<C, M, F>(call: &BirthCall<'_>) -> Option<Box<dyn Any>>
where
    C: Context<M>,
    F: Fn(C::View<'_>) + Copy + Sync,
{
    // SAFETY: the parent holds the closure whose type this function was made for.
    let f = unsafe { summon::<F>() };
    f(call.context::<C, M>());
    None
}

fn make_state<C, M, S, F>(call: &BirthCall<'_>) -> Option<Box<dyn Any>>
where
    C: Context<M>,
    S: 'static,
    F: Fn(C::View<'_>) -> S + Copy + Sync,
{
    // SAFETY: the parent holds the closure whose type this function was made for.
    let f = unsafe { summon::<F>() };
    Some(Box::new(f(call.context::<C, M>())))
}

fn exit<F: Fn() + Copy + Sync>() {
    // SAFETY: the parent holds the closure whose type this function was made for.
    let f = unsafe { summon::<F>() };
    f();
}

#[cfg(feature = "tokio")]
fn make_runtime<F>() -> tokio::runtime::Runtime
where
    F: Fn() -> tokio::runtime::Runtime + Copy + Sync,
{
    // SAFETY: the parent holds the closure whose type this function was made for.
    let f = unsafe { summon::<F>() };
    f()
}

/// # The life of a worker
///
/// A worker applies its limits, runs [`worker_setup`](Builder::worker_setup), then the
/// [`initializer`](Builder::initializer), and makes its [state](Builder::worker_state). Then it
/// serves. At an orderly end, which is when it is recycled or when the pool is closed or shut down
/// and no work is left, the state is dropped and [`on_worker_exit`](Builder::on_worker_exit) runs.
/// A worker that is killed or dies does neither.
///
/// **Recycling** replaces a worker that has served for long enough, against leaks and fragmentation
/// in native code. Its successor is started ahead and takes over when it is ready, so that there
/// are as many workers at work as before: half as many processes more than workers may exist for
/// a while. Nothing of it is a failure, and no task notices.
impl Builder {
    /// Runs `f` in each worker before its first task, with a context that it sees in place: what
    /// contexts can be, [`Pool::par_map_with`](crate::Pool::par_map_with) says; a slice cannot be
    /// one, for there is no memory to hold it before there is a pool.
    ///
    /// If it panics or ends the process, [`build`](Builder::build) fails with the reason; if it
    /// does so later, in a worker that replaces another, that is tried again after a pause, and
    /// after five times in a row the pool gives up with
    /// [`TaskError::NoWorkers`](crate::TaskError::NoWorkers), which has the reason as well. If it
    /// hangs, [`start_timeout`](Builder::start_timeout) ends it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::OnceLock;
    ///
    /// use gristmill::Pool;
    ///
    /// static LEVEL: OnceLock<u32> = OnceLock::new();
    ///
    /// let pool = Pool::builder()
    ///     .initializer(2_u32, |level| LEVEL.set(*level).expect("this runs once a worker"))
    ///     .build()?;
    /// let level = pool.spawn((), |()| LEVEL.get().copied())?;
    /// assert_eq!(level.wait()?.as_ref().map(|level| level.to_native()), Some(2));
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn initializer<C, M, F>(mut self, context: C, f: F) -> Self
    where
        C: Context<M> + Send + Sync + 'static,
        F: Fn(C::View<'_>) + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        self.life.initializer = Some(Prepared::new(context, initializer::<C, M, F>));
        self
    }

    /// Has each worker make a value of its own before its first task, after the
    /// [`initializer`](Builder::initializer), and keep it: a model, a connection, a plan for a
    /// transform. Tasks borrow it: [`Pool::spawn_with_state`](crate::Pool::spawn_with_state).
    ///
    /// The value never leaves its worker, so its type needs no trait. A task that panics while it
    /// has the value may have left it half-changed: then it is dropped, and `f` makes another for
    /// the next task that wants it. If `f` panics then, that task has panicked. Everything else
    /// about failing is as for the initializer.
    ///
    /// # Examples
    ///
    /// ```
    /// use gristmill::{Pool, Rkyv};
    ///
    /// let words = Rkyv(vec!["grist".to_string(), "mill".to_string()]);
    /// let pool = Pool::builder()
    ///     .worker_state(words, |words| {
    ///         words.iter().map(|word| word.to_string()).collect::<std::collections::HashSet<_>>()
    ///     })
    ///     .build()?;
    /// let known = pool.spawn_with_state(
    ///     "mill".to_string(),
    ///     |known: &mut std::collections::HashSet<String>, word| known.contains(word.as_str()),
    /// )?;
    /// assert!(*known.wait()?);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn worker_state<C, M, S, F>(mut self, context: C, f: F) -> Self
    where
        C: Context<M> + Send + Sync + 'static,
        S: 'static,
        F: Fn(C::View<'_>) -> S + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        let state = StateType {
            id: TypeId::of::<S>(),
            name: type_name::<S>(),
        };
        self.life.state = Some((Prepared::new(context, make_state::<C, M, S, F>), state));
        self
    }

    /// Runs `f` in a worker at its orderly end, after its state was dropped.
    ///
    /// It has as long as a worker may take to start; then the worker is killed. A panic in it goes
    /// nowhere.
    pub fn on_worker_exit<F>(mut self, f: F) -> Self
    where
        F: Fn() + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        self.life.exit = Some(exit::<F>);
        self
    }

    /// How many tasks a worker runs before it is recycled, at least 1; exactly so many, if there
    /// are as many. A worker's share in a job over a range, however many chunks it is, counts as
    /// one task. Default: no limit.
    pub fn max_tasks_per_worker(mut self, tasks: u64) -> Self {
        self.life.max_tasks = Some(tasks);
        self
    }

    /// A worker with more private memory than this, at least 16 MiB, is recycled. Default: no
    /// limit.
    ///
    /// What counts is physical memory that is neither a file's nor shared. The worker looks
    /// between two tasks or chunks, at most once in 5 milliseconds, and when it has nothing to do;
    /// it goes on serving until its successor is ready. For a limit that holds within a task, see
    /// [`worker_memory`](Builder::worker_memory).
    pub fn max_worker_memory(mut self, size: u64) -> Self {
        self.life.max_memory = Some(size);
        self
    }

    /// A worker that has served for this long is recycled; what it is at, it finishes first.
    /// Default: no limit.
    pub fn max_worker_age(mut self, age: Duration) -> Self {
        self.life.max_age = Some(age);
        self
    }

    /// How many futures of [`Pool::spawn_async`](crate::Pool::spawn_async) a worker polls at a
    /// time, at least 1. One that has so many takes no more tasks, but still works on jobs.
    /// Default: 16.
    #[cfg(feature = "tokio")]
    pub fn async_concurrency(mut self, futures: u64) -> Self {
        self.life.concurrency = Some(futures);
        self
    }

    /// Makes the runtime that polls a worker's futures, when the first of them comes. Default: one
    /// of a single thread, with I/O and timers.
    ///
    /// The futures themselves are always polled by one thread; a runtime of several has others for
    /// what they spawn.
    ///
    /// # Examples
    ///
    /// ```
    /// use tokio::runtime::{Builder, Handle, RuntimeFlavor};
    ///
    /// let pool = gristmill::Pool::builder()
    ///     .async_runtime(|| Builder::new_multi_thread().worker_threads(1).build().unwrap())
    ///     .build()?;
    /// let many = pool.spawn_async((), async |()| {
    ///     Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread
    /// })?;
    /// assert!(*many.wait()?);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    #[cfg(feature = "tokio")]
    pub fn async_runtime<F>(mut self, f: F) -> Self
    where
        F: Fn() -> tokio::runtime::Runtime + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        self.life.runtime = Some(make_runtime::<F>);
        self
    }

    /// How long a worker may take until it is ready, with all that it runs before. Default: 60
    /// seconds.
    ///
    /// A worker that takes longer is killed. Then [`build`](Builder::build) fails with
    /// [`Error::StartTimedOut`]; a replacement is tried again, as often as one that dies.
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.life.start_timeout = Some(limit);
        self
    }
}
