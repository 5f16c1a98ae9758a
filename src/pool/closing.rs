//! The end of a pool: no more work, then the rest of it, then no workers.
//!
//! ```text
//! open ── close ──▶ draining ── nothing pending ──────────▶ ended
//!   │                  ├────── the grace of a shutdown ─────▲
//!   └──── terminate ───┴──────────────────────────────────────┘
//! ```
//!
//! Whoever asks only notes it in the hub; the supervisor ends the workers and itself, and then
//! tells those who wait for it.

use core::fmt;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, TaskError};
use crate::pool::Pool;
use crate::pool::deadline::NEVER;
use crate::pool::engine::Engine;
use crate::pool::entry::Entry;
use crate::pool::hub::Hub;
use crate::pool::launch::JobOutcome;
use crate::sys::clock;

/// What became of a pool that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed {
    /// Tasks and jobs that were pending when the workers were ended, and failed for that.
    pub abandoned: usize,
}

/// How far a pool is on its way to the end.
#[derive(Debug)]
pub(crate) struct Ending {
    /// Nothing new is accepted.
    closed: bool,
    /// When whatever is left is ended.
    limit: u64,
    /// Callers in the middle of work of several steps, who will submit the next one.
    engaged: usize,
    joiners: Vec<Arc<Entry<Closed>>>,
    outcome: Option<Closed>,
}

impl Default for Ending {
    fn default() -> Self {
        Self {
            closed: false,
            limit: NEVER,
            engaged: 0,
            joiners: Vec::new(),
            outcome: None,
        }
    }
}

impl Hub {
    /// Accepts nothing any more and fails what is pending, once no worker can touch it.
    pub(crate) fn close(&mut self, error: TaskError) {
        let error = self.closed.get_or_insert(error).clone();
        for slot in 0..self.flights.len() {
            if let Some(flight) = self.unseat(slot) {
                self.settle(&flight.entry, Err(error.clone()));
                self.discard(flight);
            }
        }
        for (_, flight) in self.lanes.take_all() {
            self.settle(&flight.entry, Err(error.clone()));
            self.discard(flight);
        }
        for job in self.jobs.active() {
            if let Some(running) = self.jobs.remove(job) {
                let outcome = JobOutcome::failed(error.clone(), running.launch.keep);
                self.settle_job(running.entry, outcome);
            }
        }
        for (launch, entry) in self.jobs.take_backlog() {
            self.settle_job(entry, JobOutcome::failed(error.clone(), launch.keep));
        }
    }

    /// Whether new work is taken on.
    pub(crate) fn accepts(&self) -> bool {
        !self.ending.closed && self.closed.is_none()
    }

    /// Whether the pool was told to take on no more.
    pub(crate) fn is_closing(&self) -> bool {
        self.ending.closed
    }

    /// Whether the supervisor is to end the workers now: nothing is left, or nothing may be.
    pub(crate) fn is_due_to_end(&self) -> bool {
        let idle = self.pending() == 0 && self.ending.engaged == 0;
        self.stopping || self.ending.closed && (idle || self.ending.limit <= clock::now())
    }

    /// Whether the end that has come leaves the workers time for theirs.
    pub(crate) fn ends_in_order(&self) -> bool {
        let has_time = self.ending.limit > clock::now();
        self.ending.closed && has_time && !self.stopping && self.pending() == 0
    }

    /// When the supervisor is to ask again, whatever happens.
    pub(crate) fn end_limit(&self) -> u64 {
        self.ending.limit
    }

    /// The last piece of work may have ended: then the supervisor is told, if it waits for that.
    pub(super) fn note_drained(&mut self) {
        if self.ending.closed && self.pending() == 0 && self.ending.engaged == 0 {
            self.aftermath.nudge = true;
        }
    }

    /// The workers are gone: tells those who wait for it.
    pub(super) fn conclude(&mut self, abandoned: usize) {
        let closed = *self.ending.outcome.get_or_insert(Closed { abandoned });
        for joiner in mem::take(&mut self.ending.joiners) {
            self.settle(&joiner, closed);
        }
    }

