//! Words of the control area overwritten at random while work is under way, in a pool without
//! processes: whatever was hit, each task and job has one outcome, it is right, and the pool can
//! be used to its last slot afterwards.

use std::cell::OnceCell;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::source::replace;
use super::wild::Snapshot;
use crate::board::{CHUNKS, Completion, JOBS, Joined, Outcome as ChunkEnd, Seen};
use crate::error::TaskError;
use crate::memory::heap::Contents;
use crate::memory::owner::{Owner, Word};
use crate::pool::arena::Arena;
use crate::pool::audit::{CHECKS, Check, Part};
use crate::pool::builder::Config;
use crate::pool::chunking::Chunking;
use crate::pool::engine::Engine;
use crate::pool::entry::Entry;
use crate::pool::hub::{Hub, TaskEntry};
use crate::pool::job::{JobEntry, Launch};
use crate::pool::roster::Member;
use crate::pool::terms::{Grain, JobTerms, TaskTerms};
use crate::primitive::atomic::AtomicU64;
use crate::protocol::control::{Control, SLOTS};
use crate::protocol::function::FunctionId;
use crate::protocol::range::{RangeJob, Span};
use crate::protocol::settings::Settings;
use crate::protocol::task::{Reply, Task, Verdict};
use crate::ring::{Claim, Outcome};

const WORKERS: u16 = 3;
/// More looks than any damage needs.
const LOOKS: usize = 20;

/// Marsaglia's xorshift, a multiplication behind it (Vigna 2016).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end
    }
}

/// The words that workers may write, by kind, so that the rare ones are hit as often as others.
pub(super) fn kinds(control: &Control, workers: usize) -> Vec<Vec<&AtomicU64>> {
    let mut slots = control.ring().words();
    let mut header = slots.split_off(SLOTS);
    let cells = header.split_off(4);
    let mut open = control.board().words(64);
    let mut headers = open.split_off(1);
    let chunks = headers.split_off(5 * JOBS);
    let (bits, _) = control.parking_of(workers).words();
    vec![
        slots[..64].to_vec(),
        slots,
        header,
        cells,
        open,
        headers[..20].to_vec(),
        headers,
        chunks[..128].to_vec(),
        chunks,
        control.done().0.iter().collect(),
        bits.collect(),
        vec![control.doorbell().word()],
    ]
}

/// What a wild store may leave: hardly ever a word that somebody honest could have written there.
pub(super) fn nonsense(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => 0,
        1 => u64::MAX,
        2 => random.next() % 256,
        _ => random.next(),
    }
}

pub(super) fn scribble(control: &Control, workers: usize, random: &mut Random) {
    let kinds = kinds(control, workers);
    let kind = &kinds[random.below(kinds.len())];
    replace(kind[random.below(kind.len())], nonsense(random));
}

enum Work {
    Nothing,
    Task(Claim),
    Chunk(Joined, u32),
}

struct Worker {
    owner: Owner,
    work: Work,
    seen: Seen,
}

struct Call {
    entry: Arc<TaskEntry>,
    attempts: u32,
    claims: u32,
}

struct Job {
    entry: Arc<JobEntry>,
    pure_function: bool,
    /// By element: how often it was begun, and whether it is done.
    elements: Vec<(u32, bool)>,
}

struct Play<'a> {
    engine: &'a Engine,
    random: Random,
    calls: Vec<Call>,
    jobs: Vec<Job>,
    workers: Vec<Worker>,
    checks: &'a [Check],
    /// What was found so far.
    parts: Vec<Part>,
}

thread_local! {
    static POOL: OnceCell<(Arc<Engine>, Snapshot)> = const { OnceCell::new() };
}

fn build() -> (Arc<Engine>, Snapshot) {
    let config = Config {
        workers: WORKERS.into(),
        cores: 1,
        memory_budget: 4 << 20,
        keep_warm: 4 << 20,
        attempts: 3,
        cancel_grace: Duration::MAX,
        settings: Settings::default(),
    };
    let engine = Engine::new(config).expect("memory");
    let snapshot = Snapshot::take(engine.region());
    (engine, snapshot)
}

