//! From the words in shared memory to outcomes: what finished is delivered exactly once.
//!
//! Nothing read here is believed: a span that a worker hands over must lie beside its slot or in
//! its own arena, and the archive in it is checked by whoever reads it.

use crate::board::{ChunkOutcome, Posted};
use crate::error::TaskError;
use crate::memory::owner::Owner;
use crate::memory::{MemoryLimit, OutOfMemory};
use crate::pool::engine::Engine;
use crate::pool::hub::Hub;
use crate::pool::job::{JobOutcome, Running};
use crate::pool::reply::ReplyBytes;
use crate::primitive::atomic::Ordering;
use crate::protocol::archive::{self, ArchiveError};
use crate::protocol::control::{Control, INLINE_SIZE, SLOTS};
use crate::protocol::panic::{PanicReport, REPORT_BYTES};
use crate::protocol::range::{Span, bytes_of};
use crate::protocol::task::{Reply, Verdict};
use crate::ring::Harvest;

impl Engine {
    /// Whether something seems to have finished; a few loads, no lock.
    pub(crate) fn sees_completions(&self) -> bool {
        let control = self.control();
        control.done().any() || self.sees_finished_job()
    }

    /// Whether a job on the board seems to have no chunk left.
    fn sees_finished_job(&self) -> bool {
        self.control().board().any_exhausted()
    }

    /// Delivers all that has finished; how many outcomes that were.
    pub(crate) fn harvest(&self) -> usize {
        if self.check_process().is_err() {
            return 0;
        }
        self.hub().harvest(self.control(), self)
    }
}

impl Hub {
    /// Delivers what the hints point to.
    pub(crate) fn harvest(&mut self, control: &Control, engine: &Engine) -> usize {
        let mut outcomes = 0;
        control
            .done()
            .drain(|slot| outcomes += usize::from(self.collect(control, engine, slot)));
        for job in self.jobs.active() {
            let near = self
                .jobs
                .get(job)
                .is_some_and(|running| control.board().progress(&running.posted) == 0);
            outcomes += usize::from(near && self.finish_if_settled(control, job));
        }
        if outcomes > 0 {
            self.feed(control);
            self.post_waiting(control);
        }
        outcomes
    }

    /// Delivers everything that has finished, whatever the hints say; after a death.
    pub(crate) fn harvest_thoroughly(&mut self, control: &Control, engine: &Engine) {
        for slot in 0..SLOTS as u32 {
            self.collect(control, engine, slot);
        }
        for job in self.jobs.active() {
            self.finish_if_settled(control, job);
        }
        self.feed(control);
        self.post_waiting(control);
    }

    /// Delivers the outcome of a slot's task, if it has ended.
    fn collect(&mut self, control: &Control, engine: &Engine, slot: u32) -> bool {
        let Some(Some((generation, _))) = self.flights.get(slot as usize) else {
            return false;
        };
        let owner = match control.ring().harvest(slot, *generation) {
            Harvest::Finished { owner, .. } => owner,
            Harvest::Pending | Harvest::Running(_) => return false,
            Harvest::Foreign(_) => {
                self.end_flight(control, slot, Err(damaged("the state of a task")));
                return true;
            }
        };
        let outcome = match Reply::load(control.ring().slot(slot)) {
            Some(reply) => self.read_reply(engine, slot, owner, reply),
            None => Err(damaged("the verdict on a task")),
        };
        self.end_flight(control, slot, outcome);
        true
    }

    /// Frees the slot and leaves its task's outcome.
    pub(super) fn end_flight(
        &mut self,
        control: &Control,
        slot: u32,
        outcome: Result<ReplyBytes, TaskError>,
    ) {
        if let Some((generation, flight)) = self.flights[slot as usize].take() {
            self.free_slot(control, slot, generation);
            self.settle(&flight.entry, outcome);
        }
    }

