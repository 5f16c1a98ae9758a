//! From the words in shared memory to outcomes: what finished is delivered exactly once.
//!
//! Nothing read here is believed: a span that a worker hands over must lie in its own
//! arena, and the archive in it is checked by whoever reads it.

use crate::board::ChunkOutcome;
use crate::error::{Damage, TaskError};
use crate::memory::OutOfMemory;
use crate::memory::owner::Owner;
use crate::pool::engine::Engine;
use crate::pool::entry::{Entry, Place};
use crate::pool::flight::Flight;
use crate::pool::hub::Hub;
use crate::pool::inquiry::Next;
use crate::pool::job::Running;
use crate::pool::launch::JobOutcome;
use crate::pool::reply::ReplyBytes;
use crate::primitive::atomic::Ordering;
use crate::primitive::prefetch;
use crate::protocol::archive::{self, ArchiveError};
use crate::protocol::control::Control;
use crate::protocol::freed::SEALED_BYTES;
use crate::protocol::panic::{PanicReport, REPORT_BYTES};
use crate::protocol::range::{Beat, Span, Trial};
use crate::protocol::reply::{Reply, Verdict};
use crate::ring::Harvest;
use crate::sys::clock;

/// How many ended tasks are on their way at a time: the slot's line comes first, then, half-way,
/// that of the reply, which the slot leads to.
const TRAIN: usize = 8;

/// What a worker said of chunks, before it died.
type LastWords = Vec<(u32, TaskError)>;

impl Engine {
    /// Whether something seems to have finished; a few loads, no lock.
    pub(crate) fn sees_completions(&self) -> bool {
        let control = self.control();
        control.done().any() || self.sees_finished_job()
    }

    /// The slot or job of an entry, if that seems to have ended; a load or two.
    pub(crate) fn ended_place<T>(&self, entry: &Entry<T>) -> Option<Place> {
        let place = entry.place();
        let has_ended = match place {
            Place::Slot { slot, generation } => self.control().ring().has_ended(slot, generation),
            Place::Job { job, .. } => self.control().board().is_exhausted(job),
            Place::Nowhere | Place::Backlog => false,
        };
        has_ended.then_some(place)
    }

    /// Whether a job on the board seems to have no chunk left.
    fn sees_finished_job(&self) -> bool {
        self.control().board().any_exhausted(self.live_jobs())
    }

    /// Wakes workers for the chunks that nobody has begun, because their jobs turn out to take
    /// time: a small job was left to one worker.
    pub(crate) fn share_out(&self) {
        if self.live_jobs() != 0 {
            self.hub().share_out(self.control());
        }
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
        self.harvest_with(control, engine, None)
    }

    /// The same, and the task or job that seems to have ended in a place; if nothing else is
    /// pending, that is all, and its hint stays where it is.
    pub(crate) fn harvest_with(
        &mut self,
        control: &Control,
        engine: &Engine,
        ended: Option<Place>,
    ) -> usize {
        let mut outcomes = 0;
        if let Some(place) = ended {
            outcomes += usize::from(match place {
                Place::Slot { slot, .. } => self.collect(control, engine, slot),
                Place::Job { job, .. } => self.finish_if_settled(control, job),
                Place::Nowhere | Place::Backlog => false,
            });
            if self.pending() == 0 {
                return outcomes;
            }
        }
        let mut train = [None; TRAIN];
        let mut last = 0;
        control.done().drain(|slot| {
            control.ring().expect_slot(slot);
            last = (last + 1) % TRAIN;
            let due = train[last].replace(slot);
            self.expect_reply(control, train[(last + TRAIN / 2) % TRAIN]);
            outcomes += due.map_or(0, |due| self.collect(control, engine, due).into());
        });
        for step in 1..=TRAIN {
            let due = train[(last + step) % TRAIN].take();
            self.expect_reply(control, train[(last + step + TRAIN / 2) % TRAIN]);
            outcomes += due.map_or(0, |due| self.collect(control, engine, due).into());
        }
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
        self.harvest_everything(control, engine);
        self.feed(control);
        self.post_waiting(control);
        // For whoever compares the board with the books next.
        self.jobs.close_lingering(control);
    }

