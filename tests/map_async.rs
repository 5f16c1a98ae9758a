//! Many items whose function returns a future.
#![cfg(feature = "tokio")]

mod policy_support;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use gristmill::{Error, Pool, TaskError};
use policy_support::{Tally, die, mark, wait_for};
use rkyv::rend::u64_le;
use tokio::sync::{Barrier, Semaphore};

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

/// One in each worker.
static SIXTEEN: LazyLock<Barrier> = LazyLock::new(|| Barrier::new(16));
static EIGHT: LazyLock<Barrier> = LazyLock::new(|| Barrier::new(8));
static SHUT: Semaphore = Semaphore::const_new(0);

#[test]
fn results_are_in_the_order_of_the_input_and_items_wait_for_each_other() {
    let pool = pool(1);
    let results = pool.map_async(0..160_u64, async |n| {
        SIXTEEN.wait().await;
        n.to_native() * 3
    });
    let results = results.wait().unwrap();
    assert_eq!(results.len(), 160);
    for (n, tripled) in (0..).zip(&results) {
        assert_eq!(**tripled, n * 3);
    }
}

#[test]
fn completed_results_come_once_each_though_the_first_item_waits_for_the_last() {
    let tally = Tally::new();
    let pool = pool(2);
    let items = (0..24_u64).map(|n| (n, tally.path()));
    let results = pool.starmap_async(items, async |(n, path)| {
        if *n == 0 {
            while std::fs::metadata(path.as_str()).unwrap().len() < 23 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        n.to_native()
    });
    let mut seen = BTreeSet::new();
    let mut last = None;
    for (index, result) in results.as_completed().unwrap() {
        assert_eq!(*result.unwrap(), index);
        assert!(seen.insert(index), "{index} came twice");
        last = Some(index);
        // Here, not where it was computed: of two that have ended, either may come first.
        mark(&tally.path());
    }
    assert_eq!((seen.len(), last), (24, Some(0)));
}

#[test]
fn an_endless_input_is_pulled_no_further_than_workers_hold_twice() {
    let pool = Pool::builder().workers(2).async_concurrency(5);
    let pool = pool.build().unwrap();
    let pulled = Rc::new(Cell::new(0));
    let counter = Rc::clone(&pulled);
    let items = (0_u64..).inspect(move |_| counter.set(counter.get() + 1));
    let mut results = pool
        .map_async(items, async |n| n.to_native())
        .ordered()
        .unwrap()
        .into_iter();
    for n in 0..200 {
        assert_eq!(*results.next().unwrap().unwrap(), n);
        assert!(pulled.get() <= n + 1 + 20, "{} at {n}", pulled.get());
    }
    drop(results);
    let bounded = pool.map_async(0..1_000_u64, async |n| n.to_native());
    let mut bounded = bounded.read_ahead(3).ordered().unwrap().into_iter();
    assert_eq!(*bounded.next().unwrap().unwrap(), 0);
    assert!(bounded.get_ref().in_flight() <= 3);
}

#[test]
fn a_panic_fails_its_item_alone() {
    let pool = pool(1);
    let results = pool.map_async(0..40_u64, async |n| {
        tokio::task::yield_now().await;
        assert!(*n != 17, "not seventeen");
        n.to_native()
    });
    for (n, result) in (0..).zip(results.ordered().unwrap()) {
        match result {
            Ok(value) => assert!(n != 17 && *value == n),
            Err(error) => {
                assert_eq!((error.index, n), (17, 17));
                let TaskError::Panicked { element, .. } = error.error else {
                    panic!("{error:?}");
                };
                assert_eq!(element, Some(17));
            }
        }
    }
}

#[test]
fn an_item_that_takes_too_long_is_dropped_where_it_waits_and_its_neighbours_are_not() {
    let pool = pool(1);
    let before = pool.worker_pids();
    let results = pool.map_async(0..12_u64, async |n| {
        if *n == 3 {
            SHUT.acquire().await.unwrap().forget();
        }
        n.to_native()
    });
    let limit = Duration::from_millis(50);
    for (n, result) in (0..).zip(results.timeout(limit).ordered().unwrap()) {
        match result {
            Ok(value) => assert!(n != 3 && *value == n),
            Err(error) => {
                assert_eq!((error.index, n), (3, 3));
                let TaskError::TimedOut { limit: named, .. } = error.error else {
                    panic!("{error:?}");
                };
                assert_eq!(named, limit);
            }
        }
    }
    assert_eq!(pool.worker_pids(), before);
}

/// Kills its worker the first time that an item is 5.
async fn dies_once(n: &u64_le, path: &str) -> u64 {
    if *n == 5 && mark(path) == 1 {
        die();
    }
    n.to_native()
}

#[test]
fn idempotent_items_are_tried_again_when_their_worker_dies() {
    let tally = Tally::new();
    let pool = pool(2);
    let items = (0..60_u64).map(|n| (n, tally.path()));
    let results = pool.starmap_async(items, async |(n, path)| dies_once(n, path).await);
    let results = results.idempotent().wait().unwrap();
    assert!((0..).zip(&results).all(|(n, result)| **result == n));
    assert_eq!((results.len(), tally.count()), (60, 2));
}

#[test]
fn items_that_may_not_run_twice_fail_with_their_worker_and_all_others_come() {
    let tally = Tally::new();
    let pool = Pool::builder().workers(2).async_concurrency(4);
    let pool = pool.build().unwrap();
    let items = (0..60_u64).map(|n| (n, tally.path()));
    let results = pool.starmap_async(items, async |(n, path)| dies_once(n, path).await);
    let mut failed = Vec::new();
    for (n, result) in (0..).zip(results.ordered().unwrap()) {
        match result {
            Ok(value) => assert_eq!(*value, n),
            Err(error) => {
                assert!(matches!(error.error, TaskError::WorkerDied(_)), "{error:?}");
                failed.push(error.index);
            }
        }
    }
    // It takes along what its worker held at that time.
    assert!(failed.contains(&5) && failed.len() <= 4, "{failed:?}");
    assert_eq!(tally.count(), 1);
}

#[test]
fn the_first_error_ends_a_collected_map_and_what_waits_is_dropped() {
    let tally = Tally::new();
    let pool = Pool::builder().workers(1).async_concurrency(8);
    let pool = pool.build().unwrap();
    let items = (0..8_u64).map(|n| (n, tally.path()));
    let results = pool.starmap_async(items, async |(n, path)| {
        let _dropped = OnDrop(path.as_str().to_owned());
        assert!(*n != 0, "the first");
        SHUT.acquire().await.unwrap().forget();
    });
    match results.wait().map(|_| ()) {
        Err(Error::Item(error)) => assert_eq!(error.index, 0),
        other => panic!("{other:?}"),
    }
    // Those that waited are gone: as many as the worker holds can be begun.
    let again = pool.map_async(0..8_u64, async |n| {
        EIGHT.wait().await;
        n.to_native()
    });
    assert_eq!(again.wait().unwrap().len(), 8);
}

/// Marks a file when a future is dropped.
struct OnDrop(String);

impl Drop for OnDrop {
    fn drop(&mut self) {
        mark(&self.0);
    }
}

#[test]
fn a_map_that_is_dropped_has_its_futures_dropped() {
    let tally = Tally::new();
    let begun = Tally::new();
    let pool = Pool::builder().workers(1).async_concurrency(6);
    let pool = pool.build().unwrap();
    let items = (0..6_u64).map(|_| (begun.path(), tally.path()));
    let results = pool.starmap_async(items, async |(begun, dropped)| {
        let _dropped = OnDrop(dropped.as_str().to_owned());
        mark(begun);
        SHUT.acquire().await.unwrap().forget();
    });
    let mut results = results.as_completed().unwrap().into_iter();
    while begun.count() < 6 {
        assert!(results.next_timeout(Duration::from_millis(1)).is_none());
    }
    drop(results);
    wait_for(&tally.path(), 6);
    // And the worker has room for others.
    let again = pool.map_async(0..50_u64, async |n| n.to_native());
    assert_eq!(again.wait().unwrap().len(), 50);
}

#[test]
fn large_items_and_results_cross_alone() {
    let pool = pool(2);
    let items = (1..=6_u8).map(|n| vec![n; 300_000]);
    let results = pool.map_async(items, async |bytes| {
        tokio::task::yield_now().await;
        bytes.iter().rev().copied().collect::<Vec<u8>>()
    });
    let results = results.wait().unwrap();
    for (n, bytes) in (1..).zip(&results) {
        assert!(bytes.len() == 300_000 && bytes.iter().all(|&byte| byte == n));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_stream_as_input_and_a_context_for_all() {
    let pool = pool(2);
    let table = pool
        .alloc_from_fn(1_000, |i| i as u64 * 7)
        .unwrap()
        .freeze();
    let items = stream::iter(0..1_000_u64);
    let found = pool.map_stream_async_with(table, items, async |table, n| {
        tokio::task::yield_now().await;
        table[n.to_native() as usize]
    });
    let mut found = found.ordered().unwrap();
    for n in 0..1_000 {
        assert_eq!(*found.next().await.unwrap().unwrap(), n * 7);
    }
    assert!(found.next().await.is_none());
}

#[test]
fn no_items_and_a_closed_pool() {
    let pool = pool(1);
    let none = pool.map_async(0..0_u64, async |n| n.to_native());
    assert!(none.wait().unwrap().is_empty());
    pool.close();
    let results = pool.map_async(0..3_u64, async |n| n.to_native());
    assert!(matches!(
        results.wait().map(|_| ()),
        Err(Error::Item(error)) if matches!(error.error, TaskError::PoolClosed)
    ));
}
