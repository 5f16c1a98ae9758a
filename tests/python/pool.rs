//! `Pool`: call by call.

use std::panic::Location;
use std::time::Duration;

use futures_util::StreamExt;
use gristmill::{Error, Pool, TaskError, TaskHandle};

use crate::seeing_support::{Gate, pass};
use crate::{children, in_arenas, pool, runtime, until};

#[test]
fn workers_are_as_many_as_cores_unless_told() {
    let cores = std::thread::available_parallelism()
        .expect("a number")
        .get();
    let pool = Pool::builder()
        .memory_budget(64 << 20)
        .build()
        .expect("a pool");
    assert_eq!((pool.workers(), pool.worker_pids().len()), (cores, cores));
}

#[test]
fn a_pool_needs_no_running_loop() {
    // Made outside a runtime, used in one and in another, and without.
    let pool = pool(1);
    for _ in 0..2 {
        let task = pool.spawn(1_u32, |n| n.to_native() + 1).expect("submitted");
        assert_eq!(*runtime().block_on(task).expect("it ends well"), 2);
    }
    let task = pool.spawn(1_u32, |n| n.to_native() + 1).expect("submitted");
    assert_eq!(*task.wait().expect("it ends well"), 2);
}

#[test]
fn apply() {
    let pool = pool(2);
    let power = |arguments: &rkyv::Archived<(u64, u32)>| {
        arguments.0.to_native().pow(arguments.1.to_native())
    };
    assert_eq!(
        *pool
            .spawn((2_u64, 10_u32), power)
            .expect("submitted")
            .wait()
            .expect("well"),
        1024
    );
    let awaited = async {
        pool.spawn((3_u64, 4_u32), power)?
            .await
            .map_err(Error::from)
    };
    assert_eq!(*runtime().block_on(awaited).expect("it ends well"), 81);
    pool.close();
    let refused = pool.spawn((2_u64, 1_u32), power);
    assert!(matches!(refused, Err(Error::PoolClosed)), "{refused:?}");
}

#[test]
fn each_way_to_the_results_of_a_map_is_in_the_order_of_the_input() {
    let pool = pool(2);
    let map = || pool.map(0..100_u32, |n| n.to_native() * 3);
    let expected: Vec<u32> = (0..100).map(|n| n * 3).collect();
    let collected = map().wait().expect("it ends well");
    assert!(
        collected
            .iter()
            .zip(&expected)
            .all(|(found, n)| **found == *n)
    );
    runtime().block_on(async {
        let awaited = map().await.expect("it ends well");
        assert!(
            awaited
                .iter()
                .zip(&expected)
                .all(|(found, n)| **found == *n)
        );
        let mut stream = map().ordered().expect("begun");
        for n in &expected {
            assert_eq!(
                **stream
                    .next()
                    .await
                    .expect("one more")
                    .as_ref()
                    .expect("well"),
                *n
            );
        }
        assert!(stream.next().await.is_none());
        // Asked again after the end it neither hangs nor panics.
        assert!(stream.next().await.is_none());
    });
    let blocking = map().ordered().expect("begun").into_iter();
    let blocking: Result<Vec<u32>, _> = blocking.map(|n| n.map(|n| n.to_native())).collect();
    assert_eq!(blocking.expect("it ends well"), expected);
}

#[test]
fn a_result_awaited_twice_is_refused() {
    let pool = pool(1);
    let spawn = || pool.spawn(5_u32, |n| n.to_native()).expect("submitted");
    let mut task = spawn();
    runtime().block_on(async {
        assert_eq!(*(&mut task).await.expect("it ends well"), 5);
        assert_eq!((&mut task).await.expect_err("taken"), TaskError::Cancelled);
    });
    assert_eq!(task.wait().expect_err("taken"), TaskError::Cancelled);
    let mut task = spawn();
    assert_eq!(
        *task
            .wait_timeout(Duration::MAX)
            .expect("in time")
            .expect("well"),
        5
    );
    let again = task.wait_timeout(Duration::MAX).expect("at once");
    assert_eq!(again.expect_err("taken"), TaskError::Cancelled);
}

/// What arenas take when each worker has just made one small block of results.
fn in_arenas_after_a_round(pool: &Pool) -> u64 {
    let round = pool.map(0..8_u32, |n| vec![0_u8; 1 << 15 | n.to_native() as usize]);
    drop(round.batch(1).wait().expect("it ends well"));
    in_arenas(pool)
}

