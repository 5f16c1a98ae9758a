//! A pool without processes: bytes decide what its parent and its three workers do.

use core::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use super::helping::Caller;
use super::oracle::{Call, Job};
use super::source::Source;
use super::wild::{Snapshot, scribble};
use crate::board::{Joined, Seen};
use crate::error::{Cause, TaskError, WorkerDeath};
use crate::memory::block::Block;
use crate::memory::heap::Contents;
use crate::memory::owner::Owner;
use crate::pool::arena::Arena;
use crate::pool::builder::Config;
use crate::pool::chunking::Chunking;
use crate::pool::engine::Engine;
use crate::pool::entry::Entry;
use crate::pool::hub::Hub;
use crate::pool::launch::Launch;
use crate::pool::life::Service;
use crate::pool::roster::Member;
use crate::pool::sticky::Bucket;
use crate::pool::terms::{Grain, JobTerms, TaskTerms};
use crate::protocol::function::FunctionId;
use crate::protocol::lanes::Priority;
use crate::protocol::range::{RangeJob, Span};
use crate::protocol::settings::Settings;
use crate::ring::Claim;

/// Workers of the pool.
pub(super) const WORKERS: u16 = 3;
const STEPS: usize = 200;
const MOST: usize = 100;
/// More than the ends of all honest plays take.
const PATIENCE: usize = 20_000;

/// How the workers behave.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Manners {
    Hostile,
    Honest,
}

/// What a worker holds.
pub(super) enum Work {
    Nothing,
    Task(Claim),
    Chunk(Joined, u32),
}

pub(super) struct Worker {
    pub(super) owner: Owner,
    pub(super) work: Work,
    pub(super) seen: Seen,
}

pub(super) struct Stage<'a> {
    pub(super) engine: &'a Engine,
    pub(super) manners: Manners,
    pub(super) source: Source<'a>,
    pub(super) calls: Vec<Call>,
    pub(super) jobs: Vec<Job>,
    pub(super) workers: Vec<Worker>,
    pub(super) caller: Option<Caller>,
    /// Chunks that callers have ended.
    pub(super) turns: u32,
}

thread_local! {
    static POOL: OnceCell<(Arc<Engine>, Snapshot, Block)> = const { OnceCell::new() };
}

/// The pool, how it begins, and a block that keeps memory for others from being committed anew.
fn build() -> (Arc<Engine>, Snapshot, Block) {
    let config = Config {
        workers: WORKERS.into(),
        queues: 1,
        scheduler: None,
        cores: 1,
        memory_budget: 4 << 20,
        keep_warm: 4 << 20,
        attempts: 2,
        cancel_grace: Duration::MAX,
        service: Service::default(),
        queue_depth: None,
        settings: Settings::default(),
        variables: crate::sys::environment::Variables::default(),
        regions: Default::default(),
        manner: Default::default(),
        captured_lines: None,
        setup: None,
        sandbox: None,
    };
    let engine = Engine::new(config).expect("memory");
    let snapshot = Snapshot::take(engine.region());
    let block = engine
        .heap()
        .allocate(64, 64, Contents::Any)
        .expect("memory");
    (engine, snapshot, block)
}

/// Plays what the bytes say, then ends the pool, and checks what it owes its callers.
pub(super) fn play(data: &[u8], manners: Manners) {
    stage(data, manners, |stage| {
        for _ in 0..STEPS {
            if stage.source.is_empty() {
                break;
            }
            stage.step();
        }
    });
}

