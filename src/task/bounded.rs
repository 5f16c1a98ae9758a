//! Tasks for a queue that may be full: given back, or waited for.

use core::fmt;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::Arc;

use crate::error::Error;
use crate::pool::Pool;
use crate::pool::engine::Engine;
use crate::pool::entry::Entry;
use crate::protocol::archive::Payload;
use crate::protocol::closure::require_no_captures;
use crate::protocol::context::ByValue;
use crate::protocol::task::{TaskFunction, function_id};
use crate::task::handle::TaskHandle;
use crate::task::output::TaskOutput;
use crate::task::spawn::function;

/// Why [`Pool::try_spawn`] did not submit a task, with its arguments.
#[derive(Debug)]
#[non_exhaustive]
pub enum TrySpawnError<A> {
    /// As many tasks are pending as [`Builder::queue_depth`](crate::Builder::queue_depth) allows.
    Full(A),
    /// It could not be submitted, room or not.
    Refused(A, Error),
}

impl<A> TrySpawnError<A> {
    /// The arguments.
    pub fn into_arguments(self) -> A {
        match self {
            Self::Full(arguments) | Self::Refused(arguments, _) => arguments,
        }
    }
}

impl<A> fmt::Display for TrySpawnError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str(
                "as many tasks are pending as the pool's `queue_depth` allows; wait for some, or \
                 use `spawn_when_free`",
            ),
            Self::Refused(_, error) => fmt::Display::fmt(error, f),
        }
    }
}

impl<A: fmt::Debug> core::error::Error for TrySpawnError<A> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Full(_) => None,
            Self::Refused(_, error) => error.source(),
        }
    }
}

/// A task that is submitted once the queue has room; made by [`Pool::spawn_when_free`].
///
/// # Cancel safety
/// Dropped before it is ready, it has submitted nothing.
#[must_use = "nothing is submitted unless it is awaited or waited for"]
pub struct WhenFree<A, R> {
    engine: Arc<Engine>,
    function: TaskFunction,
    arguments: A,
    place: Option<Arc<Entry<()>>>,
    result: PhantomData<fn() -> R>,
}

impl<A: Payload + 'static, R: Payload + 'static> WhenFree<A, R> {
    /// Blocks until there is room, and submits the task.
    ///
    /// # Errors
    /// As [`Pool::spawn`].
    pub fn wait(mut self) -> Result<TaskHandle<R>, Error> {
        loop {
            if let Some(handle) = self.attempt() {
                return handle;
            }
            if let Some(place) = self.place.take() {
                self.engine.wait(&place, None);
            }
        }
    }

    /// Submits the task or stands in line.
    fn attempt(&mut self) -> Option<Result<TaskHandle<R>, Error>> {
        let place = Arc::new(Entry::new());
        let submitted = function_id(self.function)
            .map_err(Error::from)
            .and_then(|id| self.engine.try_submit(id, &self.arguments, Some(&place)));
        match submitted {
            Ok(None) => {
                self.place = Some(place);
                None
            }
            Ok(Some(entry)) => Some(Ok(TaskHandle::new(&self.engine, entry, TaskOutput::new))),
            Err(error) => Some(Err(error)),
        }
    }
}

impl<A, R> Unpin for WhenFree<A, R> {}

impl<A: Payload + 'static, R: Payload + 'static> Future for WhenFree<A, R> {
    type Output = Result<TaskHandle<R>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            if let Some(place) = &self.place {
                ready!(self.engine.poll(place, context));
                self.place = None;
            }
            if let Some(handle) = self.attempt() {
                return Poll::Ready(handle);
            }
        }
    }
}

impl<A, R> Drop for WhenFree<A, R> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take()
            && self.engine.check_process().is_ok()
        {
            // If it had just been called, the next in line is when the lock is released.
            self.engine.hub().leave_line(&place);
        }
    }
}

impl<A, R> fmt::Debug for WhenFree<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WhenFree").finish_non_exhaustive()
    }
}

impl Pool {
    /// As [`Pool::spawn`], unless as many tasks are pending as
    /// [`Builder::queue_depth`](crate::Builder::queue_depth) allows: then the arguments come back.
    ///
    /// Never blocks.
    ///
    /// # Errors
    /// [`TrySpawnError::Full`]; [`TrySpawnError::Refused`] for the errors of [`Pool::spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gristmill::{Pool, TrySpawnError};
    ///
    /// let pool = Pool::builder().workers(1).queue_depth(1).build()?;
    /// let endless = pool.spawn((), |()| loop { std::hint::spin_loop() })?;
    /// let endless: gristmill::TaskHandle<()> = endless;
    /// match pool.try_spawn(String::from("no room"), |text| text.len() as u64) {
    ///     Err(TrySpawnError::Full(text)) => assert_eq!(text, "no room"),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn try_spawn<A, R, F>(&self, arguments: A, f: F) -> Result<TaskHandle<R>, TrySpawnError<A>>
    where
        A: Payload + 'static,
        R: Payload + 'static,
        F: Fn(&A::Archived) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let submitted = function_id(adapt::<A, R, F>(f))
            .map_err(Error::from)
            .and_then(|id| self.engine().try_submit(id, &arguments, None));
        match submitted {
            Ok(Some(entry)) => Ok(TaskHandle::new(self.engine(), entry, TaskOutput::new)),
            Ok(None) => Err(TrySpawnError::Full(arguments)),
            Err(error) => Err(TrySpawnError::Refused(arguments, error)),
        }
    }

    /// As [`Pool::spawn`], once fewer tasks are pending than
    /// [`Builder::queue_depth`](crate::Builder::queue_depth): await it, or
    /// [`wait`](WhenFree::wait) for it. Its result is the task's handle.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::builder().queue_depth(4).build()?;
    /// let mut tasks = Vec::new();
    /// for n in 0..100_u32 {
    ///     // Blocks while four tasks are pending.
    ///     tasks.push(pool.spawn_when_free(n, |n| n.to_native() + 1).wait()?);
    /// }
    /// assert_eq!(tasks.pop().unwrap().wait()?.to_native(), 100);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn spawn_when_free<A, R, F>(&self, arguments: A, f: F) -> WhenFree<A, R>
    where
        A: Payload + 'static,
        R: Payload + 'static,
        F: Fn(&A::Archived) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        WhenFree {
            engine: Arc::clone(self.engine()),
            function: adapt::<A, R, F>(f),
            arguments,
            place: None,
            result: PhantomData,
        }
    }
}

/// The task function of a closure that takes no context.
fn adapt<A, R, F>(f: F) -> TaskFunction
where
    A: Payload + 'static,
    R: Payload + 'static,
    F: Fn(&A::Archived) -> R + Copy + Send + Sync + 'static,
{
    function_of::<A, R, _>(move |(), arguments: &A::Archived| f(arguments))
}

fn function_of<A, R, G>(_: G) -> TaskFunction
where
    A: Payload + 'static,
    R: Payload + 'static,
    G: Fn(&(), &A::Archived) -> R + Copy + Send + Sync + 'static,
{
    function::<(), ByValue, A, R, G>
}
