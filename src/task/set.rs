//! Handles of many tasks, waited for together: whichever ends first, or all of them.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_core::Stream;

use crate::error::{ItemError, TaskError};
use crate::pool::engine::Engine;
use crate::protocol::archive::Payload;
use crate::task::handle::TaskHandle;
use crate::task::map::signal::Signal;
use crate::task::map::stream::Blocking;
use crate::task::output::TaskOutput;

/// The number of a task in its set, and what became of it.
type Ended<R> = (u64, Result<TaskOutput<R>, TaskError>);

/// Tasks that are waited for together, in the order in which they end.
///
/// Made of handles, by [`push`](TaskSet::push) or by `collect`. Each has a number, from 0 on in the
/// order in which it came in, and is handed out with it once it has ended: to
/// [`wait_next`](TaskSet::wait_next) or a `for` loop, which block, or as a [`Stream`]. All results
/// at once, or the first error, are what [`gather`](TaskSet::gather) is for. What waiting costs
/// depends on what has ended, not on how many tasks there are.
///
/// Tasks may be added at any time. So what a task's result asks for is simply another task: workers
/// submit nothing themselves and wait for nobody, and no nesting of tasks can lock up.
///
/// The handles may belong to several pools. For a single function over many items
/// [`Pool::map`](crate::Pool::map) is quicker and keeps memory within bounds.
///
/// # Cancel safety
/// Dropping a future that waits for the next result loses none. Dropping the set drops the handles
/// in it: tasks that no worker has begun are cancelled.
///
/// # Examples
///
/// ```
/// use gristmill::{Pool, TaskSet};
///
/// let pool = Pool::new()?;
/// // Each number asks for its halves, down to one.
/// let halves = |n: &rkyv::rend::u32_le| match n.to_native() {
///     1 => vec![],
///     n => vec![n / 2, n - n / 2],
/// };
/// let mut tasks = TaskSet::new();
/// tasks.push(pool.spawn(100_u32, halves)?);
/// let mut leaves = 0;
/// while let Some((_, found)) = tasks.wait_next() {
///     let found = found?;
///     leaves += u32::from(found.is_empty());
///     for n in found.iter() {
///         tasks.push(pool.spawn(n.to_native(), halves)?);
///     }
/// }
/// assert_eq!(leaves, 100);
/// # Ok::<(), gristmill::Error>(())
/// ```
#[must_use = "dropping the set cancels its tasks that have not begun"]
pub struct TaskSet<R: Payload> {
    signal: Arc<Signal>,
    handles: HashMap<u64, TaskHandle<R>>,
    /// Numbers of those that have ended, unless they were taken out.
    ended: VecDeque<u64>,
    next: u64,
    /// Each pool once that a handle came from. The first one's is asked, the others report.
    engines: Vec<Arc<Engine>>,
}

impl<R: Payload> TaskSet<R> {
    /// One without tasks.
    pub fn new() -> Self {
        Self {
            signal: Arc::default(),
            handles: HashMap::new(),
            ended: VecDeque::new(),
            next: 0,
            engines: Vec::new(),
        }
    }

    /// Adds a task, and says its number.
    pub fn push(&mut self, task: TaskHandle<R>) -> u64 {
        let number = self.next;
        self.next += 1;
        let engine = task.engine();
        if !self.engines.iter().any(|known| Arc::ptr_eq(known, engine)) {
            self.engines.push(Arc::clone(engine));
        }
        self.signal.listen(number, task.entry());
        self.handles.insert(number, task);
        number
    }

    /// Takes a task out, to cancel or detach it, or to wait for it alone; `None` if its result was
    /// handed out, or there was none of that number.
    pub fn remove(&mut self, number: u64) -> Option<TaskHandle<R>> {
        self.handles.remove(&number)
    }

    /// How many tasks it holds: those that run or wait, and those whose result was not taken.
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// Whether it holds no tasks.
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// Blocks until a task has ended: its number and what became of it; `None` when there are no
    /// more tasks. In async code, await the stream's next item instead.
    pub fn wait_next(&mut self) -> Option<Ended<R>> {
        self.block(None).flatten()
    }