/// Plays with a fresh pool.
fn with_pool<R>(seed: u64, checks: &[Check], play: impl FnOnce(&mut Play<'_>) -> R) -> R {
    POOL.with(|pool| {
        let (engine, snapshot) = pool.get_or_init(build);
        snapshot.restore(engine.region());
        *engine.hub() = Hub::new();
        let workers = (0..WORKERS).map(|index| Worker {
            owner: Owner::new(index, 1),
            work: Work::Nothing,
            seen: Seen::new(),
        });
        let mut stage = Play {
            engine,
            random: Random(seed),
            calls: Vec::new(),
            jobs: Vec::new(),
            workers: workers.collect(),
            checks,
            parts: Vec::new(),
        };
        stage.enlist();
        play(&mut stage)
    })
}

impl Play<'_> {
    fn control(&self) -> &Control {
        self.engine.control()
    }

    fn enlist(&mut self) {
        let engine = self.engine;
        for worker in &self.workers {
            let block = engine.heap().reserve(engine.arena_size() as usize);
            let block = block.expect("no result lies in an arena");
            let member = Member {
                incarnation: worker.owner.incarnation(),
                pid: None,
                arena: Arc::new(Arena::new(Arc::clone(engine.region()), block)),
            };
            engine.hub().roster.enlist(worker.owner.index(), member);
        }
    }

    fn submit(&mut self, attempts: u32) {
        let terms = (attempts > 1).then(|| {
            Box::new(TaskTerms {
                attempts,
                ..TaskTerms::PLAIN
            })
        });
        let function = FunctionId::from_bits(self.calls.len() as u64);
        let entry = self.engine.submit(function, 7_u64, &vec![1_u8; 9], terms);
        self.calls.push(Call {
            entry: entry.expect("room"),
            attempts,
            claims: 0,
        });
    }

    fn launch(&mut self, len: usize, pure_function: bool) {
        let keep = self.engine.heap().allocate(64, 64, Contents::Any);
        let launch = Launch {
            job: RangeJob {
                kernel: FunctionId::from_bits(self.jobs.len() as u64),
                context: Span::default(),
                inputs: [Span::default(); 2],
                output: Span::default(),
                streaming: false,
                fail_fast: true,
                element_limit: 0,
            },
            chunking: Chunking::guided(len as u64, WORKERS.into(), 4),
            pure_function,
            grain: Grain::Elements,
            large: true,
            terms: JobTerms {
                attempts: NonZeroU32::new(100),
                ..JobTerms::default()
            },
            keep: Box::new(keep.expect("room")),
        };
        let entry = Arc::new(Entry::new());
        self.engine.launch(launch, &entry);
        self.jobs.push(Job {
            entry,
            pure_function,
            elements: vec![(0, false); len],
        });
    }

    /// One step of a worker; whether there was anything to do.
    fn work(&mut self, worker: usize) -> bool {
        match std::mem::replace(&mut self.workers[worker].work, Work::Nothing) {
            Work::Nothing => return self.begin(worker),
            Work::Task(claim) => self.finish_task(worker, claim),
            Work::Chunk(joined, chunk) => self.finish_chunk(worker, joined, chunk),
        }
        true
    }

    fn begin(&mut self, worker: usize) -> bool {
        let control = self.engine.control();
        let Worker { owner, work, seen } = &mut self.workers[worker];
        let board = control.board();
        // As often as a worker looks before it sleeps.
        for _ in 0..JOBS {
            let Some(joined) = board.join(seen) else {
                break;
            };
            if let Some(chunk) = board.claim(seen, joined, *owner) {
                *work = Work::Chunk(joined, chunk);
                let body = control.job_body(joined.job).expect("a place");
                let job = &mut self.jobs[body.load().kernel.to_bits() as usize];
                for (begun, done) in job.elements_of(control, joined, chunk) {
                    *begun += 1;
                    *done = false;
                }
                return true;
            }
        }
        let Some(claim) = control.ring().claim(*owner) else {
            return false;
        };
        *work = Work::Task(claim);
        let number = Task::load(control.ring().slot(claim.slot)).function;
        self.calls[number.to_bits() as usize].claims += 1;
        true
    }

    fn finish_task(&mut self, worker: usize, claim: Claim) {
        let control = self.engine.control();
        let slot = control.ring().slot(claim.slot);
        let number = Task::load(slot).function.to_bits();
        let offset = Control::inline_offset(claim.slot);
        replace(super::wild::word_at(self.engine.region(), offset), number);
        let place = Span { offset, size: 8 };
        let verdict = Verdict::Value;
        Reply { place, verdict }.store(slot);
        let owner = self.workers[worker].owner;
        if control.ring().complete(owner, claim, Outcome::Done) {
            control.done().set(claim.slot);
        }
    }

    fn finish_chunk(&mut self, worker: usize, joined: Joined, chunk: u32) {
        let control = self.engine.control();
        let owner = self.workers[worker].owner;
        let body = control.job_body(joined.job).expect("a place").load();
        let ended = control
            .board()
            .complete(joined, owner, chunk, ChunkEnd::Done);
        if ended != Completion::Lost {
            let job = &mut self.jobs[body.kernel.to_bits() as usize];
            for (_, done) in job.elements_of(control, joined, chunk) {
                *done = true;
            }
        }
    }

    fn is_over(&self) -> bool {
        self.calls.iter().all(|call| call.entry.is_ready())
            && self.jobs.iter().all(|job| job.entry.is_ready())
    }

    /// Does what is left, as the workers and the supervisor would; an error when it does not end.
    fn drain(&mut self) -> Result<(), String> {
        for _ in 0..LOOKS {
            let mut moved = true;
            while moved {
                moved = self.engine.harvest() > 0;
                for worker in 0..self.workers.len() {
                    moved |= self.work(worker);
                }
            }
            if self.is_over() {
                return Ok(());
            }
            // Everybody has found nothing to do, and sleeps; in vain, so that all is looked over.
            let parking = self.engine.parking();
            (0..WORKERS).for_each(|worker| parking.announce(worker));
            self.look_over();
            (0..WORKERS).for_each(|worker| parking.spin(worker));
        }
        Err("the work does not end".into())
    }

    fn look_over(&mut self) {
        let findings = self.engine.look_over_by(self.checks);
        self.parts
            .extend(findings.iter().map(|finding| finding.part));
        let Some(first) = findings.first() else {
            return;
        };
        let ended: Vec<Owner> = self.workers.iter().map(|worker| worker.owner).collect();
        self.engine.rebuild(&first.to_damage(), &ended);
        for worker in &mut self.workers {
            *worker = Worker {
                owner: worker.owner.next(),
                work: Work::Nothing,
                seen: Seen::new(),
            };
        }
        self.enlist();
    }

    /// What the callers got, and what is left.
    fn judge(&mut self) -> Result<(), String> {
        for (number, call) in self.calls.drain(..).enumerate() {
            let outcome = call.entry.take().ok_or("a task without an outcome")?;
            let right = match &outcome {
                Ok(reply) => reply.bytes() == (number as u64).to_le_bytes(),
                Err(TaskError::Damaged(damage)) => damage.rebuilt,
                Err(_) => false,
            };
            if !right || call.claims > call.attempts {
                return Err(format!("{outcome:?} after {} claims", call.claims));
            }
            if call.entry.take().is_some() {
                return Err("two outcomes".into());
            }
        }
        for job in self.jobs.drain(..) {
            let outcome = job.entry.take().ok_or("a job without an outcome")?;
            if !job.is_right(&outcome.result) {
                return Err(format!("{:?}: {:?}", outcome.result, job.elements));
            }
        }
        Ok(())
    }

    /// So many slots take a task once more.
    fn fill_up(&mut self, count: usize) -> Result<(), String> {
        (0..count).for_each(|_| self.submit(1));
        if self.engine.hub().has_backlog() {
            return Err("slots are lost".into());
        }
        self.launch(100, true);
        self.drain()?;
        self.judge()
    }
}