    /// The same, without taking up new work.
    pub(super) fn harvest_everything(&mut self, control: &Control, engine: &Engine) {
        for slot in 0..self.flights.len() as u32 {
            self.collect(control, engine, slot);
        }
        for job in self.jobs.active() {
            self.finish_if_settled(control, job);
        }
    }

    /// Asks for the reply to a task that seems to have ended.
    fn expect_reply(&self, control: &Control, slot: Option<u32>) {
        if let Some(slot) = slot
            && let Some(Some(flight)) = self.flights.get(slot as usize)
            && let Harvest::Finished { owner, .. } = control.ring().harvest(slot, flight.generation)
            && let Some(arena) = self.roster.arena(owner)
            && let Some(reply) = arena.reply(slot)
        {
            prefetch::to_read(reply);
        }
    }

    /// Delivers the outcome of a slot's task, if it has ended.
    fn collect(&mut self, control: &Control, engine: &Engine, slot: u32) -> bool {
        let Some(Some(Flight { generation, .. })) = self.flights.get(slot as usize) else {
            return false;
        };
        let owner = match control.ring().harvest(slot, *generation) {
            Harvest::Finished { owner, .. } if self.roster.knows(owner) => owner,
            Harvest::Pending | Harvest::Running(_) => return false,
            // A worker may be at work behind that word, so nothing is decided yet.
            Harvest::Finished { .. } | Harvest::Foreign(_) => {
                self.suspect();
                return false;
            }
        };
        let reply = self
            .roster
            .arena(owner)
            .and_then(|arena| Reply::load(arena.reply(slot)?, *generation));
        let outcome = match reply {
            Some(Reply {
                verdict: Verdict::Cancelled,
                ..
            }) => Err(self.why_dropped(slot)),
            Some(reply) => self.read_reply(engine, slot, owner, reply),
            None => Err(damaged(
                "the reply to a task",
                "one of its generation, with one of the verdicts there are",
            )),
        };
        if matches!(outcome, Err(TaskError::Damaged(_))) {
            self.suspect();
        }
        self.end_flight(control, slot, outcome);
        true
    }

    /// Why a future was dropped: one that was cancelled has its outcome already.
    fn why_dropped(&self, slot: u32) -> TaskError {
        let flight = self.flights.get(slot as usize).and_then(Option::as_ref);
        let terms = flight.and_then(Flight::terms);
        match terms.and_then(|terms| terms.timeout) {
            Some(limit) => TaskError::TimedOut {
                limit,
                element: None,
            },
            None => TaskError::Cancelled,
        }
    }

    /// Frees the slot and leaves its task's outcome.
    pub(super) fn end_flight(
        &mut self,
        control: &Control,
        slot: u32,
        outcome: Result<ReplyBytes, TaskError>,
    ) {
        if let Some(flight) = self.unseat(slot as usize) {
            self.free_slot(control, slot, flight.generation);
            self.settle(&flight.entry, outcome);
            self.discard(flight);
        }
    }

    fn read_reply(
        &self,
        engine: &Engine,
        slot: u32,
        owner: Owner,
        reply: Reply,
    ) -> Result<ReplyBytes, TaskError> {
        let Reply { place, verdict } = reply;
        let report = || {
            let bytes = self.fetch(slot, owner, place);
            PanicReport::decode(bytes.as_ref().map_or(&[], ReplyBytes::bytes))
        };
        match verdict {
            Verdict::Value => self.read_value(slot, owner, place),
            Verdict::Panicked => Err(report().into()),
            Verdict::Refused => Err(TaskError::Archive(ArchiveError::Refused {
                type_name: "task's result",
                reason: report().message,
            })),
            Verdict::Cancelled => Err(TaskError::Cancelled),
            Verdict::BadArguments => Err(damaged("the arguments of a task", "an archive")),
            Verdict::TooLarge => Err(TaskError::Archive(ArchiveError::TooLarge {
                type_name: "task's result",
                limit: archive::LIMIT,
            })),
            Verdict::NoRoom => Err(TaskError::OutOfMemory(OutOfMemory {
                wanted: place.size,
                available: place.offset,
                limit: engine.arena_limit(place.size <= place.offset),
            })),
        }
    }

