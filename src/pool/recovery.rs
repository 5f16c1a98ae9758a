//! After a worker was reaped: everything that it had claimed is taken back.
//!
//! The caller has waited for the kernel to say that the process is gone, so no store of it can
//! follow. What it finished is delivered; a chunk of a pure job goes back to the others; a task,
//! or a chunk of a job that changes its data in place, has failed. Then everybody is woken and
//! looks at everything again, which repairs whatever hint or wake-up died with it.

use core::ops::Range;
use std::collections::HashMap;

use crate::board::{ChunkOutcome, Verdict as ChunkVerdict};
use crate::error::{TaskError, WorkerDeath};
use crate::memory::owner::Owner;
use crate::pool::engine::Engine;
use crate::pool::hub::Hub;
use crate::pool::job::{Launch, Running};
use crate::protocol::control::Control;
use crate::ring::Verdict as TaskVerdict;
use crate::sync::kernel::KernelFutex;

impl Engine {
    /// Takes back the work of a worker that has been reaped.
    pub(crate) fn recover(&self, dead: Owner, death: &WorkerDeath) {
        let control = self.control();
        let mut hub = self.hub();
        // First what it finished: its results lie in its arena, which the roster still names.
        hub.harvest_thoroughly(control, self);
        hub.recover_tasks(control, dead, death);
        hub.recover_jobs(control, dead, death, self.config().attempts);
        hub.harvest_thoroughly(control, self);
        hub.roster.dismiss(dead.index());
        drop(hub);
        control.ring().repost();
        control.parking().wake_all(&KernelFutex);
    }
}

impl Hub {
    fn recover_tasks(&mut self, control: &Control, dead: Owner, death: &WorkerDeath) {
        let mut lost = Vec::new();
        control.ring().recover(dead, control.done(), |slot, _| {
            lost.push(slot);
            TaskVerdict::Fail
        });
        for slot in lost {
            let error = TaskError::WorkerDied(death.clone());
            self.end_flight(control, slot, Err(error));
        }
    }

    fn recover_jobs(&mut self, control: &Control, dead: Owner, death: &WorkerDeath, attempts: u32) {
        let board = control.board();
        for job in self.jobs.active() {
            self.keep_reports(control, job, dead);
            let Some(running) = self.jobs.get(job) else {
                continue;
            };
            let Running {
                posted,
                launch,
                deaths,
                faults,
                cancelled,
                ..
            } = running;
            let mut failed = false;
            board.recover(posted, dead, |chunk| {
                let lost = Lost {
                    chunk,
                    death,
                    launch,
                    attempts,
                    given_up: cancelled.is_some(),
                };
                let verdict = lost.verdict(deaths, faults);
                failed |= verdict == ChunkVerdict::Fail;
                verdict
            });
            if failed && launch.job.fail_fast {
                board.cancel(posted);
            }
        }
    }
}

impl Hub {
    /// Copies what the dead worker left about chunks that had failed before: its arena goes with
    /// it, and the job may have a while to run.
    fn keep_reports(&mut self, control: &Control, job: u32, dead: Owner) {
        let Some(running) = self.jobs.running[job as usize].as_ref() else {
            return;
        };
        let posted = &running.posted;
        let board = control.board();
        let known = |chunk| running.faults.iter().any(|(failed, _)| *failed == chunk);
        let of_the_dead = |chunk: &u32| {
            board.outcome(posted, *chunk) == ChunkOutcome::Failed(dead) && !known(*chunk)
        };
        let failed: Vec<u32> = (0..posted.chunks()).filter(of_the_dead).collect();
        let reports: Vec<_> = failed
            .into_iter()
            .map(|chunk| (chunk, self.report(control, posted, chunk, dead).into()))
            .collect();
        if let Some(running) = self.jobs.get(job) {
            running.faults.extend(reports);
        }
    }
}

/// A chunk whose worker died.
struct Lost<'a> {
    chunk: u32,
    death: &'a WorkerDeath,
    launch: &'a Launch,
    attempts: u32,
    given_up: bool,
}

impl Lost<'_> {
    /// What becomes of it.
    fn verdict(
        &self,
        deaths: &mut HashMap<u32, u32>,
        faults: &mut Vec<(u32, TaskError)>,
    ) -> ChunkVerdict {
        let deaths = deaths.entry(self.chunk).or_insert(0);
        *deaths += 1;
        if self.launch.pure_function && !self.given_up && *deaths < self.attempts {
            return ChunkVerdict::Retry;
        }
        let elements = self.elements();
        let mut death = self.death.clone();
        death.attempts = *deaths;
        if !self.launch.pure_function {
            death.undefined = vec![elements.clone()];
        }
        death.elements = Some(elements);
        faults.push((self.chunk, TaskError::WorkerDied(death)));
        ChunkVerdict::Fail
    }

    /// Its elements, by the parent's own books.
    fn elements(&self) -> Range<u64> {
        let bounds = self.launch.chunking.chunks().nth(self.chunk as usize);
        bounds.map_or(0..0, |(start, len)| start..start + len)
    }
}
