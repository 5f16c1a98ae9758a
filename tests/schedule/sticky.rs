//! The same key, the same worker; and what becomes of keys whose worker dies.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::process;

use gristmill::{Error, Pool, Priority, TaskError};

use crate::gate::{Gate, stand, until};
use crate::killed;

fn pid_for(pool: &Pool, key: u64) -> u32 {
    let task = pool.task((), |()| process::id()).sticky(key).spawn();
    task.expect("submitted").wait().expect("done").to_native()
}

#[test]
fn the_same_key_has_the_same_worker() {
    let pool = Pool::builder().workers(3).build().unwrap();
    let mut workers = HashMap::new();
    for round in 0..5 {
        for key in 0..60_u64 {
            let pid = pid_for(&pool, key);
            let first = *workers.entry(key).or_insert(pid);
            assert_eq!(first, pid, "key {key} moved in round {round}");
        }
    }
    let mut shares: HashMap<u32, usize> = HashMap::new();
    workers
        .values()
        .for_each(|&pid| *shares.entry(pid).or_default() += 1);
    // By buckets, of which 60 keys hit 59 or so: as even as it gets.
    assert_eq!(shares.len(), 3);
    assert!(
        shares.values().all(|&share| (17..=23).contains(&share)),
        "{shares:?}"
    );
}

#[test]
fn keys_move_with_their_waiting_tasks_when_the_worker_dies() {
    let pool = Pool::builder().workers(2).build().unwrap();
    let gate = Gate::new("move");
    let held = pool
        .task(gate.file(), |file| stand(file))
        .sticky(7_u64)
        .spawn();
    let before = gate.reached();
    // Most of them without a slot.
    let waiting: Vec<_> = (0..2000_u64)
        .map(|i| {
            let task = pool.task(i, |i| (process::id(), i.to_native()));
            task.sticky(7_u64).spawn().unwrap()
        })
        .collect();
    // The other worker is idle, and takes what everybody may take, but none of these.
    pool.spawn((), |()| ()).unwrap().wait().unwrap();
    assert!(waiting.iter().all(|task| !task.is_finished()));
    assert!(killed(before));
    let lost: Result<_, TaskError> = held.unwrap().wait();
    assert!(matches!(lost, Err(TaskError::WorkerDied(_))));
    let mut pids = HashSet::new();
    for (i, task) in (0..).zip(waiting) {
        let result = task.wait().expect("nothing is lost");
        assert_eq!(result.1.to_native(), i);
        pids.insert(result.0.to_native());
    }
    assert_eq!(pids.len(), 1, "one key, one worker");
    assert!(!pids.contains(&before));
    assert!(
        pids.contains(&pid_for(&pool, 7)),
        "the key stays where it went"
    );
}

#[test]
fn a_key_whose_only_worker_dies_waits_for_the_next() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let gate = Gate::new("only");
    let held = pool.task(gate.file(), |file| stand(file)).sticky(1).spawn();
    let before = gate.reached();
    let after = pool.task((), |()| process::id()).sticky(1).spawn().unwrap();
    assert!(killed(before));
    assert!(held.unwrap().wait().is_err());
    assert_ne!(after.wait().unwrap().to_native(), before);
}

#[test]
fn a_flood_for_one_worker_leaves_the_others_alone() {
    let pool = Pool::builder().workers(2).build().unwrap();
    let gate = Gate::new("flood");
    let held = pool
        .task(gate.file(), |file| stand(file))
        .sticky("a")
        .spawn();
    let busy = gate.reached();
    let flood: Vec<_> = (0..6000)
        .map(|_| {
            pool.task((), |()| process::id())
                .sticky("a")
                .spawn()
                .unwrap()
        })
        .collect();
    // They would find no slot if the flood had taken all.
    for _ in 0..100 {
        let free = pool.spawn((), |()| process::id()).unwrap();
        assert_ne!(free.wait().unwrap().to_native(), busy);
    }
    gate.open();
    held.unwrap().wait().unwrap();
    assert!(
        flood
            .into_iter()
            .all(|task| task.wait().unwrap().to_native() == busy)
    );
}

#[test]
fn a_sticky_task_wakes_its_worker() {
    let pool = Pool::builder().workers(3).build().unwrap();
    let asleep = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('S'))
    };
    for key in 0..60_u64 {
        let pid = pid_for(&pool, key);
        until("sleep", || {
            pool.worker_pids().iter().all(|&pid| asleep(pid))
        });
        assert_eq!(pid_for(&pool, key), pid);
    }
}

#[test]
fn a_sticky_task_has_no_priority() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let task = pool.task((), |()| ()).sticky(1).priority(Priority::High);
    assert!(matches!(task.spawn(), Err(Error::InvalidArgument { .. })));
}
