//! The control area, written anew from the parent's own books.
//!
//! The supervisor has ended and reaped all workers, so nobody stores any more. What is in order
//! goes on: a task that nobody had begun waits as before, a job keeps the chunks that are done.
//! What a worker had begun is treated as after a death. What was overwritten cannot be known: a
//! pure job begins its round again, anything else has failed. Generations and epochs go on, and
//! workers get new names, so nothing of before can be taken for something of after.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::board::{ChunkOutcome, JOBS};
use crate::error::{Damage, TaskError};
use crate::memory::owner::Owner;
use crate::pool::engine::Engine;
use crate::pool::flight::Flight;
use crate::pool::hub::Hub;
use crate::pool::inquiry::Inquiry;
use crate::pool::job::Running;
use crate::pool::launch::{JobEntry, JobOutcome, Launch};
use crate::pool::recovery::Loss;
use crate::pool::terms::TaskTerms;
use crate::protocol::control::Control;
use crate::protocol::task::Task;
use crate::ring::{Put, Stand, Verdict};

/// A job whose round begins again.
struct Again {
    launch: Launch,
    entry: Arc<JobEntry>,
    inquiry: Inquiry,
}

impl Engine {
    /// Makes the control area what the books say. All workers are reaped; those that were ended
    /// for this are `ended`, and the roster still names them.
    pub(crate) fn rebuild(&self, damage: &Damage, ended: &[Owner]) {
        let damage = Damage {
            rebuilt: true,
            ..damage.clone()
        };
        let control = self.control();
        let mut hub = self.hub();
        hub.rebuilds += 1;
        // First what they finished: their results lie in their arenas.
        hub.harvest_everything(control, self);
        let again = hub.sort_out_jobs(control, &damage, ended, self.config().attempts);
        hub.renew_tasks(control, &damage);
        hub.renew_board(control);
        for &owner in ended {
            hub.roster.dismiss(owner.index());
        }
        hub.idle_claims.clear();
        hub.suspects = false;
        let parking = self.parking();
        parking.renew();
        self.mend_doorbell();
        for Again {
            launch,
            entry,
            inquiry,
        } in again
        {
            hub.post(control, launch, entry, inquiry);
        }
        hub.feed(control);
        hub.post_waiting(control);
        // What is run again has its time again.
        hub.look_at(0);
    }
}

impl Hub {
    /// The tasks, by what their words say: waiting, begun, or nobody knows.
    fn renew_tasks(&mut self, control: &Control, damage: &Damage) {
        let ring = control.ring();
        let mut waiting = Vec::new();
        for slot in 0..self.flights.len() as u32 {
            let Some(flight) = &mut self.flights[slot as usize] else {
                continue;
            };
            let lane = flight.route.lane;
            let stand = control.lane(lane).stand(slot, flight.generation);
            let batched = flight.is_batched().then_some(flight.generation);
            let verdict = match stand == Stand::Ready {
                true => flight.move_on(slot),
                false => flight.mourn(slot),
            };
            match verdict {
                Verdict::Retry | Verdict::Divert(_) => {
                    Task::renew(ring.slot(slot));
                    waiting.push((slot, lane, flight.generation));
                }
                Verdict::Fail => {
                    let error = flight.loss(damage);
                    let outcome = match (batched, stand) {
                        (Some(generation), Stand::Claimed(owner)) => {
                            Ok(self.tear(slot, generation, owner, error))
                        }
                        _ => Err(error),
                    };
                    self.end_flight(control, slot, outcome);
                }
            }
        }
        for lane in self.lanes.shape().all() {
            control.lane(lane).clear(control.done());
        }
        for (slot, vacant) in (0..).zip(&self.vacant) {
            if self.flights[slot as usize].is_none() {
                let put = if vacant.filling {
                    Put::Filling
                } else {
                    Put::Free
                };
                ring.put(slot, put, vacant.generation);
            }
        }
        self.wake_workers(waiting.len() as u32);
        for (slot, lane, generation) in waiting {
            control.lane(lane).put(slot, Put::Ready, generation);
        }
        self.recount_free();
    }