    /// The result that a reply tells of. A tiny one is written once, where it is to be: what was
    /// just written in pieces would be waited for if it moved as a whole.
    #[inline]
    fn read_value(&self, slot: u32, owner: Owner, place: Span) -> Result<ReplyBytes, TaskError> {
        if let Some(arena) = self.roster.arena(owner)
            && let Some(block) = arena.inline_reply(slot, place)
            && let Some(tiny) = ReplyBytes::tiny_part(block, &(0..place.size as usize))
        {
            return Ok(tiny.into());
        }
        self.fetch(slot, owner, place).ok_or_else(|| {
            let Span { offset, size } = place;
            let wanted = "a block in the worker's own arena";
            let found = format!("{size} bytes at offset {offset}");
            Damage::new("the place of a result", wanted, found).into()
        })
    }

    /// The bytes of a reply, if they lie where this worker may put one.
    fn fetch(&self, slot: u32, owner: Owner, place: Span) -> Option<ReplyBytes> {
        if place.size == 0 {
            return Some(ReplyBytes::Empty);
        }
        let arena = self.roster.arena(owner)?;
        if let Some(block) = arena.inline_reply(slot, place) {
            let range = 0..place.size as usize;
            return Some(match ReplyBytes::tiny_part(block, &range) {
                Some(tiny) => tiny.into(),
                None => ReplyBytes::small(&block[range]),
            });
        }
        let loan = arena.lend(place)?;
        // Only larger ones are kept from their worker; dropping the loan gives the block back.
        Some(match place.size < SEALED_BYTES {
            true => ReplyBytes::small(loan.bytes()),
            false => ReplyBytes::Lent(loan),
        })
    }

    /// Leaves a job's outcome once none of its chunks can change any more.
    pub(super) fn finish_if_settled(&mut self, control: &Control, job: u32) -> bool {
        let board = control.board();
        let Some(running) = self.jobs.get(job) else {
            return false;
        };
        if running.launch.busy().is_some() {
            // Its caller comes back here with that chunk.
            return false;
        }
        if !board.settled(&mut running.posted) {
            if board.is_stuck(&running.posted) {
                self.suspect();
            }
            return false;
        }
        let Some(Some(running)) = self.jobs.running.get(job as usize) else {
            return false;
        };
        let Some(found) = self.judge(control, running) else {
            self.suspect();
            return false;
        };
        let Some(mut running) = self.jobs.remove(job) else {
            return false;
        };
        let first = running.inquiry.is_first_round();
        let trial = running.trial(control).filter(|_| found.is_empty());
        if first && found.is_empty() {
            self.note_pace(control, &running, trial);
        }
        let next = if let Some(rest) = running.given_back(trial) {
            running.go_on(rest)
        } else if first && found.is_empty() {
            Next::Over(Ok(()), Vec::new())
        } else {
            let done = running.done(control);
            running.conclude(found, done)
        };
        let undefined = running.undefined();
        let Running {
            entry,
            posted,
            launch,
            inquiry,
            ..
        } = running;
        self.jobs.close(control, posted);
        match next {
            Next::Over(mut result, failures) => {
                match &mut result {
                    Err(TaskError::WorkerDied(death)) => death.undefined = undefined,
                    Err(TaskError::Damaged(damage)) => damage.undefined = undefined,
                    _ => {}
                }
                let outcome = JobOutcome {
                    result,
                    failures,
                    keep: launch.keep,
                };
                self.settle_job(entry, outcome);
                true
            }
            Next::Round => {
                // Its own place is free again, if no other is.
                self.post(control, launch, entry, inquiry);
                // Its caller may be asleep.
                self.watch_reserve();
                false
            }
        }
    }

