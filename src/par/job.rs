//! A piece of data-parallel work: awaited or waited for.

mod awaiting;
mod helping;

use core::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, TaskError};
use crate::par::progress::{ProgressStream, Watches};
use crate::pool::closing::Engaged;
use crate::pool::engine::Engine;
use crate::pool::entry::Place;
use crate::pool::launch::{JobEntry, JobOutcome, Launch};
use crate::pool::terms::{Grain, JobTerms};
use crate::sys::clock;

/// What a job does next.
#[expect(
    clippy::large_enum_variant,
    reason = "moved twice in its life, which costs less than a box"
)]
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
    terms: JobTerms,
    state: State<'a, O>,
    /// Whoever waits runs parts of it, too.
    helped: bool,
    /// Another step will follow the one that runs.
    continues: bool,
    /// Set while somebody waits who will take that step: a pool that is closed waits for it.
    engaged: Option<Engaged>,
    watches: Watches,
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
            terms: JobTerms::default(),
            state: State::Planned(Box::new(plan)),
            helped: false,
            continues: false,
            engaged: None,
            watches: Watches::default(),
        }
    }

    /// How often a part of this job is tried when workers die over it, instead of
    /// [`Builder::attempts`](crate::Builder::attempts) times; at least once.
    ///
    /// Set it before the job begins. A job that changes its data in place is never run again,
    /// whatever is said here.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let squares = pool.par_generate(1000, |i| (i * i) as u64).attempts(10).wait()?;
    /// assert_eq!(squares[31], 961);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.terms.attempts = NonZeroU32::new(attempts).or(Some(NonZeroU32::MIN));
        self
    }

    /// Ends the job when it has run this long in all: workers that are still at it are killed and
    /// replaced, and whoever waits gets [`TaskError::TimedOut`].
    ///
    /// The time begins with the job, whether workers are free or not. Set it before. What an
    /// output or a buffer changed in place holds then is undefined where the work was not done.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gristmill::{Error, Pool, TaskError};
    ///
    /// let pool = Pool::new()?;
    /// let job = pool.par_generate(10, |_| -> u64 { loop { std::hint::spin_loop() } });
    /// let error = job.timeout(Duration::from_millis(50)).wait().unwrap_err();
    /// assert!(matches!(error, Error::Task(TaskError::TimedOut { .. })));
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.terms.deadline = Some((u64::MAX, limit));
        self
    }

    /// Ends the work on an element that takes longer than this, by the clock on the wall.
    ///
    /// Its worker is killed and replaced, and the job fails with [`TaskError::TimedOut`], which
    /// names the element; or, if it is [isolated](Job::isolate), goes on without.
    ///
    /// Workers then run batches of elements and say where they are; a batch that takes too long is
    /// run again in smaller ones, so no element pays for its neighbours. An overrun is noticed
    /// after a quarter more than the limit, which should be a millisecond or more.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the job begins, if it is none of those with a result an
    /// element: `par_map`, `par_map_into`, `par_zip_map` and `par_generate`.
    pub fn element_timeout(mut self, limit: Duration) -> Self {
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        self.terms.element_limit = NonZeroU64::new(limit).or(Some(NonZeroU64::MIN));
        self
    }

    /// Begins the work and returns at once; the job is then awaited or waited for as before.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when there is no room for the output, and what else the verb's
    /// documentation names.
    pub fn start(mut self) -> Result<Self, Error> {
        self.begin()?;
        // The caller may be long in coming back.
        self.engine.share_out();
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
    ///
    /// The result is handed out once; asked again, this is [`TaskError::Cancelled`].
    ///
    /// # Errors
    /// As [`Job::wait`].
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<O, Error>> {
        // A timeout beyond what the clock can express is none.
        self.block(Instant::now().checked_add(timeout))
    }

    /// Gives the job up: no further chunk is begun.
    ///
    /// Whoever waits gets [`TaskError::Cancelled`] as soon as the chunks that are being worked on
    /// have ended, unless the work was done first. Workers that need longer than
    /// [`Builder::cancel_grace`](crate::Builder::cancel_grace) for it are killed and replaced.
    pub fn cancel(&mut self) {
        match &self.state {
            State::Planned(_) => self.end(),
            State::Running(entry, _) => {
                let grace = self.engine.config().cancel_grace;
                self.engine.cancel_job(entry, Some(grace));
            }
            State::Ready(_) | State::Ended => {}
        }
    }

    /// Whether the outcome is there, so that waiting for it would not block. Does not block, and
    /// does not begin a job.
    ///
    /// A reduction goes on with a second, short step after its first, which `wait` waits for.
    pub fn is_finished(&self) -> bool {
        match &self.state {
            State::Planned(_) => false,
            State::Running(entry, _) => {
                self.engine.harvest();
                self.engine.keep_watch();
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
        let Place::Job { job, generation } = entry.place() else {
            return None;
        };
        let (done, total) = self.engine.job_progress(job, generation)?;
        Some(Progress { done, total })
    }

    /// How far the work has come, as a stream beside the job: an item whenever it has come
    /// further, at most one in `interval`, and a last one when all of it is done. It ends with the
    /// job, also when that fails, is cancelled or dropped.
    ///
    /// It may be asked for before the job begins and be polled anywhere, under any executor; the
    /// pool's own thread wakes it at its times. A step that a reduction takes at its end is not
    /// counted.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "tokio")] {
    /// use std::time::Duration;
    ///
    /// use futures_util::StreamExt;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
    /// let pool = gristmill::Pool::new()?;
    /// let mut job = pool.par_generate(1 << 20, |i| i as f64);
    /// let mut progress = job.progress_stream(Duration::from_millis(100));
    /// let report = async {
    ///     while let Some(progress) = progress.next().await {
    ///         println!("{} of {}", progress.done, progress.total);
    ///     }
    /// };
    /// let (roots, ()) = tokio::join!(job, report);
    /// assert_eq!(roots?.len(), 1 << 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn progress_stream(&mut self, interval: Duration) -> ProgressStream {
        let is_over = matches!(self.state, State::Ready(_) | State::Ended);
        let running = match &self.state {
            State::Running(entry, _) => Some((entry, self.continues)),
            _ => None,
        };
        self.watches.watch(&self.engine, interval, is_over, running)
    }

    /// Nothing will come of the job any more.
    fn end(&mut self) {
        self.state = State::Ended;
        self.engaged = None;
        self.watches.end(false);
    }

    fn begin(&mut self) -> Result<(), Error> {
        self.engine.check_process()?;
        match core::mem::replace(&mut self.state, State::Ended) {
            State::Planned(plan) => {
                if self.engine.hub().is_closing() {
                    return Err(Error::PoolClosed);
                }
                if let Some((end, limit)) = &mut self.terms.deadline {
                    *end = clock::after(clock::now(), *limit);
                }
                let step = plan(&self.engine)?;
                self.enter(step)?;
            }
            other => self.state = other,
        }
        Ok(())
    }

    fn enter(&mut self, step: Step<'a, O>) -> Result<(), Error> {
        self.continues = false;
        self.state = match step {
            Step::Ready(output) => {
                self.watches.end(true);
                State::Ready(output)
            }
            Step::Run(mut launch, finish) => {
                self.continues = launch.grain == Grain::Partials;
                if let Err(error) = apply(&self.terms, &mut launch) {
                    // What the verb has taken, it puts back.
                    let outcome = JobOutcome::failed(TaskError::Cancelled, launch.keep);
                    let _ = finish(&self.engine, outcome);
                    return Err(error);
                }
                let is_first = self.watches.begin(launch.chunking.len());
                if self.helped {
                    self.engage();
                    if let Some(outcome) = self.engine.begin_helped(&mut launch) {
                        let step = finish(&self.engine, outcome)?;
                        return self.enter(step);
                    }
                }
                let entry = Arc::new(JobEntry::new());
                if is_first {
                    self.watches.follow(&entry, self.continues);
                }
                self.engine.launch(launch, &entry);
                State::Running(entry, finish)
            }
        };
        if !self.continues {
            self.engaged = None;
        }
        Ok(())
    }

    /// Goes on with what the workers left.
    fn finish(&mut self, outcome: JobOutcome) -> Result<(), Error> {
        if let State::Running(_, finish) = core::mem::replace(&mut self.state, State::Ended) {
            let step = finish(&self.engine, outcome)?;
            self.enter(step)?;
        }
        Ok(())
    }

    /// Says that somebody waits, if that matters to a pool that is being closed.
    fn engage(&mut self) {
        if self.continues && self.engaged.is_none() {
            self.engaged = Some(Engaged::new(&self.engine));
        }
    }

    fn block(&mut self, deadline: Option<Instant>) -> Option<Result<O, Error>> {
        loop {
            self.engage();
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
                    if self.helped {
                        self.engine.help(&entry);
                    }
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
                self.end();
                return Some(Err(error));
            }
        }
    }
}

