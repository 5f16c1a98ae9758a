//! Tasks that are futures.

use crate::error::Error;
use crate::pool::Pool;
use crate::protocol::archive::{self, Payload};
use crate::protocol::closure::{require_no_captures, summon};
use crate::protocol::future::{Answer, Course};
use crate::protocol::range::bytes_of;
use crate::protocol::task::{TaskCall, TaskFault};
use crate::task::builder::TaskBuilder;
use crate::task::handle::TaskHandle;
use crate::task::output::TaskOutput;

fn function<A, R, F>(call: &mut TaskCall<'_>) -> Result<(), TaskFault>
where
    A: Payload + 'static,
    R: Payload + Send + 'static,
    F: AsyncFn(&A::Archived) -> R + Copy + Send + Sync + 'static,
{
    // SAFETY: the parent holds the closure whose type this function was made for.
    let f = unsafe { summon::<F>() };
    let (region, span) = (call.futures.region(), call.task.arguments);
    call.futures.defer(Box::new(move || -> Course {
        Box::pin(async move {
            let arguments = archive::access::<A>(bytes_of(region, span));
            let arguments = arguments.map_err(|_| TaskFault::BadArguments)?;
            let result = f(arguments).await;
            let answer: Answer = Box::new(move |call| call.reply(&result));
            Ok(answer)
        })
    }));
    Err(TaskFault::Deferred)
}

impl Pool {
    /// As [`Pool::spawn`], with a function that returns a future, which a tokio runtime in the
    /// worker polls. While it waits, its worker goes on with other work: up to
    /// [`Builder::async_concurrency`](crate::Builder::async_concurrency) futures at a time, and
    /// tasks and jobs next to them. An idle worker with fewer futures goes first.
    ///
    /// A panic ends its own future only, and so does cancelling it or a time limit: it is dropped
    /// where it waits. If it does not come to a point where it waits within
    /// [`Builder::cancel_grace`](crate::Builder::cancel_grace), or its worker is at another task
    /// for so long, that worker is killed, and takes its other futures along. A result is sent when
    /// its worker is between two tasks.
    ///
    /// # Errors
    /// As [`Pool::spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = gristmill::Pool::builder().workers(1).build()?;
    /// let naps: Vec<_> = (0..8_u64)
    ///     .map(|number| {
    ///         pool.spawn_async(number, async |number| {
    ///             tokio::time::sleep(Duration::from_millis(10)).await;
    ///             number.to_native()
    ///         })
    ///     })
    ///     .collect::<Result<_, _>>()?;
    /// for (number, nap) in (0..).zip(naps) {
    ///     assert_eq!(*nap.wait()?, number);
    /// }
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn spawn_async<A, R, F>(&self, arguments: A, f: F) -> Result<TaskHandle<R>, Error>
    where
        A: Payload + Send + 'static,
        R: Payload + Send + 'static,
        F: AsyncFn(&A::Archived) -> R + Copy + Send + Sync + 'static,
    {
        self.task_async(arguments, f).spawn()
    }

    /// As [`Pool::task`], with a function that returns a future; see [`Pool::spawn_async`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gristmill::TaskError;
    ///
    /// let pool = gristmill::Pool::new()?;
    /// let task = pool.task_async((), async |()| std::future::pending::<()>().await);
    /// let task = task.timeout(Duration::from_millis(20)).spawn()?;
    /// assert!(matches!(task.wait(), Err(TaskError::TimedOut { .. })));
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn task_async<A, R, F>(&self, arguments: A, f: F) -> TaskBuilder<'_, R>
    where
        A: Payload + Send + 'static,
        R: Payload + Send + 'static,
        F: AsyncFn(&A::Archived) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        let function = function::<A, R, F>;
        TaskBuilder::new(self.engine(), function, (), arguments, TaskOutput::new).future()
    }
}
