//! Workers killed one after the other while many threads use the pool.

use std::collections::HashSet;
use std::process;
use std::sync::Mutex;
use std::thread;

use gristmill::{Error, Pool, TaskError};
use nix::sys::signal::Signal;

use crate::ranges::mix;
use crate::{KILLED, pool, signal};

const THREADS: u64 = 8;
const TASKS: u64 = 300;
const JOBS: u64 = 20;
const KILLS: usize = 40;

/// Workers that have proved to be at work, so that killing one ends no start.
#[derive(Default)]
struct Seen(Mutex<HashSet<u32>>);

impl Seen {
    fn note(&self, pid: u32) {
        self.0.lock().expect("no panic inside").insert(pid);
    }

    fn any(&self, pool: &Pool) -> Option<u32> {
        let mut seen = self.0.lock().expect("no panic inside");
        let pid = pool
            .worker_pids()
            .into_iter()
            .find(|pid| seen.contains(pid))?;
        seen.remove(&pid);
        Some(pid)
    }
}

#[test]
fn a_storm_loses_nothing_and_mixes_nothing_up() {
    let pool = pool(3);
    let seen = Seen::default();
    let done = Mutex::new(0);
    let (pool, seen, done) = (&pool, &seen, &done);
    let kills = thread::scope(|scope| {
        let users: Vec<_> = (0..THREADS)
            .map(|number| {
                scope.spawn(move || {
                    if number.is_multiple_of(2) {
                        spawn_many(pool, number, seen);
                    } else {
                        map_many(pool, number);
                    }
                    *done.lock().expect("no panic inside") += 1;
                })
            })
            .collect();
        let mut kills = 0;
        // A user that fails its test has ended as well.
        while kills < KILLS && users.iter().any(|user| !user.is_finished()) {
            match seen.any(pool) {
                Some(pid) => {
                    signal(pid, Signal::SIGKILL);
                    kills += 1;
                }
                None => thread::yield_now(),
            }
        }
        kills
    });
    assert_eq!(*done.lock().expect("no panic inside"), THREADS);
    assert!(kills > 3, "{kills} kills are no storm");
}

fn spawn_many(pool: &Pool, number: u64, seen: &Seen) {
    let mut lost = 0;
    for batch in 0..TASKS / 30 {
        let seeds = (0..30).map(|i| mix(number << 32 | batch << 8 | i));
        let tasks: Vec<_> = seeds
            .map(|seed| {
                let task = pool.spawn(seed, |seed| {
                    let seed = seed.to_native();
                    let long = (0..seed % 100).map(|i| mix(seed + i)).collect::<Vec<u64>>();
                    (process::id(), seed, long)
                });
                (seed, task.expect("submitted"))
            })
            .collect();
        for (seed, task) in tasks {
            match task.wait() {
                Ok(result) => {
                    seen.note(result.0.to_native());
                    assert_eq!(result.1.to_native(), seed, "another's result");
                    let long = (0..seed % 100).map(|i| mix(seed + i));
                    assert!(result.2.iter().map(|x| x.to_native()).eq(long));
                }
                Err(TaskError::WorkerDied(death)) => {
                    assert_eq!(death.cause, KILLED);
                    lost += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    // A worker holds one task at a time: a death costs one at most.
    assert!(lost <= KILLS, "{lost} tasks lost by {KILLS} deaths");
}

fn map_many(pool: &Pool, number: u64) {
    let xs = pool
        .alloc_from_fn(5_000, |i| mix(number + i as u64))
        .expect("room")
        .freeze();
    let oracle: Vec<u64> = xs.iter().map(|&x| mix(x)).collect();
    for job in 0..JOBS {
        match pool.par_map(&xs, |&x| mix(x)).wait() {
            Ok(ys) => assert!(*ys == oracle, "job {job}"),
            // One part met three deaths in a row: allowed, and told.
            Err(Error::Task(TaskError::WorkerDied(death))) => {
                assert_eq!((death.attempts, death.cause), (3, KILLED));
            }
            Err(other) => panic!("job {job}: {other}"),
        }
    }
}
