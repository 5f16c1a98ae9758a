//! Work that must end by a certain time, and workers that do not let go of it.
//!
//! The books say until when; the supervisor sleeps no longer than that, then looks here for who is
//! overdue. It stops the worker first and looks a second time: a worker that has moved on to other
//! work meanwhile goes on, for that work is innocent.

use std::time::Duration;

use crate::board::ChunkOutcome;
use crate::error::TaskError;
use crate::memory::owner::Owner;
use crate::pool::hub::Hub;
use crate::pool::job::Running;
use crate::pool::launch::JobOutcome;
use crate::pool::terms::TaskTerms;
use crate::primitive::atomic::Ordering;
use crate::protocol::control::Control;
use crate::protocol::task::Task;
use crate::ring::Harvest;
use crate::sys::clock;

/// No time at all.
pub(crate) const NEVER: u64 = u64::MAX;
/// When to look again whether those who were overdue are gone, in nanoseconds.
const AGAIN: u64 = 10_000_000;
/// The least time between two looks at where workers are.
const SHORTEST_LOOK: Duration = Duration::from_millis(1);

/// A worker that holds work for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overdue {
    pub(crate) owner: Owner,
    work: Work,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Task {
        slot: u32,
        generation: u32,
    },
    Chunk {
        job: u32,
        generation: u32,
        chunk: u32,
        /// What the worker said last, if it takes too long over that.
        beat: Option<u64>,
    },
}

/// What a worker said last about a chunk, and since when as far as the supervisor saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pulse {
    said: Option<(Owner, u64)>,
    since: u64,
}

impl TaskTerms {
    /// Until when the attempt may run that was first seen running now, or earlier.
    fn due(&mut self, started: Option<u64>, now: u64) -> u64 {
        // The worker's own word may be late, or nonsense; it cannot stretch the time it gets.
        self.seen = self.seen.min(started.unwrap_or(NEVER)).min(now);
        let limit = self.timeout;
        let due = limit.map_or(NEVER, |limit| clock::after(self.seen, limit));
        due.min(self.end)
    }
}

impl Running {
    /// Finds the workers that have been over the same elements for longer than one may take.
    fn check_pulses(&mut self, control: &Control, now: u64, found: &mut Vec<Overdue>) -> u64 {
        let Some(limit) = self.launch.terms.element_timeout() else {
            return NEVER;
        };
        if self.cancelled.is_some() {
            return NEVER;
        }
        let Self { posted, pulses, .. } = self;
        let none = Pulse {
            said: None,
            since: 0,
        };
        pulses.resize(posted.chunks() as usize, none);
        for (chunk, pulse) in (0..).zip(pulses) {
            let ChunkOutcome::Claimed(owner) = control.board().outcome(posted, chunk) else {
                continue;
            };
            let detail = control.board().chunk(posted.job(), chunk).detail();
            // ORDERING: Relaxed; a hint, looked at again once the worker stands still.
            let beat = detail.load(Ordering::Relaxed);
            if pulse.said != Some((owner, beat)) {
                pulse.said = Some((owner, beat));
                pulse.since = now;
            } else if clock::after(pulse.since, limit) <= now {
                let work = Work::Chunk {
                    job: posted.job(),
                    generation: posted.generation(),
                    chunk,
                    beat: Some(beat),
                };
                found.push(Overdue { owner, work });
            }
        }
        clock::after(now, (limit / 4).max(SHORTEST_LOOK))
    }
}

impl Hub {
    /// Has the supervisor look at `time`, or sooner.
    pub(super) fn look_at(&mut self, time: u64) {
        if time < self.look_at {
            self.look_at = time;
            self.aftermath.nudge = true;
        }
    }

    /// When to look next.
    pub(crate) fn next_look(&mut self) -> u64 {
        self.aftermath.nudge = false;
        self.look_at
    }

    /// Who holds what for too long, if it is time to look; fails what has not been begun in time.
    pub(crate) fn overdue(&mut self, control: &Control) -> Option<Vec<Overdue>> {
        let mut found = Vec::new();
        let now = clock::now();
        if now < self.look_at {
            return None;
        }
        self.look_at = NEVER;
        let mut next = self.overdue_tasks(control, now, &mut found);
        for job in self.jobs.active() {
            next = next.min(self.overdue_job(control, job, now, &mut found));
        }
        next = next.min(self.overdue_backlog(now));
        self.post_waiting(control);
        if !found.is_empty() {
            next = next.min(now + AGAIN);
        }
        self.look_at = self.look_at.min(next);
        Some(found)
    }

