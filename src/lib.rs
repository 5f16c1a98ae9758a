//! Data-parallel work over large buffers, in a pool of worker processes that may die.
//!
//! ```
//! use gristmill::Pool;
//!
//! # fn main() -> Result<(), gristmill::Error> {
//! let pool = Pool::new()?;
//! let xs = pool.alloc_from_fn(1 << 20, |i| i as f64)?.freeze();
//! let roots = pool.par_map(&xs, |x| x.sqrt()).wait()?;
//! assert_eq!(roots[1 << 10], 32.0);
//! # Ok(())
//! # }
//! ```
//!
//! The workers are processes, so one that crashes or is killed takes nobody with it: its share of
//! the work runs again elsewhere, or the caller gets an error that names the cause. The buffers lie
//! in memory that all of them share, so nothing is copied on the way there or back.
//!
//! # Contents
//!
//! - [`Pool`] and its [`Builder`]: the workers and their memory; [`close`](Pool::close),
//!   [`shutdown`](Pool::shutdown) and [`terminate`](Pool::terminate), its end; [`StartMethod`],
//!   how workers come into being.
//! - [`SharedVec`], a unique writable buffer; [`SharedSlice`], a shared read-only view.
//! - `Pool::spawn_async`, for futures that a worker polls next to other work.
//! - The life of a worker: [`initializer`](Builder::initializer), a state that tasks borrow
//!   ([`worker_state`](Builder::worker_state), [`spawn_with_state`](Pool::spawn_with_state)),
//!   [`on_worker_exit`](Builder::on_worker_exit), and recycling
//!   ([`max_tasks_per_worker`](Builder::max_tasks_per_worker)).
//! - Verbs over a range, each of which makes a [`Job`]: [`par_map`](Pool::par_map),
//!   [`par_map_into`](Pool::par_map_into), [`par_zip_map`](Pool::par_zip_map),
//!   [`par_generate`](Pool::par_generate), [`par_for_each_mut`](Pool::par_for_each_mut),
//!   [`par_chunks`](Pool::par_chunks), [`par_reduce`](Pool::par_reduce),
//!   [`par_sum`](Pool::par_sum), [`par_min`](Pool::par_min), [`par_max`](Pool::par_max).
//!   [`Job::wait_helping`] has the caller do its part.
//! - Single calls: [`spawn`](Pool::spawn), which gives a [`TaskHandle`] and in the end a
//!   [`TaskOutput`]; [`task`](Pool::task), a [`TaskBuilder`] for limits and attempts;
//!   [`spawn_result`](Pool::spawn_result) for functions that can fail; [`ResultVec`] for large
//!   results, written where they are read.
//! - One function in one process of its own, without a pool: [`Process`]; [`Worker`], which brings
//!   back its result; [`ProcessBuilder`].
//! - Who takes which task: [`priority`](TaskBuilder::priority), [`sticky`](TaskBuilder::sticky)
//!   keys, and several [`queues`](Builder::queues) with a [`Scheduler`].
//! - What goes on: [`stats`](Pool::stats), [`Job::progress_stream`], and
//!   [`output_lines`](Pool::output_lines), what workers print.
//! - Many calls: [`map`](Pool::map), [`starmap`](Pool::starmap),
//!   [`map_stream`](Pool::map_stream), each of which makes a [`Map`]: a stream in order or as
//!   completed, a blocking iterator, or all at once. For single calls in great number,
//!   [`Builder::queue_depth`] with [`try_spawn`](Pool::try_spawn) and
//!   [`spawn_when_free`](Pool::spawn_when_free). [`TaskSet`], handles that are waited for together.
//! - Between processes: [`Queue`], made by a [`QueueBuilder`], of any [`Item`]; [`JoinableQueue`]
//!   and [`SimpleQueue`]; [`pipe`] and [`simplex`] for messages with an end of file, [`byte_pipe`]
//!   and [`byte_simplex`] for bytes; [`SendError`] and [`RecvError`], what they answer. They lie
//!   in a [`Region`], and cross by [`Handle`].
//! - Locks between processes: [`Mutex`], [`RwLock`], [`ReentrantMutex`], [`Condvar`], and
//!   [`LockError`], which hands over what a dead holder left. They lie in a [`Region`], too.
//! - There, too: [`Event`], for which many wait; [`Semaphore`] and [`BoundedSemaphore`], whose
//!   [`Permit`]s come back from the dead; [`Barrier`], which breaks rather than wait for them.
//! - What processes share in a region, by name: a [`Manager`], with [`SharedMap`], [`SharedList`],
//!   [`Value`], [`Array`]. Unrelated programs meet by [`Listener`] and [`Client`] and share by a
//!   [`Connection`].
//! - What a closure may take along: [`Context`], [`Rkyv`]; what crosses as an archive: [`Payload`].
//! - What can go wrong: [`Error`], [`TaskError`], [`WorkerDeath`], [`Damage`]; what a task's own
//!   error said: [`RemoteError`], made of what was [`Thrown`].
//!
//! # How it works
//!
//! A pool creates one sealed, nameless memory file and starts its own executable again, once a
//! worker. A hook that runs before `main` turns that process into a worker: it maps the file,
//! checks that it is the same build, and looks for work. A closure that captures nothing is a type,
//! so what crosses is the offset of a function compiled for that type; it is called on the buffers
//! where they lie. A range is cut into chunks, large ones first; a worker claims a chunk by one
//! compare-and-swap that names it, and from that word the parent knows, once the process has been
//! reaped, what to take back. No process is ever taken for dead because of elapsed time.
//!
//! # Trade-offs
//!
//! - Threads are simpler: closures may capture, and data may lie anywhere. When no code can take
//!   the process down and the data is not in shared memory already, use `rayon`.
//! - Elements are plain data ([`bytemuck::Pod`]), and what else a closure needs is an explicit
//!   [`Context`]. A closure that captures is refused by the compiler, which names it:
//!
//!   ```compile_fail
//!   # let pool = gristmill::Pool::new().unwrap();
//!   # let xs = pool.copy_from_slice(&[1.0, 2.0]).unwrap().freeze();
//!   let factor = 0.5;
//!   let halves = pool.par_map(&xs, move |x| x * factor); // `par_map_with(factor, ..)` is the way
//!   ```
//! - Outputs are recycled: keep a pool, and drop buffers early, and memory is touched for the first
//!   time only once.
//! - Idle workers spin for about 50 µs before they sleep, and so do threads that wait; one worker
//!   for up to 2 ms while work keeps coming at shorter intervals ([`Builder::spin`]).
//!
//! # What a worker is
//!
//! A process that runs this executable but never its `main`. That has consequences:
//!
//! - **Statics are its own.** What a closure changes in a static is seen by later calls in the same
//!   worker and by nobody else; what `main` set up before is not there. Constants and lazily
//!   initialised statics work, once in each worker.
//! - **It inherits** the environment and working directory of the moment it is started, standard
//!   output and standard error. Standard input is empty, and there are no command line arguments.
//!   Open files are not inherited, unless they were made inheritable on purpose.
//! - **Constructors of linked code** (C++ statics) run in it, as they do in the program.
//! - **Signals**: handlers of the program are not there. It ignores `SIGINT`, `SIGQUIT` and
//!   `SIGHUP`, so that a Ctrl-C is the program's decision, and `SIGPIPE`, as every Rust program. A
//!   worker that gets `SIGTERM` dies and is replaced. When the program ends, however it ends, its
//!   workers are killed.
//! - **It has one thread** of the crate's. Threads that a closure starts may go on when it has
//!   returned, but must not keep references to buffers.
//! - **Shared memory is read-only** to it but for some of the bookkeeping, its own results until
//!   they are delivered, and the output of the job that it works on at the moment. A wild write
//!   elsewhere is a `SIGSEGV`, and the worker is replaced.
//!
//! Workers that a server forks ([`StartMethod::ForkServer`]) are like that, too, but have in
//! statics what the server loaded. Those that are forked from the program ([`Builder::fork`]) have
//! its memory and its descriptors as they were.
//!
//! Whoever starts a process with the worker's environment variable set runs a worker instead of the
//! program; the variable is removed from a worker's environment at once, so programs that a task
//! starts are not affected.
//!
//! # Blocking and async
//!
//! A [`Job`] or [`TaskHandle`] is a future, and has a `wait` that needs no runtime.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # #[cfg(feature = "tokio")] {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
//! # runtime.block_on(async {
//! let pool = gristmill::Pool::new()?;
//! let xs = pool.par_generate(1000, |i| i as u64).await?.freeze();
//! let (sum, most) = tokio::join!(pool.par_sum(&xs), pool.par_max(&xs));
//! assert_eq!((sum?, most?), (499_500, Some(999)));
//! # Ok::<(), gristmill::Error>(())
//! # })?;
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! Under tokio each runtime listens for its own results; its I/O driver has to be enabled. Any
//! other executor is served by the pool's own thread. A future may be leaked while workers still
//! write, so what a job works on is owned by the job: inputs are handles, and a vector that is lent
//! (`par_map_into`, `par_for_each_mut`) gives its buffer away for the time of the job.
//!
//! These calls **block**: [`Pool::new`], [`Builder::build`] and dropping a [`Pool`] (for
//! milliseconds, as processes come and go), `wait` and `wait_timeout`, and allocation, which may
//! have to commit memory (a tenth of a second a GiB and more, unless recycled). A lone future spins
//! for up to 20 µs when polled before it is pending. Everything else returns at once.
//!
//! # Errors
//!
//! What a call refuses is an [`Error`] at once or when the job begins. What became of the work is a
//! [`TaskError`], which `Error` wraps as [`Error::Task`]. No error closes the pool, except that it
//! gives up when five workers in a row cannot be started ([`TaskError::NoWorkers`]), or when
//! workers that run wild have it rebuilt five times without an outcome
//! ([`TaskError::DamagedTooOften`]).
//!
//! ```
//! use gristmill::{Error, Pool, TaskError};
//!
//! # fn main() -> Result<(), gristmill::Error> {
//! let pool = Pool::new()?;
//! let divisors = pool.copy_from_slice(&[4_i32, 2, 0, 1])?.freeze();
//! match pool.par_map(&divisors, |x| 12 / x).wait() {
//!     Err(Error::Task(TaskError::Panicked { message, element, .. })) => {
//!         assert_eq!(message, "attempt to divide by zero");
//!         assert_eq!(element, Some(2));
//!     }
//!     other => panic!("{other:?}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A **panic** is caught in the worker, which goes on. With `panic = "abort"` it is a death by
//! `SIGABRT`. After a **death** the worker is replaced; chunks of a pure job are tried again, up to
//! [`Builder::attempts`] times, and so is a task that is [`idempotent`](TaskBuilder::idempotent);
//! any other task, or a chunk of an in-place job, has failed. A **time limit**
//! ([`Job::timeout`], [`TaskBuilder::timeout`]) and **cancelling** ([`Job::cancel`],
//! [`TaskHandle::cancel`]) end the work by killing its worker, where nothing gentler helps within
//! [`Builder::cancel_grace`].
//!
//! # Memory
//!
//! [`Builder::memory_budget`] bounds the shared memory of buffers, contexts and arguments, in
//! extents of 2 MiB, whether in use or kept warm ([`Builder::keep_warm`]). Beyond it, and when the
//! machine is full, allocation is [`Error::OutOfMemory`]: memory is committed before it is handed
//! out. Not counted are the bookkeeping, a quarter of a MiB that grows to 4 MiB with the tasks and
//! jobs that there are at a time, and the results of `spawn`, which lie in the memory of the worker
//! that wrote them: at most 4 GiB a worker, or the budget if that is less.
//!
//! # Features
//!
//! - `tokio` (default): futures are woken by the tokio runtime they run in. Without it, or outside
//!   such a runtime, by the pool's thread. `spawn_async` needs it.
//! - `tracing`: what user code in workers says through [`tracing`](https://docs.rs/tracing) is told
//!   to the subscriber that the thread which builds the pool has then, with the fields `pid` and
//!   `task` or `job` (as in [`WorkerState`]), as part of the span in which the work was submitted.
//!   Set the subscriber first; its most verbose level then is the workers', too. Values arrive as
//!   text, cut where an event would exceed 4 KiB. It is told
//!   from a thread of the pool's. When it does not keep up, events are dropped and counted in
//!   [`Stats::events_lost`]; dropping the pool waits until it has heard all others. A worker whose
//!   [`worker_setup`](Builder::worker_setup) sets a subscriber keeps that one; one that is confined
//!   to a sandbox is not heard.
//! - `auth`: programs that meet prove to each other that they have a key.
//! - `named`: `Region::create_named` and `NamedRegion`, memory that other programs find by a name
//!   in `/dev/shm`.
//! - `sandbox`: `Builder::sandbox`, by which workers give up everything but computing: files,
//!   network, other processes.

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!("gristmill needs Linux 5.14 or newer on x86-64 or aarch64");

