//! What a verb says when it cannot do its work, and what it leaves behind.

use bytemuck::Pod;
use gristmill::{ContextError, Error, MemoryLimit, Pool, SharedVec, TaskError};

fn pool() -> Pool {
    Pool::builder().workers(2).build().unwrap()
}

/// The element, line and message of a panic; that it was in this file is checked here.
#[track_caller]
fn panicked<T: core::fmt::Debug>(outcome: Result<T, Error>) -> (Option<u64>, u32, String) {
    match outcome {
        Err(Error::Task(TaskError::Panicked {
            message,
            location: Some(location),
            element,
            ..
        })) => {
            assert!(
                location.file.ends_with("tests/verbs_errors.rs"),
                "{location}"
            );
            assert!(location.column > 0);
            (element, location.line, message)
        }
        other => panic!("a panic was expected: {other:?}"),
    }
}

/// Panics at the one element that the tests choose.
fn careful(x: u64, bad: u64) -> u64 {
    assert!(x != bad, "element {x} is bad");
    x + 1
}

const CAREFUL_LINE: u32 = 33;

#[test]
fn the_line_of_the_panic_is_known() {
    let here = include_str!("verbs_errors.rs")
        .lines()
        .nth(CAREFUL_LINE as usize - 1)
        .unwrap();
    assert!(here.contains("is bad"), "{here}");
}

#[test]
fn of_many_panics_the_first_element_is_told_however_the_output_is_written() {
    let pool = pool();
    let len = 1_500_000;
    let xs = pool.alloc_from_fn(len, |i| i as u64).unwrap().freeze();
    // At the beginning of a page, of a tile and in the middle of one, and just before each.
    for bad in [1, 63, 64, 511, 512, 777_215, 777_216, 777_777, 1_499_999] {
        let job = pool.par_map_with(bad, &xs, |&bad, &x| {
            assert!(x < bad, "element {x} is bad");
            x
        });
        let (element, _, message) = panicked(job.wait());
        assert_eq!(element, Some(bad));
        assert_eq!(message, format!("element {bad} is bad"));
    }
}

#[test]
fn a_panic_names_its_element_in_every_verb() {
    let pool = pool();
    // The second is written past the cache, in tiles; panics at the ends of tiles and within.
    for (len, bads) in [
        (5000, [0, 1, 63, 64, 2500, 4999]),
        (1_500_000, [0, 511, 512, 777_777, 1_048_576, 1_499_999]),
    ] {
        let xs = pool.alloc_from_fn(len, |i| i as u64).unwrap().freeze();
        for bad in bads {
            let expected = (Some(bad), CAREFUL_LINE, format!("element {bad} is bad"));
            let job = pool.par_map_with(bad, &xs, |&bad, &x| careful(x, bad));
            assert_eq!(panicked(job.wait()), expected);
            let job = pool.par_zip_map_with(bad, &xs, &xs, |&bad, &x, _| careful(x, bad));
            assert_eq!(panicked(job.wait()), expected);
            let job = pool.par_generate_with(bad, len, |&bad, i| careful(i as u64, bad));
            assert_eq!(panicked(job.wait()), expected);
            let fold = |&bad: &u64, sum: u64, &x: &u64| sum.wrapping_add(careful(x, bad));
            let job = pool.par_reduce_with(bad, &xs, || 0, fold, u64::wrapping_add);
            assert_eq!(panicked(job.wait()), expected);
            let mut ys = pool.alloc_zeroed::<u64>(len).unwrap();
            let job = pool.par_map_into_with(bad, &xs, &mut ys, |&bad, &x| careful(x, bad));
            assert_eq!(panicked(job.wait()), expected);
            assert_eq!(ys.len(), len, "the output comes back");
            let mut data = pool.copy_from_slice(&xs).unwrap();
            let change = |&bad: &u64, x: &mut u64| *x = careful(*x, bad);
            let job = pool.par_for_each_mut_with(bad, &mut data, change);
            assert_eq!(panicked(job.wait()), expected);
            assert_eq!(data.len(), len, "the data comes back");
            assert_eq!(
                data[bad as usize], bad,
                "the one that panicked is unchanged"
            );
        }
        // The loop is the user's own: no element.
        let job = pool.par_chunks(&xs, |input: &[u64], output: &mut [u64]| {
            for (x, y) in input.iter().zip(output) {
                *y = careful(*x, 4000);
            }
        });
        assert_eq!(
            panicked(job.wait()),
            (None, CAREFUL_LINE, "element 4000 is bad".into())
        );
        let job = pool.par_map(&xs, |x| x + 1);
        assert_eq!(
            job.wait().unwrap()[len - 1],
            len as u64,
            "the pool works on"
        );
    }
}