    fn read_reply(
        &self,
        engine: &Engine,
        slot: u32,
        owner: Owner,
        reply: Reply,
    ) -> Result<ReplyBytes, TaskError> {
        let bytes = self.fetch(engine, slot, owner, reply.place);
        match reply.verdict {
            Verdict::Value => bytes.ok_or(damaged("the place of a result")),
            Verdict::Panicked => {
                let bytes = bytes.unwrap_or(ReplyBytes::Empty);
                Err(PanicReport::decode(bytes.bytes()).into())
            }
            Verdict::BadArguments => Err(damaged("the arguments of a task")),
            Verdict::TooLarge => Err(TaskError::Archive(ArchiveError::TooLarge {
                type_name: "task's result",
                limit: archive::LIMIT,
            })),
            Verdict::NoRoom => Err(TaskError::OutOfMemory(OutOfMemory {
                wanted: reply.place.size,
                available: engine.arena_size(),
                limit: MemoryLimit::Machine,
            })),
        }
    }

    /// The bytes of a reply, if they lie where this worker may put one.
    fn fetch(&self, engine: &Engine, slot: u32, owner: Owner, place: Span) -> Option<ReplyBytes> {
        if place.size == 0 {
            return Some(ReplyBytes::Empty);
        }
        if place.offset == Control::inline_offset(slot) && place.size <= INLINE_SIZE as u64 {
            return Some(ReplyBytes::small(bytes_of(engine.region(), place)));
        }
        self.roster.arena(owner)?.lend(place).map(ReplyBytes::Lent)
    }

    /// Leaves a job's outcome once none of its chunks can change any more.
    pub(super) fn finish_if_settled(&mut self, control: &Control, job: u32) -> bool {
        let board = control.board();
        let Some(running) = self.jobs.get(job) else {
            return false;
        };
        if !board.settled(&mut running.posted) {
            return false;
        }
        let Some(running) = self.jobs.remove(job) else {
            return false;
        };
        let result = self.judge(control, &running);
        let Running {
            entry,
            posted,
            launch,
            ..
        } = running;
        board.close(posted);
        self.settle(
            &entry,
            JobOutcome {
                result,
                keep: launch.keep,
            },
        );
        true
    }

    /// What the worker that failed a chunk left about it.
    pub(super) fn report(
        &self,
        control: &Control,
        posted: &Posted,
        chunk: u32,
        owner: Owner,
    ) -> PanicReport {
        let detail = control.board().chunk(posted.job(), chunk).detail();
        // ORDERING: Relaxed; acquired with the chunk's word.
        self.panic_of(owner, detail.load(Ordering::Relaxed))
    }

    /// The first failure by position, or success. A death names all that is undefined.
    fn judge(&self, control: &Control, running: &Running) -> Result<(), TaskError> {
        let board = control.board();
        let mut result = Ok(());
        for chunk in 0..running.posted.chunks() {
            let failure = match board.outcome(&running.posted, chunk) {
                ChunkOutcome::Done(_) => continue,
                ChunkOutcome::Failed(owner) => {
                    let own = running.faults.iter().find(|(failed, _)| *failed == chunk);
                    match own {
                        Some((_, error)) => error.clone(),
                        None => self.report(control, &running.posted, chunk, owner).into(),
                    }
                }
                ChunkOutcome::Cancelled => match &running.cancelled {
                    Some(error) => error.clone(),
                    // Cancelled because another chunk failed, which is the error to tell.
                    None => continue,
                },
                _ => damaged("the state of a chunk"),
            };
            if result.is_ok() {
                result = Err(failure);
            }
        }
        if let Err(TaskError::WorkerDied(death)) = &mut result {
            death.undefined = running.undefined();
        }
        result
    }

    /// The report that a worker left at `offset` in its arena.
    fn panic_of(&self, owner: Owner, offset: u64) -> PanicReport {
        let place = Span {
            offset,
            size: REPORT_BYTES as u64,
        };
        let loan = self.roster.arena(owner).and_then(|arena| arena.lend(place));
        PanicReport::decode(loan.as_ref().map_or(&[], |loan| loan.bytes()))
    }
}

/// Whatever a wild store may have left where something of ours should be.
fn damaged(what: &'static str) -> TaskError {
    TaskError::Damaged { what }
}
