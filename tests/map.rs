//! Many items through one function: every way to ask for the results, and what each promises.

mod map_support;

use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use gristmill::{Error, ItemError, Pool, TaskError};
use map_support::{current_thread, digest, expected, multi_thread, order, pool};
use proptest::prelude::*;

/// Numbers, and how many of them were pulled.
fn counted<T>(items: impl Iterator<Item = T>) -> (impl Iterator<Item = T>, Rc<Cell<usize>>) {
    let pulled = Rc::new(Cell::new(0));
    let count = Rc::clone(&pulled);
    let items = items.inspect(move |_| count.set(count.get() + 1));
    (items, pulled)
}

#[test]
fn ordered_results_come_in_the_order_of_the_input() {
    let pool = pool();
    let results = pool.map((0..20_000).map(order), digest).ordered().unwrap();
    let mut next = 0;
    for result in results {
        let result = result.unwrap().to_owned().unwrap();
        assert_eq!(result, expected(next));
        next += 1;
    }
    assert_eq!(next, 20_000);
}

#[test]
fn completed_results_come_once_each_with_their_index() {
    let pool = pool();
    let results = pool.map((0..20_000).map(order), digest);
    let mut seen = HashSet::new();
    for (index, result) in results.as_completed().unwrap() {
        assert_eq!(result.unwrap().to_owned().unwrap(), expected(index));
        assert!(seen.insert(index), "{index} twice");
    }
    assert_eq!(seen.len(), 20_000);
}

/// The first item ends only after another has been received; so does its batch's rest, or this
/// hangs.
#[test]
fn an_item_that_waits_keeps_no_other_from_completing() {
    let pool = pool();
    let sign = std::env::temp_dir().join(format!("gristmill-map-{}", std::process::id()));
    let items = (0..200_u32).map(|n| (n, sign.display().to_string()));
    let results = pool.starmap(items, |(n, sign)| {
        while *n == 0 && !std::path::Path::new(sign.as_str()).exists() {
            std::thread::yield_now();
        }
    });
    let mut last = None;
    for (index, result) in results.batch(1).as_completed().unwrap() {
        result.unwrap();
        std::fs::write(&sign, []).unwrap();
        last = last.max(Some(index));
    }
    std::fs::remove_file(&sign).unwrap();
    assert_eq!(last, Some(199));
}

#[test]
fn collected_and_awaited() {
    let pool = pool();
    let collected = pool.map((0..3000).map(order), digest).wait().unwrap();
    assert_eq!(collected.len(), 3000);
    assert_eq!(collected[2999].to_owned().unwrap(), expected(2999));
    for runtime in [current_thread(), multi_thread()] {
        let collected = runtime.block_on(pool.map((0..3000).map(order), digest).into_future());
        assert_eq!(collected.unwrap().len(), 3000);
    }
}

/// aioprocessing's `coro_map([])` never resolves.
#[test]
fn no_items_are_done_at_once() {
    let pool = pool();
    let none = || std::iter::empty::<u64>();
    assert!(pool.map(none(), |n| *n).wait().unwrap().is_empty());
    assert_eq!(
        pool.map(none(), |n| *n)
            .ordered()
            .unwrap()
            .into_iter()
            .count(),
        0
    );
    current_thread().block_on(async {
        assert!(pool.map(none(), |n| *n).await.unwrap().is_empty());
        let mut streamed = pool
            .map_stream(stream::empty::<u64>(), |n| *n)
            .as_completed()
            .unwrap();
        assert!(streamed.next().await.is_none());
        assert!(streamed.next().await.is_none());
    });
}

#[test]
fn starmap_hands_over_the_parts_of_each_tuple() {
    let pool = pool();
    let pairs = (0..500_u64).map(|n| (n, format!("{n}")));
    let found = pool.starmap(pairs, |(n, text)| text.len() as u64 + n.to_native());
    for (n, result) in (0..).zip(found.wait().unwrap()) {
        assert_eq!(result.to_native(), n + n.to_string().len() as u64);
    }
    let many = [(1_u8, 2_u8, 3_u8, 4_u8, 5_u8, vec![6_u8])];
    let sum = pool.starmap(many, |(a, b, c, d, e, f)| a + b + c + d + e + f[0]);
    assert_eq!(*sum.wait().unwrap()[0], 21);
}

