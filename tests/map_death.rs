//! Workers that die in the middle of a map: what was done is kept, what was begun fails or is tried
//! again, what was not begun is run, and nothing is begun twice that may not be.

mod map_support;

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use gristmill::{Cause, Pool, TaskError, WorkerDeath};
use map_support::pool;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A file in which workers note which items they begin.
struct Log(PathBuf);

impl Log {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("gristmill-map-death-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, []).unwrap();
        Self(path)
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }

    /// How often each item was begun.
    fn begun(&self) -> HashMap<u64, u32> {
        let mut begun = HashMap::new();
        for line in fs::read_to_string(&self.0).unwrap().lines() {
            *begun.entry(line.parse().unwrap()).or_insert(0) += 1;
        }
        begun
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// In a worker: notes that an item is begun. A short write at the end of a file is one step.
fn note(log: &str, index: u64) {
    let mut file = OpenOptions::new().append(true).open(log).unwrap();
    file.write_all(format!("{index}\n").as_bytes()).unwrap();
}

fn kill_myself() {
    kill(Pid::this(), Signal::SIGKILL).unwrap();
}

fn is_killed(death: &WorkerDeath) -> bool {
    death.cause == Cause::Signal(Signal::SIGKILL as i32)
}

#[test]
fn the_item_that_kills_fails_and_its_neighbours_do_not() {
    for batch in [1, 2, 100, 1000] {
        let (pool, log) = (pool(), Log::new());
        let items = (0..1000_u64).map(|index| (index, log.path()));
        let results = pool.starmap(items, |(index, log)| {
            note(log, index.to_native());
            if matches!(index.to_native(), 0 | 37 | 250 | 251 | 999) {
                kill_myself();
            }
            vec![index.to_native(); 5]
        });
        let mut failed = Vec::new();
        for (index, result) in (0..).zip(results.batch(batch).ordered().unwrap()) {
            match result {
                Ok(values) => assert!(values.iter().all(|value| value.to_native() == index)),
                Err(error) => {
                    let TaskError::WorkerDied(death) = &error.error else {
                        panic!("{error}");
                    };
                    assert!(is_killed(death), "{error}");
                    assert_eq!(
                        (error.index, &death.elements),
                        (index, &Some(index..index + 1))
                    );
                    failed.push(index);
                }
            }
        }
        assert_eq!(failed, [0, 37, 250, 251, 999]);
        let begun = log.begun();
        assert_eq!(begun.len(), 1000);
        assert!(
            begun.values().all(|&times| times == 1),
            "begun twice: {begun:?}"
        );
    }
}

#[test]
fn an_idempotent_item_is_tried_again_and_alone() {
    let (pool, log) = (pool(), Log::new());
    let items = (0..500_u64).map(|index| (index, log.path()));
    let results = pool.starmap(items, |(index, log)| {
        note(log, index.to_native());
        let text = fs::read_to_string(log.as_str()).unwrap();
        let before = text
            .lines()
            .filter(|line| *line == index.to_string())
            .count();
        // 100 dies once, 200 always.
        if (index.to_native() == 100 && before == 1) || index.to_native() == 200 {
            kill_myself();
        }
        index.to_native()
    });
    for (index, result) in results.batch(50).idempotent().as_completed().unwrap() {
        match result {
            Ok(value) => assert_eq!(value.to_native(), index),
            Err(TaskError::WorkerDied(death)) => {
                assert_eq!((index, death.attempts), (200, 3), "{death}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    let mut begun = log.begun();
    assert_eq!((begun.remove(&100), begun.remove(&200)), (Some(2), Some(3)));
    assert_eq!(begun.len(), 498);
    assert!(begun.values().all(|&times| times == 1), "{begun:?}");
}

/// Kills workers from outside, at whatever they are.
fn storm(pool: &Pool, log: &Log, batch: Option<usize>) {
    let items = (0..3000_u64).map(|index| (index, log.path()));
    let mut results = pool.starmap(items, |(index, log)| {
        note(log, index.to_native());
        index.to_native() * 2
    });
    if let Some(batch) = batch {
        results = results.batch(batch);
    }
    let mut killed = 0;
    let mut failed = Vec::new();
    let mut seen = vec![false; 3000];
    for (index, result) in results.as_completed().unwrap() {
        assert!(
            !std::mem::replace(&mut seen[index as usize], true),
            "{index} twice"
        );
        match result {
            Ok(value) => assert_eq!(value.to_native(), index * 2),
            Err(TaskError::WorkerDied(death)) => {
                assert!(is_killed(&death), "{death}");
                failed.push(index);
            }
            Err(error) => panic!("{index}: {error}"),
        }
        if index % 150 == 149
            && let Some(&pid) = pool.worker_pids().first()
        {
            // One that has ended already is as dead as it was to be.
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
            killed += 1;
        }
    }
    assert!(seen.iter().all(|&seen| seen));
    assert!(failed.len() <= killed, "{killed} deaths failed {failed:?}");
    let begun = log.begun();
    assert!(begun.values().all(|&times| times == 1), "begun twice");
    // What was not begun is no result, so it can only have failed; then it was about to begin.
    for index in 0..3000 {
        assert!(
            begun.contains_key(&index) || failed.contains(&index),
            "{index} was never run"
        );
    }
}

#[test]
fn workers_killed_at_random_cost_at_most_one_item_each() {
    for batch in [None, Some(1), Some(40)] {
        storm(&pool(), &Log::new(), batch);
    }
}

#[test]
fn a_worker_killed_in_an_endless_map_holds_nobody_up() {
    let pool = pool();
    let mut results = pool
        .map(0_u64.., |n| n.to_native())
        .idempotent()
        .ordered()
        .unwrap()
        .into_iter();
    for index in 0..20_000 {
        if index % 4000 == 0 {
            for pid in pool.worker_pids() {
                let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
            }
        }
        assert_eq!(results.next().unwrap().unwrap().to_native(), index);
    }
}
