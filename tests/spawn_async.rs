//! Tasks that are futures: how many at a time, where, next to what, and how they end.
#![cfg(feature = "tokio")]

mod policy_support;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use gristmill::{Cause, Pool, TaskError, TaskHandle};
use policy_support::{Tally, mark, wait_for};
use rkyv::string::ArchivedString;
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Notify};
use tokio::task::yield_now;

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

/// One in each worker.
static SIXTEEN: LazyLock<Barrier> = LazyLock::new(|| Barrier::new(16));
static CALL: Notify = Notify::const_new();
static NOW: AtomicU32 = AtomicU32::new(0);
static MOST: AtomicU32 = AtomicU32::new(0);

#[test]
fn sixteen_wait_for_each_other_on_one_worker() {
    let pool = pool(1);
    let tasks: Vec<_> = (0..16_u32)
        .map(|number| {
            let task = pool.spawn_async(number, async |number| {
                SIXTEEN.wait().await;
                vec![number.to_native(); 100]
            });
            task.unwrap()
        })
        .collect();
    for (number, task) in (0..).zip(tasks) {
        let numbers = task.wait().unwrap();
        assert!(numbers.len() == 100 && numbers.iter().all(|&n| n == number));
    }
}

#[test]
fn no_more_than_allowed_are_begun() {
    let pool = Pool::builder().workers(1).async_concurrency(3);
    let pool = pool.build().unwrap();
    let tasks: Vec<_> = (0..40)
        .map(|_| {
            let task = pool.spawn_async((), async |()| {
                let now = NOW.fetch_add(1, Ordering::Relaxed) + 1;
                MOST.fetch_max(now, Ordering::Relaxed);
                for _ in 0..20 {
                    yield_now().await;
                }
                NOW.fetch_sub(1, Ordering::Relaxed);
            });
            task.unwrap()
        })
        .collect();
    for task in tasks {
        task.wait().unwrap();
    }
    let most = pool.spawn((), |()| MOST.load(Ordering::Relaxed)).unwrap();
    assert!((1..=3).contains(&most.wait().unwrap().to_native()));
}

/// Ends when so many have begun; the process in which it ran.
async fn gather(path: &ArchivedString, count: u64) -> u32 {
    mark(path);
    while std::fs::metadata(path.as_str()).unwrap().len() < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    std::process::id()
}

#[test]
fn idle_workers_go_first() {
    let pool = pool(2);
    // A busy machine may keep an idle worker from its core for longer than the other waits for it.
    // If it were not waited for, one would have all of them each time.
    let is_shared = || {
        let tally = Tally::new();
        let spawn = |_| pool.spawn_async(tally.path(), async |path| gather(path, 8).await);
        let tasks: Vec<TaskHandle<u32>> = (0..8).map(|i| spawn(i).unwrap()).collect();
        let mut counts = HashMap::<u32, u32>::new();
        for task in tasks {
            *counts.entry(task.wait().unwrap().to_native()).or_default() += 1;
        }
        counts.len() == 2 && counts.values().all(|&count| count >= 2)
    };
    assert!((0..100).any(|_| is_shared()), "one worker had nearly all");
}

#[test]
fn a_panic_ends_its_own_future_only() {
    let tally = Tally::new();
    let pool = pool(1);
    let others: Vec<_> = (0..3)
        .map(|_| {
            pool.spawn_async(tally.path(), async |path| gather(path, 4).await)
                .unwrap()
        })
        .collect();
    let task: TaskHandle<u32> = pool
        .spawn_async((), async |()| {
            yield_now().await;
            panic!("in the middle")
        })
        .unwrap();
    match task.wait() {
        Err(TaskError::Panicked {
            message, location, ..
        }) => {
            assert_eq!(message, "in the middle");
            assert!(location.is_some());
        }
        other => panic!("{other:?}"),
    }
    mark(&tally.path());
    for other in others {
        other.wait().unwrap();
    }
}