    /// As [`TaskSet::wait_next`], for so long at most: the outer `None` says that the time is up.
    /// Nothing is lost then, and the tasks go on.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Option<Ended<R>>> {
        // A timeout beyond what the clock can express is none.
        self.block(Instant::now().checked_add(timeout))
    }

    /// Cancels all its tasks, as [`TaskHandle::cancel`] does. They are handed out as
    /// [`TaskError::Cancelled`], or with the result that they had.
    pub fn cancel_all(&mut self) {
        for task in self.handles.values_mut() {
            task.cancel();
        }
    }

    /// All results, in the order in which the tasks came in, or the first error, at which those
    /// that have not begun are cancelled: await it, or [`wait`](Gather::wait) for it.
    ///
    /// For all outcomes, errors among them, collect the stream or the iterator.
    ///
    /// # Examples
    ///
    /// ```
    /// use gristmill::{Pool, TaskSet};
    ///
    /// let pool = Pool::new()?;
    /// let words = ["to", "be", "or not"].map(String::from);
    /// let tasks = words.map(|word| pool.spawn(word, |word| word.len() as u64));
    /// let tasks: TaskSet<u64> = tasks.into_iter().collect::<Result<_, _>>()?;
    /// let lengths = tasks.gather().wait()?;
    /// assert_eq!(lengths.iter().map(|n| n.to_native()).collect::<Vec<_>>(), [2, 2, 6]);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn gather(self) -> Gather<R> {
        let results = (0..self.next).map(|_| None).collect();
        Gather { set: self, results }
    }

    /// The next that is known to have ended.
    fn take(&mut self) -> Option<Ended<R>> {
        self.ended.extend(self.signal.take());
        while let Some(number) = self.ended.pop_front() {
            if let Some(mut task) = self.handles.remove(&number) {
                return Some((number, task.take()));
            }
        }
        None
    }

    /// In a forked child: tasks of the parent's, one after another.
    fn refuse(&mut self) -> Option<Ended<R>> {
        let first = self.engines.first()?;
        let forked = first.check_process().err()?;
        let number = *self.handles.keys().min()?;
        drop(self.handles.remove(&number)?);
        Some((number, Err(forked.into())))
    }

    /// Has the pools of the other handles tell what has ended, too.
    fn ask_others(&self) {
        for engine in self.engines.iter().skip(1) {
            engine.let_supervisor_listen();
        }
    }

    fn block(&mut self, deadline: Option<Instant>) -> Option<Option<Ended<R>>> {
        loop {
            if let Some(ended) = self.refuse().or_else(|| self.take()) {
                return Some(Some(ended));
            }
            if self.handles.is_empty() {
                return Some(None);
            }
            self.ask_others();
            if let (Some(round), Some(engine)) = (self.signal.round(), self.engines.first())
                && !engine.wait(&round, deadline)
            {
                return None;
            }
        }
    }
}

impl<R: Payload> Default for TaskSet<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Payload> Unpin for TaskSet<R> {}

impl<R: Payload> Stream for TaskSet<R> {
    type Item = Ended<R>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(ended) = self.refuse().or_else(|| self.take()) {
                return Poll::Ready(Some(ended));
            }
            if self.handles.is_empty() {
                return Poll::Ready(None);
            }
            self.ask_others();
            if let (Some(round), Some(engine)) = (self.signal.round(), self.engines.first()) {
                ready!(engine.poll(&round, context));
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl<R: Payload> IntoIterator for TaskSet<R> {
    type Item = Ended<R>;
    type IntoIter = Blocking<Self>;

    fn into_iter(self) -> Blocking<Self> {
        Blocking::new(self)
    }
}

impl<R: Payload> Iterator for Blocking<TaskSet<R>> {
    type Item = Ended<R>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_mut().wait_next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.get_ref().size_hint()
    }
}

impl<R: Payload> Extend<TaskHandle<R>> for TaskSet<R> {
    fn extend<I: IntoIterator<Item = TaskHandle<R>>>(&mut self, tasks: I) {
        for task in tasks {
            self.push(task);
        }
    }
}

impl<R: Payload> FromIterator<TaskHandle<R>> for TaskSet<R> {
    fn from_iter<I: IntoIterator<Item = TaskHandle<R>>>(tasks: I) -> Self {
        let mut set = Self::new();
        set.extend(tasks);
        set
    }
}

impl<R: Payload> fmt::Debug for TaskSet<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskSet")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// All results of a set of tasks, or its first error; made by [`TaskSet::gather`].
///
/// # Cancel safety
/// Dropping it drops the set, and the results that it has.
#[must_use = "dropping it cancels the tasks that have not begun"]
pub struct Gather<R: Payload> {
    set: TaskSet<R>,
    results: Vec<Option<TaskOutput<R>>>,
}

impl<R: Payload> Gather<R> {
    /// Blocks until all tasks have ended well, or one has not. In async code, await it instead.
    ///
    /// # Errors
    /// The number and the error of the first task that failed.
    pub fn wait(mut self) -> Result<Vec<TaskOutput<R>>, ItemError> {
        while let Some(ended) = self.set.wait_next() {
            self.note(ended)?;
        }
        Ok(self.finish())
    }

    fn note(&mut self, (index, outcome): Ended<R>) -> Result<(), ItemError> {
        let output = outcome.map_err(|error| {
            // Those that have not begun are cancelled.
            self.set = TaskSet::new();
            ItemError { index, error }
        })?;
        let place = usize::try_from(index)
            .ok()
            .and_then(|index| self.results.get_mut(index));
        if let Some(place) = place {
            *place = Some(output);
        }
        Ok(())
    }

    /// The results; of tasks that were handed out before, or taken out, there are none.
    fn finish(&mut self) -> Vec<TaskOutput<R>> {
        core::mem::take(&mut self.results)
            .into_iter()
            .flatten()
            .collect()
    }
}

impl<R: Payload> Unpin for Gather<R> {}

impl<R: Payload> Future for Gather<R> {
    type Output = Result<Vec<TaskOutput<R>>, ItemError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        while let Some(ended) = ready!(Pin::new(&mut self.set).poll_next(context)) {
            self.note(ended)?;
        }
        Poll::Ready(Ok(self.finish()))
    }
}

impl<R: Payload> fmt::Debug for Gather<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gather")
            .field("set", &self.set)
            .finish_non_exhaustive()
    }
}