#[test]
fn panics_in_what_surrounds_the_elements() {
    let pool = pool();
    let xs = pool.alloc_from_fn(100_000, |i| i as u64).unwrap().freeze();
    let combine = |_: u64, _: u64| -> u64 { panic!("no combining") };
    let line = line!() - 1;
    let job = pool.par_reduce(&xs, || 0, |a, x| a ^ x, combine);
    assert_eq!(panicked(job.wait()), (None, line, "no combining".into()));
    let identity = || -> u64 { panic!("nothing to begin with") };
    let job = pool.par_reduce(&xs, identity, |a, x| a ^ x, |a, b| a ^ b);
    assert_eq!(panicked(job.wait()).2, "nothing to begin with");
    let none = xs.slice(..0);
    let job = pool.par_reduce(&none, identity, |a, x| a ^ x, |a, b| a ^ b);
    assert_eq!(panicked(job.wait()).2, "nothing to begin with");
    // A payload that is no text.
    let job = pool.par_map(&xs, |&x| -> u64 { std::panic::panic_any(x) });
    let panicked = job.wait().unwrap_err();
    assert!(panicked.to_string().contains("no text"), "{panicked}");
}

#[test]
fn of_several_panics_one_is_told_and_it_is_a_true_one() {
    let pool = pool();
    let xs = pool.alloc_from_fn(100_000, |i| i as u64).unwrap().freeze();
    let job = pool.par_map(&xs, |&x| careful(x % 10, 3));
    let (element, _, message) = panicked(job.wait());
    assert_eq!(element.unwrap() % 10, 3);
    assert_eq!(message, "element 3 is bad");
}

fn unequal<T: core::fmt::Debug>(outcome: Result<T, Error>) {
    match outcome {
        Err(Error::InvalidArgument { found, wanted, .. }) => {
            assert!(
                found.contains('9') && wanted.contains("10"),
                "{found}; {wanted}"
            );
        }
        other => panic!("lengths differ: {other:?}"),
    }
}

#[test]
fn lengths_that_differ() {
    let pool = pool();
    let ten = pool.alloc_zeroed::<u32>(10).unwrap().freeze();
    let nine = pool.alloc_zeroed::<u32>(9).unwrap().freeze();
    unequal(pool.par_zip_map(&ten, &nine, |a, b| a + b).wait());
    let mut short = pool.copy_from_slice(&[5_u32; 9]).unwrap();
    unequal(pool.par_map_into(&ten, &mut short, |x| *x).wait());
    assert_eq!(*short, [5; 9], "it was not touched");
    let mut none = SharedVec::<u32>::new();
    assert!(pool.par_map_into(&ten, &mut none, |x| *x).wait().is_err());
}

#[test]
fn a_length_beyond_the_address_space() {
    let pool = pool();
    let outcome = pool.par_generate(usize::MAX / 4, |i| i as u64).wait();
    assert!(
        matches!(outcome, Err(Error::InvalidArgument { .. })),
        "{outcome:?}"
    );
    let outcome = pool.par_generate(usize::MAX / 8, |i| i as u64).wait();
    assert!(matches!(outcome, Err(Error::OutOfMemory(_))), "{outcome:?}");
}

fn foreign<T: core::fmt::Debug>(outcome: Result<T, Error>) {
    assert!(matches!(outcome, Err(Error::ForeignBuffer)), "{outcome:?}");
}

