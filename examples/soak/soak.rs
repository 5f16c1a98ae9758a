//! The soak itself, for the example and the test.

#[path = "ledger.rs"]
mod ledger;

use core::fmt;
use std::collections::{HashSet, VecDeque};
use std::process;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gristmill::{Cause, Error, Pool, TaskError, TaskHandle};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use ledger::Ledger;

const SUBMITTERS: u64 = 4;
const MAPPERS: u64 = 2;
/// Tasks that a submitter has under way.
const WINDOW: usize = 256;
const LEN: usize = 20_000;

/// How much is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) tasks: u64,
    pub(crate) kills: u64,
    pub(crate) workers: usize,
    pub(crate) seed: u64,
    /// Tasks and shares in jobs before a worker is recycled; 0: it is not.
    pub(crate) each: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            tasks: 100_000,
            kills: 20,
            workers: 2,
            seed: 1,
            each: 0,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Delivered, right, and run once.
    pub(crate) tasks: u64,
    /// Failed with their worker, and never run twice.
    pub(crate) lost: u64,
    /// Range jobs delivered, right in each element.
    pub(crate) jobs: u64,
    /// Range jobs of which one part met a death in every attempt.
    pub(crate) jobs_lost: u64,
    pub(crate) kills: u64,
    /// Workers that were there in another's place.
    pub(crate) recoveries: u64,
    pub(crate) duration: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "tasks {} delivered once, {} lost with their worker, 0 twice, 0 wrong\n\
             range jobs {} right, {} failed after every attempt\n\
             kills {}, recoveries {}\nduration {:.1} s, {:.0} tasks/s",
            self.tasks,
            self.lost,
            self.jobs,
            self.jobs_lost,
            self.kills,
            self.recoveries,
            self.duration.as_secs_f64(),
            self.tasks as f64 / self.duration.as_secs_f64(),
        )
    }
}

/// Spreads numbers evenly, the same in each run.
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

struct Soak<'a> {
    plan: &'a Plan,
    pool: Pool,
    ledger: Ledger,
    descriptor: i32,
    capacity: u64,
    /// The number of the next task.
    next: AtomicU64,
    ended: AtomicU64,
    report: Mutex<Report>,
    /// Workers that have proved to be at work, so that killing one ends no start.
    proven: Mutex<HashSet<u32>>,
}

/// Runs it.
///
/// # Panics
/// On the first answer that is not as it must be.
pub(crate) fn run(plan: &Plan) -> Report {
    let began = Instant::now();
    // Those that are lost are submitted in excess.
    let capacity = plan.tasks + plan.kills + SUBMITTERS;
    let (ledger, descriptor) = Ledger::create(capacity);
    let mut builder = Pool::builder().workers(plan.workers).memory_budget(1 << 28);
    if plan.each > 0 {
        builder = builder.max_tasks_per_worker(plan.each);
    }
    let soak = Soak {
        plan,
        pool: builder.build().expect("a pool"),
        ledger,
        descriptor,
        capacity,
        next: AtomicU64::new(0),
        ended: AtomicU64::new(0),
        report: Mutex::default(),
        proven: Mutex::default(),
    };
    thread::scope(|scope| {
        let submitters: Vec<_> = (0..SUBMITTERS)
            .map(|_| scope.spawn(|| soak.submit()))
            .collect();
        let running = || submitters.iter().any(|submitter| !submitter.is_finished());
        let soak = &soak;
        let running = &running;
        thread::scope(|scope| {
            for number in 0..MAPPERS {
                scope.spawn(move || soak.map(number, running));
            }
            soak.kill(running);
        });
    });
    let mut report = soak.report.into_inner().expect("nobody panicked");
    for task in 0..capacity {
        let count = ledger.counted(task);
        assert!(count <= 1, "task {task} ran {count} times");
    }
    report.duration = began.elapsed();
    report
}