// The rooms, by floor. A room imports from the floors below it only; `tests/tidy.rs` reads this
// list and holds the rule. The models (`--cfg gristmill_loom`) build the algorithms only.

// F0: what everything stands on.
mod primitive;
// F1: the kernel's door, and pure slice kernels.
#[cfg(not(gristmill_loom))]
mod numeric;
#[cfg(not(gristmill_loom))]
mod sys;
// F2: where bytes live and who owns them.
mod memory;
// F3: algorithms over borrowed words, strangers to each other.
mod board;
mod cell;
mod fifo;
mod gate;
mod ring;
#[cfg(not(gristmill_loom))]
mod shared;
mod sync;
mod table;
// F4: what the bytes mean.
#[cfg(not(gristmill_loom))]
mod protocol;
// F5: what can go wrong.
#[cfg(not(gristmill_loom))]
mod error;
// F6: the child's life, the parent's, and memory with objects of many, strangers to each other.
#[cfg(not(gristmill_loom))]
mod commons;
#[cfg(not(gristmill_loom))]
mod pool;
#[cfg(not(gristmill_loom))]
mod worker;
// F7: the verbs, and what processes share.
#[cfg(not(gristmill_loom))]
mod lock;
#[cfg(not(gristmill_loom))]
mod manager;
#[cfg(not(gristmill_loom))]
mod par;
#[cfg(not(gristmill_loom))]
mod queue;
#[cfg(not(gristmill_loom))]
mod signal;
#[cfg(not(gristmill_loom))]
mod task;
// F8: one function in one process of its own.
#[cfg(not(gristmill_loom))]
mod process;
// F8: regions by name, and two programs that meet.
#[cfg(not(gristmill_loom))]
mod meet;
#[cfg(all(feature = "named", not(gristmill_loom)))]
mod named;
// F9: the door to what processes share, and what the floors below must survive.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod hostile;
#[cfg(all(test, not(any(fuzzing, gristmill_loom))))]
mod hostile;
#[cfg(all(test, not(gristmill_loom)))]
mod proof;
#[cfg(not(gristmill_loom))]
mod region;