#[test]
fn buffers_of_another_pool() {
    let (home, abroad) = (pool(), pool());
    let here = home.alloc_from_fn(100, |i| i as u32).unwrap().freeze();
    let there = abroad.alloc_from_fn(100, |i| i as u32).unwrap().freeze();
    foreign(home.par_map(&there, |x| *x).wait());
    foreign(home.par_zip_map(&here, &there, |a, b| a + b).wait());
    foreign(home.par_zip_map(&there, &here, |a, b| a + b).wait());
    foreign(home.par_chunks(&there, |_: &[u32], _: &mut [u8]| ()).wait());
    foreign(
        home.par_reduce(&there, || 0, |a, x| a + x, |a, b| a + b)
            .wait(),
    );
    foreign(home.par_sum(&there).wait());
    foreign(home.par_min(&there).wait());
    let mut output = abroad.copy_from_slice(&[9_u32; 100]).unwrap();
    foreign(home.par_map_into(&here, &mut output, |x| *x).wait());
    foreign(home.par_for_each_mut(&mut output, |x| *x = 0).wait());
    assert_eq!(*output, [9; 100], "it was not touched");
    let context = home
        .par_map_with(there.clone(), &here, |t, &x| t[x as usize])
        .wait();
    let told = matches!(
        context,
        Err(Error::Context(ContextError::ForeignSlice {
            elements: 100,
            ..
        }))
    );
    assert!(told, "{context:?}");
    let mut own = home.copy_from_slice(&[9_u32; 100]).unwrap();
    let outcome = home
        .par_map_into_with(there, &here, &mut own, |t, &x| t[x as usize])
        .wait();
    assert!(matches!(outcome, Err(Error::Context(_))), "{outcome:?}");
    assert_eq!(*own, [9; 100], "it was given back");
}

#[test]
fn a_pool_that_is_gone() {
    let pool = pool();
    let xs = pool.alloc_from_fn(100_000, |i| i as f64).unwrap().freeze();
    let mut ys = pool.alloc_zeroed::<f64>(100_000).unwrap();
    let fresh = pool.par_map(&xs, |x| x + 1.0);
    let sum = pool.par_sum(&xs);
    let into = pool.par_map_into(&xs, &mut ys, |x| x + 1.0);
    drop(pool);
    for outcome in [fresh.wait().map(drop), sum.wait().map(drop), into.wait()] {
        let closed = matches!(
            outcome,
            Err(Error::PoolClosed | Error::Task(TaskError::PoolClosed))
        );
        assert!(closed, "{outcome:?}");
    }
    assert_eq!(ys.len(), 100_000, "the output comes back");
    assert_eq!(xs[99_999], 99_999.0, "buffers outlive their pool");
}

/// The most elements of a kind that can be had now.
fn most<T: Pod>(pool: &Pool) -> u64 {
    let mut sizes = (0_usize, 1 << 26);
    while sizes.1 - sizes.0 > 1 {
        let middle = (sizes.0 + sizes.1) / 2;
        match pool.alloc_uninit::<T>(middle) {
            Ok(_) => sizes.0 = middle,
            Err(_) => sizes.1 = middle,
        }
    }
    sizes.0 as u64
}

#[test]
fn a_full_budget_loses_nothing() {
    let budget = 16 << 20;
    let pool = Pool::builder()
        .workers(2)
        .memory_budget(budget)
        .build()
        .unwrap();
    let before = most::<u64>(&pool);
    assert!(before * 8 <= budget, "{before}");
    let half = before as usize / 2 + 1;
    let xs = pool.alloc_from_fn(half, |i| i as u64).unwrap().freeze();
    let full = |outcome: Result<(), Error>| match outcome {
        Err(Error::OutOfMemory(full)) => {
            assert_eq!(full.limit, MemoryLimit::Budget);
            assert_eq!(full.wanted, half as u64 * 8);
            assert!(full.available < full.wanted, "{full}");
            assert!(
                full.available >= (before - half as u64 - 1) * 8 - (2 << 20),
                "{full}"
            );
        }
        other => panic!("the budget is full: {other:?}"),
    };
    for _ in 0..100 {
        full(pool.par_map(&xs, |x| x + 1).wait().map(drop));
        full(pool.par_zip_map(&xs, &xs, |a, b| a + b).wait().map(drop));
        full(pool.par_generate(half, |i| i as u64).wait().map(drop));
        full(
            pool.par_chunks(&xs, |_: &[u64], _: &mut [u64]| ())
                .wait()
                .map(drop),
        );
        full(pool.alloc_zeroed::<u64>(half).map(drop));
        full(pool.par_map(&xs, |x| x + 1).start().map(drop));
    }
    assert_eq!(pool.par_sum(&xs).wait().unwrap(), xs.iter().sum::<u64>());
    drop(xs);
    assert_eq!(most::<u64>(&pool), before);
}