impl Soak<'_> {
    /// Submits tasks and takes their answers, until all have been delivered.
    fn submit(&self) {
        let mut under_way: VecDeque<(u64, TaskHandle<(u32, u64)>)> = VecDeque::new();
        loop {
            while under_way.len() < WINDOW {
                // Relaxed: only numbers, each given out once.
                let task = self.next.fetch_add(1, Ordering::Relaxed);
                if task >= self.plan.tasks {
                    break;
                }
                let arguments = (task, self.descriptor, self.capacity);
                let handle = self.pool.spawn(arguments, |arguments| {
                    let task = arguments.0.to_native();
                    let ledger =
                        Ledger::of_parent(arguments.1.to_native(), arguments.2.to_native());
                    ledger.count(task);
                    (process::id(), mix(task))
                });
                under_way.push_back((task, handle.expect("submitted")));
            }
            let Some((task, handle)) = under_way.pop_front() else {
                return;
            };
            self.take(task, handle);
        }
    }

    fn take(&self, task: u64, handle: TaskHandle<(u32, u64)>) {
        let outcome = handle.wait();
        let count = self.ledger.counted(task);
        let mut report = self.report.lock().expect("nobody panicked");
        match outcome {
            Ok(result) => {
                assert_eq!(result.1.to_native(), mix(task), "another's answer");
                assert_eq!(count, 1, "task {task} ran {count} times");
                report.tasks += 1;
                drop(report);
                let pid = result.0.to_native();
                self.proven.lock().expect("nobody panicked").insert(pid);
            }
            Err(TaskError::WorkerDied(death)) => {
                assert_eq!(
                    death.cause,
                    Cause::Signal(Signal::SIGKILL as i32),
                    "task {task}"
                );
                assert!(count <= 1, "task {task} ran {count} times");
                report.lost += 1;
            }
            Err(other) => panic!("task {task}: {other}"),
        }
        // Relaxed: a measure of progress.
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Runs range jobs for as long as tasks are.
    fn map(&self, number: u64, running: &impl Fn() -> bool) {
        let seed = mix(number);
        let xs = self
            .pool
            .alloc_from_fn(LEN, |i| mix(seed ^ i as u64))
            .expect("room")
            .freeze();
        let oracle: Vec<u64> = xs.iter().map(|&x| mix(x)).collect();
        while running() {
            let outcome = self.pool.par_map(&xs, |&x| mix(x)).wait();
            let mut report = self.report.lock().expect("nobody panicked");
            match outcome {
                Ok(ys) => {
                    assert!(*ys == oracle, "a range job went wrong");
                    report.jobs += 1;
                }
                Err(Error::Task(TaskError::WorkerDied(death))) => {
                    assert!(death.attempts > 1, "a pure part is tried again");
                    report.jobs_lost += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// Kills as many workers as planned, spread over the tasks.
    fn kill(&self, running: &impl Fn() -> bool) {
        let mut random = self.plan.seed;
        let mut kills = 0;
        let mut known: HashSet<u32> = self.pool.worker_pids().into_iter().collect();
        let first = known.len();
        while running() {
            let pids = self.pool.worker_pids();
            known.extend(&pids);
            // Relaxed: a measure of progress.
            let due = self.ended.load(Ordering::Relaxed) * (self.plan.kills + 1);
            if kills < self.plan.kills && due > kills * self.plan.tasks {
                random = mix(random + 1);
                let mut proven = self.proven.lock().expect("nobody panicked");
                let pids: Vec<u32> = pids
                    .into_iter()
                    // One that succeeds another may die at any time.
                    .filter(|pid| self.plan.each > 0 || proven.contains(pid))
                    .collect();
                if let Some(&pid) = pids.get(random as usize % pids.len().max(1)) {
                    proven.remove(&pid);
                    // One that has died by itself counts as well, and is found out by its error.
                    let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
                    kills += 1;
                }
            }
            // As often as a scheduler would; how often exactly does not matter.
            thread::sleep(Duration::from_micros(100));
        }
        let mut report = self.report.lock().expect("nobody panicked");
        report.kills = kills;
        report.recoveries = (known.len() - first) as u64;
    }
}
