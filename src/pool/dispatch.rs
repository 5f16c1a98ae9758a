//! The pool's scheduler, called so that its code can neither block nor break the pool.
//!
//! It is called under a lock of its own and no other. What it is told is left in a list first:
//! whoever holds the lock, or gets it at once, tells it. So nobody but a submitter, who needs its
//! answer, ever waits for it; what it does with the pool meanwhile cannot deadlock. A submission
//! from within it is refused.

use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use crate::error::SchedulerError;
use crate::pool::builder::Config;
use crate::pool::engine::Engine;
use crate::pool::scheduler::{QueueId, RoundRobin, Scheduler, TaskInfo, WorkerInfo};
use crate::protocol::lanes::Priority;

/// What the scheduler is to be told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Started(WorkerInfo),
    Ended(WorkerInfo),
    Completed(TaskInfo, QueueId),
}

/// Where a task was placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) task: TaskInfo,
    pub(crate) queue: QueueId,
}

impl Engine {
    /// Tells the scheduler, if there is one, of a worker.
    pub(crate) fn tell_scheduler(&self, worker: u16, pid: u32, what: fn(WorkerInfo) -> Event) {
        if let Some(dispatch) = self.dispatch() {
            let queue = self.shape().queue_of(worker);
            dispatch.notify([what(WorkerInfo {
                index: worker.into(),
                pid,
                queue: QueueId::new(queue.into()),
            })]);
        }
    }
}

/// The scheduler behind its lock.
pub(crate) struct Dispatch {
    queues: usize,
    state: Mutex<State>,
    events: Mutex<VecDeque<Event>>,
}

struct State {
    scheduler: Box<dyn Scheduler>,
    /// Tasks that were placed so far.
    placed: u64,
    /// The panic in a method that has nobody to tell of it.
    fault: Option<SchedulerError>,
}

thread_local! {
    /// The scheduler that this thread is in the middle of.
    static INSIDE: Cell<*const Dispatch> = const { Cell::new(core::ptr::null()) };
}

impl Dispatch {
    /// The pool's scheduler; none where there is one queue and the program has none of its own.
    pub(crate) fn new(config: &Config) -> Option<Self> {
        let scheduler = match &config.scheduler {
            Some(policy) => policy.make(),
            None if config.queues > 1 => Box::new(RoundRobin::new()),
            None => return None,
        };
        Some(Self {
            queues: config.queues,
            state: Mutex::new(State {
                scheduler,
                placed: 0,
                fault: None,
            }),
            events: Mutex::new(VecDeque::new()),
        })
    }

    /// Has the scheduler choose a queue.
    pub(crate) fn place(&self, priority: Priority) -> Result<Placement, SchedulerError> {
        if self.is_inside() {
            return Err(SchedulerError::Reentered);
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.tell(&mut state);
        let placement = self.ask(&mut state, priority);
        drop(state);
        self.pump();
        placement
    }

    fn ask(&self, state: &mut State, priority: Priority) -> Result<Placement, SchedulerError> {
        if let Some(fault) = state.fault.take() {
            return Err(fault);
        }
        let id = state.placed;
        let task = TaskInfo { id, priority };
        let queue = self.call(|| state.scheduler.queue_for(&task))?;
        if queue.index() >= self.queues {
            return Err(SchedulerError::NoSuchQueue {
                found: queue.index(),
                queues: self.queues,
            });
        }
        state.placed += 1;
        Ok(Placement { task, queue })
    }

    /// Leaves word for the scheduler; does not wait.
    pub(crate) fn notify(&self, events: impl IntoIterator<Item = Event>) {
        self.events().extend(events);
        self.pump();
    }

    /// Tells the scheduler what was left for it, unless somebody else is with it, who will.
    fn pump(&self) {
        while !self.is_inside() && !self.events().is_empty() {
            let mut state = match self.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                // They look at the list once more after they have let go.
                Err(TryLockError::WouldBlock) => return,
            };
            self.tell(&mut state);
        }
    }

    fn tell(&self, state: &mut State) {
        loop {
            // Not in the condition, where the lock on the list would live as long as the call.
            let Some(event) = self.events().pop_front() else {
                return;
            };
            let told = self.call(|| match &event {
                Event::Started(worker) => state.scheduler.on_worker_started(worker),
                Event::Ended(worker) => state.scheduler.on_worker_ended(worker),
                Event::Completed(task, queue) => state.scheduler.on_completed(task, *queue),
            });
            if let Err(fault) = told {
                state.fault.get_or_insert(fault);
            }
        }
    }

    fn call<R>(&self, f: impl FnOnce() -> R) -> Result<R, SchedulerError> {
        let before = INSIDE.replace(self);
        // The scheduler is used again as the panic left it, which its documentation says.
        let outcome = panic::catch_unwind(AssertUnwindSafe(f));
        INSIDE.set(before);
        outcome.map_err(|payload| SchedulerError::Panicked {
            message: message(&*payload),
        })
    }

    fn is_inside(&self) -> bool {
        core::ptr::eq(INSIDE.get(), self)
    }

    fn events(&self) -> MutexGuard<'_, VecDeque<Event>> {
        // Nothing panics while it is locked, so a poisoned lock guards a sound list.
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => String::clone(text),
        (None, None) => "a value that is no text".into(),
    }
}
