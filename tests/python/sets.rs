//! Handles waited for together: `as_completed`, `wait`, `gather`.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use gristmill::{Pool, TaskError, TaskHandle, TaskSet};

use crate::seeing_support::{Gate, Paths, pass};
use crate::{pool, runtime, until};

fn gated(pool: &Pool, gate: &Gate, n: u32) -> TaskHandle<u32> {
    let arguments: (Paths, u32) = (gate.paths(), n);
    let task = pool.spawn(arguments, |arguments| {
        pass(&arguments.0.0, &arguments.0.1);
        arguments.1.to_native()
    });
    task.expect("submitted")
}

fn quick(pool: &Pool, n: u32) -> TaskHandle<u32> {
    pool.spawn(n, |n| n.to_native()).expect("submitted")
}

#[test]
fn the_first_to_end_is_the_first_to_come() {
    let pool = pool(2);
    let mut gate = Gate::new();
    let mut tasks = TaskSet::new();
    assert_eq!(tasks.push(gated(&pool, &gate, 7)), 0);
    gate.await_workers(1);
    assert_eq!(tasks.push(quick(&pool, 8)), 1);
    let (number, result) = tasks.wait_next().expect("two");
    assert_eq!((number, result.expect("well").to_native()), (1, 8));
    assert_eq!(tasks.len(), 1);
    assert!(tasks.next_timeout(Duration::from_millis(1)).is_none());
    gate.open(1);
    let (number, result) = tasks.wait_next().expect("one");
    assert_eq!((number, result.expect("well").to_native()), (0, 7));
    assert!(tasks.is_empty() && tasks.wait_next().is_none());
    assert!(
        tasks
            .next_timeout(Duration::ZERO)
            .expect("at once")
            .is_none()
    );
}

#[test]
fn all_come_once_each_in_every_way() {
    const COUNT: u64 = 3000;
    let pool = pool(2);
    let set = || -> TaskSet<u32> { (0..COUNT as u32).map(|n| quick(&pool, n)).collect() };
    let check = |(number, result): (u64, Result<gristmill::TaskOutput<u32>, TaskError>)| {
        assert_eq!(u64::from(result.expect("well").to_native()), number);
        number
    };
    let numbers: BTreeSet<u64> = set().into_iter().map(check).collect();
    assert_eq!(numbers.len() as u64, COUNT);
    let numbers: BTreeSet<u64> = runtime().block_on(set().map(check).collect());
    assert_eq!(numbers.len() as u64, COUNT);
    let gathered = set().gather().wait().expect("all end well");
    assert!(gathered.iter().zip(0..).all(|(found, n)| **found == n));
    let gathered = runtime().block_on(set().gather()).expect("all end well");
    assert!(gathered.iter().zip(0..).all(|(found, n)| **found == n));
    // Without a runtime, by an executor of another kind.
    let numbers: BTreeSet<u64> = futures_util::FutureExt::now_or_never(async {})
        .map(|()| crate::pains::block_on(set().map(check).collect()))
        .expect("at once");
    assert_eq!(numbers.len() as u64, COUNT);
}

#[test]
fn gather_ends_with_the_first_error_and_leaves_nothing() {
    let pool = pool(1);
    let mut gate = Gate::new();
    let mut tasks = TaskSet::new();
    tasks.push(gated(&pool, &gate, 1));
    let fails: TaskHandle<u32> = pool
        .spawn((), |()| panic!("as planned"))
        .expect("submitted");
    tasks.push(fails);
    tasks.push(gated(&pool, &gate, 3));
    tasks.push(gated(&pool, &gate, 4));
    gate.await_workers(1);
    gate.open(1);
    let error = tasks.gather().wait().expect_err("one failed");
    assert_eq!(error.index, 1);
    assert!(matches!(error.error, TaskError::Panicked { .. }));
    // Of the rest at most one had begun.
    gate.open(1);
    until("the end", || {
        pool.stats().in_flight + pool.stats().queued == 0
    });
    assert!(pool.stats().workers[0].tasks_done <= 3);
}

#[test]
fn tasks_can_be_taken_out_cancelled_and_dropped() {
    let pool = pool(1);
    let mut gate = Gate::new();
    let mut tasks: TaskSet<u32> = [1, 2, 3, 4]
        .map(|n| gated(&pool, &gate, n))
        .into_iter()
        .collect();
    gate.await_workers(1);
    let second = tasks.remove(1).expect("it is there");
    assert!(tasks.remove(1).is_none() && tasks.len() == 3);
    let mut third = tasks.remove(2).expect("it is there");
    assert!(third.cancel(), "it had not begun");
    gate.open(2);
    let (number, result) = tasks.wait_next().expect("two");
    assert_eq!((number, result.expect("well").to_native()), (0, 1));
    assert_eq!(*second.wait().expect("it ends well"), 2);
    gate.await_workers(2);
    tasks.cancel_all();
    let (number, result) = tasks.wait_next().expect("one");
    assert_eq!(
        (number, result.expect_err("cancelled")),
        (3, TaskError::Cancelled)
    );
    let mut tasks = TaskSet::new();
    tasks.extend([5, 6].map(|n| quick(&pool, n)));
    drop(tasks);
    assert_eq!(*quick(&pool, 7).wait().expect("it ends well"), 7);
}

#[test]
fn tasks_of_several_pools_share_a_set() {
    let pools = [pool(1), pool(1), pool(1)];
    for round in 0..20 {
        let set = || -> TaskSet<u32> {
            let tasks = (0..60).map(|n| quick(&pools[(n + round) as usize % 3], n));
            tasks.collect()
        };
        let mut sum = 0;
        for (number, result) in set() {
            assert_eq!(u64::from(result.expect("well").to_native()), number);
            sum += number;
        }
        assert_eq!(sum, 60 * 59 / 2);
        let gathered = runtime().block_on(set().gather()).expect("all end well");
        assert_eq!(gathered.len(), 60);
    }
}

#[test]
fn a_pool_that_goes_ends_the_set() {
    let pool = pool(1);
    let mut gate = Gate::new();
    let mut tasks: TaskSet<u32> = [1, 2].map(|n| gated(&pool, &gate, n)).into_iter().collect();
    gate.await_workers(1);
    drop(pool);
    for _ in 0..2 {
        let (_, result) = tasks.wait_next().expect("two");
        assert_eq!(result.expect_err("it was pending"), TaskError::PoolClosed);
    }
    assert!(tasks.wait_next().is_none());
}
