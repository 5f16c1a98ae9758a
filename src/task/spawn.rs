//! `spawn`: one call in a worker.

use core::any::TypeId;

use crate::error::{Error, RemoteError};
use crate::pool::Pool;
use crate::protocol::archive::Payload;
use crate::protocol::closure::{require_no_captures, summon};
use crate::protocol::context::Context;
use crate::protocol::remote::Thrown;
use crate::protocol::task::{TaskCall, TaskFault, function_id};
use crate::task::builder::TaskBuilder;
use crate::task::handle::TaskHandle;
use crate::task::output::TaskOutput;
use crate::worker::error_hook;

pub(super) fn function<C, M, A, R, F>(call: &mut TaskCall<'_>) -> Result<(), TaskFault>
where
    C: Context<M>,
    A: Payload + 'static,
    R: Payload + 'static,
    F: Fn(C::View<'_>, &A::Archived) -> R + Copy + Sync,
{
    // SAFETY: the parent holds the closure whose type this function was made for.
    let f = unsafe { summon::<F>() };
    let arguments = call.arguments::<A>()?;
    let result = f(call.context::<C, M>(), arguments);
    call.reply(&result)
}

/// What is not thrown by the closure itself is converted here, which is no place to speak of.
fn thrown<E: Into<Thrown> + 'static>(error: E) -> Thrown {
    let thrown = error.into();
    if TypeId::of::<E>() == TypeId::of::<Thrown>() {
        return thrown;
    }
    thrown.nowhere()
}

fn fallible<A, T, E, F>(call: &mut TaskCall<'_>) -> Result<(), TaskFault>
where
    A: Payload + 'static,
    T: Payload + 'static,
    E: Into<Thrown> + 'static,
    F: Fn(&A::Archived) -> Result<T, E> + Copy + Sync,
{
    // SAFETY: the parent holds the closure whose type this function was made for.
    let f = unsafe { summon::<F>() };
    let result = f(call.arguments::<A>()?).map_err(thrown);
    if let Err(thrown) = &result {
        error_hook::notify(|| RemoteError::from(Thrown::clone(thrown)));
    }
    call.reply(&result)
}

impl Pool {
    /// Runs `f` on `arguments` in a worker, once.
    ///
    /// The arguments are serialised by rkyv straight into shared memory, where `f` reads them in
    /// place; its result is serialised straight into the worker's own memory, where the caller
    /// reads it in place. Returns at once: a task waits in the ring, or behind it, until a worker
    /// is free. It never runs twice: if its worker dies, the task fails.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] without room for the arguments, [`Error::Archive`] when they are
    /// larger than an rkyv archive can be (16 MiB less than 2 GiB) or refuse to be serialised,
    /// [`Error::NotInImage`] for a function outside the executable, [`Error::PoolClosed`] when the
    /// pool has given up. What becomes of the task, its handle tells.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let task = pool.spawn(vec![3_u64, 4], |sides| {
    ///     sides.iter().map(|side| side.to_native().pow(2)).sum::<u64>()
    /// })?;
    /// assert_eq!(*task.wait()?, 25);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn spawn<A, R, F>(&self, arguments: A, f: F) -> Result<TaskHandle<R>, Error>
    where
        A: Payload + 'static,
        R: Payload + 'static,
        F: Fn(&A::Archived) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        self.spawn_with((), arguments, move |(), arguments: &A::Archived| {
            f(arguments)
        })
    }

    /// As [`Pool::spawn`], with a context that `f` sees in place; see [`Pool::par_map_with`] for
    /// what it can be. So a task reads a [`SharedSlice`](crate::SharedSlice) of any size for the
    /// cost of its offset.
    ///
    /// # Errors
    /// As [`Pool::spawn`], and [`Error::Context`] for a slice of another pool.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let xs = pool.alloc_from_fn(1_000_000, |i| i as f32)?.freeze();
    /// let task = pool.spawn_with(xs, 999_999_u32, |xs, index| xs[index.to_native() as usize])?;
    /// assert_eq!(task.wait()?.to_native(), 999_999.0);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn spawn_with<C, M, A, R, F>(
        &self,
        context: C,
        arguments: A,
        f: F,
    ) -> Result<TaskHandle<R>, Error>
    where
        C: Context<M> + Send + 'static,
        A: Payload + 'static,
        R: Payload + 'static,
        F: Fn(C::View<'_>, &A::Archived) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        let id = function_id(function::<C, M, A, R, F>)?;
        let entry = self.engine().submit(id, context, &arguments, None)?;
        Ok(TaskHandle::new(self.engine(), entry, TaskOutput::new))
    }

    /// As [`Pool::spawn`], for a function that can fail: an error is [`TaskError::Failed`].
    ///
    /// What crosses of the error is what it says: its type's name, its message, those of its
    /// sources, the place where it became a [`Thrown`], and the stack if `RUST_BACKTRACE` asks for
    /// it. To have the error itself back, return a `Result` of rkyv types from [`Pool::spawn`].
    ///
    /// # Errors
    /// As [`Pool::spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gristmill::{Pool, TaskError, Thrown};
    ///
    /// let pool = Pool::new()?;
    /// let count = |path: &rkyv::string::ArchivedString| -> Result<u64, Thrown> {
    ///     Ok(std::fs::read(path.as_str())?.len() as u64)
    /// };
    /// let task = pool.spawn_result(String::from("/no/such/file"), count)?;
    /// let Err(TaskError::Failed(error)) = task.wait() else { panic!("there is one") };
    /// assert_eq!(error.type_name(), "std::io::error::Error");
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    ///
    /// [`TaskError::Failed`]: crate::TaskError::Failed
    pub fn spawn_result<A, T, E, F>(&self, arguments: A, f: F) -> Result<TaskHandle<T>, Error>
    where
        A: Payload + Send + 'static,
        T: Payload + 'static,
        E: Into<Thrown> + 'static,
        F: Fn(&A::Archived) -> Result<T, E> + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        self.task_result(arguments, f).spawn()
    }

    /// As [`Pool::task`], for a function that can fail; see [`Pool::spawn_result`].
    ///
    /// An error that was returned is an answer: the task is not tried again.
    pub fn task_result<A, T, E, F>(&self, arguments: A, f: F) -> TaskBuilder<'_, T>
    where
        A: Payload + Send + 'static,
        T: Payload + 'static,
        E: Into<Thrown> + 'static,
        F: Fn(&A::Archived) -> Result<T, E> + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        TaskBuilder::new(
            self.engine(),
            fallible::<A, T, E, F>,
            (),
            arguments,
            TaskOutput::of_result,
        )
    }

    /// A task of which more is asked than of one by [`Pool::spawn`]: that it may run again if its
    /// worker dies, that it must end in time. It begins with [`TaskBuilder::spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let task = pool.task(7_u64, |x| x.to_native() * 6).idempotent().spawn()?;
    /// assert_eq!(*task.wait()?, 42);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn task<A, R, F>(&self, arguments: A, f: F) -> TaskBuilder<'_, R>
    where
        A: Payload + Send + 'static,
        R: Payload + 'static,
        F: Fn(&A::Archived) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        self.task_with((), arguments, move |(), arguments: &A::Archived| {
            f(arguments)
        })
    }

    /// As [`Pool::task`], with a context; see [`Pool::spawn_with`].
    pub fn task_with<C, M, A, R, F>(&self, context: C, arguments: A, f: F) -> TaskBuilder<'_, R>
    where
        C: Context<M> + Send + 'static,
        A: Payload + Send + 'static,
        R: Payload + 'static,
        F: Fn(C::View<'_>, &A::Archived) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        TaskBuilder::new(
            self.engine(),
            function::<C, M, A, R, F>,
            context,
            arguments,
            TaskOutput::new,
        )
    }
}
