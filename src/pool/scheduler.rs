//! Which queue a task goes to: the trait that a program can fill in, and the default.

use std::fmt;
use std::sync::Arc;

use crate::protocol::lanes::Priority;

/// A queue of a pool, by its number from 0; see [`Builder::queues`](crate::Builder::queues).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct QueueId(usize);

impl QueueId {
    /// The queue of this number.
    #[must_use]
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// Its number.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

/// What a [`Scheduler`] is told of a task.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct TaskInfo {
    /// Its number, counted from 0 in the order in which tasks were placed.
    pub id: u64,
    /// What was asked for it.
    pub priority: Priority,
}

/// What a [`Scheduler`] is told of a worker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// Its place in the pool, counted from 0. A worker that replaces one that died has the same
    /// place, the successor of one that was recycled has another, of the same queue.
    pub index: usize,
    /// Its process.
    pub pid: u32,
    /// The queue from which it takes tasks.
    pub queue: QueueId,
}

/// Chooses the queue of each task that a pool is given.
///
/// It lives in the parent and is called by one thread at a time: by whoever submits a task, or by
/// whoever learns of an end, the pool's own thread among them. So it should be quick and must not
/// wait for tasks of its pool. It is not asked about [sticky](crate::TaskBuilder::sticky) tasks,
/// nor about jobs over ranges.
///
/// A panic stays here: the submission fails with
/// [`SchedulerError::Panicked`](crate::SchedulerError::Panicked), and one of the other methods
/// makes the next submission fail so. The scheduler is then used as it is.
pub trait Scheduler: Send {
    /// The queue that this task is to wait in.
    fn queue_for(&mut self, task: &TaskInfo) -> QueueId;

    /// A worker was started, at first or in place of another.
    fn on_worker_started(&mut self, worker: &WorkerInfo) {
        let _ = worker;
    }

    /// A worker has ended; it will be replaced. Tasks in its queue wait, or go to the others that
    /// serve it.
    fn on_worker_ended(&mut self, worker: &WorkerInfo) {
        let _ = worker;
    }

    /// A task has left the queue that was chosen for it: it was done, failed or was cancelled.
    fn on_completed(&mut self, task: &TaskInfo, queue: QueueId) {
        let _ = (task, queue);
    }
}

/// The default [`Scheduler`]: to each worker's queue in turn, so that a queue gets tasks in
/// proportion to the workers that serve it. While none is there, those that were last count.
#[derive(Clone, Debug, Default)]
pub struct RoundRobin {
    /// By the worker's place; and whether somebody serves there.
    turns: Vec<Option<(QueueId, bool)>>,
    next: usize,
}

impl RoundRobin {
    /// Begins with the first worker's queue.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            turns: Vec::new(),
            next: 0,
        }
    }
}

impl Scheduler for RoundRobin {
    fn queue_for(&mut self, _task: &TaskInfo) -> QueueId {
        let Self { turns, next } = self;
        let count = turns.len();
        let from = *next;
        let mut in_turn = (from..from + count).map(|turn| turn % count);
        let serves = |turn: &usize| matches!(turns[*turn], Some((_, true)));
        let chosen = in_turn.clone().find(serves);
        let chosen = chosen.or_else(|| in_turn.find(|&turn| turns[turn].is_some()));
        *next = chosen.map_or(0, |turn| turn + 1);
        let queue = chosen.and_then(|turn| turns[turn]);
        queue.map_or(QueueId::new(0), |(queue, _)| queue)
    }

    fn on_worker_started(&mut self, worker: &WorkerInfo) {
        if self.turns.len() <= worker.index {
            self.turns.resize(worker.index + 1, None);
        }
        self.turns[worker.index] = Some((worker.queue, true));
    }

    fn on_worker_ended(&mut self, worker: &WorkerInfo) {
        if let Some(Some((_, serves))) = self.turns.get_mut(worker.index) {
            *serves = false;
        }
    }
}

/// How a pool's scheduler is made.
#[derive(Clone)]
pub(crate) struct Policy(Arc<dyn Fn() -> Box<dyn Scheduler> + Send + Sync>);

impl Policy {
    pub(crate) fn new<S: Scheduler + 'static>(
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move || Box::new(make())))
    }

    pub(crate) fn make(&self) -> Box<dyn Scheduler> {
        (self.0)()
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Policy")
    }
}