/// A pool for what `acts` does there, which is ended and checked then.
pub(super) fn stage(data: &[u8], manners: Manners, acts: impl FnOnce(&mut Stage<'_>)) {
    POOL.with(|pool| {
        let (engine, snapshot, _) = pool.get_or_init(build);
        snapshot.restore(engine.region());
        *engine.hub() = Hub::new(engine.region(), engine.shape());
        let before = engine.heap().stats();
        let mut stage = Stage {
            engine,
            manners,
            source: Source::new(data),
            calls: Vec::new(),
            jobs: Vec::new(),
            caller: None,
            turns: 0,
            workers: (0..WORKERS)
                .map(|index| Worker {
                    owner: Owner::new(index, 1),
                    work: Work::Nothing,
                    seen: Seen::new(),
                })
                .collect(),
        };
        (0..WORKERS).for_each(|worker| stage.enlist(worker));
        acts(&mut stage);
        stage.end();
        drop(stage);
        let after = engine.heap().stats();
        assert_eq!(
            (after.in_use, after.reserved),
            (before.in_use, before.reserved),
            "memory is lost"
        );
    });
}

impl Stage<'_> {
    pub(super) fn is_hostile(&self) -> bool {
        self.manners == Manners::Hostile
    }

    fn step(&mut self) {
        let engine = self.engine;
        match self.source.byte() % 18 {
            0..=2 => self.submit(),
            3 => self.launch(),
            4..=7 => self.begin(),
            8..=10 => self.finish(),
            11 => {
                engine.harvest();
            }
            12 => self.cancel(),
            13 => self.die(),
            14 => self.look(),
            15 => {
                engine.sees_completions();
                engine.share_out();
                self.help();
            }
            _ if self.is_hostile() => {
                let arena = engine.hub().roster.arena(self.workers[0].owner).cloned();
                let arena = arena.map_or(Span::default(), |arena| arena.span());
                scribble(engine.region(), &mut self.source, arena);
            }
            _ => {}
        }
    }

    fn enlist(&mut self, worker: u16) {
        let engine = self.engine;
        // Results that somebody holds may take all the room there is.
        let Ok(block) = engine.heap().reserve(engine.arena_size() as usize) else {
            return;
        };
        let arena = Arc::new(Arena::new(Arc::clone(engine.region()), block));
        let member = Member {
            incarnation: self.workers[usize::from(worker)].owner.incarnation(),
            pid: Some(1),
            arena,
            serves: true,
        };
        engine.hub().roster.enlist(worker, member);
    }

    fn submit(&mut self) {
        if self.calls.len() >= MOST {
            return;
        }
        let wish = self.source.byte();
        let attempts = 1 + u32::from(wish % 3);
        let (priority, bucket) = match wish / 3 % 8 {
            4 => (Priority::High, None),
            5 => (Priority::Low, None),
            6 | 7 => (Priority::Normal, Some(Bucket::of(&wish))),
            _ => (Priority::Normal, None),
        };
        let size = usize::from(self.source.byte());
        let timeout = (self.is_hostile() && size % 5 == 0).then_some(Duration::ZERO);
        let terms = TaskTerms {
            attempts,
            timeout,
            priority,
            bucket,
            ..TaskTerms::PLAIN
        };
        let terms = (terms != TaskTerms::PLAIN).then(|| Box::new(terms));
        let function = FunctionId::from_bits(self.calls.len() as u64);
        let entry = self
            .engine
            .submit(function, size as u64, &vec![1_u8; size], terms);
        // A pool whose memory is taken by results that are held refuses.
        let Ok(entry) = entry else { return };
        self.calls.push(Call {
            entry,
            attempts,
            claims: 0,
            deaths: 0,
            end: None,
            cancelled: false,
        });
    }

    pub(super) fn launch(&mut self) {
        if self.jobs.len() >= MOST {
            return;
        }
        let len = 1 + self.source.below(300);
        let choice = self.source.byte();
        let pure_function = choice & 1 == 0;
        let deadline = (self.is_hostile() && choice & 8 != 0).then_some((0, Duration::ZERO));
        let limit = (self.is_hostile() && choice & 16 != 0).then_some(1);
        let Ok(keep) = self.engine.heap().allocate(len, 64, Contents::Any) else {
            return;
        };
        let job = RangeJob {
            kernel: FunctionId::from_bits(self.jobs.len() as u64),
            context: Span::default(),
            inputs: [Span::default(); 2],
            output: Span::default(),
            streaming: false,
            // As a job that keeps failures is launched.
            fail_fast: choice & 4 == 0,
            trial: false,
            helped: false,
            element_limit: limit.unwrap_or(0),
        };
        let mut launch = Launch {
            caller: None,
            share: None,
            function: |_| {},
            job,
            chunking: match choice & 32 {
                0 => Chunking::guided(len as u64, WORKERS.into(), 1 + u64::from(choice >> 6) * 8),
                _ => Chunking::even(len as u64, 16),
            },
            pure_function,
            grain: match choice % 5 {
                0 => Grain::Partials,
                1 => Grain::Parts,
                _ => Grain::Elements,
            },
            large: choice & 64 != 0,
            terms: JobTerms {
                attempts: None,
                deadline,
                element_limit: limit.and_then(core::num::NonZeroU64::new),
                isolate: choice & 4 != 0,
            },
            keep: Box::new(keep),
        };
        if choice.is_multiple_of(3) {
            self.engine.hub().paces.note(launch.job.kernel, 1024, 1);
        }
        let entry = Arc::new(Entry::new());
        let mut elements = vec![(0, false); len];
        if len % 4 == 3
            && let Some(outcome) = self.engine.begin_helped(&mut launch)
        {
            let _ = entry.deliver(outcome);
            elements.fill((1, true));
        } else {
            let begun = launch.chunking.chunks().take(launch.begun() as usize);
            begun.for_each(|(start, len)| {
                elements[start as usize..(start + len) as usize].fill((1, true));
            });
            self.engine.launch(launch, &entry);
        }
        self.jobs.push(Job {
            entry,
            pure_function,
            cancelled: false,
            failed: false,
            deaths: 0,
            elements,
        });
    }

    fn cancel(&mut self) {
        let which = self.source.byte();
        let grace = (self.is_hostile() && which & 2 != 0).then_some(Duration::ZERO);
        let index = self.source.below(MOST);
        if which & 1 == 0 {
            if let Some(call) = self.calls.get_mut(index) {
                call.cancelled = true;
                self.engine.cancel_task(&call.entry, grace);
            }
        } else if let Some(job) = self.jobs.get_mut(index) {
            job.cancelled = true;
            self.engine.cancel_job(&job.entry, grace);
        }
    }

    fn die(&mut self) {
        let worker = self.any_worker();
        self.bury(worker);
        let Worker { owner, work, seen } = &mut self.workers[worker];
        *owner = Owner::new(owner.index(), owner.incarnation().wrapping_add(1));
        *work = Work::Nothing;
        *seen = Seen::new();
        self.enlist(worker as u16);
    }

    fn bury(&mut self, worker: usize) {
        match self.workers[worker].work {
            Work::Nothing => {}
            Work::Task(claim) => {
                if let Some(call) = self.call_in(claim.slot) {
                    self.calls[call].deaths += 1;
                }
            }
            Work::Chunk(joined, _) => {
                if let Some(job) = self.job_in(joined.job) {
                    self.jobs[job].deaths += 1;
                }
            }
        }
        let death = WorkerDeath::new(1, Cause::Signal(9));
        self.engine
            .recover(self.workers[worker].owner, &death, false);
    }

    /// What the supervisor and curious callers do.
    fn look(&mut self) {
        let control = self.engine.control();
        for job in 0..4 {
            for generation in 0..4 {
                if let Some((done, all)) = self.engine.job_progress(job, generation) {
                    assert!(done <= all, "{done} of {all} are done");
                }
            }
        }
        if self.is_hostile() {
            let mut hub = self.engine.hub();
            for overdue in hub.overdue(control).unwrap_or_default() {
                hub.condemn(control, overdue);
            }
            drop(hub);
            self.look_over();
        }
    }

    /// All is looked over, and begun anew if need be.
    pub(super) fn look_over(&mut self) {
        let findings = self.engine.look_over();
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
        (0..WORKERS).for_each(|worker| self.enlist(worker));
    }

    fn end(&mut self) {
        if self.is_hostile() {
            (0..usize::from(WORKERS)).for_each(|worker| self.bury(worker));
            let mut hub = self.engine.hub();
            hub.harvest_thoroughly(self.engine.control(), self.engine);
        } else {
            self.drain();
            for call in &self.calls {
                assert!(call.entry.is_ready(), "a task is lost");
            }
            for job in &self.jobs {
                assert!(job.entry.is_ready(), "a job is lost");
            }
            (0..usize::from(WORKERS)).for_each(|worker| self.bury(worker));
        }
        self.engine.hub().close(TaskError::PoolClosed);
        for call in &self.calls {
            call.check();
        }
        for job in &self.jobs {
            job.check();
        }
        for (number, call) in self.calls.iter().enumerate() {
            let outcome = call.entry.take().expect("one outcome");
            if let (Manners::Honest, Ok(reply)) = (self.manners, &outcome) {
                assert_eq!(reply.bytes(), (number as u64).to_le_bytes());
            }
            if let Ok(reply) = &outcome {
                let _ = crate::protocol::archive::access::<Vec<u8>>(reply.bytes());
            }
            call.judge(self.manners, outcome.map(|_| ()));
            assert!(call.entry.take().is_none(), "two outcomes");
        }
        for job in &self.jobs {
            let outcome = job.entry.take().expect("one outcome");
            job.judge(self.manners, &outcome);
            assert!(job.entry.take().is_none(), "two outcomes");
        }
    }

    /// The workers do what is left to do, and the parent hears of it.
    fn drain(&mut self) {
        for _ in 0..PATIENCE {
            let mut moved = self.engine.harvest() > 0 || self.is_helped();
            if self.is_helped() {
                self.help();
            }
            for worker in 0..usize::from(WORKERS) {
                self.finish_by(worker, true);
                moved |= self.begin_by(worker, true);
            }
            if !moved && self.engine.harvest() == 0 {
                return;
            }
        }
        panic!("the work does not end");
    }
}
