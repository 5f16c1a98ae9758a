//! The caller's hold on a process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Cause, Error, TaskError};
use crate::process::builder::ProcessBuilder;
use crate::process::join::Join;
use crate::process::record::{Outcome, Record};
use crate::protocol::archive::Payload;
use crate::sys::process::{KILL, TERMINATE};

/// A hold on a process, shared by those who wait for it.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) record: Arc<Record>,
    pub(super) kill_on_drop: bool,
}

impl Handle {
    pub(super) fn check(&self) -> Result<(), TaskError> {
        self.record.keeper.check().map_err(|_| TaskError::Forked)
    }

    /// Blocks until the process has ended.
    pub(super) fn wait(&self) -> Result<Outcome, TaskError> {
        self.check()?;
        self.record.wait(None).ok_or(TaskError::Cancelled)
    }

    /// As [`wait`](Self::wait); `None` once the time is over.
    pub(super) fn wait_timeout(&self, timeout: Duration) -> Option<Result<Outcome, TaskError>> {
        if let Err(forked) = self.check() {
            return Some(Err(forked));
        }
        // A timeout beyond what the clock can express is none.
        let deadline = Instant::now().checked_add(timeout);
        self.record.wait(deadline).map(Ok)
    }

    /// How it ended, if it has.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.check().ok()?;
        self.record.outcome()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.kill_on_drop {
            // Not from a forked child, which the record knows; one that has ended is as good.
            let _ = self.record.signal(KILL);
        }
    }
}

/// One function in one process of its own.
///
/// There is no pool and no server: the process is this executable, started again before `main`,
/// and runs one function with one value, which crosses as an [rkyv](https://docs.rs/rkyv) archive.
/// The function must capture nothing. [`Worker`](crate::Worker) also brings back what it returns.
///
/// # Examples
///
/// ```
/// use gristmill::{Cause, Process};
///
/// let process = Process::spawn(String::from("world"), |name| println!("hello, {name}"))?;
/// process.wait()?; // or `process.await?` in async code
/// assert_eq!(process.exit_code(), Some(Cause::Exit(0)));
///
/// let process = Process::spawn((), |()| loop { std::thread::park() })?;
/// assert!(process.is_alive());
/// process.kill()?;
/// assert!(process.wait().is_err());
/// assert_eq!(process.exit_code(), Some(Cause::Signal(9)));
/// # Ok::<(), gristmill::Error>(())
/// ```
///
/// # What it is like
///
/// - It **ends** as a program whose `main` has returned: destructors of statics run, and what was
///   printed goes out. After a panic, which is told on standard error, its exit code is 101.
/// - It **inherits** what a pool's worker inherits: environment, directory, standard output and
///   error; nothing to read, no arguments, no open files. Statics are its own.
/// - `SIGTERM` ends it, unless the function installs a handler. A Ctrl-C is the program's to
///   answer: the process ignores it.
/// - It is a **daemon** unless [`daemon(false)`](ProcessBuilder::daemon) was asked for: it dies
///   with the program, however that ends. Otherwise it lives on, and nobody waits for it.
/// - Dropping the handle **detaches** it: it runs on, and is reaped when it ends. With
///   [`kill_on_drop`](ProcessBuilder::kill_on_drop) it is killed instead.
/// - It may start processes and pools of its own, and so may a task in a pool's worker.
/// - How many there are, only the machine limits: each takes a process, two descriptors here while
///   it runs, and 128 KiB of shared memory besides its arguments and its result.
#[must_use = "dropping the handle detaches the process"]
#[derive(Debug)]
pub struct Process {
    pub(super) handle: Arc<Handle>,
}

impl Process {
    /// Starts a process that runs `f` on `arguments`. Blocks for about a millisecond, while the
    /// kernel makes it; does not wait for it to run.
    ///
    /// # Errors
    /// [`Error::System`] with the kernel's reason when it refuses a process, a descriptor or
    /// memory (`ulimit -f` and `-v` count the room for a result, 2 GiB of address space),
    /// [`Error::Archive`] when the arguments cannot be serialised, [`Error::NotInImage`] for a
    /// function outside the executable, [`Error::Spawn`] when this program cannot be started
    /// again, [`Error::Thread`] for the program's first process without room for a thread, and
    /// [`Error::Forked`] in a process that was forked from one that has started any.
    pub fn spawn<A, R, F>(arguments: A, f: F) -> Result<Self, Error>
    where
        A: Payload + 'static,
        R: 'static,
        F: Fn(&A::Archived) -> R + Copy + Send + Sync + 'static,
    {
        Self::builder().spawn(arguments, f)
    }