    fn overdue_tasks(&mut self, control: &Control, now: u64, found: &mut Vec<Overdue>) -> u64 {
        let mut next = NEVER;
        let mut asked = Vec::new();
        for (slot, flight) in (0..).zip(&mut self.flights) {
            let Some(flight) = flight else {
                continue;
            };
            let generation = flight.generation;
            let Some(terms) = flight.terms_mut() else {
                continue;
            };
            match control.ring().harvest(slot, generation) {
                Harvest::Running(owner) => {
                    let started = Task::started(control.ring().slot(slot));
                    let mut due = terms.due(started, now);
                    if due <= now
                        && let Some(grace) = terms.grace
                    {
                        if terms.asked == NEVER {
                            terms.asked = now;
                            asked.push((slot, generation, owner));
                        }
                        due = clock::after(terms.asked, grace);
                    }
                    next = next.min(due.max(now + 1));
                    if due <= now {
                        found.push(Overdue {
                            owner,
                            work: Work::Task { slot, generation },
                        });
                    }
                }
                // Its time has not begun.
                Harvest::Pending => {
                    let limit = terms.timeout;
                    next = next.min(limit.map_or(NEVER, |limit| clock::after(now, limit)));
                }
                Harvest::Finished { .. } | Harvest::Foreign(_) => {}
            }
        }
        for (slot, generation, owner) in asked {
            self.ask_to_cancel(control, slot, generation, owner);
        }
        next
    }

    /// Asks a worker to drop a future. It is woken once the lock is released.
    fn ask_to_cancel(&mut self, control: &Control, slot: u32, generation: u32, owner: Owner) {
        control.ask_to_cancel(slot, generation);
        if let Some(orders) = control.orders(owner.index()) {
            // ORDERING: Release; pairs with the worker's Acquire, so that it finds which future.
            orders.asked.fetch_add(1, Ordering::Release);
            self.aftermath.asked.push(owner.index());
        }
    }

    fn overdue_job(
        &mut self,
        control: &Control,
        job: u32,
        now: u64,
        found: &mut Vec<Overdue>,
    ) -> u64 {
        let Some(running) = self.jobs.get(job) else {
            return NEVER;
        };
        if let Some((end, limit)) = running.launch.terms.deadline
            && running.cancelled.is_none()
        {
            if end > now {
                return running.check_pulses(control, now, found).min(end);
            }
            let element = None;
            running.cancelled = Some(TaskError::TimedOut { limit, element });
            running.end = now;
            control.board().cancel(&running.posted);
        }
        if running.end > now {
            return running.check_pulses(control, now, found).min(running.end);
        }
        let posted = &running.posted;
        for chunk in 0..posted.chunks() {
            if let ChunkOutcome::Claimed(owner) = control.board().outcome(posted, chunk) {
                let work = Work::Chunk {
                    job,
                    generation: posted.generation(),
                    chunk,
                    beat: None,
                };
                found.push(Overdue { owner, work });
            }
        }
        self.finish_if_settled(control, job);
        NEVER
    }

    /// Fails the jobs whose time is over before they had a place on the board.
    fn overdue_backlog(&mut self, now: u64) -> u64 {
        let mut next = NEVER;
        for (launch, entry) in self.jobs.take_backlog() {
            match launch.terms.deadline {
                Some((end, limit)) if end <= now => {
                    let element = None;
                    let error = TaskError::TimedOut { limit, element };
                    self.settle_job(entry, JobOutcome::failed(error, launch.keep));
                }
                deadline => {
                    next = next.min(deadline.map_or(NEVER, |(end, _)| end));
                    self.jobs.wait_in_line(launch, entry);
                }
            }
        }
        next
    }

    /// Whether the worker still holds that work, now that it stands still; notes in the books why
    /// it will die.
    pub(crate) fn condemn(&mut self, control: &Control, overdue: Overdue) -> bool {
        match overdue.work {
            Work::Task { slot, generation } => {
                let Some(Some(flight)) = self.flights.get_mut(slot as usize) else {
                    return false;
                };
                let holds = flight.generation == generation
                    && control.ring().harvest(slot, generation) == Harvest::Running(overdue.owner);
                if let (true, Some(terms)) = (holds, flight.terms_mut()) {
                    terms.condemned = true;
                }
                holds
            }
            Work::Chunk {
                job,
                generation,
                chunk,
                beat,
            } => {
                let Some(Running {
                    posted, overrun, ..
                }) = self.jobs.get(job)
                else {
                    return false;
                };
                let board = control.board();
                let claimed = ChunkOutcome::Claimed(overdue.owner);
                // ORDERING: Relaxed; the worker stands still.
                let says = board.chunk(job, chunk).detail().load(Ordering::Relaxed);
                let holds = posted.generation() == generation
                    && board.outcome(posted, chunk) == claimed
                    && beat.is_none_or(|beat| beat == says);
                if holds && beat.is_some() {
                    overrun.push(chunk);
                }
                holds
            }
        }
    }
}
