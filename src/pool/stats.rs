//! What a pool does at this moment, for whoever looks.

use std::ops::Range;
use std::time::Duration;

use crate::memory::MemoryStats;
use crate::pool::Pool;
use crate::pool::engine::Engine;
use crate::pool::hub::Hub;
use crate::pool::roster::Member;
use crate::primitive::atomic::Ordering;
use crate::protocol::control::Status;
use crate::protocol::gauge::Work;
use crate::sys::clock;

/// What a pool does at one moment: a glance, by [`Pool::stats`].
///
/// Workers go on while it is taken, so its numbers need not add up to the last one.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// The workers, in order of their index.
    pub workers: Vec<WorkerStats>,
    /// Tasks that no worker has begun.
    pub queued: usize,
    /// Tasks that a worker has begun and that have no outcome yet.
    pub in_flight: usize,
    /// Range jobs that have no outcome yet, waiting or running.
    pub jobs: usize,
    /// How many sleeping workers this process has woken for work, since the pool began. Each costs
    /// a system call here and some microseconds there.
    pub wake_ups: u64,
    /// How many more it would have been had each task and job needed one; workers that are awake
    /// find their work themselves.
    pub wake_ups_saved: u64,
    /// Events and spans of workers that got lost on their way to this process's subscriber, because
    /// it did not keep up. Always 0 without the feature `tracing`.
    pub events_lost: u64,
    /// What the pool's shared memory takes.
    pub memory: MemoryStats,
}

/// What one worker does, as told by the worker itself: a hint.
///
/// A worker that runs wild may have written nonsense; nothing in the pool depends on it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its place in the pool, from 0 on.
    pub index: usize,
    /// Its process; `None` while there is none.
    pub pid: Option<u32>,
    /// How many processes had this place before.
    pub restarts: u64,
    /// What it does.
    pub state: WorkerState,
    /// Tasks completed at this place since the pool began, also those that failed.
    pub tasks_done: u64,
    /// Chunks of jobs completed at this place since the pool began, also those that failed.
    pub chunks_done: u64,
    /// Processor time that the process has used, by the kernel's count: what its work took,
    /// starting, and the 50 µs for which it looks for work before it sleeps. A task that waits uses
    /// none. Compared between two glances it is how busy the worker was.
    pub processor_time: Duration,
    /// Bytes of shared memory that results of tasks lie in, by pages of 64 KiB, as of its last
    /// result of more than 128 bytes.
    pub arena_in_use: u64,
    /// Bytes of shared memory provided for results, at the same time.
    pub arena_committed: u64,
    /// Of that, in huge pages; 0 if there are none to be had.
    pub arena_huge: u64,
}

/// What a worker does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerState {
    /// It is dead, and its replacement is not there yet.
    Gone,
    /// It has not said that it is ready.
    Starting,
    /// It is ready, and waits to succeed another worker.
    Standby,
    /// It takes no more work, as its service is over, and finishes what it has.
    Retiring,
    /// It looks for work, and will sleep soon.
    Spinning,
    /// It sleeps until it is woken.
    Asleep,
    /// It runs a task.
    Task {
        /// Tells tasks of this pool apart: the number of its slot, and how often that was used.
        id: (u32, u32),
    },
    /// It runs a part of a job.
    Job {
        /// Tells jobs of this pool apart: the number of its place, and how often that was used.
        id: (u32, u32),
        /// The elements that it is at; `None` if the job has ended meanwhile.
        elements: Option<Range<u64>>,
    },
}

impl WorkerState {
    /// Whether it is at work for somebody.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Task { .. } | Self::Job { .. })
    }
}

impl Pool {
    /// What the pool does at this moment: each worker's state and counts, what waits, what memory
    /// it takes.
    ///
    /// Takes some microseconds, and a system call a worker; blocks none of them. Results that have
    /// come are picked up first. In a process forked from the pool's owner there are no workers.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::builder().workers(2).build()?;
    /// pool.spawn((), |()| ())?.wait()?;
    /// let stats = pool.stats();
    /// assert_eq!(stats.workers.len(), 2);
    /// assert_eq!(stats.workers.iter().map(|worker| worker.tasks_done).sum::<u64>(), 1);
    /// assert_eq!((stats.queued, stats.in_flight, stats.jobs), (0, 0, 0));
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.engine().stats()
    }
}

