//! The end of a pool, row by row of the table in `Pool::close`'s documentation.

mod policy_support;

use std::hint;
use std::thread;
use std::time::{Duration, Instant};

use gristmill::{Closed, Error, Pool, TaskError, TaskHandle};
use policy_support::{Tally, mark, wait_for};

const LONG: Duration = Duration::from_secs(600);

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

/// A task that begins, says so, and ends when it is told to.
fn held(pool: &Pool, tally: &Tally) -> TaskHandle<u32> {
    let task = pool.spawn(tally.path(), |path| {
        mark(path);
        wait_for(path, 2);
        7_u32
    });
    let task = task.unwrap();
    wait_for(&tally.path(), 1);
    task
}

/// A task that never ends, once it has begun.
fn hung(pool: &Pool, tally: &Tally) -> TaskHandle<u32> {
    let task = pool.spawn(tally.path(), |path| -> u32 {
        mark(path);
        loop {
            hint::spin_loop();
        }
    });
    let task = task.unwrap();
    wait_for(&tally.path(), 1);
    task
}

fn quick(pool: &Pool) -> TaskHandle<u32> {
    pool.spawn(3_u32, |x| x.to_native() + 1).unwrap()
}

fn assert_refuses(pool: &Pool) {
    assert!(pool.is_closed());
    let refused = pool.spawn(1_u32, |x| x.to_native());
    assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
    let refused = pool.task(1_u32, |x| x.to_native()).idempotent().spawn();
    assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
    let refused = pool.par_generate(10, |i| i as u64).wait();
    assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
}

/// Reaped, not only dead: no child of ours has the number.
fn gone(pid: u32) -> bool {
    let parent = format!("PPid:\t{}\n", std::process::id());
    std::fs::read_to_string(format!("/proc/{pid}/status"))
        .map_or(true, |status| !status.contains(&parent))
}

#[test]
fn close_refuses_what_is_new_and_does_what_it_has() {
    let pool = pool(1);
    let tally = Tally::new();
    let runs = held(&pool, &tally);
    let waits = quick(&pool);
    let job = pool.par_generate(1_000, |i| i as u64).start().unwrap();
    pool.close();
    assert_refuses(&pool);
    mark(&tally.path());
    assert_eq!(pool.join().wait().unwrap().abandoned, 0);
    assert_eq!(*runs.wait().unwrap(), 7);
    assert_eq!(*waits.wait().unwrap(), 4);
    assert_eq!(job.wait().unwrap()[999], 999);
}

#[test]
fn the_workers_of_a_closed_pool_are_gone_after_join() {
    let pool = pool(2);
    let pids = pool.worker_pids();
    assert_eq!(pids.len(), 2);
    pool.close();
    pool.join().wait().unwrap();
    assert!(pool.worker_pids().is_empty());
    assert!(pids.into_iter().all(gone));
    assert_refuses(&pool);
}

#[test]
fn close_does_more_than_the_ring_holds() {
    let pool = pool(2);
    let tasks: Vec<_> = (0..10_000_u32)
        .map(|i| pool.spawn(i, |x| x.to_native() * 2).unwrap())
        .collect();
    pool.close();
    assert_eq!(pool.join().wait().unwrap().abandoned, 0);
    for (i, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.wait().unwrap().to_native(), 2 * i as u32);
    }
}

#[test]
fn join_of_an_open_pool_is_refused() {
    let pool = pool(1);
    assert!(matches!(pool.join().wait(), Err(Error::PoolOpen)));
    assert!(!pool.is_closed());
    assert_eq!(*quick(&pool).wait().unwrap(), 4);
}

#[test]
fn join_waits_and_may_be_given_up() {
    let pool = pool(1);
    let tally = Tally::new();
    let runs = held(&pool, &tally);
    pool.close();
    let mut joining = pool.join();
    assert!(joining.wait_timeout(Duration::ZERO).is_none());
    drop(joining);
    assert!(!runs.is_finished());
    mark(&tally.path());
    assert_eq!(pool.join().wait().unwrap().abandoned, 0);
    assert_eq!(*runs.wait().unwrap(), 7);
}

#[test]
fn several_may_join_also_after_the_end() {
    let pool = pool(1);
    let tally = Tally::new();
    let runs = held(&pool, &tally);
    pool.close();
    thread::scope(|scope| {
        let joins: Vec<_> = (0..4).map(|_| scope.spawn(|| pool.join().wait())).collect();
        mark(&tally.path());
        for join in joins {
            assert_eq!(join.join().unwrap().unwrap().abandoned, 0);
        }
    });
    let mut joining = pool.join();
    for _ in 0..2 {
        let closed = joining.wait_timeout(Duration::ZERO).unwrap().unwrap();
        assert_eq!(closed.abandoned, 0);
    }
    drop(runs);
}

#[test]
fn shutdown_does_all_within_its_grace() {
    let pool = pool(1);
    let tally = Tally::new();
    let runs = held(&pool, &tally);
    let waits = quick(&pool);
    let closing = pool.shutdown(LONG);
    assert_refuses(&pool);
    mark(&tally.path());
    assert_eq!(closing.wait().unwrap().abandoned, 0);
    assert_eq!(*runs.wait().unwrap(), 7);
    assert_eq!(*waits.wait().unwrap(), 4);
}

#[test]
fn shutdown_ends_what_its_grace_does_not_suffice_for() {
    let pool = pool(1);
    let tally = Tally::new();
    let runs = hung(&pool, &tally);
    let waits = quick(&pool);
    let job = pool.par_generate(1_000, |i| i as u64).start().unwrap();
    let closed = pool.shutdown(Duration::from_millis(5)).wait().unwrap();
    assert_eq!(closed.abandoned, 3);
    assert_eq!(runs.wait().unwrap_err(), TaskError::PoolClosed);
    assert_eq!(waits.wait().unwrap_err(), TaskError::PoolClosed);
    let error = job.wait().unwrap_err();
    assert!(
        matches!(error, Error::Task(TaskError::PoolClosed)),
        "{error}"
    );
}

