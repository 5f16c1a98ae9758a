//! Maps as streams: fed by streams, dropped half-way, several at a time, in every runtime.

mod map_support;

use std::thread;

use futures_util::{Stream, StreamExt, stream};
use gristmill::TaskError;
use map_support::{Order, current_thread, digest, expected, multi_thread, order, pool};

#[test]
fn a_stream_as_input_needs_no_full_batch() {
    for runtime in [current_thread(), multi_thread()] {
        let pool = pool();
        runtime.block_on(async {
            let (send, mut receive) = tokio::sync::mpsc::channel::<Order>(4);
            let items = stream::poll_fn(move |context| receive.poll_recv(context));
            let mut results = pool.map_stream(items, digest).batch(50).ordered().unwrap();
            for number in 0..300 {
                // Each is answered before the next is sent.
                send.send(order(number)).await.unwrap();
                let result = results.next().await.unwrap().unwrap();
                assert_eq!(result.to_owned().unwrap(), expected(number));
            }
            // The channel gives back what it has no room for.
            let refused = (0..6).find_map(|n| send.try_send(order(n)).err());
            assert!(matches!(
                refused,
                Some(tokio::sync::mpsc::error::TrySendError::Full(order)) if order.number == 4
            ));
            drop(send);
            assert_eq!(results.count().await, 4);
        });
    }
}

#[test]
fn a_stream_that_is_sometimes_pending_loses_nothing() {
    let pool = pool();
    let mut turn = 0_u64;
    let items = stream::poll_fn(move |context| {
        turn += 1;
        match turn {
            8000.. => std::task::Poll::Ready(None),
            turn if turn % 3 == 0 => {
                context.waker().wake_by_ref();
                std::task::Poll::Pending
            }
            turn => std::task::Poll::Ready(Some(turn)),
        }
    });
    let results = pool.map_stream(items, |n| n.to_native()).ordered().unwrap();
    let found: Vec<u64> =
        multi_thread().block_on(results.map(|result| result.unwrap().to_native()).collect());
    let wanted: Vec<u64> = (1..8000).filter(|turn| turn % 3 != 0).collect();
    assert_eq!(found, wanted);
}

#[test]
fn a_dropped_next_loses_no_item() {
    let pool = pool();
    current_thread().block_on(async {
        let mut results = pool.map((0..3000).map(order), digest).ordered().unwrap();
        let mut number = 0;
        let mut dropped = 0;
        loop {
            let result = tokio::select! {
                biased;
                result = results.next() => result,
                () = tokio::task::yield_now() => {
                    dropped += 1;
                    continue;
                }
            };
            let Some(result) = result else { break };
            assert_eq!(result.unwrap().to_owned().unwrap(), expected(number));
            number += 1;
        }
        assert_eq!(number, 3000, "{dropped} futures were dropped");
    });
}

#[test]
fn a_map_dropped_half_way_leaves_nothing_behind() {
    let pool = pool();
    let idle = pool.memory_stats().in_use;
    for taken in [0, 1, 10, 500] {
        let items = (0_u64..).map(order);
        let results = pool
            .map(items, digest)
            .batch(10)
            .read_ahead(10_000)
            .ordered()
            .unwrap();
        assert_eq!(results.into_iter().take(taken).count(), taken);
    }
    // Its own batches come after what was left of those.
    assert_eq!(
        pool.map((0..100).map(order), digest).wait().unwrap().len(),
        100
    );
    while pool.memory_stats().in_use > idle {
        pool.spawn((), |()| ()).unwrap().wait().unwrap();
    }
}

#[test]
fn a_pool_that_goes_ends_its_maps() {
    let pool = pool();
    let mut results = pool
        .map(0_u64.., |n| n.to_native())
        .ordered()
        .unwrap()
        .into_iter();
    assert!(results.next().unwrap().is_ok());
    drop(pool);
    let rest: Vec<_> = results.collect();
    let last = rest.last().unwrap().as_ref().map(|_| ()).unwrap_err();
    assert_eq!(last.error, TaskError::PoolClosed);
}

/// A stream can be sent to another task, and so can the results.
#[test]
fn streams_move_between_tasks() {
    fn sendable<T: Stream + Send + 'static>(stream: T) -> T {
        stream
    }
    let pool = pool();
    let results = sendable(pool.map(0..1000_u64, |n| *n).ordered().unwrap());
    let runtime = multi_thread();
    let count = runtime.spawn(
        results
            .filter(|result| std::future::ready(result.is_ok()))
            .count(),
    );
    assert_eq!(runtime.block_on(count).unwrap(), 1000);
}

#[test]
fn two_maps_share_a_pool() {
    let pool = pool();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let results = pool.map((0..10_000).map(order), digest).ordered().unwrap();
                for (number, result) in (0..).zip(results) {
                    assert_eq!(result.unwrap().to_owned().unwrap(), expected(number));
                }
            });
        }
    });
    current_thread().block_on(async {
        let one = pool.map((0..5000).map(order), digest).ordered().unwrap();
        let two = pool
            .map((5000..10_000).map(order), digest)
            .ordered()
            .unwrap();
        let mut both = one.zip(two).enumerate();
        while let Some((number, (one, two))) = both.next().await {
            assert_eq!(one.unwrap().to_owned().unwrap(), expected(number as u64));
            assert_eq!(
                two.unwrap().to_owned().unwrap(),
                expected(5000 + number as u64)
            );
        }
    });
}

#[test]
fn a_map_of_maps_is_read_in_turns_by_one_thread() {
    let pool = pool();
    let mut outer = pool
        .map(0..100_u64, |n| n.to_native())
        .ordered()
        .unwrap()
        .into_iter();
    let mut inner = pool
        .map(100..200_u64, |n| n.to_native())
        .ordered()
        .unwrap()
        .into_iter();
    for n in 0..100 {
        assert_eq!(outer.next().unwrap().unwrap().to_native(), n);
        assert_eq!(inner.next().unwrap().unwrap().to_native(), 100 + n);
    }
}
