//! Range jobs from posting to outcome.

use core::ops::Range;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::board::{ChunkOutcome, JOBS, Posted};
use crate::error::TaskError;
use crate::pool::chunking::Chunking;
use crate::pool::entry::{Entry, Place};
use crate::pool::hub::{Hub, Keep};
use crate::protocol::control::Control;
use crate::protocol::range::RangeJob;
use crate::sync::kernel::KernelFutex;

/// How a job ended, with what it kept alive meanwhile.
#[derive(Debug)]
pub(crate) struct JobOutcome {
    pub(crate) result: Result<(), TaskError>,
    pub(crate) keep: Keep,
}

/// Where the outcome of a job is left.
pub(crate) type JobEntry = Entry<JobOutcome>;

/// All that is needed to run a job.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) job: RangeJob,
    pub(crate) chunking: Chunking,
    /// Its chunks may be run again.
    pub(crate) pure_function: bool,
    /// Worth waking everybody for at once, whatever an element costs.
    pub(crate) large: bool,
    /// Inputs, outputs and context; nobody frees them while a worker may touch them.
    pub(crate) keep: Keep,
}

/// A job on the board.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) entry: Arc<JobEntry>,
    pub(crate) posted: Posted,
    pub(crate) launch: Launch,
    /// How many workers died over each chunk; most jobs have none.
    pub(crate) deaths: HashMap<u32, u32>,
    /// Chunks that failed with their worker, and how.
    pub(crate) faults: Vec<(u32, TaskError)>,
    /// Set when the caller has given up.
    pub(crate) cancelled: Option<TaskError>,
}

impl Running {
    /// Elements that workers left half done when they died, ascending; adjacent ranges are one.
    pub(super) fn undefined(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (_, fault) in &self.faults {
            if let TaskError::WorkerDied(death) = fault {
                ranges.extend(death.undefined.iter().cloned());
            }
        }
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.dedup_by(|next, last| {
            let adjacent = next.start <= last.end;
            if adjacent {
                last.end = last.end.max(next.end);
            }
            adjacent
        });
        ranges
    }
}

/// The jobs on the board, and those that wait for a place on it.
#[derive(Debug)]
pub(crate) struct Jobs {
    pub(crate) running: Vec<Option<Running>>,
    /// One bit a running job, lowest number first.
    active: u64,
    backlog: VecDeque<(Launch, Arc<JobEntry>)>,
}

impl Jobs {
    pub(crate) fn new() -> Self {
        const { assert!(JOBS == 64, "`active` has one bit a job") };
        Self {
            running: (0..JOBS).map(|_| None).collect(),
            active: 0,
            backlog: VecDeque::new(),
        }
    }

    /// How many jobs are pending.
    pub(crate) fn count(&self) -> usize {
        self.active.count_ones() as usize + self.backlog.len()
    }

    /// The running job in a place.
    pub(crate) fn get(&mut self, job: u32) -> Option<&mut Running> {
        self.running.get_mut(job as usize)?.as_mut()
    }

    /// Elements done and in all, of exactly this job.
    pub(crate) fn progress(
        &self,
        control: &Control,
        job: u32,
        generation: u32,
    ) -> Option<(u64, u64)> {
        let running = self.running.get(job as usize)?.as_ref()?;
        if running.posted.generation() != generation {
            return None;
        }
        let chunking = running.launch.chunking;
        let mut done = 0;
        for (chunk, (_, len)) in (0..).zip(chunking.chunks()) {
            if let ChunkOutcome::Done(_) = control.board().outcome(&running.posted, chunk) {
                done += len;
            }
        }
        Some((done, chunking.len()))
    }

    /// The numbers of the running jobs.
    pub(crate) fn active(&self) -> impl Iterator<Item = u32> + use<> {
        let mut left = self.active;
        core::iter::from_fn(move || {
            let job = (left != 0).then(|| left.trailing_zeros())?;
            left &= left - 1;
            Some(job)
        })
    }

    /// Removes a job from the books.
    pub(crate) fn remove(&mut self, job: u32) -> Option<Running> {
        self.active &= !(1 << job);
        self.running[job as usize].take()
    }

    /// Takes everything that waits.
    pub(crate) fn take_backlog(&mut self) -> VecDeque<(Launch, Arc<JobEntry>)> {
        std::mem::take(&mut self.backlog)
    }
}

impl Hub {
    /// Posts a job, or lets it wait while the board is full.
    pub(crate) fn launch(&mut self, control: &Control, launch: Launch, entry: &Arc<JobEntry>) {
        if let Some(error) = &self.closed {
            let result = Err(error.clone());
            self.settle(
                entry,
                JobOutcome {
                    result,
                    keep: launch.keep,
                },
            );
            return;
        }
        entry.set_place(Place::Backlog);
        self.jobs.backlog.push_back((launch, Arc::clone(entry)));
        self.post_waiting(control);
    }

    /// Posts waiting jobs while the board has places.
    pub(super) fn post_waiting(&mut self, control: &Control) {
        while self.jobs.active != u64::MAX {
            let Some((launch, entry)) = self.jobs.backlog.pop_front() else {
                return;
            };
            if entry.is_ready() {
                continue;
            }
            self.post(control, launch, entry);
        }
    }

    fn post(&mut self, control: &Control, launch: Launch, entry: Arc<JobEntry>) {
        let job = self.jobs.active.trailing_ones();
        let board = control.board();
        let Some(body) = control.job_body(job) else {
            return;
        };
        let generation = board.begin(job);
        body.store(&launch.job);
        let mut chunks = 0;
        for (start, len) in launch.chunking.chunks() {
            board.set_chunk(job, chunks, start, len);
            chunks += 1;
        }
        entry.set_place(Place::Slot {
            slot: job,
            generation,
        });
        let posted = board.post(job, generation, chunks);
        // A small job is shared out by the worker that takes it, if it turns out to be costly.
        let wanted = if launch.large { chunks } else { 1 };
        let deaths = HashMap::new();
        let faults = Vec::new();
        let running = Running {
            entry,
            posted,
            launch,
            deaths,
            faults,
            cancelled: None,
        };
        self.jobs.running[job as usize] = Some(running);
        self.jobs.active |= 1 << job;
        control.parking().wake(wanted, &KernelFutex);
    }

    /// Gives up a job: no further chunk is begun. Its outcome comes once the chunks that are
    /// being worked on have ended.
    pub(crate) fn cancel_job(&mut self, control: &Control, entry: &JobEntry, error: TaskError) {
        match entry.place() {
            Place::Nowhere => {}
            Place::Backlog => {
                let waiting = self.jobs.backlog.iter();
                let found = waiting
                    .enumerate()
                    .find(|(_, (_, other))| core::ptr::eq(&**other, entry));
                let Some((index, _)) = found else { return };
                let Some((launch, entry)) = self.jobs.backlog.remove(index) else {
                    return;
                };
                self.settle(
                    &entry,
                    JobOutcome {
                        result: Err(error),
                        keep: launch.keep,
                    },
                );
            }
            Place::Slot { slot, generation } => {
                let Some(running) = self.jobs.get(slot) else {
                    return;
                };
                if running.posted.generation() == generation {
                    running.cancelled.get_or_insert(error);
                    control.board().cancel(&running.posted);
                    self.finish_if_settled(control, slot);
                }
            }
        }
    }
}