    /// Remembers the pace of a job that went well.
    fn note_pace(&mut self, control: &Control, running: &Running, trial: Option<Trial>) {
        let Running {
            launch, posted_at, ..
        } = running;
        let kernel = launch.job.kernel;
        if let Some((elements, nanoseconds)) = launch.own_pace() {
            self.paces.note(kernel, elements, nanoseconds);
        } else if let Some(Trial { done, nanoseconds }) = trial {
            self.paces.note(kernel, done.into(), nanoseconds.into());
        } else if *posted_at != 0 && running.deaths.is_empty() {
            let time = clock::now().saturating_sub(*posted_at);
            // Whoever began first was at it for most of that time.
            let owner = |chunk| match control.board().outcome(&running.posted, chunk) {
                ChunkOutcome::Done(owner) => Some(owner),
                _ => None,
            };
            let (first, chunks) = (owner(0), (0..).zip(launch.cut().chunks()));
            let its = chunks.filter(|&(chunk, _)| owner(chunk) == first);
            let len = its.map(|(_, (_, len))| len).sum();
            self.paces.note_whole(kernel, len, time);
        }
    }

    /// The failures by chunk, ascending, with what the worker last said where it was. `None` when
    /// a chunk was overwritten after it had ended.
    fn judge(&self, control: &Control, running: &Running) -> Option<Vec<(u32, TaskError, Beat)>> {
        let board = control.board();
        let mut found = Vec::new();
        let mut unexplained = None;
        for chunk in 0..running.posted.chunks() {
            let detail = board.chunk(running.posted.job(), chunk).detail();
            let failure = match board.outcome(&running.posted, chunk) {
                ChunkOutcome::Done(_) => continue,
                ChunkOutcome::Failed(owner) => {
                    let own = running.faults.iter().find(|(failed, _)| *failed == chunk);
                    match own {
                        Some((_, error)) => error.clone(),
                        // ORDERING: Relaxed; acquired with the chunk's word.
                        None => self.panic_of(owner, detail.load(Ordering::Relaxed)).into(),
                    }
                }
                ChunkOutcome::Cancelled => {
                    match (running.launch.own_outcome(chunk), &running.cancelled) {
                        (Some(Ok(())), _) => continue,
                        (Some(Err(error)), _) | (None, Some(error)) => error.clone(),
                        // Cancelled because another chunk failed, which is the error to tell.
                        (None, None) => {
                            unexplained = Some(chunk);
                            continue;
                        }
                    }
                }
                _ => return None,
            };
            // ORDERING: Relaxed; acquired with the chunk's word.
            let beat = Beat::from_bits(detail.load(Ordering::Relaxed));
            found.push((chunk, failure, beat));
        }
        if let (true, Some(chunk)) = (found.is_empty(), unexplained) {
            let nowhere = Beat::from_bits(u64::MAX);
            let error = damaged("the state of a chunk", "none cancelled without a reason");
            found.push((chunk, error, nowhere));
        }
        Some(found)
    }

    /// The panics of a worker that has died since, which go with its arena.
    pub(super) fn last_words(&self, control: &Control, job: u32, dead: Owner) -> LastWords {
        let Some(Some(Running { posted, faults, .. })) = self.jobs.running.get(job as usize) else {
            return Vec::new();
        };
        let board = control.board();
        (0..posted.chunks())
            .filter(|&chunk| board.outcome(posted, chunk) == ChunkOutcome::Failed(dead))
            .filter(|chunk| faults.iter().all(|(failed, _)| failed != chunk))
            .map(|chunk| {
                let detail = board.chunk(job, chunk).detail();
                // ORDERING: Relaxed; acquired with the chunk's word.
                let report = self.panic_of(dead, detail.load(Ordering::Relaxed));
                (chunk, report.into())
            })
            .collect()
    }

    /// The report that a worker left at `offset` in its arena.
    pub(super) fn panic_of(&self, owner: Owner, offset: u64) -> PanicReport {
        let place = Span {
            offset,
            size: REPORT_BYTES as u64,
        };
        let loan = self.roster.arena(owner).and_then(|arena| arena.lend(place));
        PanicReport::decode(loan.as_ref().map_or(&[], |loan| loan.bytes()))
    }
}

/// Whatever a wild store may have left where something of ours should be.
fn damaged(what: &'static str, wanted: &'static str) -> TaskError {
    Damage::new(what, wanted, "something else".into()).into()
}