#[test]
fn an_endless_input_is_pulled_no_further_than_the_read_ahead() {
    let pool = pool();
    for read_ahead in [1, 2, 7, 64, 1000] {
        let (items, pulled) = counted((0_u64..).map(order));
        let mut results = pool
            .map(items, digest)
            .read_ahead(read_ahead)
            .ordered()
            .unwrap()
            .into_iter();
        for index in 0..1000_usize {
            let result = results.next().unwrap().unwrap();
            assert_eq!(result.to_owned().unwrap(), expected(index as u64));
            let ahead = pulled.get() - index;
            assert!(ahead <= read_ahead, "{ahead} pulled, {read_ahead} allowed");
            assert!(results.get_ref().in_flight() <= read_ahead);
        }
        assert_eq!(results.get_ref().completed(), 1000);
    }
}

#[test]
fn the_default_read_ahead_is_bounded_and_memory_with_it() {
    let pool = pool();
    let (items, pulled) = counted((0_u64..).map(|n| vec![n as u8; 100_000]));
    let mut results = pool
        .map(items, |bytes| bytes.len() as u64)
        .ordered()
        .unwrap()
        .into_iter();
    let mut peak = 0;
    for index in 0..500 {
        assert_eq!(results.next().unwrap().unwrap().to_native(), 100_000);
        assert!(
            pulled.get() - index <= 8,
            "four batches a worker, of one item each"
        );
        peak = peak.max(pool.memory_stats().in_use);
    }
    assert!(peak <= 9 * 102_400, "{peak} bytes of arguments at once");
}

/// Results lie one behind the other, each aligned by where the one before it ends.
#[test]
fn neighbours_of_any_length_leave_results_aligned() {
    #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
    struct Mixed {
        wide: Vec<u64>,
        narrow: u32,
    }
    let pool = pool();
    let numbers = pool.map(0..999_u64, |n| {
        let n = n.to_native();
        assert!(n % 3 != 0, "{}", "x".repeat(n as usize % 17));
        n + 1
    });
    for (n, result) in numbers.ordered().unwrap().into_iter().enumerate() {
        match result {
            Ok(found) => assert_eq!(found.to_native(), n as u64 + 1),
            Err(error) => assert!(n % 3 == 0, "{n}: {error}"),
        }
    }
    let mixed = pool.map(0..999_u64, |n| Mixed {
        wide: vec![n.to_native(); n.to_native() as usize % 3],
        narrow: n.to_native() as u32,
    });
    for (n, result) in mixed.ordered().unwrap().into_iter().enumerate() {
        let found = result.unwrap();
        assert_eq!(found.narrow.to_native() as usize, n);
        assert_eq!(found.wide.len(), n % 3);
        assert!(found.wide.iter().all(|wide| wide.to_native() == n as u64));
    }
}

#[test]
fn a_panic_fails_its_item_alone() {
    let pool = pool();
    let results = pool.map(0..5000_u64, |n| {
        assert!(*n != 1234 && *n != 4321, "unlucky {n}");
        n.to_native() + 1
    });
    for (index, result) in results.as_completed().unwrap() {
        match (index, result) {
            (
                1234 | 4321,
                Err(TaskError::Panicked {
                    message,
                    element,
                    location,
                    ..
                }),
            ) => {
                assert_eq!(message, format!("unlucky {index}"));
                assert_eq!(element, Some(index));
                assert_eq!(location.unwrap().file, "tests/map.rs");
            }
            (_, Ok(result)) => assert_eq!(result.to_native(), index + 1),
            (_, Err(error)) => panic!("{index}: {error}"),
        }
    }
}

#[test]
fn collecting_ends_with_the_first_error_and_pulls_no_further() {
    let pool = pool();
    let (items, pulled) = counted(0_u64..);
    let failed = pool
        .map(items, |n| assert!(*n != 77))
        .read_ahead(100)
        .wait();
    match failed {
        Err(Error::Item(ItemError {
            index: 77,
            error: TaskError::Panicked { .. },
            ..
        })) => {}
        other => panic!("{:?}", other.map(|results| results.len())),
    }
    assert!(pulled.get() <= 77 + 100);
    assert_eq!(pool.map([1_u8], |n| *n).wait().unwrap().len(), 1);
}

#[test]
fn large_and_small_items_and_results_mix() {
    let pool = pool();
    let sizes = [
        0_usize,
        1,
        100,
        70_000,
        5,
        300_000,
        65_000,
        65_000,
        3,
        1 << 20,
    ];
    let items = sizes.iter().cycle().take(400);
    let results = pool.map(items.clone().map(|&size| vec![7_u8; size]), |bytes| {
        let doubled: Vec<u8> = bytes.iter().chain(bytes.iter()).copied().collect();
        doubled
    });
    for (result, &size) in results.ordered().unwrap().into_iter().zip(items) {
        let result = result.unwrap();
        assert_eq!(result.len(), 2 * size);
        assert!(result.iter().all(|&byte| byte == 7));
    }
}