impl Engine {
    pub(crate) fn stats(&self) -> Stats {
        let memory = self.heap().stats();
        if self.check_process().is_err() {
            return Stats {
                memory,
                ..Stats::default()
            };
        }
        self.harvest();
        let hub = self.hub();
        let workers = self.places_in_use(&hub);
        let workers = workers
            .map(|index| self.worker_stats(&hub, index))
            .collect();
        let (ready, begun) = hub.flights_begun(self.control());
        let wake_ups = self.wake_ups();
        Stats {
            workers,
            queued: hub.lanes.waiting() + ready,
            in_flight: begun,
            jobs: hub.jobs.count(),
            wake_ups,
            wake_ups_saved: hub.calls.saturating_sub(wake_ups),
            events_lost: self.events_lost(),
            memory,
        }
    }

    /// The places of workers, also of those that wait or retire; of the others as many as the pool
    /// has too few workers.
    fn places_in_use(&self, hub: &Hub) -> impl Iterator<Item = u16> + use<> {
        let places = 0..self.shape().places() as u16;
        let (taken, empty): (Vec<_>, Vec<_>) =
            places.partition(|&place| hub.roster.at(place).0.is_some());
        let missing = self.workers().saturating_sub(taken.len());
        let mut places = taken;
        places.extend(empty.into_iter().take(missing));
        places.sort_unstable();
        places.into_iter()
    }

    #[cfg(feature = "tracing")]
    fn events_lost(&self) -> u64 {
        // ORDERING: Relaxed; a count.
        self.audience()
            .map_or(0, |(audience, _)| audience.lost.load(Ordering::Relaxed))
    }

    #[cfg(not(feature = "tracing"))]
    fn events_lost(&self) -> u64 {
        0
    }

    fn worker_stats(&self, hub: &Hub, worker: u16) -> WorkerStats {
        let (member, restarts) = hub.roster.at(worker);
        let pid = member.and_then(|member| member.pid);
        let mut stats = WorkerStats {
            index: usize::from(worker),
            pid,
            restarts,
            state: WorkerState::Gone,
            tasks_done: 0,
            chunks_done: 0,
            processor_time: pid.and_then(clock::processor_time).unwrap_or_default(),
            arena_in_use: 0,
            arena_committed: 0,
            arena_huge: 0,
        };
        let Some(gauge) = self.control().gauge(worker) else {
            return stats;
        };
        (stats.tasks_done, stats.chunks_done) = gauge.counts();
        if let Some(member) = member {
            let arena = gauge.arena();
            stats.arena_in_use = arena.in_use;
            stats.arena_committed = arena.committed;
            stats.arena_huge = arena.huge;
            stats.state = self.worker_state(hub, worker, member);
        }
        stats
    }

    fn worker_state(&self, hub: &Hub, worker: u16, member: &Member) -> WorkerState {
        let control = self.control();
        // ORDERING: Relaxed; a hint.
        let status = control
            .record(worker)
            .map_or(0, |record| record.status.load(Ordering::Relaxed));
        let status = Status::from_bits(status, member.incarnation);
        match status {
            Status::Spent | Status::Ending => return WorkerState::Retiring,
            status if !status.has_begun() => return WorkerState::Starting,
            _ if !member.serves => return WorkerState::Standby,
            _ => {}
        }
        let (is_spinning, is_parked) = self.parking().seen(worker);
        if is_parked {
            return WorkerState::Asleep;
        }
        if is_spinning {
            return WorkerState::Spinning;
        }
        match control
            .gauge(worker)
            .map_or(Work::Nothing, |gauge| gauge.now())
        {
            Work::Nothing => WorkerState::Spinning,
            Work::Task { slot, generation } => WorkerState::Task {
                id: (slot, generation),
            },
            Work::Chunk {
                job,
                generation,
                chunk,
            } => WorkerState::Job {
                id: (job, generation),
                elements: hub.jobs.elements(job, generation, chunk),
            },
        }
    }
}
