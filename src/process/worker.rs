//! A process that brings back a result.

use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, TaskError};
use crate::pool::reply::ReplyBytes;
use crate::process::handle::Process;
use crate::process::join::Join;
use crate::process::record::Outcome;
use crate::protocol::archive::Payload;
use crate::task::TaskOutput;

/// A [`Process`] that brings back what its function returns.
///
/// The result is written once, into memory that is shared with this process, and read there, after
/// the other is gone. Everything that a [`Process`] has is here, too; `wait`, `wait_timeout`,
/// `join` and awaiting give the result.
///
/// # Examples
///
/// ```
/// use gristmill::{TaskError, Worker};
///
/// let worker = Worker::spawn(vec![3_u64, 4], |sides| {
///     sides.iter().map(|side| side.to_native().pow(2)).sum::<u64>()
/// })?;
/// assert_eq!(*worker.wait()?, 25);
///
/// let worker: Worker<()> = Worker::spawn((), |()| panic!("as planned"))?;
/// assert!(matches!(worker.wait(), Err(TaskError::Panicked { .. })));
/// # Ok::<(), gristmill::Error>(())
/// ```
#[must_use = "dropping the handle detaches the process, and its result is lost"]
pub struct Worker<R: Payload> {
    process: Process,
    result: PhantomData<fn() -> R>,
}

impl<R: Payload + 'static> Worker<R> {
    pub(super) fn new(process: Process) -> Self {
        Self {
            process,
            result: PhantomData,
        }
    }

    /// Starts a process that runs `f` on `arguments` and keeps its result; see [`Process::spawn`],
    /// and [`ProcessBuilder::spawn_worker`](crate::ProcessBuilder::spawn_worker) for more.
    ///
    /// # Errors
    /// As [`Process::spawn`].
    pub fn spawn<A, F>(arguments: A, f: F) -> Result<Self, Error>
    where
        A: Payload + 'static,
        F: Fn(&A::Archived) -> R + Copy + Send + Sync + 'static,
    {
        Process::builder().spawn_worker(arguments, f)
    }

    /// Starts a process that runs the async function `f`; see [`Process::spawn_async`].
    ///
    /// # Errors
    /// As [`Process::spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gristmill::Worker;
    ///
    /// let worker = Worker::spawn_async(20_u64, async |n| {
    ///     tokio::task::yield_now().await;
    ///     n.to_native() + 1
    /// })?;
    /// assert_eq!(*worker.wait()?, 21);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    #[cfg(feature = "tokio")]
    pub fn spawn_async<A, F>(arguments: A, f: F) -> Result<Self, Error>
    where
        A: Payload + 'static,
        F: AsyncFn(&A::Archived) -> R + Copy + Send + Sync + 'static,
    {
        Process::builder().spawn_worker_async(arguments, f)
    }

    /// The result, if the process has ended; `None` while it runs. Does not block.
    ///
    /// # Errors
    /// As [`Worker::join`].
    pub fn result(&self) -> Option<Result<TaskOutput<R>, TaskError>> {
        if let Err(forked) = self.handle.check() {
            return Some(Err(forked));
        }
        self.handle.outcome().as_ref().map(read)
    }

    /// The result, to be awaited under any executor, any number of times, from anywhere.
    ///
    /// # Errors
    /// As [`Process::join`], and [`TaskError::WorkerDied`] also for `exit(0)`, which leaves no
    /// result; [`TaskError::Archive`] when the result cannot be serialised,
    /// [`TaskError::OutOfMemory`] when there is no room for it. A result that was complete counts,
    /// whatever ended the process afterwards.
    pub fn join(&self) -> Join<TaskOutput<R>> {
        Join::new(&self.handle, read)
    }

    /// Blocks until the process has ended; also a second time. Needs no runtime.
    ///
    /// # Errors
    /// As [`Worker::join`].
    pub fn wait(&self) -> Result<TaskOutput<R>, TaskError> {
        read(&self.handle.wait()?)
    }

    /// Blocks until the process has ended or the timeout has passed: then `None`, and it runs on.
    ///
    /// # Errors
    /// As [`Worker::join`].
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Result<TaskOutput<R>, TaskError>> {
        let outcome = self.handle.wait_timeout(timeout)?;
        Some(outcome.and_then(|outcome| read(&outcome)))
    }
}

fn read<R: Payload>(outcome: &Outcome) -> Result<TaskOutput<R>, TaskError> {
    let bytes = match outcome.answer.clone()? {
        None => ReplyBytes::Empty,
        Some(enclosure) => ReplyBytes::Enclosed(Arc::clone(&enclosure)),
    };
    TaskOutput::new(bytes)
}

impl<R: Payload> Deref for Worker<R> {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl<R: Payload + 'static> IntoFuture for Worker<R> {
    type Output = Result<TaskOutput<R>, TaskError>;
    type IntoFuture = Join<TaskOutput<R>>;

    fn into_future(self) -> Self::IntoFuture {
        self.join()
    }
}

impl<R: Payload + 'static> IntoFuture for &Worker<R> {
    type Output = Result<TaskOutput<R>, TaskError>;
    type IntoFuture = Join<TaskOutput<R>>;

    fn into_future(self) -> Self::IntoFuture {
        self.join()
    }
}

impl<R: Payload> fmt::Debug for Worker<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Worker").field(&self.process).finish()
    }
}
