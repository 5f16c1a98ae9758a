//! From the death of a worker to its work running again, and what the others get done meanwhile.

use std::fs;
use std::path::PathBuf;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use gristmill::{Pool, Rkyv, TaskHandle};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::contest::{Bound, Contest, Sample, timed};

/// What is promised of the median, in microseconds.
const WITHIN: f64 = 5000.0;
/// No-op tasks a turn of the second contest, and how many are pending at a time.
const TASKS: usize = 40_000;
const TASKS_QUICK: usize = 2_000;
const WINDOW: usize = 64;
/// Between two deaths, in no-op tasks.
const BETWEEN_DEATHS: usize = 10_000;

/// All that there are.
pub(crate) fn recoveries(is_quick: bool) -> [Contest; 2] {
    let tasks = if is_quick { TASKS_QUICK } else { TASKS };
    [again(), meanwhile(tasks)]
}

fn pool(workers: usize) -> Pool {
    let builder = Pool::builder().workers(workers).memory_budget(16 << 20);
    builder.build().expect("a pool")
}

/// A file in which the first attempt says who runs it.
struct Mark(PathBuf);

impl Mark {
    fn new(name: &str) -> Self {
        let name = format!("gristmill-bench-{name}-{}", std::process::id());
        let mark = Self(std::env::temp_dir().join(name));
        mark.wipe();
        mark
    }

    fn wipe(&self) {
        fs::write(&self.0, "").expect("a file");
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }

    /// Waits until the first attempt runs; its process.
    fn runner(&self) -> Pid {
        loop {
            let text = fs::read_to_string(&self.0).expect("a file");
            if let Some(pid) = text.strip_suffix('\n') {
                return Pid::from_raw(pid.parse().expect("a process id"));
            }
            thread::yield_now();
        }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// On a clock that all processes share.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("after 1970").as_nanos() as u64
}

/// By a worker: the first attempt stays until it is killed, the second says when it began.
fn attempt(path: &str) -> u64 {
    let began = now();
    let is_first = fs::metadata(path).expect("a file").len() == 0;
    if is_first {
        fs::write(path, format!("{}\n", std::process::id())).expect("a file");
        loop {
            std::hint::spin_loop();
        }
    }
    began
}

/// Kills whoever runs the first attempt; the time until the second began.
fn strike(pool: &Pool, mark: &Mark, answer: impl FnOnce() -> u64) -> Sample {
    let runner = mark.runner();
    let killed = now();
    kill(runner, Signal::SIGKILL).expect("a worker that is not reaped");
    let began = answer();
    mark.wipe();
    // The next turn begins with all workers.
    let all_there = || {
        let pids = pool.worker_pids();
        pids.len() == pool.workers() && !pids.contains(&(runner.as_raw() as u32))
    };
    while !all_there() {
        thread::yield_now();
    }
    Sample {
        time: Duration::from_nanos(began.saturating_sub(killed)),
        right: began > killed,
    }
}

fn task_again(workers: usize) -> impl FnMut(bool) -> Sample {
    let (pool, mark) = (pool(workers), Mark::new(&format!("task-{workers}")));
    move |_| {
        let task = pool.task(mark.path(), |path| attempt(path));
        let task = task.idempotent().spawn().expect("submitted");
        strike(&pool, &mark, || {
            task.wait().expect("the second attempt").to_native()
        })
    }
}

fn chunk_again(workers: usize) -> impl FnMut(bool) -> Sample {
    let (pool, mark) = (pool(workers), Mark::new(&format!("chunk-{workers}")));
    let input = pool.copy_from_slice(&[0_u64]).expect("room").freeze();
    move |_| {
        let path = Rkyv(mark.path());
        let job = pool.par_map_with(path, &input, |path, _| attempt(path));
        let job = job.start().expect("room");
        strike(&pool, &mark, || job.wait().expect("the second attempt")[0])
    }
}

/// `SIGKILL` in the middle of work that may run again.
fn again() -> Contest {
    Contest::new("recovery/again", Bound::MicrosecondsAtMost(WITHIN))
        .enter("task, another worker", task_again(2))
        .enter("task, the replacement", task_again(1))
        .enter("chunk, another worker", chunk_again(2))
        .enter("chunk, the replacement", chunk_again(1))
}

/// Of two workers one is busy with a long task: the other's no-op tasks, with and without deaths
/// of the first.
fn meanwhile(tasks: usize) -> Contest {
    let pool = Rc::new(pool(2));
    let mark = Rc::new(Mark::new("meanwhile"));
    let contender = move |kills: bool| {
        let (pool, mark) = (Rc::clone(&pool), Rc::clone(&mark));
        move |_: bool| {
            let long = occupy(&pool, &mark);
            let (sum, time) = timed(|| stream(&pool, &mark, tasks, kills));
            end(&pool, &mark, long);
            Sample {
                time,
                right: sum == (0..tasks as u64).sum::<u64>(),
            }
        }
    };
    Contest::new("recovery/meanwhile", Bound::None)
        .items(tasks)
        .enter("no-ops, deaths beside them", contender(true))
        .enter("no-ops, no deaths", contender(false))
}

/// Has one worker stay in a task, again and again.
fn occupy(pool: &Pool, mark: &Mark) -> TaskHandle<u64> {
    let task = pool.task(mark.path(), |path| -> u64 {
        fs::write(&**path, format!("{}\n", std::process::id())).expect("a file");
        loop {
            std::hint::spin_loop();
        }
    });
    let task = task.attempts(u32::MAX).spawn().expect("submitted");
    mark.runner();
    task
}

fn end(pool: &Pool, mark: &Mark, mut long: TaskHandle<u64>) {
    long.cancel();
    let limit = Instant::now() + Duration::from_secs(60);
    let runner = mark.runner();
    while pool.worker_pids().contains(&(runner.as_raw() as u32)) {
        assert!(Instant::now() < limit, "a cancelled task goes on");
        thread::yield_now();
    }
    while pool.worker_pids().len() < pool.workers() {
        thread::yield_now();
    }
    mark.wipe();
}

fn stream(pool: &Pool, mark: &Mark, tasks: usize, kills: bool) -> u64 {
    let mut sum = 0;
    let mut pending = Vec::with_capacity(WINDOW);
    for first in (0..tasks).step_by(WINDOW) {
        if kills && (first / WINDOW).is_multiple_of(BETWEEN_DEATHS / WINDOW) {
            // The task may be between two workers; then there is nobody to kill.
            let runner = mark.runner();
            if pool.worker_pids().contains(&(runner.as_raw() as u32)) {
                let _ = kill(runner, Signal::SIGKILL);
            }
        }
        let window = first..(first + WINDOW).min(tasks);
        pending.extend(window.map(|number| {
            let task = pool.spawn(number as u64, |number| number.to_native());
            task.expect("submitted")
        }));
        for task in pending.drain(..) {
            sum += task.wait().expect("a no-op does not fail").to_native();
        }
    }
    sum
}
