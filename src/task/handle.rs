//! The caller's hold on a task.

use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::TaskError;
use crate::pool::engine::Engine;
use crate::pool::flight::{TaskEntry, TaskHalf};
use crate::pool::reply::ReplyBytes;
use crate::pool::spare::Spare;
use crate::protocol::archive::Payload;
use crate::task::output::TaskOutput;

/// A task that was submitted: awaited, waited for, or cancelled.
///
/// Several are waited for together in a [`TaskSet`](crate::TaskSet). A result is handed out once:
///
/// ```compile_fail,E0382
/// # async fn twice(pool: gristmill::Pool) -> Result<(), gristmill::Error> {
/// let task = pool.spawn(20_u32, |n| n.to_native() + 1)?;
/// task.await?;
/// task.await?; // used after it was moved
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
/// Awaiting by reference (`(&mut handle).await`) and dropping that future loses nothing. Dropping
/// the handle itself cancels the task if no worker has begun it; one that has been begun runs to
/// its end and its result is freed. To let a task run whatever becomes of the handle, use
/// [`TaskHandle::detach`].
#[must_use = "dropping the handle cancels a task that has not begun"]
pub struct TaskHandle<R: Payload> {
    engine: Arc<Engine>,
    entry: Held,
    ended: bool,
    read: Reader<R>,
    result: PhantomData<fn() -> R>,
}

/// An entry that goes to the spare ones in the end.
struct Held(Option<TaskHalf>);

impl Deref for Held {
    type Target = TaskEntry;

    fn deref(&self) -> &TaskEntry {
        self.0
            .as_deref()
            .expect("present until it is waited for, or dropped")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(entry) = self.0.take() {
            Spare::keep(entry);
        }
    }
}

/// Makes the caller's view of a reply.
pub(super) type Reader<R> = fn(ReplyBytes) -> Result<TaskOutput<R>, TaskError>;

impl<R: Payload> TaskHandle<R> {
    pub(super) fn new(engine: &Arc<Engine>, entry: TaskHalf, read: Reader<R>) -> Self {
        Self {
            engine: Arc::clone(engine),
            entry: Held(Some(entry)),
            ended: false,
            read,
            result: PhantomData,
        }
    }

    /// Blocks until the task has ended.
    ///
    /// The thread spins for some microseconds, then sleeps in the kernel. In async code, await the
    /// handle instead.
    ///
    /// # Errors
    /// See [`TaskError`].
    pub fn wait(mut self) -> Result<TaskOutput<R>, TaskError> {
        self.engine.check_process()?;
        self.engine.wait(&self.entry, None);
        self.ended = true;
        match self.entry.0.take().and_then(Spare::finish) {
            // What was just written in pieces would be waited for if it moved as a whole.
            Some(Ok(bytes)) => (self.read)(bytes),
            Some(Err(error)) => Err(error),
            None => Err(TaskError::Cancelled),
        }
    }

    /// Blocks until the task has ended or the timeout has passed: then `None`, and the task goes
    /// on.
    ///
    /// The result is handed out once; asked again, this is [`TaskError::Cancelled`].
    ///
    /// # Errors
    /// See [`TaskError`].
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<TaskOutput<R>, TaskError>> {
        if let Err(forked) = self.engine.check_process() {
            return Some(Err(forked.into()));
        }
        // A timeout beyond what the clock can express is none.
        let there = self
            .engine
            .wait(&self.entry, Instant::now().checked_add(timeout));
        there.then(|| self.take())
    }

    /// Cancels the task: whoever waits gets [`TaskError::Cancelled`], unless the task has ended.
    ///
    /// A task that no worker has begun is never run; then this is `true`. One that has been begun
    /// has some time left, see [`Builder::cancel_grace`](crate::Builder::cancel_grace); then its
    /// worker is killed and replaced.
    pub fn cancel(&mut self) -> bool {
        let grace = self.engine.config().cancel_grace;
        self.engine.cancel_task(&self.entry, Some(grace))
    }

    /// Lets the task run without a handle; its result is dropped.
    pub fn detach(mut self) {
        self.ended = true;
        if !self.entry.is_ready() {
            // Nobody else may ever look at what has finished.
            self.engine.let_supervisor_listen();
        }
    }

    /// Whether the task has ended, so that waiting for it would not block. Does not block itself.
    pub fn is_finished(&self) -> bool {
        if !self.entry.is_ready() {
            self.engine.harvest();
            self.engine.keep_watch();
        }
        self.entry.is_ready()
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(super) fn entry(&self) -> &TaskEntry {
        &self.entry
    }

    pub(super) fn take(&mut self) -> Result<TaskOutput<R>, TaskError> {
        self.ended = true;
        // An outcome taken before is gone: the handle was polled after it was ready.
        self.accept(self.entry.take().unwrap_or(Err(TaskError::Cancelled)))
    }

    fn accept(&self, outcome: Result<ReplyBytes, TaskError>) -> Result<TaskOutput<R>, TaskError> {
        outcome.and_then(self.read)
    }
}

impl<R: Payload> Future for TaskHandle<R> {
    type Output = Result<TaskOutput<R>, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.ended {
            return Poll::Ready(Err(TaskError::Cancelled));
        }
        if let Err(forked) = self.engine.check_process() {
            return Poll::Ready(Err(forked.into()));
        }
        let outcome = match self.engine.poll(&self.entry, context) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => return Poll::Pending,
        };
        self.ended = true;
        Poll::Ready(self.accept(outcome))
    }
}

impl<R: Payload> Drop for TaskHandle<R> {
    fn drop(&mut self) {
        if !self.ended && !self.entry.is_ready() && !self.engine.cancel_task(&self.entry, None) {
            // Its arguments and its result are freed when it ends.
            self.engine.let_supervisor_listen();
        }
    }
}

impl<R: Payload> fmt::Debug for TaskHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finished = self.entry.is_ready();
        f.debug_struct("TaskHandle")
            .field("finished", &finished)
            .finish_non_exhaustive()
    }
}