    fn begin_to_close(&mut self, limit: u64) {
        self.ending.closed = true;
        self.ending.limit = self.ending.limit.min(limit);
        self.aftermath.nudge = true;
    }
}

/// A caller who will submit another step of work that was accepted.
pub(crate) struct Engaged(Arc<Engine>);

impl Engaged {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        engine.hub().ending.engaged += 1;
        Self(Arc::clone(engine))
    }
}

impl Drop for Engaged {
    fn drop(&mut self) {
        self.0.hub().ending.engaged -= 1;
    }
}

/// The end of a pool: awaited or waited for.
///
/// It is under way whether anybody waits or not.
///
/// # Cancel safety
/// Dropping it changes nothing: the pool goes on ending, and can be [joined](Pool::join) again.
pub struct Closing {
    engine: Arc<Engine>,
    state: State,
}

enum State {
    Waiting(Arc<Entry<Closed>>),
    Refused(Error),
    Taken(Closed),
    Over,
}

impl Closing {
    /// Blocks until the workers are gone. In async code, await it instead.
    ///
    /// # Errors
    /// [`Error::PoolOpen`] if the pool was not closed, [`Error::Forked`] in a forked child.
    pub fn wait(mut self) -> Result<Closed, Error> {
        self.block(None).unwrap_or(Err(Error::PoolClosed))
    }

    /// Blocks until the workers are gone or the timeout has passed: then `None`, and the pool goes
    /// on ending. May be called again.
    ///
    /// # Errors
    /// As [`Closing::wait`].
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<Closed, Error>> {
        // A timeout beyond what the clock can express is none.
        self.block(Instant::now().checked_add(timeout))
    }

    fn block(&mut self, deadline: Option<Instant>) -> Option<Result<Closed, Error>> {
        if let State::Waiting(entry) = &self.state {
            if self.engine.check_process().is_err() {
                return Some(Err(Error::Forked));
            }
            if !self.engine.wait(entry, deadline) {
                return None;
            }
            if let Some(closed) = entry.take() {
                self.state = State::Taken(closed);
            }
        }
        Some(self.answer())
    }

    fn answer(&mut self) -> Result<Closed, Error> {
        match mem::replace(&mut self.state, State::Over) {
            State::Taken(closed) => {
                self.state = State::Taken(closed);
                Ok(closed)
            }
            State::Refused(error) => Err(error),
            // A refusal that was told already.
            State::Waiting(_) | State::Over => Err(Error::PoolClosed),
        }
    }
}

impl Future for Closing {
    type Output = Result<Closed, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let State::Waiting(entry) = &this.state {
            if this.engine.check_process().is_err() {
                return Poll::Ready(Err(Error::Forked));
            }
            match this.engine.poll(entry, context) {
                Poll::Ready(closed) => this.state = State::Taken(closed),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(this.answer())
    }
}

impl fmt::Debug for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Waiting(_) => "waiting",
            State::Refused(_) => "refused",
            State::Taken(_) | State::Over => "over",
        };
        f.debug_struct("Closing")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

