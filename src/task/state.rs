//! Tasks that borrow what their worker keeps.

use crate::error::Error;
use crate::pool::Pool;
use crate::protocol::archive::Payload;
use crate::protocol::closure::{require_no_captures, summon};
use crate::protocol::task::{TaskCall, TaskFault};
use crate::task::builder::TaskBuilder;
use crate::task::handle::TaskHandle;
use crate::task::output::TaskOutput;

fn function<S, A, R, F>(call: &mut TaskCall<'_>) -> Result<(), TaskFault>
where
    S: 'static,
    A: Payload + 'static,
    R: Payload + 'static,
    F: Fn(&mut S, &A::Archived) -> R + Copy + Sync,
{
    // SAFETY: the parent holds the closure whose type this function was made for.
    let f = unsafe { summon::<F>() };
    let arguments = call.arguments::<A>()?;
    let result = f(call.state::<S>()?, arguments);
    call.reply(&result)
}

impl Pool {
    /// As [`Pool::spawn`], with the state of the worker that runs the task, which
    /// [`Builder::worker_state`](crate::Builder::worker_state) has it make. Which worker that is,
    /// nobody can say beforehand; a worker runs one such task at a time.
    ///
    /// A task that panics leaves its worker without the state, and the next one finds a new one.
    ///
    /// # Errors
    /// As [`Pool::spawn`], and [`Error::WrongState`] when the workers have no state, or one of
    /// another type.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::builder().workers(1).worker_state((), |()| 0_u64).build()?;
    /// let count = |seen: &mut u64, more: &rkyv::rend::u64_le| {
    ///     *seen += more.to_native();
    ///     *seen
    /// };
    /// pool.spawn_with_state(3_u64, count)?.wait()?;
    /// assert_eq!(*pool.spawn_with_state(4_u64, count)?.wait()?, 7);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn spawn_with_state<S, A, R, F>(&self, arguments: A, f: F) -> Result<TaskHandle<R>, Error>
    where
        S: 'static,
        A: Payload + Send + 'static,
        R: Payload + 'static,
        F: Fn(&mut S, &A::Archived) -> R + Copy + Send + Sync + 'static,
    {
        self.task_with_state(arguments, f)?.spawn()
    }

    /// As [`Pool::task`], with the state of the worker that runs it; see
    /// [`Pool::spawn_with_state`].
    ///
    /// # Errors
    /// [`Error::WrongState`] when the workers have no state, or one of another type.
    pub fn task_with_state<S, A, R, F>(
        &self,
        arguments: A,
        f: F,
    ) -> Result<TaskBuilder<'_, R>, Error>
    where
        S: 'static,
        A: Payload + Send + 'static,
        R: Payload + 'static,
        F: Fn(&mut S, &A::Archived) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        let engine = self.engine();
        engine.config().service.check_state::<S>()?;
        let function = function::<S, A, R, F>;
        let read = TaskOutput::new;
        Ok(TaskBuilder::new(engine, function, (), arguments, read))
    }
}
