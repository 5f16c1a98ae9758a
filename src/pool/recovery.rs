//! After a worker was reaped: everything that it had claimed is taken back.
//!
//! The caller has waited for the kernel to say that the process is gone, so no store of it can
//! follow. What it finished is delivered; a chunk of a pure job goes back to the others; a task,
//! or a chunk of a job that changes its data in place, has failed. Then everybody is woken and
//! looks at everything again, which repairs whatever hint or wake-up died with it.

use core::ops::Range;

use crate::board::Verdict as ChunkVerdict;
use crate::error::{TaskError, WorkerDeath};
use crate::memory::owner::Owner;
use crate::pool::engine::Engine;
use crate::pool::hub::Hub;
use crate::pool::job::Running;
use crate::protocol::control::Control;
use crate::ring::Verdict as TaskVerdict;
use crate::sys::futex::SHARED;

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
        control.parking().wake_all(SHARED);
    }
}

impl Hub {
    fn recover_tasks(&mut self, control: &Control, dead: Owner, death: &WorkerDeath) {
        let mut lost = Vec::new();
        control.ring().recover(dead, |slot, _| {
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
            let Some(Some(running)) = self.jobs.running.get_mut(job as usize) else { continue };
            let generation = running.generation;
            let mut failed = false;
            board.recover(job, generation, dead, |chunk| {
                let verdict = running.verdict(chunk, death, attempts);
                failed |= verdict == ChunkVerdict::Fail;
                verdict
            });
            if failed && running.launch.job.fail_fast {
                board.cancel(job, generation);
            }
        }
    }
}

impl Running {
    /// What becomes of a chunk whose worker died.
    fn verdict(&mut self, chunk: u32, death: &WorkerDeath, attempts: u32) -> ChunkVerdict {
        let deaths = self.deaths.entry(chunk).or_insert(0);
        *deaths += 1;
        let again = self.launch.pure_function && self.cancelled.is_none() && *deaths < attempts;
        if again {
            return ChunkVerdict::Retry;
        }
        let death = death.clone().over(*deaths, self.elements(chunk));
        self.faults.push((chunk, TaskError::WorkerDied(death)));
        ChunkVerdict::Fail
    }

    /// The elements of a chunk, by the parent's own books.
    fn elements(&self, chunk: u32) -> Range<u64> {
        let bounds = self.launch.chunking.chunks().nth(chunk as usize);
        bounds.map_or(0..0, |(start, len)| start..start + len)
    }
}