    /// Starts a process that runs the async function `f` on a runtime of its own: tokio's, with one
    /// thread, I/O and time, unless [`ProcessBuilder::runtime`] says otherwise.
    ///
    /// # Errors
    /// As [`Process::spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gristmill::Process;
    ///
    /// let process = Process::spawn_async(5_u64, async |millis| {
    ///     tokio::time::sleep(std::time::Duration::from_millis(millis.to_native())).await;
    /// })?;
    /// process.wait()?;
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    #[cfg(feature = "tokio")]
    pub fn spawn_async<A, R, F>(arguments: A, f: F) -> Result<Self, Error>
    where
        A: Payload + 'static,
        R: 'static,
        F: AsyncFn(&A::Archived) -> R + Copy + Send + Sync + 'static,
    {
        Self::builder().spawn_async(arguments, f)
    }

    /// Settings of a process, all optional.
    pub fn builder() -> ProcessBuilder {
        ProcessBuilder::new()
    }

    /// Its name: the one that was given, or `gristmill-p` and a number. Of it, `ps` and `top` show
    /// the first 15 bytes.
    pub fn name(&self) -> &str {
        &self.handle.record.name
    }

    /// Its process id. Once it has ended, another process may have it.
    pub fn pid(&self) -> u32 {
        self.handle.record.pid
    }

    /// Whether it dies with the program.
    pub fn is_daemon(&self) -> bool {
        self.handle.record.daemon
    }

    /// Whether it has not ended yet, as the kernel knows at this moment. Does not block.
    ///
    /// In a process that was forked from this one: `false`.
    pub fn is_alive(&self) -> bool {
        self.handle.check().is_ok() && self.handle.outcome().is_none()
    }

    /// What it exited with, or the signal that ended it; `None` while it runs. Does not block.
    pub fn exit_code(&self) -> Option<Cause> {
        self.handle.outcome().map(|outcome| outcome.cause)
    }

    /// Asks it to end, by `SIGTERM`. One that has ended already is no error.
    ///
    /// # Errors
    /// [`Error::System`] when the kernel refuses, [`Error::Forked`] in a process that was forked
    /// from this one.
    pub fn terminate(&self) -> Result<(), Error> {
        self.handle.record.signal(TERMINATE)
    }

    /// Ends it, by `SIGKILL`. One that has ended already is no error.
    ///
    /// # Errors
    /// As [`Process::terminate`].
    pub fn kill(&self) -> Result<(), Error> {
        self.handle.record.signal(KILL)
    }

    /// Its end, to be awaited under any executor, any number of times, from anywhere.
    ///
    /// # Errors
    /// [`TaskError::Panicked`] when the function panicked; [`TaskError::WorkerDied`], with the
    /// cause and the peak of its memory, when the process ended otherwise than by returning or
    /// `exit(0)`, also if it was [`kill`](Process::kill)ed; [`TaskError::Handshake`] when it found
    /// itself in another program; [`TaskError::Forked`] in a forked process.
    pub fn join(&self) -> Join {
        Join::new(&self.handle, Outcome::without_result)
    }

    /// Blocks until it has ended; also a second time. Needs no runtime.
    ///
    /// # Errors
    /// As [`Process::join`].
    pub fn wait(&self) -> Result<(), TaskError> {
        self.handle.wait()?.without_result()
    }

    /// Blocks until it has ended or the timeout has passed: then `None`, and it runs on.
    ///
    /// # Errors
    /// As [`Process::join`].
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Result<(), TaskError>> {
        let outcome = self.handle.wait_timeout(timeout)?;
        Some(outcome.and_then(|outcome| outcome.without_result()))
    }
}

impl IntoFuture for Process {
    type Output = Result<(), TaskError>;
    type IntoFuture = Join;

    fn into_future(self) -> Join {
        self.join()
    }
}

impl IntoFuture for &Process {
    type Output = Result<(), TaskError>;
    type IntoFuture = Join;

    fn into_future(self) -> Join {
        self.join()
    }
}
