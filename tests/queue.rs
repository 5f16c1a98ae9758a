//! A queue of bounded depth: what finds no room comes back, or waits for it.

mod map_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use gristmill::{Error, Pool, TaskHandle, TrySpawnError};
use map_support::{current_thread, multi_thread};

const DEPTH: usize = 5;

fn pool() -> Pool {
    let builder = Pool::builder().workers(2).queue_depth(DEPTH);
    builder.memory_budget(64 << 20).build().unwrap()
}

/// Tasks end once it is there.
struct Sign(PathBuf);

impl Sign {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("gristmill-queue-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn give(&self) {
        fs::write(&self.0, []).unwrap();
    }
}

impl Drop for Sign {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// So many tasks that wait for the sign.
fn hold(pool: &Pool, sign: &Sign, count: usize) -> Vec<TaskHandle<()>> {
    let hold = |_| {
        let path = sign.0.display().to_string();
        pool.spawn(path, |path| {
            while !Path::new(path.as_str()).exists() {
                thread::yield_now();
            }
        })
    };
    (0..count).map(|n| hold(n).unwrap()).collect()
}

#[test]
fn arguments_come_back_when_there_is_no_room() {
    let (pool, sign) = (pool(), Sign::new());
    let held = hold(&pool, &sign, DEPTH);
    for n in 0..100_u32 {
        match pool.try_spawn(vec![n], |list| list.len() as u64) {
            Err(error @ TrySpawnError::Full(_)) => assert_eq!(error.into_arguments(), [n]),
            other => panic!("{other:?}"),
        }
    }
    // The others have no bound.
    let beyond = pool.spawn((), |()| ()).unwrap();
    sign.give();
    held.into_iter().for_each(|task| drop(task.wait().unwrap()));
    beyond.wait().unwrap();
    let task = pool
        .try_spawn(vec![7_u32], |list| list.len() as u64)
        .unwrap();
    assert_eq!(task.wait().unwrap().to_native(), 1);
}

#[test]
fn without_a_depth_there_is_always_room() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let tasks: Vec<_> = (0..10_000_u32)
        .map(|n| pool.try_spawn(n, |n| n.to_native()).unwrap())
        .collect();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.wait().unwrap().to_native(), n);
    }
}

#[test]
fn whoever_waits_is_let_in_when_a_task_ends_or_is_cancelled() {
    let (pool, sign) = (pool(), Sign::new());
    let mut held = hold(&pool, &sign, DEPTH);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let task = pool.spawn_when_free(20_u64, |n| n.to_native() + 1);
            task.wait().unwrap().wait().unwrap().to_native()
        });
        // Nobody has begun the last of them, with two workers.
        assert!(held.pop().unwrap().cancel());
        sign.give();
        assert_eq!(waiter.join().unwrap(), 21);
    });
    for runtime in [current_thread(), multi_thread()] {
        let sign = Sign::new();
        let mut held = hold(&pool, &sign, DEPTH);
        runtime.block_on(async {
            let room = pool.spawn_when_free(1_u8, |n| n + 1);
            tokio::pin!(room);
            tokio::select! {
                biased;
                _ = &mut room => panic!("there is no room"),
                () = tokio::task::yield_now() => {}
            }
            sign.give();
            let task = room.await.unwrap();
            assert_eq!(*task.await.unwrap(), 2);
        });
        held.drain(..).for_each(|task| drop(task.wait().unwrap()));
    }
}

#[test]
fn many_submitters_stay_within_the_depth_and_all_get_through() {
    let pool = pool();
    let total: u64 = thread::scope(|scope| {
        let sums: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    (0..500_u64)
                        .map(|n| {
                            let task = pool.spawn_when_free(n, |n| n.to_native());
                            task.wait().unwrap().wait().unwrap().to_native()
                        })
                        .sum::<u64>()
                })
            })
            .collect();
        sums.into_iter().map(|sum| sum.join().unwrap()).sum()
    });
    assert_eq!(total, 4 * 499 * 250);
}

#[test]
fn who_gives_up_in_line_keeps_nobody_else_out() {
    let (pool, sign) = (pool(), Sign::new());
    let held = hold(&pool, &sign, DEPTH);
    current_thread().block_on(async {
        for _ in 0..10 {
            let room = pool.spawn_when_free((), |()| ());
            tokio::select! {
                biased;
                _ = room => panic!("there is no room"),
                () = tokio::task::yield_now() => {}
            }
        }
        let patient = pool.spawn_when_free(3_u8, |n| *n);
        sign.give();
        assert_eq!(*patient.await.unwrap().await.unwrap(), 3);
    });
    drop(held);
}

#[test]
fn a_pool_that_goes_lets_nobody_wait_for_room() {
    let (pool, sign) = (pool(), Sign::new());
    let held = hold(&pool, &sign, DEPTH);
    let room = pool.spawn_when_free(1_u8, |n| *n);
    drop(pool);
    assert!(matches!(room.wait(), Err(Error::PoolClosed)));
    drop(held);
}