/// Has a launch keep to what was asked of its job.
fn apply(terms: &JobTerms, launch: &mut Launch) -> Result<(), Error> {
    if let Some(limit) = terms.element_limit {
        if launch.grain != Grain::Elements || !launch.pure_function {
            return Err(Error::InvalidArgument {
                what: "job with a time limit for elements",
                found: "one whose elements have no results of their own".into(),
                wanted: "par_map, par_map_into, par_zip_map or par_generate".into(),
            });
        }
        launch.job.element_limit = limit.get();
    }
    launch.job.fail_fast = !terms.isolate;
    launch.terms = *terms;
    Ok(())
}

impl<'a, O: 'a> Job<'a, O> {
    /// Changes what becomes of the output, before the job begins.
    pub(super) fn isolated<P>(
        mut self,
        convert: impl FnOnce(Step<'a, O>) -> Step<'a, P> + Send + 'a,
    ) -> Job<'a, P>
    where
        O: Send,
    {
        let state = match core::mem::replace(&mut self.state, State::Ended) {
            State::Planned(plan) => {
                self.terms.isolate = true;
                State::Planned(Box::new(move |engine: &Arc<Engine>| {
                    plan(engine).map(convert)
                }))
            }
            State::Running(entry, finish) => State::Running(
                entry,
                Box::new(move |engine: &Arc<Engine>, outcome| finish(engine, outcome).map(convert)),
            ),
            State::Ready(output) => match convert(Step::Ready(output)) {
                Step::Ready(output) => State::Ready(output),
                Step::Run(..) => State::Ended,
            },
            State::Ended => State::Ended,
        };
        Job {
            engine: Arc::clone(&self.engine),
            terms: self.terms,
            state,
            helped: self.helped,
            continues: self.continues,
            engaged: self.engaged.take(),
            watches: core::mem::take(&mut self.watches),
        }
    }
}
