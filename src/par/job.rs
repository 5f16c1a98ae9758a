//! A piece of data-parallel work: awaited or waited for.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, TaskError};
use crate::pool::engine::Engine;
use crate::pool::entry::Place;
use crate::pool::job::{JobEntry, JobOutcome, Launch};

/// What a job does next.
pub(super) enum Step<'a, O> {
    /// Have this run by the workers, then make something of it.
    Run(Launch, Finish<'a, O>),
    /// It is done.
    Ready(O),
}

/// Makes the next step of a job that has ended.
pub(super) type Finish<'a, O> =
    Box<dyn FnOnce(&Arc<Engine>, JobOutcome) -> Result<Step<'a, O>, Error> + Send + 'a>;

/// Makes the first step: allocates, describes.
pub(super) type Plan<'a, O> =
    Box<dyn FnOnce(&Arc<Engine>) -> Result<Step<'a, O>, Error> + Send + 'a>;

/// Work over a range, run by the pool's workers.
///
/// It begins when it is first polled or waited for, or with [`Job::start`].
///
/// - **Async**: it is a future. Under tokio the runtime's own reactor wakes it; any other executor
///   works too.
/// - **Blocking**: [`Job::wait`] needs no runtime.
///
/// # Cancel safety
/// Dropping a job that has begun gives it up: no further chunk is begun, and its buffers are freed
/// when the last chunk that was being worked on has ended. A job that works on a borrowed
/// [`SharedVec`](crate::SharedVec) takes the buffer out of it at the start and puts it back at the
/// end; dropped or leaked in between, it leaves the vector empty.
#[must_use = "a job does nothing until it is awaited, waited for or started"]
pub struct Job<'a, O> {
    engine: Arc<Engine>,
    state: State<'a, O>,
}

enum State<'a, O> {
    Planned(Plan<'a, O>),
    Running(Arc<JobEntry>, Finish<'a, O>),
    Ready(O),
    Ended,
}

/// How far a job has come, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Elements of chunks that are done.
    pub done: u64,
    /// All elements.
    pub total: u64,
}

impl<'a, O> Job<'a, O> {
    pub(super) fn new(
        engine: &Arc<Engine>,
        plan: impl FnOnce(&Arc<Engine>) -> Result<Step<'a, O>, Error> + Send + 'a,
    ) -> Self {
        Self {
            engine: Arc::clone(engine),
            state: State::Planned(Box::new(plan)),
        }
    }

    /// Begins the work and returns at once; the job is then awaited or waited for as before.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when there is no room for the output, and what else the verb's
    /// documentation names.
    pub fn start(mut self) -> Result<Self, Error> {
        self.begin()?;
        Ok(self)
    }

    /// Blocks until the work is done.
    ///
    /// The thread spins for some microseconds, then sleeps in the kernel. In async code, await the
    /// job instead.
    ///
    /// # Errors
    /// [`Error::Task`] says what became of the work; see [`TaskError`].
    pub fn wait(mut self) -> Result<O, Error> {
        self.block(None)
            .unwrap_or(Err(Error::Task(TaskError::Cancelled)))
    }

    /// Blocks until the work is done or the timeout has passed: then `None`, and the work goes on.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<O, Error>> {
        // A timeout beyond what the clock can express is none.
        self.block(Instant::now().checked_add(timeout))
    }

    /// Gives the job up: no further chunk is begun.
    ///
    /// Whoever waits gets [`TaskError::Cancelled`] as soon as the chunks that are being worked on
    /// have ended, unless the work was done first.
    pub fn cancel(&mut self) {
        match &self.state {
            State::Planned(_) => self.state = State::Ended,
            State::Running(entry, _) => self.engine.cancel_job(entry, TaskError::Cancelled),
            State::Ready(_) | State::Ended => {}
        }
    }

    /// Whether the outcome is there, so that waiting for it would not block.
    pub fn is_finished(&self) -> bool {
        match &self.state {
            State::Planned(_) => false,
            State::Running(entry, _) => {
                self.engine.harvest();
                entry.is_ready()
            }
            State::Ready(_) | State::Ended => true,
        }
    }

    /// How far the work has come; `None` before it has begun and after it has ended.
    pub fn progress(&self) -> Option<Progress> {
        let State::Running(entry, _) = &self.state else {
            return None;
        };
        self.engine.check_process().ok()?;
        let Place::Slot { slot, generation } = entry.place() else {
            return None;
        };
        let (done, total) = self.engine.job_progress(slot, generation)?;
        Some(Progress { done, total })
    }

    fn begin(&mut self) -> Result<(), Error> {
        self.engine.check_process()?;
        match core::mem::replace(&mut self.state, State::Ended) {
            State::Planned(plan) => {
                let step = plan(&self.engine)?;
                self.enter(step);
            }
            other => self.state = other,
        }
        Ok(())
    }

    fn enter(&mut self, step: Step<'a, O>) {
        self.state = match step {
            Step::Ready(output) => State::Ready(output),
            Step::Run(launch, finish) => {
                let entry = Arc::new(JobEntry::new());
                self.engine
                    .hub()
                    .launch(self.engine.control(), launch, &entry);
                State::Running(entry, finish)
            }
        };
    }

    /// Goes on with what the workers left.
    fn finish(&mut self, outcome: JobOutcome) -> Result<(), Error> {
        if let State::Running(_, finish) = core::mem::replace(&mut self.state, State::Ended) {
            let step = finish(&self.engine, outcome)?;
            self.enter(step);
        }
        Ok(())
    }

    fn block(&mut self, deadline: Option<Instant>) -> Option<Result<O, Error>> {
        loop {
            let advanced = match core::mem::replace(&mut self.state, State::Ended) {
                State::Ready(output) => return Some(Ok(output)),
                State::Ended => return Some(Err(Error::Task(TaskError::Cancelled))),
                planned @ State::Planned(_) => {
                    self.state = planned;
                    self.begin()
                }
                State::Running(..) if self.engine.check_process().is_err() => {
                    return Some(Err(Error::Forked));
                }
                State::Running(entry, finish) => {
                    let there = self.engine.wait(&entry, deadline);
                    let outcome = entry.take();
                    self.state = State::Running(entry, finish);
                    match outcome {
                        Some(outcome) => self.finish(outcome),
                        None if there => Err(Error::Task(TaskError::Cancelled)),
                        None => return None,
                    }
                }
            };
            if let Err(error) = advanced {
                self.state = State::Ended;
                return Some(Err(error));
            }
        }
    }
}

impl<O: Unpin> Future for Job<'_, O> {
    type Output = Result<O, Error>;

    /// # Panics
    /// When polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let advanced = match &this.state {
                State::Planned(_) => this.begin(),
                State::Running(..) if this.engine.check_process().is_err() => Err(Error::Forked),
                State::Running(entry, _) => match this.engine.poll(entry, context) {
                    Poll::Ready(outcome) => this.finish(outcome),
                    Poll::Pending => return Poll::Pending,
                },
                State::Ready(_) | State::Ended => {
                    match core::mem::replace(&mut this.state, State::Ended) {
                        State::Ready(output) => return Poll::Ready(Ok(output)),
                        _ => return Poll::Ready(Err(Error::Task(TaskError::Cancelled))),
                    }
                }
            };
            if let Err(error) = advanced {
                this.state = State::Ended;
                return Poll::Ready(Err(error));
            }
        }
    }
}

impl<O> Drop for Job<'_, O> {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl<O> fmt::Debug for Job<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Planned(_) => "planned",
            State::Running(..) => "running",
            State::Ready(_) => "ready",
            State::Ended => "ended",
        };
        f.debug_struct("Job")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
