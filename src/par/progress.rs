//! How far a job has come, for somebody beside whoever waits for it.
//!
//! A job tells its watches what it runs; a stream asks the books at its own pace, woken by an alarm
//! of the supervisor's or by the end. Nobody polls, and a job that is not watched pays nothing.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_core::Stream;

use crate::par::job::Progress;
use crate::pool::alarm::Alarm;
use crate::pool::engine::Engine;
use crate::pool::entry::Place;
use crate::pool::launch::JobEntry;
use crate::sys::clock;

/// Least time between two items, whatever was asked for: a look goes through all chunks.
const SHORTEST: Duration = Duration::from_millis(1);

/// What a job tells a stream.
#[derive(Debug)]
enum Phase {
    /// It has not begun.
    Planned,
    /// It runs this; another step may follow.
    Running {
        entry: Arc<JobEntry>,
        total: u64,
        continues: bool,
    },
    /// It has ended; how many elements it was, if all are done.
    Over(Option<u64>),
}

#[derive(Debug)]
struct Watch {
    state: Mutex<WatchState>,
}

#[derive(Debug)]
struct WatchState {
    phase: Phase,
    waker: Option<Waker>,
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, WatchState> {
        // Nothing in here panics half-way, so a poisoned lock guards a sound state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        let mut state = self.lock();
        state.phase = phase;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The streams that follow one job. Dropped with the job, which ends them.
#[derive(Debug, Default)]
pub(super) struct Watches {
    watches: Vec<Arc<Watch>>,
    /// Elements of the step that runs.
    total: u64,
}

impl Watches {
    /// A stream for a job that is over, or may have begun.
    pub(super) fn watch(
        &mut self,
        engine: &Arc<Engine>,
        interval: Duration,
        is_over: bool,
        running: Option<(&Arc<JobEntry>, bool)>,
    ) -> ProgressStream {
        let phase = match running {
            _ if is_over => Phase::Over(None),
            Some((entry, continues)) => Phase::Running {
                entry: Arc::clone(entry),
                total: self.total,
                continues,
            },
            None => Phase::Planned,
        };
        let watch = Arc::new(Watch {
            state: Mutex::new(WatchState { phase, waker: None }),
        });
        if !is_over {
            self.watches.push(Arc::clone(&watch));
        }
        ProgressStream {
            engine: Arc::clone(engine),
            watch,
            interval: interval.max(SHORTEST),
            next: 0,
            last: None,
            ended: false,
        }
    }

    /// The job begins with a step of so many elements; whether it is the first, for the second step
    /// of a reduction combines what the first has left: no progress.
    pub(super) fn begin(&mut self, total: u64) -> bool {
        let is_first = self.total == 0;
        if is_first {
            self.total = total;
        }
        is_first
    }

    /// The job runs its first step now.
    pub(super) fn follow(&mut self, entry: &Arc<JobEntry>, continues: bool) {
        let total = self.total;
        for watch in &self.watches {
            watch.enter(Phase::Running {
                entry: Arc::clone(entry),
                total,
                continues,
            });
        }
    }

    /// The job has ended, with all its work done or not.
    pub(super) fn end(&mut self, is_done: bool) {
        let done = (is_done && self.total > 0).then_some(self.total);
        for watch in self.watches.drain(..) {
            watch.enter(Phase::Over(done));
        }
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.end(false);
    }
}

/// How far a job has come, item by item, from
/// [`Job::progress_stream`](crate::Job::progress_stream).
///
/// # Cancel safety
/// Dropping it, or a future that waits for its next item, changes nothing for the job.
#[must_use = "a stream does nothing until it is polled"]
pub struct ProgressStream {
    engine: Arc<Engine>,
    watch: Arc<Watch>,
    interval: Duration,
    /// Before when nothing is handed out.
    next: u64,
    last: Option<Progress>,
    ended: bool,
}

impl ProgressStream {
    fn key(&self) -> usize {
        Arc::as_ptr(&self.watch).addr()
    }

    /// The last item, if all was done and it was not said yet.
    fn conclude(&mut self, total: Option<u64>) -> Poll<Option<Progress>> {
        self.ended = true;
        let all = total.map(|total| Progress { done: total, total });
        Poll::Ready(all.filter(|&all| self.last != Some(all)))
    }

    /// What the books say, if it is news.
    fn news(&mut self, entry: &JobEntry) -> Option<Progress> {
        let Place::Job { job, generation } = entry.place() else {
            return None;
        };
        let (done, total) = self.engine.job_progress(job, generation)?;
        let progress = Progress { done, total };
        (self.last != Some(progress)).then_some(progress)
    }
}

impl Stream for ProgressStream {
    type Item = Progress;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Progress>> {
        let this = &mut *self;
        if this.ended || this.engine.check_process().is_err() {
            return Poll::Ready(None);
        }
        let (entry, total, continues) = {
            let mut state = this.watch.lock();
            state.waker = Some(context.waker().clone());
            match &state.phase {
                Phase::Planned => return Poll::Pending,
                Phase::Over(done) => {
                    let total = *done;
                    drop(state);
                    return this.conclude(total);
                }
                Phase::Running {
                    entry,
                    total,
                    continues,
                } => (Arc::clone(entry), *total, *continues),
            }
        };
        let now = clock::now();
        if this.next <= now {
            this.next = clock::after(now, this.interval);
            // Whoever waits for the job does this as well; perhaps nobody does.
            this.engine.harvest();
            if let Some(progress) = this.news(&entry) {
                this.last = Some(progress);
                return Poll::Ready(Some(progress));
            }
        }
        this.engine.hub().set_alarm(Alarm {
            key: this.key(),
            due: this.next,
            waker: context.waker().clone(),
            job: Arc::as_ptr(&entry).addr(),
        });
        // An end before the alarm was set rang nobody. Once taken, the job says what it was.
        if let Some(is_done) = entry.peek(|outcome| outcome.result.is_ok()) {
            this.engine.hub().stop_alarm(this.key());
            return match (is_done, continues) {
                (true, true) => Poll::Pending,
                (is_done, _) => this.conclude(is_done.then_some(total)),
            };
        }
        Poll::Pending
    }
}

impl Drop for ProgressStream {
    fn drop(&mut self) {
        if self.engine.check_process().is_ok() {
            self.engine.hub().stop_alarm(self.key());
        }
    }
}

impl fmt::Debug for ProgressStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressStream")
            .field("last", &self.last)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