    /// Ends the jobs that cannot go on, takes those off the board that begin again, and leaves
    /// there those whose words are in order, with the chunks of the ended given back.
    fn sort_out_jobs(
        &mut self,
        control: &Control,
        damage: &Damage,
        ended: &[Owner],
        attempts: u32,
    ) -> Vec<Again> {
        let mut again = Vec::new();
        for job in self.jobs.active() {
            let Some(Some(running)) = self.jobs.running.get(job as usize) else {
                continue;
            };
            let outcome = |chunk| control.board().outcome(&running.posted, chunk);
            let lost = |chunk: &u32| self.nonsense_in(outcome(*chunk)).is_some();
            if (0..running.posted.chunks()).any(|chunk| lost(&chunk)) {
                let spoilt: Vec<u32> = (0..running.posted.chunks())
                    .filter(|chunk| {
                        lost(chunk) || matches!(outcome(*chunk), ChunkOutcome::Claimed(_))
                    })
                    .collect();
                again.extend(self.begin_again(job, &spoilt, damage, attempts));
            }
        }
        for &owner in ended {
            self.recover_jobs(control, owner, Loss::Damage(damage), attempts);
        }
        for job in self.jobs.active() {
            self.finish_if_settled(control, job);
        }
        again
    }

    /// Takes a job off the board whose words are lost: to begin again if it may, else with an
    /// error. Its place is closed by `renew_board`.
    fn begin_again(
        &mut self,
        job: u32,
        spoilt: &[u32],
        damage: &Damage,
        attempts: u32,
    ) -> Option<Again> {
        let mut running = self.jobs.remove(job)?;
        running.inquiry.restarts += 1;
        let attempts = running
            .launch
            .terms
            .attempts
            .map_or(attempts, NonZeroU32::get);
        // Where its caller is at a chunk, a worker would write to the same elements.
        let may = running.launch.pure_function
            && running.inquiry.restarts < attempts
            && running.launch.busy().is_none();
        if may && running.cancelled.is_none() {
            let Running {
                mut launch,
                entry,
                inquiry,
                ..
            } = running;
            launch.unshare();
            return Some(Again {
                launch,
                entry,
                inquiry,
            });
        }
        if !running.launch.pure_function {
            for &chunk in spoilt {
                let elements = running.range(chunk);
                let damage = Damage {
                    undefined: vec![elements],
                    ..damage.clone()
                };
                running.faults.push((chunk, damage.into()));
            }
        }
        let undefined = running.undefined();
        let Running {
            entry,
            launch,
            cancelled,
            ..
        } = running;
        let error = cancelled.unwrap_or_else(|| {
            TaskError::Damaged(Damage {
                undefined,
                ..damage.clone()
            })
        });
        self.settle_job(entry, JobOutcome::failed(error, launch.keep));
        None
    }

    /// All headers and the open bits.
    fn renew_board(&mut self, control: &Control) {
        self.jobs.close_lingering(control);
        let board = control.board();
        for job in 0..JOBS as u32 {
            self.jobs.call_back(job);
            let known = self.jobs.known(job);
            let running = self.jobs.running(job);
            let left = running.map_or(0, |running| running.uncounted(control));
            board.renew(job, known, left);
            self.wake_workers(left);
        }
        board.mend_open(self.jobs.open_bits());
    }
}

impl Flight {
    /// A task that nobody had begun waits on, under the next generation.
    fn move_on(&mut self, slot: u32) -> Verdict {
        // It was cancelled meanwhile.
        if self.entry.is_ready() {
            return Verdict::Fail;
        }
        self.settle_in(slot, self.generation.wrapping_add(1));
        Verdict::Retry
    }

    /// What whoever waits for a task is told that cannot go on.
    fn loss(&self, damage: &Damage) -> TaskError {
        match self.terms() {
            Some(&TaskTerms {
                condemned: true,
                timeout: Some(limit),
                ..
            }) => TaskError::TimedOut {
                limit,
                element: None,
            },
            _ => TaskError::Damaged(damage.clone()),
        }
    }
}
