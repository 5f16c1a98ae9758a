//! What must hold once a death was recovered from; for any test that has a ring and a board.

use std::collections::BTreeSet;

use crate::board::{self, Board, ChunkOutcome, Completion, Posted, Seen};
use crate::memory::owner::Owner;
use crate::protocol::function::FunctionId;
use crate::protocol::range::Span;
use crate::protocol::reply::{self, Reply, ReplyBlock};
use crate::protocol::task::{Task, TaskBody};
use crate::ring::{Claim, DoneBits, Harvest, Outcome, Ring, Verdict};
use crate::sync::{Futex, Group, Parking};

/// A sentence about what does not hold.
pub(crate) type Audited<T = ()> = Result<T, String>;

/// The sentence, unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err(format!($($why)+));
        }
    };
}
pub(super) use ensure;

/// The structures under audit.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) ring: Ring<'a>,
    /// The task of each slot.
    pub(crate) tasks: &'a [TaskBody],
    /// Each worker's replies, by slot.
    pub(crate) replies: &'a [ReplyBlock],
    pub(crate) slots: u32,
    pub(crate) done: DoneBits<'a>,
    pub(crate) board: Board<'a>,
    /// Chunks a job can have.
    pub(crate) chunks: u32,
    pub(crate) parking: Parking<'a>,
}

/// How a caller's future was resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Resolution {
    Value(u64),
    Died,
}

/// A task, as whoever waits for it knows it.
#[derive(Clone, Debug)]
pub(crate) struct Future {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    pub(crate) argument: u64,
    pub(crate) resolutions: Vec<Resolution>,
}

/// A recovery that is broken on purpose, for the tests of the audit itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    None,
    /// What the dead had finished waits for the done bits that it may not have set.
    FinishedNotSwept,
    /// Only those are woken whose word had to be moved.
    KernelNotTold,
}

/// What the parent knows without looking at shared memory.
#[derive(Clone, Debug)]
pub(crate) struct Books {
    pub(crate) futures: Vec<Future>,
    /// A submission by a process that may be dead: slot, generation, argument.
    pub(crate) submission: Option<(u32, u32, u64)>,
    pub(crate) jobs: Vec<Posted>,
    /// What the survivor remembers of the board.
    pub(crate) seen: Seen,
    /// Whether a survivor ended what may have been the last chunk of a job.
    pub(crate) told: bool,
    pub(crate) fault: Fault,
}

/// The worker of these tests that lives.
pub(crate) const SURVIVOR: Owner = Owner::new(1, 0);
/// The worker that looks everything over at the end; it never dies.
const AUDITOR: Owner = Owner::new(2, 0);

impl View<'_> {
    /// Writes a task into a slot that this process fills.
    pub(crate) fn write_task(&self, slot: u32, argument: u64) {
        let task = Task {
            function: FunctionId::from_bits(argument),
            arguments: Span::default(),
            context: Span::default(),
            timed: false,
        };
        task.store(&self.tasks[slot as usize], self.ring.slot(slot));
    }

    /// Runs the task that was claimed, as far as its reply.
    pub(crate) fn perform(&self, worker: Owner, claim: Claim) {
        let task = Task::load(&self.tasks[claim.slot as usize]);
        let place = Span {
            offset: value_of(task.function.to_bits()),
            size: 0,
        };
        let verdict = reply::Verdict::Value;
        let block = self.block(worker, claim.slot);
        Reply { place, verdict }.store(block, claim.generation);
    }

    /// Where a worker replies.
    fn block(&self, worker: Owner, slot: u32) -> &ReplyBlock {
        &self.replies[(u32::from(worker.index()) * self.slots + slot) as usize]
    }

    /// Claims, runs and completes tasks until none is found; how many.
    pub(crate) fn drain(&self, worker: Owner) -> usize {
        let mut count = 0;
        while let Some(claim) = self.ring.claim(worker) {
            self.perform(worker, claim);
            if self.ring.complete(worker, claim, Outcome::Done) {
                self.done.set(claim.slot);
            }
            count += 1;
        }
        count
    }
}