/// # The end of a pool
///
/// | | what is accepted later | what is pending | the workers |
/// |---|---|---|---|
/// | [`close`](Pool::close) | nothing: [`Error::PoolClosed`] | is done | end when all is done |
/// | [`shutdown`](Pool::shutdown) | nothing | is done, or fails after the grace | then end |
/// | [`terminate`](Pool::terminate) | nothing | fails | are killed at once |
/// | [`join`](Pool::join) | as before | as before | waits until they are gone |
/// | drop | nothing | fails | are killed; blocks until they are gone |
///
/// What fails so fails with [`TaskError::PoolClosed`]. [`join`](Pool::join) is refused with
/// [`Error::PoolOpen`] unless one of the first three came before it.
///
/// Each handle gets its outcome: what had finished when the workers were ended is delivered. A
/// second call is no error: the earlier end counts, so `terminate` after `close` ends what `close`
/// left, and `close` after `terminate` changes nothing. Buffers and results outlive the pool.
///
/// A reduction has a second, short step, which is taken by whoever waits for it. One that nobody
/// waits for when the rest is done ends with [`TaskError::PoolClosed`].
///
/// [`TaskError::PoolClosed`]: crate::TaskError::PoolClosed
impl Pool {
    /// Takes on no more work, and returns at once. What was accepted is done; then the workers end.
    ///
    /// # Examples
    ///
    /// ```
    /// use gristmill::{Error, Pool};
    ///
    /// let pool = Pool::new()?;
    /// let task = pool.spawn(20_u32, |x| x.to_native() + 1)?;
    /// pool.close();
    /// assert!(matches!(pool.spawn(1_u32, |x| x.to_native()), Err(Error::PoolClosed)));
    /// assert_eq!(pool.join().wait()?.abandoned, 0);
    /// assert_eq!(*task.wait()?, 21);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn close(&self) {
        self.end_by(NEVER);
    }

    /// Waits until a pool that was closed, shut down or terminated has no work and no workers
    /// left. Begins nothing: dropped, it changes nothing.
    #[must_use = "it waits only when it is awaited or waited for"]
    pub fn join(&self) -> Closing {
        let engine = Arc::clone(&self.engine);
        let state = self.joiner();
        Closing { engine, state }
    }

    /// Takes on no more work, gives what was accepted `grace` to be done, then ends the rest by
    /// killing the workers. Returns at once; awaited or waited for, it says how much was left.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use gristmill::{Pool, TaskError};
    ///
    /// let pool = Pool::builder().workers(1).build()?;
    /// let hung = pool.spawn((), |()| loop { std::hint::spin_loop() })?;
    /// # let hung: gristmill::TaskHandle<()> = hung;
    /// assert_eq!(pool.shutdown(Duration::from_millis(20)).wait()?.abandoned, 1);
    /// assert_eq!(hung.wait().unwrap_err(), TaskError::PoolClosed);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn shutdown(&self, grace: Duration) -> Closing {
        self.end_by(clock::after(clock::now(), grace));
        self.join()
    }

    /// Ends the pool now: the workers are killed, whatever they do, and what is pending fails.
    /// Returns at once; awaited or waited for, it says how much was left.
    ///
    /// # Examples
    ///
    /// ```
    /// use gristmill::{Pool, TaskError};
    ///
    /// let pool = Pool::builder().workers(1).build()?;
    /// let hung = pool.spawn((), |()| loop { std::hint::spin_loop() })?;
    /// # let hung: gristmill::TaskHandle<()> = hung;
    /// pool.terminate().wait()?;
    /// assert!(pool.worker_pids().is_empty());
    /// assert_eq!(hung.wait().unwrap_err(), TaskError::PoolClosed);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn terminate(&self) -> Closing {
        self.end_by(0);
        self.join()
    }

    /// Whether the pool takes on no more work, because it was told so or because it has failed.
    pub fn is_closed(&self) -> bool {
        self.engine.check_process().is_err() || !self.engine.hub().accepts()
    }

    fn end_by(&self, limit: u64) {
        if self.engine.check_process().is_err() {
            return;
        }
        self.engine.hub().begin_to_close(limit);
        // Somebody has to see that the last piece of work ends.
        self.engine.let_supervisor_listen();
    }

    fn joiner(&self) -> State {
        if self.engine.check_process().is_err() {
            return State::Refused(Error::Forked);
        }
        let mut hub = self.engine.hub();
        match hub.ending.outcome {
            Some(closed) => State::Taken(closed),
            None if hub.accepts() => State::Refused(Error::PoolOpen),
            None => {
                let entry = Arc::new(Entry::new());
                // Those who have stopped waiting since.
                let joiners = &mut hub.ending.joiners;
                joiners.retain(|joiner| Arc::strong_count(joiner) > 1);
                joiners.push(Arc::clone(&entry));
                State::Waiting(entry)
            }
        }
    }
}
