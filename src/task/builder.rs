//! A task with terms: what may be asked before it is spawned.

use core::fmt;
use core::hash::Hash;
use core::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::pool::engine::Engine;
use crate::pool::flight::TaskHalf;
use crate::pool::sticky::Bucket;
use crate::pool::terms::TaskTerms;
use crate::protocol::archive::Payload;
use crate::protocol::context::Context;
use crate::protocol::lanes::Priority;
use crate::protocol::task::{TaskFunction, function_id};
use crate::task::handle::{Reader, TaskHandle};

/// A task that is not submitted yet; made by [`Pool::task`](crate::Pool::task).
#[must_use = "a task does nothing until it is spawned"]
pub struct TaskBuilder<'p, R: Payload> {
    engine: &'p Arc<Engine>,
    submit: Submit<'p>,
    idempotent: bool,
    attempts: Option<u32>,
    terms: TaskTerms,
    read: Reader<R>,
    result: PhantomData<fn() -> R>,
}

/// Submits the task under the given terms.
type Submit<'p> = Box<dyn FnOnce(Option<Box<TaskTerms>>) -> Result<TaskHalf, Error> + Send + 'p>;

impl<'p, R: Payload + 'static> TaskBuilder<'p, R> {
    pub(super) fn new<C, M, A>(
        engine: &'p Arc<Engine>,
        function: TaskFunction,
        context: C,
        arguments: A,
        read: Reader<R>,
    ) -> Self
    where
        C: Context<M> + Send + 'static,
        A: Payload + Send + 'static,
    {
        Self {
            engine,
            submit: Box::new(move |terms| {
                engine.submit(function_id(function)?, context, &arguments, terms)
            }),
            idempotent: false,
            attempts: None,
            terms: TaskTerms::PLAIN,
            read,
            result: PhantomData,
        }
    }

    /// It is a future, whose worker drops it when its time is over.
    #[cfg(feature = "tokio")]
    pub(super) fn future(mut self) -> Self {
        self.terms.grace = Some(self.engine.config().cancel_grace);
        self
    }

    /// Running it twice, or one and a half times, does the same as running it once: if its worker
    /// dies, another runs it again, up to [`Builder::attempts`](crate::Builder::attempts) times in
    /// all. Then it fails with the last death.
    ///
    /// A panic is an answer, and not tried again; nor is a task that ran out of time.
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// As [`TaskBuilder::idempotent`], with a number of attempts of its own, at least one.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.idempotent = true;
        self.attempts = Some(attempts.max(1));
        self
    }

    /// Ends the task when it has run this long: its worker is killed and replaced, and whoever
    /// waits gets [`TaskError::TimedOut`](crate::TaskError::TimedOut).
    ///
    /// The time begins when a worker takes the task, so waiting for one does not count, and anew
    /// with each attempt. A worker that is stopped (`SIGSTOP`) is alive and has its time, too.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gristmill::{Pool, TaskError};
    ///
    /// let pool = Pool::new()?;
    /// let limit = Duration::from_millis(50);
    /// let task = pool.task((), |()| loop { std::hint::spin_loop() });
    /// let task: gristmill::TaskHandle<()> = task.timeout(limit).spawn()?;
    /// assert!(matches!(task.wait(), Err(TaskError::TimedOut { .. })));
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.terms.timeout = Some(limit);
        self
    }

    /// Has workers take the task before those of lower priority, after those of higher.
    ///
    /// It is about tasks that wait: one that runs is not interrupted.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.terms.priority = priority;
        self
    }

    /// Runs the task in the worker that runs all tasks with an equal key, so that what they keep
    /// there (a static, a cache, an open file) is at hand.
    ///
    /// A key stays with its worker for as long as that process lives, however busy it is, and
    /// nobody else takes its tasks. When the worker is gone, tasks that wait for it go to others at
    /// once, and the key stays with the one that got it. Keys are spread over the workers as evenly
    /// as their number; many keys share a worker. The queue of the worker does not matter.
    ///
    /// Equal keys of one type meet within one pool. Nothing is said of another pool, or of the same
    /// program started again. A priority besides is refused with [`Error::InvalidArgument`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gristmill::Pool;
    ///
    /// let pool = Pool::builder().workers(2).build()?;
    /// let pid = || pool.task((), |()| std::process::id()).sticky("user 7").spawn();
    /// assert_eq!(*pid()?.wait()?, *pid()?.wait()?);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn sticky(mut self, key: impl Hash) -> Self {
        self.terms.bucket = Some(Bucket::of(&key));
        self
    }

    /// Submits the task; see [`Pool::spawn`](crate::Pool::spawn).
    ///
    /// # Errors
    /// As [`Pool::spawn_with`](crate::Pool::spawn_with).
    pub fn spawn(self) -> Result<TaskHandle<R>, Error> {
        let mut terms = self.terms;
        if self.idempotent {
            terms.attempts = self.attempts.unwrap_or(self.engine.config().attempts);
        }
        let terms = (terms != TaskTerms::PLAIN).then(|| Box::new(terms));
        let entry = (self.submit)(terms)?;
        Ok(TaskHandle::new(self.engine, entry, self.read))
    }
}

impl<R: Payload> fmt::Debug for TaskBuilder<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskBuilder")
            .field("idempotent", &self.idempotent)
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}