impl Job {
    fn elements_of(
        &mut self,
        control: &Control,
        joined: Joined,
        chunk: u32,
    ) -> impl Iterator<Item = &mut (u32, bool)> {
        let (start, len) = control.board().chunk(joined.job, chunk).range();
        self.elements[start as usize..(start + len) as usize].iter_mut()
    }

    fn is_right(&self, result: &Result<(), TaskError>) -> bool {
        let once = self.pure_function || self.elements.iter().all(|&(begun, _)| begun <= 1);
        let told = match result {
            Ok(()) => self.elements.iter().all(|&(_, done)| done),
            Err(TaskError::Damaged(damage)) => (0..).zip(&self.elements).all(|(index, element)| {
                let half_done = element.0 > 0 && !element.1;
                let named = damage.undefined.iter().any(|range| range.contains(&index));
                damage.rebuilt && (self.pure_function || !half_done || named)
            }),
            Err(_) => false,
        };
        once && told
    }
}

/// Work, wild stores in the middle of it, and what comes of it.
fn round(seed: u64, checks: &[Check]) -> Result<(), String> {
    with_pool(seed, checks, |play| {
        for number in 0..10 + play.random.below(30) {
            let attempts = 1 + (number as u32 % 3);
            play.submit(attempts);
        }
        for number in 0..1 + play.random.below(3) {
            let len = 50 + play.random.below(200);
            play.launch(len, number % 2 == 0);
        }
        let stores = 1 + play.random.below(12);
        for _ in 0..stores {
            for _ in 0..play.random.below(12) {
                let worker = play.random.below(WORKERS.into());
                play.work(worker);
            }
            if play.random.below(4) == 0 {
                play.engine.harvest();
            }
            let engine = play.engine;
            scribble(engine.control(), WORKERS.into(), &mut play.random);
        }
        play.drain()?;
        play.judge()?;
        // What else was hit shows when it is used, or is found by a look.
        play.look_over();
        // Every slot takes a task once more; in some rounds, for it takes time.
        let count = if seed % 32 == 0 { SLOTS } else { 100 };
        play.fill_up(count)?;
        let hub = play.engine.hub();
        match (hub.pending(), hub.vacancies()) {
            (0, SLOTS) => Ok(()),
            left => Err(format!("pending and vacant are {left:?}")),
        }
    })
}

