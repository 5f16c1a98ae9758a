//! After a worker was reaped: everything that it had claimed is taken back.
//!
//! The caller has waited for the kernel to say that the process is gone, so no store of it can
//! follow. What it finished is delivered; a chunk of a pure job goes back to the others; a task,
//! or a chunk of a job that changes its data in place, has failed. Then everybody is woken and
//! looks at everything again, which repairs whatever hint or wake-up died with it.

use core::ops::Range;
use std::collections::HashMap;
use std::mem;
use std::num::NonZeroU32;

use crate::board::{ChunkOutcome, Verdict as ChunkVerdict};
use crate::error::{Damage, TaskError, TaskId, WorkerDeath};
use crate::memory::owner::Owner;
use crate::pool::deadline::NEVER;
use crate::pool::engine::Engine;
use crate::pool::flight::Flight;
use crate::pool::hub::Hub;
use crate::pool::job::Running;
use crate::pool::reply::{ReplyBytes, Torn};
use crate::pool::terms::TaskTerms;
use crate::primitive::atomic::Ordering;
use crate::protocol::batch::{HEADER_BYTES, Summary};
use crate::protocol::control::Control;
use crate::protocol::range::Span;
use crate::protocol::task::Task;
use crate::ring::{Lane, Verdict as TaskVerdict};
use crate::sync::kernel::KernelFutex;

impl Engine {
    /// Takes back the work of a worker that has been reaped. Its keys go to others, unless it is
    /// succeeded where it was.
    pub(crate) fn recover(&self, dead: Owner, death: &WorkerDeath, is_succeeded_there: bool) {
        let control = self.control();
        let mut hub = self.hub();
        // First what it finished: its results lie in its arena, which the roster still names.
        hub.harvest_thoroughly(control, self);
        hub.recover_tasks(control, dead, death);
        hub.recover_jobs(control, dead, Loss::Death(death), self.config().attempts);
        hub.harvest_thoroughly(control, self);
        hub.roster.dismiss(dead.index());
        if !is_succeeded_there {
            hub.move_sticky(control, dead.index());
        }
        drop(hub);
        control.ring().repost();
        control.ring().waiting(|slot, lane, generation| {
            if lane != Lane::MAIN {
                control.lane(lane).hint(slot, generation);
            }
        });
        // The dead no longer count as awake, so what is submitted before they are replaced wakes
        // somebody else.
        self.parking().vacate(dead.index());
        if let Some(gauge) = control.gauge(dead.index()) {
            // No peer makes way for it.
            gauge.set_core(None);
        }
        if let Some(record) = control.record(dead.index()) {
            // ORDERING: Relaxed; a hint.
            record.load.store(u32::MAX, Ordering::Relaxed);
        }
        self.parking().wake_all(&KernelFutex);
    }
}

impl Hub {
    fn recover_tasks(&mut self, control: &Control, dead: Owner, death: &WorkerDeath) {
        let flights = &mut self.flights;
        let mut lost = Vec::new();
        let mut diverted = Vec::new();
        control
            .ring()
            .recover(dead, control.done(), |slot, generation| {
                let verdict = match flights.get_mut(slot as usize) {
                    Some(Some(flight)) if flight.generation == generation => {
                        let verdict = flight.mourn(slot);
                        if verdict != TaskVerdict::Fail {
                            Task::renew(control.ring().slot(slot));
                        }
                        if let TaskVerdict::Divert(lane) = verdict {
                            diverted.push((lane, slot, flight.generation));
                        }
                        verdict
                    }
                    _ => TaskVerdict::Fail,
                };
                if verdict == TaskVerdict::Fail {
                    lost.push(slot);
                }
                verdict
            });
        for (lane, slot, generation) in diverted {
            control.lane(lane).hint(slot, generation);
        }
        for slot in lost {
            let (terms, batched, task) = match self.flights.get(slot as usize) {
                Some(Some(flight)) => {
                    let batched = flight.is_batched().then_some(flight.generation);
                    let task = TaskId::new(slot, flight.generation);
                    (flight.terms(), batched, task)
                }
                _ => (None, None, None),
            };
            let error = match terms {
                Some(&TaskTerms {
                    condemned: true,
                    timeout: Some(limit),
                    ..
                }) => TaskError::TimedOut {
                    limit,
                    element: None,
                },
                terms => TaskError::WorkerDied(WorkerDeath {
                    attempts: terms.map_or(1, |terms| terms.deaths),
                    task,
                    ..death.clone()
                }),
            };
            let outcome = match batched {
                Some(generation) => Ok(self.tear(slot, generation, dead, error)),
                None => Err(error),
            };
            self.end_flight(control, slot, outcome);
        }
        // What is run again has its time again.
        self.look_at(0);
    }