#[test]
fn terminate_ends_everything_now() {
    let pool = pool(2);
    let (one, other) = (Tally::new(), Tally::new());
    let runs = [hung(&pool, &one), hung(&pool, &other)];
    let waits = quick(&pool);
    let pids = pool.worker_pids();
    let closing = pool.terminate();
    assert_refuses(&pool);
    assert_eq!(closing.wait().unwrap().abandoned, 3);
    assert!(pids.into_iter().all(gone));
    for task in runs.into_iter().chain([waits]) {
        assert_eq!(task.wait().unwrap_err(), TaskError::PoolClosed);
    }
}

#[test]
fn what_had_finished_is_delivered_after_terminate() {
    let pool = pool(1);
    let done = quick(&pool);
    let began = Instant::now();
    while !done.is_finished() {
        assert!(began.elapsed() < LONG, "it never came");
        hint::spin_loop();
    }
    pool.terminate().wait().unwrap();
    assert_eq!(*done.wait().unwrap(), 4);
}

#[test]
fn a_later_call_may_hasten_the_end_and_not_delay_it() {
    let pool = pool(1);
    let tally = Tally::new();
    let runs = hung(&pool, &tally);
    pool.close();
    pool.close();
    let long = pool.shutdown(LONG);
    let now = pool.terminate();
    let longer = pool.shutdown(Duration::MAX);
    for closing in [now, long, longer] {
        assert_eq!(closing.wait().unwrap().abandoned, 1);
    }
    assert_eq!(runs.wait().unwrap_err(), TaskError::PoolClosed);
    pool.close();
    assert_eq!(pool.terminate().wait().unwrap().abandoned, 1);
}

#[test]
fn drop_after_any_of_them_ends_the_rest() {
    for end in [
        Pool::close,
        |pool: &Pool| drop(pool.shutdown(LONG)),
        |_: &Pool| {},
    ] {
        let pool = pool(1);
        let tally = Tally::new();
        let runs = hung(&pool, &tally);
        end(&pool);
        let joining = pool.join();
        drop(pool);
        assert_eq!(runs.wait().unwrap_err(), TaskError::PoolClosed);
        match joining.wait() {
            Ok(Closed { abandoned, .. }) => assert_eq!(abandoned, 1),
            Err(error) => assert!(matches!(error, Error::PoolOpen), "{error}"),
        }
    }
}

#[test]
fn buffers_and_results_outlive_the_pool() {
    let pool = pool(1);
    let xs = pool.alloc_from_fn(1_000, |i| i as u32).unwrap().freeze();
    let text = pool.spawn("x".repeat(100_000), |text| text.to_string());
    let text = text.unwrap().wait().unwrap();
    pool.terminate().wait().unwrap();
    drop(pool);
    assert_eq!((xs[999], text.len()), (999, 100_000));
}

#[test]
fn a_reduction_that_is_waited_for_takes_its_second_step() {
    let pool = pool(1);
    let tally = Tally::new();
    let ones = pool.alloc_from_fn(100_000, |_| 1_u64).unwrap().freeze();
    let blocker = held(&pool, &tally);
    let mut sum = pool.par_sum(&ones);
    assert!(sum.wait_timeout(Duration::ZERO).is_none());
    pool.close();
    mark(&tally.path());
    let mut joining = pool.join();
    assert_eq!(*blocker.wait().unwrap(), 7);
    // The first step may be over by now, and the pool waits for the second.
    assert_eq!(sum.wait().unwrap(), 100_000);
    let closed = joining.wait_timeout(LONG).unwrap().unwrap();
    assert_eq!(closed.abandoned, 0);
}

#[test]
fn a_reduction_that_nobody_waits_for_does_not_hold_the_end_up() {
    let pool = pool(1);
    let ones = pool.alloc_from_fn(100_000, |_| 1_u64).unwrap().freeze();
    let sum = pool.par_sum(&ones).start().unwrap();
    pool.close();
    pool.join().wait().unwrap();
    let error = sum.wait().unwrap_err();
    assert!(
        matches!(error, Error::Task(TaskError::PoolClosed)),
        "{error}"
    );
}

#[tokio::test]
async fn all_of_it_can_be_awaited() {
    let pool = pool(2);
    let ones = pool.alloc_from_fn(100_000, |_| 1_u64).unwrap().freeze();
    assert!(matches!(pool.join().await, Err(Error::PoolOpen)));
    let mut sum = std::pin::pin!(pool.par_sum(&ones));
    // Under way, and waited for.
    let first = tokio::select! {
        biased;
        sum = &mut sum => Some(sum),
        () = std::future::ready(()) => None,
    };
    pool.close();
    let (closed, sum) = tokio::join!(pool.join(), async {
        match first {
            Some(sum) => sum,
            None => sum.await,
        }
    });
    assert_eq!(closed.unwrap().abandoned, 0);
    assert_eq!(sum.unwrap(), 100_000);
    assert_eq!(pool.terminate().await.unwrap().abandoned, 0);
}

#[tokio::test]
async fn a_join_that_is_dropped_loses_nothing() {
    let pool = pool(1);
    let tally = Tally::new();
    let runs = held(&pool, &tally);
    pool.close();
    for _ in 0..100 {
        let joining = tokio::time::timeout(Duration::ZERO, pool.join()).await;
        assert!(joining.is_err());
    }
    mark(&tally.path());
    assert_eq!(pool.join().await.unwrap().abandoned, 0);
    assert_eq!(*runs.await.unwrap(), 7);
}