#[test]
fn tasks_and_jobs_go_on_next_to_futures() {
    let pool = Pool::builder()
        .workers(1)
        .async_concurrency(2)
        .build()
        .unwrap();
    let called = |pool: &Pool| {
        pool.spawn_async((), async |()| CALL.notified().await)
            .unwrap()
    };
    let first = called(&pool);
    // A task of its own ends the first future.
    pool.spawn((), |()| CALL.notify_one())
        .unwrap()
        .wait()
        .unwrap();
    first.wait().unwrap();
    // With as many as allowed a job still runs.
    let two = [called(&pool), called(&pool)];
    let xs = pool.alloc_from_fn(1000, |i| i as u64).unwrap().freeze();
    let ys = pool.par_map(&xs, |x| {
        if *x == 500 || *x == 501 {
            CALL.notify_one();
            CALL.notify_waiters();
        }
        x + 1
    });
    assert_eq!(ys.wait().unwrap()[999], 1000);
    // Whoever was not there yet is called by the next job.
    let ended = |two: &[TaskHandle<()>; 2]| two.iter().all(TaskHandle::is_finished);
    while !ended(&two) {
        let call = pool.par_map(&xs, |x| {
            CALL.notify_waiters();
            *x
        });
        call.wait().unwrap();
    }
}

#[test]
fn a_killed_worker_takes_its_futures_along() {
    let tally = Tally::new();
    let pool = pool(1);
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            pool.spawn_async(tally.path(), async |path| gather(path, 100).await)
                .unwrap()
        })
        .collect();
    wait_for(&tally.path(), 3);
    let kill = pool
        .spawn((), |()| -> () { policy_support::die() })
        .unwrap();
    assert!(kill.wait().is_err());
    for task in tasks {
        match task.wait() {
            Err(TaskError::WorkerDied(death)) => assert_eq!(death.cause, Cause::Signal(9)),
            other => panic!("{other:?}"),
        }
    }
    let again = pool.spawn_async(3_u8, async |x| x + 1).unwrap();
    assert_eq!(*again.wait().unwrap(), 4);
}

#[test]
fn futures_speak_with_the_world() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = thread::spawn(move || {
        for _ in 0..4 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut text = [0; 64];
            let len = stream.read(&mut text).unwrap();
            stream.write_all(&text[..len]).unwrap();
        }
    });
    let pool = pool(2);
    let tasks: Vec<_> = (0..4_u16)
        .map(|number| {
            let task = pool.spawn_async((port, number), async |order| {
                let port = order.0.to_native();
                let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                stream.writable().await.unwrap();
                let text = format!("grist {}", order.1);
                assert_eq!(stream.try_write(text.as_bytes()).unwrap(), text.len());
                let mut answer = [0; 64];
                loop {
                    stream.readable().await.unwrap();
                    // Readiness may be a false alarm.
                    if let Ok(len) = stream.try_read(&mut answer) {
                        return String::from_utf8(answer[..len].to_vec()).unwrap();
                    }
                }
            });
            task.unwrap()
        })
        .collect();
    for (number, task) in (0..).zip(tasks) {
        assert_eq!(task.wait().unwrap().as_str(), format!("grist {number}"));
    }
    echo.join().unwrap();
}

#[test]
fn a_worker_that_is_recycled_ends_its_futures_first() {
    let pool = Pool::builder()
        .workers(2)
        .max_tasks_per_worker(5)
        .build()
        .unwrap();
    let tasks: Vec<_> = (0..40_u32)
        .map(|number| {
            let task = pool.spawn_async(number, async |number| {
                tokio::time::sleep(Duration::from_millis(2)).await;
                (number.to_native(), std::process::id())
            });
            task.unwrap()
        })
        .collect();
    let mut counts = HashMap::<u32, u32>::new();
    for (number, task) in (0..).zip(tasks) {
        let answer = task.wait().unwrap();
        assert_eq!(answer.0, number);
        *counts.entry(answer.1.to_native()).or_default() += 1;
    }
    assert!(counts.values().all(|&count| count <= 5), "{counts:?}");
}

