//! Nobody polls: while there is nothing to do, no thread of the pool, its workers or its processes
//! wakes up. Counted by the kernel: a thread that wakes up and sleeps again has switched once more.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

use gristmill::{Pool, Process, Worker};

use crate::pool;

/// How long nothing happens. Whoever polls does so several times meanwhile: there it is every 5 ms.
const QUIET: Duration = Duration::from_millis(100);
/// What goes to sleep late has done so by the next one.
const WINDOWS: usize = 50;

/// How often each thread of these processes has gone to sleep, but for the one that asks.
fn sleeps(pids: &[u32]) -> BTreeMap<(u32, String), u64> {
    let me = fs::read_link("/proc/thread-self").expect("procfs");
    let me = me
        .file_name()
        .expect("a thread")
        .to_string_lossy()
        .into_owned();
    let mut found = BTreeMap::new();
    for &pid in pids {
        for task in fs::read_dir(format!("/proc/{pid}/task"))
            .expect("procfs")
            .flatten()
        {
            let tid = task.file_name().to_string_lossy().into_owned();
            let Ok(status) = fs::read_to_string(task.path().join("status")) else {
                continue;
            };
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            if tid != me {
                let count = line.expect("counted").trim().parse().expect("a number");
                found.insert((pid, tid), count);
            }
        }
    }
    found
}

/// Whether nobody woke up in one of the windows; else who did in the last one.
fn is_silent(pids: &[u32]) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..WINDOWS {
        let before = sleeps(pids);
        thread::sleep(QUIET);
        let after = sleeps(pids);
        if before == after {
            return Ok(());
        }
        last = format!("{before:?}, then {after:?}");
    }
    Err(last)
}

/// Runs in a process of its own, where no other test wakes anybody.
fn alone<F>(look: F) -> String
where
    F: Fn(&()) -> String + Copy + Send + Sync + 'static,
{
    let worker = Worker::spawn((), look).expect("started");
    worker.wait().expect("it ends well").to_string()
}

fn with_workers(pool: &Pool) -> Vec<u32> {
    let mut pids = pool.worker_pids();
    pids.push(std::process::id());
    pids
}

#[test]
fn a_pool_that_has_nothing_to_do_is_never_woken() {
    let found = alone(|()| {
        let pool = pool(2);
        // It has worked before, in each way.
        pool.map(0..1000_u32, |n| n.to_native())
            .wait()
            .expect("it ends well");
        let xs = pool
            .par_generate(1000, |i| i as u64)
            .wait()
            .expect("it ends well")
            .freeze();
        pool.par_sum(&xs).wait().expect("it ends well");
        is_silent(&with_workers(&pool)).err().unwrap_or_default()
    });
    assert!(found.is_empty(), "{found}");
}

#[test]
fn a_process_that_is_joined_is_not_polled() {
    let found = alone(|()| {
        let process = Process::spawn((), |()| {
            loop {
                thread::park();
            }
        });
        let process = process.expect("started");
        thread::scope(|scope| {
            let joins = scope.spawn(|| process.wait());
            let found = is_silent(&[std::process::id(), process.pid()]);
            process.kill().expect("sent");
            assert!(joins.join().expect("no panic").is_err());
            found.err().unwrap_or_default()
        })
    });
    assert!(found.is_empty(), "{found}");
}

#[test]
fn a_runtime_with_a_pool_at_rest_is_not_polled() {
    let found = alone(|()| {
        let pool = pool(1);
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let task = pool.spawn(1_u32, |n| n.to_native()).expect("submitted");
        runtime.block_on(task).expect("it ends well");
        is_silent(&with_workers(&pool)).err().unwrap_or_default()
    });
    assert!(found.is_empty(), "{found}");
}

#[test]
fn whoever_polls_is_caught() {
    let found = alone(|()| {
        thread::spawn(|| {
            loop {
                thread::sleep(Duration::from_millis(5));
            }
        });
        // Two windows are enough to see it in.
        let before = sleeps(&[std::process::id()]);
        thread::sleep(QUIET);
        (before == sleeps(&[std::process::id()])).to_string()
    });
    assert_eq!(found, "false");
}