/// Rounds that end badly.
fn failures(rounds: u64, checks: &[Check]) -> Vec<(u64, String)> {
    (1..=rounds)
        .filter_map(|round_number| {
            let seed = round_number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            round(seed, checks).err().map(|why| (round_number, why))
        })
        .collect()
}

#[test]
fn whatever_is_overwritten_each_outcome_comes_once_and_is_right() {
    let rounds = std::env::var("GRISTMILL_SCRIBBLES").map_or(1000, |n| n.parse().expect("a count"));
    let failures = failures(rounds, &CHECKS);
    assert!(failures.is_empty(), "{failures:?}");
}

/// What is overwritten, by a hand that knows where.
type Hand = fn(&Control);

fn directed(hand: Hand) -> Vec<Part> {
    directed_by(hand, &CHECKS).expect("all is well")
}

fn directed_by(hand: Hand, checks: &[Check]) -> Result<Vec<Part>, String> {
    with_pool(1, checks, |play| {
        (0..20).for_each(|_| play.submit(1));
        play.launch(100, true);
        (0..WORKERS).for_each(|worker| assert!(play.work(worker.into())));
        hand(play.control());
        play.drain()?;
        play.judge()?;
        // What was hit may not have been needed yet.
        play.look_over();
        play.fill_up(SLOTS)?;
        Ok(std::mem::take(&mut play.parts))
    })
}

