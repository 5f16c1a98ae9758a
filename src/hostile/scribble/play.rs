//! A pool without processes whose three workers are honest: what they do, and what is owed for it.

use std::cell::OnceCell;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::Random;
use crate::board::{Completion, JOBS, Joined, Outcome as ChunkEnd, Seen};
use crate::error::TaskError;
use crate::hostile::source::replace;
use crate::hostile::wild::{Snapshot, word_at};
use crate::memory::heap::Contents;
use crate::memory::owner::Owner;
use crate::pool::arena::Arena;
use crate::pool::audit::{Check, Part};
use crate::pool::builder::Config;
use crate::pool::chunking::Chunking;
use crate::pool::engine::Engine;
use crate::pool::entry::Entry;
use crate::pool::flight::TaskHalf;
use crate::pool::hub::Hub;
use crate::pool::launch::{JobEntry, Launch};
use crate::pool::life::Service;
use crate::pool::roster::Member;
use crate::pool::terms::{Grain, JobTerms, TaskTerms};
use crate::protocol::control::Control;
use crate::protocol::function::FunctionId;
use crate::protocol::range::{RangeJob, Span, Trial};
use crate::protocol::reply::{Reply, ReplyBlock, Verdict};
use crate::protocol::settings::Settings;
use crate::protocol::task::Task;
use crate::ring::{Claim, Outcome};

/// Workers of the pool.
pub(super) const WORKERS: u16 = 3;
/// More looks than any damage needs.
const LOOKS: usize = 20;

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
    entry: TaskHalf,
    attempts: u32,
    claims: u32,
}

struct Job {
    entry: Arc<JobEntry>,
    pure_function: bool,
    /// By element: how often it was begun, and whether it is done.
    elements: Vec<(u32, bool)>,
}

pub(super) struct Play<'a> {
    pub(super) engine: &'a Engine,
    pub(super) random: Random,
    calls: Vec<Call>,
    jobs: Vec<Job>,
    workers: Vec<Worker>,
    checks: &'a [Check],
    /// What was found so far.
    pub(super) parts: Vec<Part>,
}

thread_local! {
    static POOL: OnceCell<(Arc<Engine>, Snapshot)> = const { OnceCell::new() };
}

fn build() -> (Arc<Engine>, Snapshot) {
    let config = Config {
        workers: WORKERS.into(),
        queues: 1,
        scheduler: None,
        cores: 1,
        memory_budget: 4 << 20,
        keep_warm: 4 << 20,
        attempts: 3,
        cancel_grace: Duration::MAX,
        service: Service::default(),
        queue_depth: None,
        settings: Settings::default(),
        variables: crate::sys::environment::Variables::default(),
        regions: Default::default(),
        manner: Default::default(),
        captured_lines: None,
        sandbox: None,
        setup: None,
    };
    let engine = Engine::new(config).expect("memory");
    let snapshot = Snapshot::take(engine.region());
    (engine, snapshot)
}

/// Plays with a fresh pool.
pub(super) fn with_pool<R>(
    seed: u64,
    checks: &[Check],
    play: impl FnOnce(&mut Play<'_>) -> R,
) -> R {
    POOL.with(|pool| {
        let (engine, snapshot) = pool.get_or_init(build);
        snapshot.restore(engine.region());
        *engine.hub() = Hub::new(engine.region(), engine.shape());
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
    pub(super) fn control(&self) -> &Control {
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
                serves: true,
            };
            engine.hub().roster.enlist(worker.owner.index(), member);
        }
    }

    pub(super) fn submit(&mut self, attempts: u32) {
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

    /// The next job that is launched is thought to take no time.
    pub(super) fn expect_short(&mut self) {
        let kernel = FunctionId::from_bits(self.jobs.len() as u64);
        self.engine.hub().paces.note(kernel, 1024, 1);
    }

    pub(super) fn launch(&mut self, len: usize, pure_function: bool) {
        let keep = self.engine.heap().allocate(64, 64, Contents::Any);
        let launch = Launch {
            caller: None,
            share: None,
            function: |_| {},
            job: RangeJob {
                kernel: FunctionId::from_bits(self.jobs.len() as u64),
                context: Span::default(),
                inputs: [Span::default(); 2],
                output: Span::default(),
                streaming: false,
                fail_fast: true,
                trial: false,
                helped: false,
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
    pub(super) fn work(&mut self, worker: usize) -> bool {
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
        let number = Task::load(control.task(claim.slot)).function;
        self.calls[number.to_bits() as usize].claims += 1;
        true
    }

    fn finish_task(&mut self, worker: usize, claim: Claim) {
        let control = self.engine.control();
        let number = Task::load(control.task(claim.slot)).function.to_bits();
        let owner = self.workers[worker].owner;
        let arena = self.engine.hub().roster.arena(owner).cloned();
        let arena = arena.map_or(Span::default(), |arena| arena.span());
        let offset = ReplyBlock::inline_offset(arena, claim.slot);
        replace(word_at(self.engine.region(), offset), number);
        let place = Span { offset, size: 8 };
        let verdict = Verdict::Value;
        let block = ReplyBlock::of(self.engine.region(), arena, claim.slot).expect("an arena");
        Reply { place, verdict }.store(block, claim.generation);
        if control.ring().complete(owner, claim, Outcome::Done) {
            control.done().set(claim.slot);
        }
    }

    fn finish_chunk(&mut self, worker: usize, joined: Joined, chunk: u32) {
        let control = self.engine.control();
        let owner = self.workers[worker].owner;
        let body = control.job_body(joined.job).expect("a place").load();
        let board = control.board();
        let mut run = board.range(joined.job, chunk).1 as usize;
        if body.trial {
            // It may have taken long after all.
            run = 1 + self.random.below(run.max(1));
            let (done, nanoseconds) = (run as u32, 1);
            let trial = Trial { done, nanoseconds };
            replace(board.chunk(joined.job, chunk).detail(), trial.to_bits());
        }
        let ended = board.complete(joined, owner, chunk, ChunkEnd::Done);
        if ended != Completion::Lost {
            let job = &mut self.jobs[body.kernel.to_bits() as usize];
            for (_, done) in job.elements_of(control, joined, chunk).take(run) {
                *done = true;
            }
        }
    }

    fn is_over(&self) -> bool {
        self.calls.iter().all(|call| call.entry.is_ready())
            && self.jobs.iter().all(|job| job.entry.is_ready())
    }

    /// Does what is left, as the workers and the supervisor would; an error when it does not end.
    pub(super) fn drain(&mut self) -> Result<(), String> {
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

    pub(super) fn look_over(&mut self) {
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
    pub(super) fn judge(&mut self) -> Result<(), String> {
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
    pub(super) fn fill_up(&mut self, count: usize) -> Result<(), String> {
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
        let (start, len) = control.board().range(joined.job, chunk);
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