    /// What a batch came to, as far as its worker said before it died.
    pub(super) fn tear(
        &self,
        slot: u32,
        generation: u32,
        dead: Owner,
        error: TaskError,
    ) -> ReplyBytes {
        let results = self.roster.arena(dead).and_then(|arena| {
            let offset = arena.announced(slot, generation)?;
            let find = || {
                let size = HEADER_BYTES as u64;
                let header = arena.peek(Span { offset, size })?;
                let size = Summary::read(header)?.capacity;
                arena.lend(Span { offset, size })
            };
            Some(find())
        });
        ReplyBytes::Torn(Box::new(Torn { results, error }))
    }

    pub(super) fn recover_jobs(
        &mut self,
        control: &Control,
        dead: Owner,
        loss: Loss<'_>,
        attempts: u32,
    ) {
        let board = control.board();
        for job in self.jobs.active() {
            let last_words = self.last_words(control, job, dead);
            let Some(running) = self.jobs.get(job) else {
                continue;
            };
            let mut deaths = mem::take(&mut running.deaths);
            let mut faults = mem::take(&mut running.faults);
            faults.extend(last_words);
            let Running { posted, launch, .. } = &*running;
            let mut failed = false;
            board.recover(posted, dead, |chunk| {
                let lost = Lost {
                    chunk,
                    loss,
                    running,
                    attempts: launch.terms.attempts.map_or(attempts, NonZeroU32::get),
                };
                let verdict = lost.verdict(&mut deaths, &mut faults);
                failed |= verdict == ChunkVerdict::Fail;
                verdict
            });
            if failed && launch.job.fail_fast {
                board.cancel(posted);
            }
            running.deaths = deaths;
            running.faults = faults;
            let Running {
                posted, overrun, ..
            } = running;
            // Others may be on their way out as well.
            overrun
                .retain(|&chunk| matches!(board.outcome(posted, chunk), ChunkOutcome::Claimed(_)));
            self.jobs.call_back(job);
        }
    }
}

impl Flight {
    /// What becomes of a task whose worker died. If it is run again, then under a new generation
    /// of its slot, which the books follow.
    pub(super) fn mourn(&mut self, slot: u32) -> TaskVerdict {
        let is_over = self.entry.is_ready();
        let Some(terms) = self.terms_mut() else {
            return TaskVerdict::Fail;
        };
        terms.deaths += 1;
        // An outcome that is there already, such as that it was cancelled, is the last word.
        let over = terms.deaths >= terms.attempts || terms.condemned;
        if over || is_over {
            return TaskVerdict::Fail;
        }
        terms.seen = NEVER;
        terms.asked = NEVER;
        self.settle_in(slot, self.generation.wrapping_add(1));
        match self.route.lane {
            Lane::MAIN => TaskVerdict::Retry,
            lane => TaskVerdict::Divert(lane),
        }
    }
}

/// Why the work of a worker is lost.
#[derive(Clone, Copy)]
pub(super) enum Loss<'a> {
    /// It died.
    Death(&'a WorkerDeath),
    /// It was ended with all others, because of this.
    Damage(&'a Damage),
}

impl Loss<'_> {
    /// The same, of a chunk of these elements.
    fn of(self, elements: Range<u64>, attempts: u32, pure_function: bool) -> TaskError {
        let undefined = match pure_function {
            true => Vec::new(),
            false => vec![elements.clone()],
        };
        match self {
            Self::Death(death) => TaskError::WorkerDied(WorkerDeath {
                attempts,
                undefined,
                elements: Some(elements),
                ..death.clone()
            }),
            Self::Damage(damage) => TaskError::Damaged(Damage {
                undefined,
                ..damage.clone()
            }),
        }
    }
}

/// A chunk whose worker died.
struct Lost<'a> {
    chunk: u32,
    loss: Loss<'a>,
    running: &'a Running,
    attempts: u32,
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
        let Running {
            launch, cancelled, ..
        } = self.running;
        let elements = self.running.range(self.chunk);
        if let Some(error) = cancelled {
            faults.push((self.chunk, error.clone()));
            return ChunkVerdict::Fail;
        }
        if self.running.overrun.contains(&self.chunk)
            && let Some(limit) = launch.terms.element_timeout()
        {
            let element = None;
            faults.push((self.chunk, TaskError::TimedOut { limit, element }));
            return ChunkVerdict::Fail;
        }
        // Pieces are run to find the element; only the element itself has its attempts again.
        let is_piece = !self.running.inquiry.is_first_round() && elements.end - elements.start > 1;
        if launch.pure_function && *deaths < self.attempts && !is_piece {
            return ChunkVerdict::Retry;
        }
        let error = self.loss.of(elements, *deaths, launch.pure_function);
        faults.push((self.chunk, error));
        ChunkVerdict::Fail
    }
}