fn all(words: impl IntoIterator<Item = impl std::ops::Deref<Target = AtomicU64>>, value: u64) {
    words.into_iter().for_each(|word| replace(&word, value));
}

fn header(control: &Control, word: usize) -> &AtomicU64 {
    control.board().words(CHUNKS)[1 + word]
}

#[test]
fn hints_are_put_right_in_place() {
    let hands: [Hand; 8] = [
        |control| all(control.parking_of(64).words().0, 0),
        |control| all(control.parking_of(64).words().0, u64::MAX),
        |control| replace(header(control, 4), i64::MAX as u64),
        |control| replace(header(control, 4), i64::MIN as u64),
        |control| replace(header(control, 3), u64::MAX),
        |control| all(control.done().0, 0),
        |control| all(control.board().words(1).into_iter().take(1), 0),
        |control| replace(control.doorbell().word(), 0x1234),
    ];
    for (number, hand) in hands.into_iter().enumerate() {
        assert_eq!(directed(hand), [], "hand {number}");
    }
}

#[test]
fn truths_that_were_overwritten_are_found() {
    let hands: [(Hand, Part); 7] = [
        (
            |control| all(control.ring().words().into_iter().skip(SLOTS).take(2), 99),
            Part::Queue,
        ),
        (
            |control| all(control.ring().words().into_iter().skip(SLOTS + 4), 1 << 60),
            Part::Queue,
        ),
        (|control| replace(header(control, 0), 0), Part::Place),
        (|control| replace(header(control, 1), 0), Part::Place),
        (|control| replace(header(control, 2), 0), Part::Place),
        (
            |control| all(control.ring().words().into_iter().skip(50).take(9), 7),
            Part::Vacant,
        ),
        (
            |control| all(control.ring().words().into_iter().take(9), u64::MAX),
            Part::Task,
        ),
    ];
    for (number, (hand, part)) in hands.into_iter().enumerate() {
        let found = directed(hand);
        assert!(found.contains(&part), "hand {number}: {found:?}");
    }
}

/// Worker 1, which sleeps, seems to be at work on a task that nobody has begun.
fn forge_a_claim(control: &Control) {
    const CLAIMED: u8 = 3;
    let forged = Word::new(CLAIMED, Owner::new(1, 1), 0).to_bits();
    replace(control.ring().words()[15], forged);
}

#[test]
fn a_claim_in_the_name_of_a_sleeper_is_found() {
    let found = directed(forge_a_claim);
    assert!(found.contains(&Part::Claim), "{found:?}");
}

#[test]
fn an_audit_that_skips_a_kind_of_word_is_found_out() {
    // Without its check the queue only loses time: workers look through all slots instead.
    let hands: [(usize, Hand); 5] = [
        (0, |control| {
            all(control.ring().words().into_iter().take(9), u64::MAX)
        }),
        (0, |control| {
            all(control.ring().words().into_iter().skip(50).take(9), 7)
        }),
        (2, |control| replace(header(control, 0), 0)),
        (3, |control| {
            all(
                control
                    .board()
                    .words(CHUNKS)
                    .into_iter()
                    .skip(5 * JOBS + 9)
                    .take(9),
                7,
            )
        }),
        (4, forge_a_claim),
    ];
    for (skipped, hand) in hands {
        directed(hand);
        let kept = CHECKS.iter().enumerate();
        let kept = kept.filter(|&(check, _)| check != skipped);
        let kept: Vec<Check> = kept.map(|(_, check)| *check).collect();
        assert!(
            directed_by(hand, &kept).is_err(),
            "check {skipped} is not needed"
        );
    }
}