#[test]
fn a_caller_that_times_out_leaves_no_orphan() {
    let pool = pool(1);
    let before = in_arenas_after_a_round(&pool);
    let mut gate = Gate::new();
    let large = |paths: &rkyv::Archived<(String, String)>| {
        pass(&paths.0, &paths.1);
        vec![1_u8; 4 << 20]
    };
    let running = pool.spawn(gate.paths(), large).expect("submitted");
    let waiting = pool.spawn(gate.paths(), large).expect("submitted");
    gate.await_workers(1);
    runtime().block_on(async {
        let limit = Duration::from_millis(1);
        assert!(tokio::time::timeout(limit, running).await.is_err());
        assert!(tokio::time::timeout(limit, waiting).await.is_err());
    });
    // One was never begun, the result of the other is freed: nobody can fetch it any more.
    gate.open(1);
    until("the end of the task", || pool.stats().in_flight == 0);
    assert_eq!(pool.stats().queued, 0);
    until("the memory", || {
        in_arenas_after_a_round(&pool) < before + (1 << 20)
    });
}

#[test]
fn results_that_nobody_fetches_are_freed() {
    let pool = pool(2);
    let before = in_arenas_after_a_round(&pool);
    let results = pool.map(0..64_u32, |n| match n.to_native() {
        0 => panic!("as planned"),
        _ => vec![0_u8; 1 << 20],
    });
    // The first error ends it; the others are freed, not kept for good.
    match results.batch(1).wait() {
        Err(Error::Item(error)) => assert_eq!(error.index, 0),
        other => panic!("{other:?}"),
    }
    until("the end of what had begun", || pool.stats().in_flight == 0);
    // A worker looks at what was freed when it makes its next result.
    until("the memory", || {
        in_arenas_after_a_round(&pool) < before + (2 << 20)
    });
}

#[test]
fn the_place_of_a_panic_comes_with_its_type_and_words() {
    let pool = pool(1);
    let line = Location::caller().line() + 1;
    let fails = |n: &rkyv::rend::u32_le| 12 / n.to_native();
    let task: TaskHandle<u32> = pool.spawn(0_u32, fails).expect("submitted");
    match task.wait() {
        Err(TaskError::Panicked {
            message, location, ..
        }) => {
            assert_eq!(message, "attempt to divide by zero");
            let location = location.expect("known");
            assert_eq!((&*location.file, location.line), (file!(), line));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_server_a_pool_is_its_workers_and_nothing_else() {
    // In a process of its own, which nobody else starts processes in.
    let counts = gristmill::Worker::spawn((), |()| {
        let before = children().len() as u32;
        let pool = pool(2);
        let during = children();
        let mut workers = pool.worker_pids();
        workers.sort_unstable();
        let same = during.len() == 2 && during.iter().all(|pid| workers.contains(pid));
        drop(pool);
        (before, same, children().len() as u32)
    });
    let counts = counts.expect("started").wait().expect("it ends well");
    assert_eq!(
        (counts.0.to_native(), counts.1, counts.2.to_native()),
        (0, true, 0)
    );
}

#[test]
fn drop_ends_it_and_waits() {
    let pool = pool(2);
    let pids = pool.worker_pids();
    let mut gate = Gate::new();
    let task = pool.spawn(gate.paths(), |paths| pass(&paths.0, &paths.1));
    let task = task.expect("submitted");
    gate.await_workers(1);
    drop(pool);
    assert!(pids.into_iter().all(|pid| !crate::lives(pid)));
    assert_eq!(
        task.wait().expect_err("it was pending"),
        TaskError::PoolClosed
    );
}

#[test]
fn a_map_can_be_read_for_a_limited_time() {
    let pool = pool(1);
    let mut gate = Gate::new();
    let items = [gate.paths(), gate.paths()];
    let results = pool.map(items, |paths| pass(&paths.0, &paths.1)).batch(1);
    let mut results = results.ordered().expect("begun").into_iter();
    assert!(results.next_timeout(Duration::ZERO).is_none());
    gate.await_workers(1);
    // Again and again: nothing is lost by it.
    assert!(results.next_timeout(Duration::from_millis(1)).is_none());
    gate.open(2);
    for _ in 0..2 {
        let item = results.next_timeout(Duration::MAX).expect("in time");
        item.expect("one more").expect("it ends well");
    }
    assert!(
        results
            .next_timeout(Duration::ZERO)
            .expect("at once")
            .is_none()
    );
}