/// What the task with this argument gives.
pub(crate) const fn value_of(argument: u64) -> u64 {
    argument * 3 + 1
}

impl Books {
    /// Nothing is under way.
    pub(crate) const fn new() -> Self {
        Self {
            futures: Vec::new(),
            submission: None,
            jobs: Vec::new(),
            seen: Seen::new(),
            told: false,
            fault: Fault::None,
        }
    }

    /// A survivor claims and completes chunks until it finds none; which.
    pub(crate) fn drain_board(&mut self, view: View<'_>, worker: Owner) -> Vec<(u32, u32)> {
        let mut ran = Vec::new();
        while let Some(joined) = view.board.join(&self.seen) {
            while let Some(chunk) = view.board.claim(&mut self.seen, joined, worker) {
                ran.push((joined.job, chunk));
                let done = board::Outcome::Done;
                let completion = view.board.complete(joined, worker, chunk, done);
                self.told |= completion == Completion::Last;
            }
        }
        ran
    }

    /// Submits a task in any free slot.
    pub(crate) fn submit(&mut self, view: View<'_>, argument: u64) -> Audited<bool> {
        let reserved = self.submission.map(|(slot, ..)| slot);
        for slot in (0..view.slots).filter(|&slot| Some(slot) != reserved) {
            if let Some(generation) = view.ring.fill(slot) {
                view.write_task(slot, argument);
                ensure!(view.ring.publish(slot, generation), "slot {slot} was taken");
                self.expect(slot, generation, argument);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Posts a job of `chunks` chunks.
    pub(crate) fn post(&mut self, view: View<'_>, job: u32, chunks: u32) {
        let generation = view.board.begin(job);
        for chunk in 0..chunks {
            view.board.set_chunk(job, chunk, u64::from(chunk) * 10, 10);
        }
        self.jobs.push(view.board.post(job, generation, chunks));
    }

    fn pending(&mut self, slot: u32) -> Option<&mut Future> {
        let mut futures = self.futures.iter_mut();
        futures.find(|future| future.slot == slot && future.resolutions.is_empty())
    }

    /// Delivers what the done bits speak of, and nothing else: they are the only notice.
    pub(crate) fn deliver(&mut self, view: View<'_>) -> Audited {
        let mut finished = Vec::new();
        view.done.drain(|slot| finished.push(slot));
        for slot in finished {
            if let Some((submitted, generation, _)) = self.submission
                && slot == submitted
                && matches!(
                    view.ring.harvest(slot, generation),
                    Harvest::Finished { .. }
                )
            {
                self.adopt_submission();
            }
            let Some(future) = self.pending(slot) else {
                continue;
            };
            let resolution = match view.ring.harvest(slot, future.generation) {
                Harvest::Pending | Harvest::Running(_) => continue,
                Harvest::Finished {
                    owner,
                    outcome: Outcome::Done,
                } => {
                    let reply = Reply::load(view.block(owner, slot), future.generation);
                    Resolution::Value(reply.ok_or("a task is done without a reply")?.place.offset)
                }
                Harvest::Finished {
                    outcome: Outcome::Failed,
                    ..
                } => Resolution::Died,
                Harvest::Foreign(word) => return Err(format!("slot {slot} says {word:?}")),
            };
            future.resolutions.push(resolution);
            view.ring.free(slot, future.generation);
        }
        Ok(())
    }

    /// How many tasks wait in the ring for a worker.
    pub(crate) fn waiting(&self, view: View<'_>) -> usize {
        let unresolved = self.futures.iter().filter(|f| f.resolutions.is_empty());
        unresolved
            .filter(|f| view.ring.harvest(f.slot, f.generation) == Harvest::Pending)
            .count()
    }

    /// Takes back what the dead held, as the product's recovery does and in its order.
    pub(crate) fn recover(
        &mut self,
        view: View<'_>,
        dead: Owner,
        verdict: Verdict,
        kernel: &impl Futex,
    ) -> Audited {
        self.settle_submission(view)?;
        let mut stray = None;
        let fault = self.fault;
        let decide = |slot: u32, generation: u32| {
            match (self.pending(slot), verdict) {
                (Some(future), _) if future.generation != generation => stray = Some(slot),
                (Some(future), Verdict::Retry | Verdict::Divert(_)) => {
                    future.generation = generation.wrapping_add(1);
                }
                (Some(_), Verdict::Fail) => {}
                (None, _) => stray = Some(slot),
            }
            verdict
        };
        match fault {
            Fault::FinishedNotSwept => view.ring.recover_claimed_only(dead, view.done, decide),
            _ => view.ring.recover(dead, view.done, decide),
        }
        ensure!(
            stray.is_none(),
            "the dead held slot {stray:?}, which has no task"
        );
        for posted in &self.jobs {
            view.board.recover(posted, dead, |_| match verdict {
                Verdict::Retry | Verdict::Divert(_) => board::Verdict::Retry,
                Verdict::Fail => board::Verdict::Fail,
            });
        }
        view.parking.reset(dead.index());
        view.ring.repost();
        match fault {
            Fault::KernelNotTold => view.parking.wake(u32::MAX, kernel),
            _ => view.parking.wake_all(kernel),
        };
        Ok(())
    }

    /// A submitter died somewhere: either its task is in the ring, or its slot is given back.
    pub(crate) fn settle_submission(&mut self, view: View<'_>) -> Audited {
        let Some((slot, generation, argument)) = self.submission.take() else {
            return Ok(());
        };
        match view.ring.harvest(slot, generation) {
            Harvest::Pending if view.ring.retract(slot, generation) => {
                ensure!(view.ring.publish(slot, generation), "slot {slot} was taken");
            }
            Harvest::Pending => {
                view.ring.abandon(slot, generation);
                return Ok(());
            }
            // It had not begun, and somebody else may have used the slot since.
            Harvest::Foreign(_) => return Ok(()),
            Harvest::Running(_) | Harvest::Finished { .. } => {}
        }
        self.expect(slot, generation, argument);
        Ok(())
    }

    /// The submitter has come to its end: its task counts as any other.
    pub(crate) fn adopt_submission(&mut self) {
        if let Some((slot, generation, argument)) = self.submission.take() {
            self.expect(slot, generation, argument);
        }
    }

    fn expect(&mut self, slot: u32, generation: u32, argument: u64) {
        self.futures.push(Future {
            slot,
            generation,
            argument,
            resolutions: Vec::new(),
        });
    }
}

/// The audit: after the recovery from `dead`, nothing is lost, nothing is doubled, nothing is
/// stuck, and all of it can be used again. Ends every task and job in the books.
pub(crate) fn audit(
    view: View<'_>,
    books: &mut Books,
    dead: Owner,
    verdict: Verdict,
    kernel: &impl Futex,
) -> Audited {
    view.drain(SURVIVOR);
    books.deliver(view)?;
    let mut died = 0;
    for future in &books.futures {
        let expected = Resolution::Value(value_of(future.argument));
        match future.resolutions[..] {
            [resolution] if resolution == expected => {}
            [Resolution::Died] if verdict == Verdict::Fail => died += 1,
            _ => return Err(format!("a future was not resolved once: {future:?}")),
        }
    }
    ensure!(died <= 1, "a worker took {died} tasks with it");
    audit_board(view, books, dead, verdict)?;
    for lap in 0..3 {
        lap_of_the_ring(view).map_err(|why| format!("lap {lap} after the recovery: {why}"))?;
        lap_of_the_board(view).map_err(|why| format!("job {lap} after the recovery: {why}"))?;
    }
    // As the parent of a live pool looks at it.
    let queue = view.ring.check_queue();
    ensure!(queue.is_ok(), "the queue is in disorder: {queue:?}");
    audit_parking(view, kernel)
}

fn audit_board(view: View<'_>, books: &mut Books, dead: Owner, verdict: Verdict) -> Audited {
    let finished = |outcome| matches!(outcome, ChunkOutcome::Done(_) | ChunkOutcome::Failed(_));
    let before: BTreeSet<(u32, u32)> = books
        .jobs
        .iter()
        .flat_map(|posted| (0..posted.chunks()).map(move |chunk| (posted, chunk)))
        .filter(|(posted, chunk)| finished(view.board.outcome(posted, *chunk)))
        .map(|(posted, chunk)| (posted.job(), chunk))
        .collect();
    let ran = books.drain_board(view, SURVIVOR);
    for chunk in &ran {
        ensure!(
            !before.contains(chunk),
            "chunk {chunk:?} ran after it had ended"
        );
    }
    for mut posted in std::mem::take(&mut books.jobs) {
        ensure!(view.board.settled(&mut posted), "a job does not settle");
        let left = view.board.progress(&posted);
        ensure!(left == 0, "the job has ended, but its count says {left}");
        let outcomes = (0..posted.chunks()).map(|chunk| view.board.outcome(&posted, chunk));
        let failed = outcomes
            .filter(|&outcome| outcome == ChunkOutcome::Failed(dead))
            .count();
        ensure!(
            failed <= 1,
            "{failed} chunks failed with one worker ({verdict:?})"
        );
        view.board.close(posted);
    }
    Ok(())
}

/// Every slot is filled, claimed, completed, delivered and freed.
fn lap_of_the_ring(view: View<'_>) -> Audited {
    let mut books = Books::new();
    for argument in 0..u64::from(view.slots) {
        ensure!(
            books.submit(view, argument)?,
            "only {argument} slots are free"
        );
    }
    let ran = view.drain(AUDITOR);
    ensure!(ran == view.slots as usize, "only {ran} tasks were found");
    books.deliver(view)?;
    let once =
        |future: &Future| future.resolutions == [Resolution::Value(value_of(future.argument))];
    ensure!(
        books.futures.iter().all(once),
        "not resolved once: {books:?}"
    );
    ensure!(
        view.ring.claim(AUDITOR).is_none(),
        "a task that nobody submitted"
    );
    Ok(())
}

/// A job is posted in the lowest place, runs, settles and is closed.
fn lap_of_the_board(view: View<'_>) -> Audited {
    let mut books = Books::new();
    books.post(view, 0, view.chunks);
    let mut ran = books.drain_board(view, AUDITOR);
    ran.sort_unstable();
    let all: Vec<_> = (0..view.chunks).map(|chunk| (0, chunk)).collect();
    ensure!(ran == all, "these chunks ran: {ran:?}");
    for mut posted in books.jobs {
        ensure!(view.board.settled(&mut posted), "the job does not settle");
        view.board.close(posted);
    }
    ensure!(
        view.board.join(&Seen::new()).is_none(),
        "a closed job is open"
    );
    Ok(())
}

/// A worker that sleeps is woken by the next task, whatever the dead said about themselves.
fn audit_parking(view: View<'_>, kernel: &impl Futex) -> Audited {
    let sleeper = AUDITOR.index();
    // Who lives has looked at everything and is busy with other things.
    let _ = view.parking.busy(SURVIVOR.index(), Group::ALL);
    view.parking.announce(sleeper);
    view.parking
        .sleep(sleeper, kernel, Some(core::time::Duration::ZERO));
    // Also under the rule that one awake is enough while a sentry stands: none does any more.
    let woken = view.parking.wake_unless_enough(1, 1, kernel);
    ensure!(woken == 1, "a task woke {woken} of 1 sleeper");
    let _ = view.parking.busy(sleeper, Group::ALL);
    Ok(())
}