#[cfg(not(gristmill_loom))]
pub use commons::{Object, Region};
#[cfg(all(feature = "named", not(gristmill_loom)))]
pub use error::NameError;
#[cfg(not(gristmill_loom))]
pub use error::{
    Cause, Damage, Error, Failure, ItemError, Location, MeetError, MeetRefusal, OomKill, PathUser,
    Refusal, RegionError, RemoteError, Result, SchedulerError, ShareError, TaskError, TaskId,
    WorkerDeath,
};
#[cfg(not(gristmill_loom))]
pub use lock::{
    Condvar, LockError, LockResult, Locking, Mutex, MutexGuard, Noticing, Read, ReentrantMutex,
    ReentrantMutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, Way, Writing,
};
#[cfg(not(gristmill_loom))]
pub use manager::{
    Array, ArrayGuard, ListIter, Manager, MapIter, SharedList, SharedMap, SharedRef, Value,
};
#[cfg(not(gristmill_loom))]
pub use meet::{Client, ClientBuilder, Connection, Listener, ListenerBuilder, Peer};
#[cfg(not(gristmill_loom))]
pub use memory::{MemoryLimit, MemoryStats, OutOfMemory};
#[cfg(all(feature = "named", not(gristmill_loom)))]
pub use named::{NamedInfo, NamedRegion, NamedSlice, NamedVec};
#[cfg(not(gristmill_loom))]
pub use par::{Isolated, Job, Progress, ProgressStream};
#[cfg(not(gristmill_loom))]
pub use pool::{
    Builder, Closed, Closing, OutputLines, OutputStream, Pool, QueueId, RoundRobin, Scheduler,
    StartMethod, Stats, TaskInfo, WorkerInfo, WorkerLine, WorkerState, WorkerStats,
};
#[cfg(all(feature = "sandbox", not(gristmill_loom)))]
pub use pool::{Sandbox, Violation};
#[cfg(not(gristmill_loom))]
pub use process::{Join, Process, ProcessBuilder, Worker};
#[cfg(not(gristmill_loom))]
pub use protocol::archive::result_vec::{ArchivedResultVec, ResultVec, ResultVecResolver};
#[cfg(not(gristmill_loom))]
pub use protocol::archive::{ArchiveError, Payload, Restore};
#[cfg(not(gristmill_loom))]
pub use protocol::context::{Context, ContextError, Rkyv};
#[cfg(not(gristmill_loom))]
pub use protocol::lanes::Priority;
#[cfg(not(gristmill_loom))]
pub use protocol::name::Handle;
#[cfg(not(gristmill_loom))]
pub use protocol::remote::Thrown;
#[cfg(not(gristmill_loom))]
pub use queue::{
    ByteEnd, ByteReader, ByteWriter, Item, JoinableQueue, Joining, OnDeath, PipeEnd, PipeReceiver,
    PipeSender, Queue, QueueBuilder, QueueIter, QueueSink, QueueStream, Received, Receiving,
    ReceivingMany, RecvError, SendError, Sending, SendingMany, SimpleQueue, byte_pipe,
    byte_simplex, pipe, simplex,
};
#[cfg(not(gristmill_loom))]
pub use shared::{SharedSlice, SharedVec};
#[cfg(not(gristmill_loom))]
pub use signal::{
    AcquireError, Acquiring, Barrier, BarrierError, BarrierWait, BarrierWaiting, BoundedSemaphore,
    Event, EventWaiting, Permit, ReleaseError, Semaphore,
};
#[cfg(not(gristmill_loom))]
pub use sys::failure::SysError;
#[cfg(not(gristmill_loom))]
pub use task::map::{AsCompleted, Blocking, Collect, Incoming, Items, Map, Ordered, Source, Tuple};
#[cfg(not(gristmill_loom))]
pub use task::{Gather, TaskBuilder, TaskHandle, TaskOutput, TaskSet, TrySpawnError, WhenFree};
#[cfg(not(gristmill_loom))]
pub use worker::error_hook::set_error_hook;

/// Runs the programs of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
