//! What users of Python's process pools expect, row by row: docs/coming-from-python.md names the
//! test of each, here unless it is elsewhere.

mod bad_input;
mod idle;
mod nested;
mod pains;
mod pool;
mod process;
mod rows;
#[path = "../seeing_support/mod.rs"]
mod seeing_support;
mod sets;
mod worker;

use std::fs;
use std::time::{Duration, Instant};

use gristmill::{Builder, Pool};

/// Beyond this a test has hung; nothing is decided by it otherwise.
const LIMIT: Duration = Duration::from_secs(120);

fn builder(workers: usize) -> Builder {
    Pool::builder().workers(workers).memory_budget(256 << 20)
}

fn pool(workers: usize) -> Pool {
    builder(workers).build().expect("a pool")
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

#[track_caller]
fn until(what: &str, mut look: impl FnMut() -> bool) {
    let began = Instant::now();
    while !look() {
        assert!(began.elapsed() < LIMIT, "{what} never came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The processes that this one has started and not reaped.
fn children() -> Vec<u32> {
    let tasks = fs::read_dir("/proc/self/task").expect("procfs").flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let pids = lists.flat_map(|list| {
        let pids = list.split_whitespace().map(|pid| pid.parse());
        pids.collect::<Result<Vec<u32>, _>>().expect("numbers")
    });
    pids.collect()
}

/// Whether a process is there and has not ended.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| {
        !stat
            .rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('Z'))
    })
}

/// Shared memory that results of tasks take.
fn in_arenas(pool: &Pool) -> u64 {
    let stats = pool.stats();
    stats.workers.iter().map(|worker| worker.arena_in_use).sum()
}
