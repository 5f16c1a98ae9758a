//! Nothing of the program's grows with the number of processes it has started.
//!
//! One test, for the counts are those of the whole process.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use gristmill::{Process, TaskError, Worker};

const PROCESSES: usize = 200;
/// What is not over by then has hung; nothing is decided by it otherwise.
const LIMIT: Duration = Duration::from_secs(60);

/// What this process holds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    descriptors: usize,
    threads: usize,
    children: usize,
}

fn held() -> Held {
    let entries = |path: &str| fs::read_dir(path).expect("procfs").count();
    let tasks = fs::read_dir("/proc/self/task").expect("procfs").flatten();
    let children = tasks
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .map(|list| list.split_whitespace().count());
    Held {
        descriptors: entries("/proc/self/fd"),
        threads: entries("/proc/self/task"),
        children: children.sum(),
    }
}

fn mappings() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").expect("procfs");
    maps.lines().count()
}

/// One that ends well, one that dies, one that is never looked at, one that is killed.
fn four(round: u64) {
    let well = Worker::spawn(round, |n| vec![n.to_native(); 3000]).expect("started");
    let dies = Process::spawn((), |()| std::process::abort()).expect("started");
    let detached = Process::spawn((), |()| ()).expect("started");
    let builder = Process::builder().kill_on_drop(true);
    let killed = builder.spawn((), |()| {
        loop {
            thread::park();
        }
    });
    drop((detached, killed.expect("started")));
    assert!(matches!(dies.wait(), Err(TaskError::WorkerDied(_))));
    let result = well.wait().expect("it ends well");
    drop(well);
    assert!(result.iter().all(|n| n.to_native() == round) && result.len() == 3000);
}

/// Waits until this process holds that: the keeper lets go of a descriptor just after its process
/// is gone.
#[track_caller]
fn comes_to(wanted: Held) {
    let began = Instant::now();
    while held() != wanted {
        assert!(
            began.elapsed() < LIMIT,
            "{wanted:?} wanted, {:?} held",
            held()
        );
        thread::yield_now();
    }
}

#[test]
fn two_hundred_processes_leave_nothing_behind() {
    let mut wanted = held();
    four(0);
    // The keeper: a thread, an epoll instance and a bell.
    wanted.threads += 1;
    wanted.descriptors += 2;
    comes_to(wanted);
    let mapped = mappings();
    for round in 0..PROCESSES / 4 {
        four(round as u64);
    }
    comes_to(wanted);
    // The allocator of the C library maps and unmaps as it likes, but not in proportion.
    assert!(mappings() <= mapped + 10, "{mapped}, then {}", mappings());

    // A result that is kept keeps memory, but no descriptor.
    let kept: Vec<_> = (0..10_u64)
        .map(|i| Worker::spawn(i, |i| vec![i.to_native(); 20]).expect("started"))
        .map(|worker| worker.wait().expect("it ends well"))
        .collect();
    comes_to(wanted);
    assert!(kept.iter().zip(0..).all(|(kept, i)| kept[19] == i));
}