#[test]
fn results_outlive_the_map_their_neighbours_and_the_pool() {
    let pool = pool();
    let mut results = pool.map((0..2000).map(order), digest).wait().unwrap();
    let last = results.pop().unwrap();
    drop(results);
    let again = pool.map((0..2000).map(order), digest).wait().unwrap();
    drop(again);
    drop(pool);
    assert_eq!(last.to_owned().unwrap(), expected(1999));
}

#[test]
fn size_hints_hold() {
    let pool = pool();
    let mut results = pool.map(0..1000_u64, |n| *n).ordered().unwrap().into_iter();
    for left in (0..=1000).rev() {
        let (least, most) = results.size_hint();
        assert_eq!((least, most), (results.get_ref().in_flight(), Some(left)));
        assert!(least <= left);
        assert_eq!(results.next().is_some(), left > 0);
    }
}

#[test]
fn contexts_are_shared_by_all_items() {
    let pool = pool();
    let table = pool.alloc_from_fn(1000, |i| i as u32 * 7).unwrap().freeze();
    let results = pool.map_with((table, 5_u32), 0..1000_u32, |(table, add), index| {
        table[index.to_native() as usize] + add
    });
    for (index, result) in (0..).zip(results.wait().unwrap()) {
        assert_eq!(result.to_native(), index * 7 + 5);
    }
    let other = Pool::builder().workers(1).build().unwrap();
    let foreign = other.alloc_from_fn(10, |i| i as u32).unwrap().freeze();
    let refused = pool.map_with(foreign, [1_u8], |_, _| ()).ordered();
    assert!(matches!(refused, Err(Error::Context(_))), "{refused:?}");
}

#[test]
fn many_items() {
    let many = if cfg!(debug_assertions) {
        200_000
    } else {
        1_000_000
    };
    let pool = pool();
    let results = pool.map(0..many, |n: &rkyv::Archived<u64>| n.to_native());
    let sum: u64 = results
        .as_completed()
        .unwrap()
        .into_iter()
        .map(|(index, result)| {
            let result = result.unwrap().to_native();
            assert_eq!(index, result);
            result
        })
        .sum();
    assert_eq!(sum, many * (many - 1) / 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_map_is_that_of_a_vec(
        items in prop::collection::vec(
            (any::<u64>(), prop::collection::vec(any::<u16>(), 0..50)),
            0..400,
        ),
        read_ahead in prop::option::of(1_usize..200),
        batch in prop::option::of(1_usize..100),
    ) {
        let pool = pool();
        let wanted: Vec<(u64, u64)> = items
            .iter()
            .map(|(number, list)| (!number, list.iter().map(|&n| u64::from(n)).sum()))
            .collect();
        let mut map = pool.starmap(items, |(number, list)| {
            (!number.to_native(), list.iter().map(|n| u64::from(n.to_native())).sum::<u64>())
        });
        if let Some(read_ahead) = read_ahead {
            map = map.read_ahead(read_ahead);
        }
        if let Some(batch) = batch {
            map = map.batch(batch);
        }
        let found: Vec<(u64, u64)> =
            map.wait().unwrap().iter().map(|result| result.to_owned().unwrap()).collect();
        prop_assert_eq!(found, wanted);
    }
}

#[test]
fn results_of_a_slow_input_do_not_wait_until_a_batch_is_full() {
    type Input = Box<dyn Iterator<Item = u64>>;
    let pool = pool();
    let map = |input: Input| {
        let map = pool.map(input, |x| x.to_native() * 2);
        map.ordered().unwrap().into_iter()
    };
    // The function is known to be quick, so that dozens of items of a quick input go together.
    for _ in 0..2 {
        assert!(map(Box::new(0..20_000)).all(|result| result.is_ok()));
    }
    let (input, pulled) = counted(0..10_000);
    // Longer than from one tick of any kernel to the next.
    let slow = input.inspect(|_| thread::sleep(Duration::from_millis(12)));
    let first = map(Box::new(slow)).next().unwrap().unwrap();
    assert_eq!(first.to_native(), 0);
    assert!(pulled.get() < 20, "{} were pulled", pulled.get());
}