#[test]
fn a_runtime_that_cannot_be_made_is_a_panic_of_its_task() {
    let pool = Pool::builder()
        .workers(1)
        .async_runtime(|| panic!("no driver"));
    let pool = pool.build().unwrap();
    match pool.spawn_async((), async |()| ()).unwrap().wait() {
        Err(TaskError::Panicked { message, .. }) => assert_eq!(message, "no driver"),
        other => panic!("{other:?}"),
    }
    assert_eq!(*pool.spawn(1_u8, |x| x + 1).unwrap().wait().unwrap(), 2);
}

#[test]
fn one_of_many_is_cancelled_and_the_others_go_on() {
    let tally = Tally::new();
    let pool = Pool::builder()
        .workers(1)
        .cancel_grace(Duration::MAX)
        .build()
        .unwrap();
    let first = pool
        .spawn((), |()| std::process::id())
        .unwrap()
        .wait()
        .unwrap();
    let mut tasks: Vec<_> = (0..5)
        .map(|_| {
            pool.spawn_async(tally.path(), async |path| gather(path, 6).await)
                .unwrap()
        })
        .collect();
    wait_for(&tally.path(), 5);
    let mut one = tasks.remove(2);
    assert!(!one.cancel());
    assert_eq!(one.wait().unwrap_err(), TaskError::Cancelled);
    mark(&tally.path());
    for task in tasks {
        assert_eq!(*task.wait().unwrap(), *first);
    }
}

/// Leaves a mark when it is dropped.
struct Dropped<'a>(&'a str);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        mark(self.0);
    }
}

#[test]
fn a_future_that_takes_too_long_is_dropped_where_it_waits() {
    let (tally, drops) = (Tally::new(), Tally::new());
    let pool = Pool::builder()
        .workers(1)
        .cancel_grace(Duration::MAX)
        .build()
        .unwrap();
    let other = pool
        .spawn_async(tally.path(), async |path| gather(path, 2).await)
        .unwrap();
    wait_for(&tally.path(), 1);
    let limit = Duration::from_millis(30);
    let late = pool.task_async(drops.path(), async |path| {
        let _dropped = Dropped(path);
        std::future::pending::<()>().await;
    });
    match late.timeout(limit).spawn().unwrap().wait() {
        Err(TaskError::TimedOut { limit: told, .. }) => assert_eq!(told, limit),
        other => panic!("{other:?}"),
    }
    assert_eq!(drops.count(), 1);
    mark(&tally.path());
    other.wait().unwrap();
}

#[test]
fn a_future_that_does_not_yield_is_ended_with_its_worker() {
    let tally = Tally::new();
    let pool = Pool::builder()
        .workers(1)
        .cancel_grace(Duration::from_millis(50));
    let pool = pool.build().unwrap();
    let other = pool
        .spawn_async(tally.path(), async |path| gather(path, 100).await)
        .unwrap();
    wait_for(&tally.path(), 1);
    let mut hung = pool
        .spawn_async(tally.path(), async |path| {
            mark(path);
            loop {
                std::hint::spin_loop();
            }
        })
        .unwrap();
    let _: &TaskHandle<()> = &hung;
    wait_for(&tally.path(), 2);
    hung.cancel();
    assert_eq!(hung.wait().unwrap_err(), TaskError::Cancelled);
    assert!(matches!(other.wait(), Err(TaskError::WorkerDied(_))));
    assert_eq!(
        *pool
            .spawn_async(1_u8, async |x| x + 1)
            .unwrap()
            .wait()
            .unwrap(),
        2
    );
}

#[test]
fn a_successor_does_not_wait_for_the_futures_of_the_one_before() {
    let tally = Tally::new();
    let pool = Pool::builder()
        .workers(1)
        .max_tasks_per_worker(1)
        .build()
        .unwrap();
    let long = pool
        .spawn_async(tally.path(), async |path| gather(path, 2).await)
        .unwrap();
    let next = pool
        .spawn((), |()| std::process::id())
        .unwrap()
        .wait()
        .unwrap();
    mark(&tally.path());
    assert_ne!(*long.wait().unwrap(), *next);
}
