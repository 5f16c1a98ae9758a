//! From the words in shared memory to outcomes: what finished is delivered exactly once.
//!
//! Nothing read here is believed: a span that a worker hands over must lie beside its slot or in
//! its own arena, and the archive in it is checked by whoever reads it.

use crate::board::ChunkOutcome;
use crate::error::TaskError;
use crate::memory::owner::Owner;
use crate::pool::engine::Engine;
use crate::pool::hub::{Flight, Hub};
use crate::pool::job::{JobOutcome, Running};
use crate::pool::reply::ReplyBytes;
use crate::protocol::control::{Control, INLINE_SIZE, SLOTS};
use crate::protocol::range::{Span, bytes_of};
use crate::protocol::report::PanicReport;
use crate::protocol::task::{Reply, Verdict};
use crate::ring::Harvest;

impl Engine {
    /// Whether something seems to have finished; a few loads, no lock.
    pub(crate) fn sees_completions(&self) -> bool {
        let control = self.control();
        control.done().any() || control.board().any_finished()
    }

    /// Delivers all that has finished; how many outcomes that were.
    pub(crate) fn harvest(&self) -> usize {
        self.hub().harvest(self.control(), self)
    }
}

impl Hub {
    /// Delivers what the hints point to.
    pub(crate) fn harvest(&mut self, control: &Control, engine: &Engine) -> usize {
        let mut outcomes = 0;
        control.done().drain(|slot| outcomes += usize::from(self.collect(control, engine, slot)));
        for job in self.jobs.active() {
            if control.board().progress(job).1 == 0 {
                outcomes += usize::from(self.finish_if_settled(control, job));
            }
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
        let Some(Some((generation, _))) = self.flights.get(slot as usize) else { return false };
        let owner = match control.ring().harvest(slot, *generation) {
            Harvest::Finished { owner, .. } => owner,
            Harvest::Pending | Harvest::Running(_) => return false,
            Harvest::Foreign(_) => {
                self.end_flight(control, slot, Err(TaskError::Corrupted));
                return true;
            }
        };
        let reply = control.ring().slot(slot).and_then(Reply::load);
        let outcome = match reply {
            Some(reply) => self.read_reply(engine, slot, owner, reply),
            None => Err(TaskError::Corrupted),
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
        self.free_slot(control, slot);
        if let Some((_, Flight { entry, .. })) = self.flights[slot as usize].take() {
            self.settle(&entry, outcome);
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
            Verdict::Value => bytes.ok_or(TaskError::Corrupted),
            Verdict::Panicked => {
                let report = bytes.and_then(|bytes| PanicReport::decode(bytes.bytes()));
                Err(report.unwrap_or_default().into_error())
            }
            Verdict::BadArguments => Err(TaskError::BadArguments),
            Verdict::TooLarge => Err(TaskError::ResultTooLarge),
            Verdict::NoRoom => Err(TaskError::ResultNoRoom),
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
        let Some(Some(running)) = self.jobs.running.get(job as usize) else { return false };
        let board = control.board();
        if !board.settled(job, running.generation) {
            return false;
        }
        let result = self.judge(control, job, running);
        board.close(job, running.generation);
        if let Some(Running { entry, launch, .. }) = self.jobs.remove(job) {
            self.settle(&entry, JobOutcome { result, keep: launch.keep });
        }
        true
    }

    /// The first failure by position, or success.
    fn judge(&self, control: &Control, job: u32, running: &Running) -> Result<(), TaskError> {
        let board = control.board();
        let mut result = Ok(());
        for chunk in 0..running.chunks {
            let failure = match board.outcome(job, running.generation, chunk) {
                ChunkOutcome::Done(_) => continue,
                ChunkOutcome::Failed(owner) => {
                    let own = running.faults.iter().find(|(failed, _)| *failed == chunk);
                    match own {
                        Some((_, error)) => error.clone(),
                        None => self.panic_of(owner, board.detail(job, chunk)).into_error(),
                    }
                }
                ChunkOutcome::Cancelled => match &running.cancelled {
                    Some(error) => error.clone(),
                    // Cancelled because another chunk failed, which is the error to tell.
                    None => continue,
                },
                _ => TaskError::Corrupted,
            };
            if result.is_ok() {
                result = Err(failure);
            }
        }
        result
    }

    /// The report that a worker left at `offset` in its arena.
    fn panic_of(&self, owner: Owner, offset: u64) -> PanicReport {
        let place = Span { offset, size: PanicReport::MOST_BYTES as u64 };
        let loan = self.roster.arena(owner).and_then(|arena| arena.lend(place));
        loan.and_then(|loan| PanicReport::decode(loan.bytes())).unwrap_or_default()
    }
}
