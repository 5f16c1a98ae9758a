//! Many jobs on one pool: from many threads, more than the board has places for, in any mixture;
//! and that no result depends on the number of workers.

use std::thread;

use gristmill::{Job, Pool, SharedVec};
use proptest::prelude::*;

#[test]
fn threads_share_a_pool() {
    let pool = Pool::builder().workers(2).build().unwrap();
    let rounds = 60;
    thread::scope(|scope| {
        for thread in 0..8_u64 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..rounds {
                    let len = 1 + (thread * 977 + round * 131) as usize % 7000;
                    let seed = thread << 32 | round;
                    let xs = pool
                        .par_generate_with(seed, len, |s, i| s ^ i as u64)
                        .wait();
                    let xs = xs.unwrap().freeze();
                    let ys = pool.par_map_with(seed, &xs, |s, x| x ^ s).wait().unwrap();
                    assert!(ys.iter().enumerate().all(|(i, &y)| y == i as u64));
                    let sum = pool.par_sum(&ys.freeze()).wait().unwrap();
                    assert_eq!(sum, (0..len as u64).sum::<u64>());
                }
            });
        }
    });
}

/// The board has 64 places.
#[test]
fn more_jobs_than_places() {
    let pool = Pool::builder().workers(2).build().unwrap();
    let xs = pool.alloc_from_fn(3000, |i| i as u64).unwrap().freeze();
    let start = |number: u64| -> Job<'static, SharedVec<u64>> {
        let job = pool.par_map_with(number, &xs, |number, x| x * 1000 + number);
        job.start().unwrap()
    };
    let check = |number: u64, job: Job<'_, SharedVec<u64>>| {
        let ys = job.wait().unwrap();
        assert!(
            ys.iter()
                .enumerate()
                .all(|(i, &y)| y == i as u64 * 1000 + number)
        );
    };
    let jobs: Vec<_> = (0..300).map(start).collect();
    // In an order that is not theirs.
    for (number, job) in jobs.into_iter().enumerate().rev() {
        let number = number as u64;
        check(number, job);
    }
    // Some are given up, wherever they are by then.
    let mut jobs: Vec<_> = (0..300).map(|number| (number, start(number))).collect();
    jobs.retain(|(number, _)| number % 3 != 0);
    for (number, job) in jobs {
        check(number, job);
    }
    let all: Vec<_> = (0..200)
        .map(|_| pool.par_sum(&xs).start().unwrap())
        .collect();
    for sum in all {
        assert_eq!(sum.wait().unwrap(), 2999 * 1500);
    }
}

/// Reads whether a job is done without blocking on it, and how far it is.
#[test]
fn progress_ends_at_the_length() {
    let pool = Pool::builder().workers(2).build().unwrap();
    let xs = pool.alloc_from_fn(200_000, |i| i as f64).unwrap().freeze();
    let job = pool.par_map(&xs, |x| (0..50).fold(*x, |x, _| (x + 1.0).sqrt()));
    assert!(!job.is_finished() && job.progress().is_none());
    let mut job = job.start().unwrap();
    let mut last = 0;
    while !job.is_finished() {
        if let Some(progress) = job.progress() {
            assert_eq!(progress.total, 200_000);
            assert!(last <= progress.done && progress.done <= progress.total);
            last = progress.done;
        }
    }
    assert!(job.progress().is_none());
    let ys = job
        .wait_timeout(std::time::Duration::ZERO)
        .unwrap()
        .unwrap();
    assert_eq!(ys.len(), 200_000);
    assert!(job.wait().is_err(), "it has been taken");
}

/// The same grouping as `numeric::reduce` documents: sixteen lanes, then a tree.
fn lanes(part: &[f64]) -> f64 {
    let mut lanes = [0.0; 16];
    for (index, x) in part.iter().enumerate() {
        lanes[index % 16] += x;
    }
    let mut width = 16;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
    }
    lanes[0]
}

/// At most 256 parts of at least 1024 elements, and of a multiple of 64, by the length only.
fn parts(xs: &[f64]) -> impl Iterator<Item = &[f64]> {
    let size = xs.len().div_ceil(256).max(1024).next_multiple_of(64);
    xs.chunks(size)
}

#[test]
fn float_sums_have_the_same_bits_everywhere() {
    let values = |len: usize| -> Vec<f64> {
        (0..len)
            .map(|i| ((i * 7919 % 1009) as f64 - 504.3) * 10_f64.powi(i as i32 % 17))
            .collect()
    };
    for len in [1, 17, 1024, 1025, 100_003, 1_000_000] {
        let plain = values(len);
        let sum = parts(&plain).map(lanes).fold(0.0, |a, b| a + b);
        let reduced = parts(&plain)
            .map(|part| part.iter().fold(0.0, |a, x| a + x))
            .reduce(|a, b| a + b)
            .unwrap();
        for workers in [1, 2, 3, 5] {
            let pool = Pool::builder().workers(workers).build().unwrap();
            let xs = pool.copy_from_slice(&plain).unwrap().freeze();
            for _ in 0..3 {
                let found = pool.par_sum(&xs).wait().unwrap();
                assert_eq!(found.to_bits(), sum.to_bits(), "{len} by {workers}");
                let found = pool.par_reduce(&xs, || 0.0, |a, x| a + x, |a, b| a + b);
                let found: f64 = found.wait().unwrap();
                assert_eq!(found.to_bits(), reduced.to_bits(), "{len} by {workers}");
            }
        }
    }
}

/// The combining must keep the order: this operation does not commute.
#[test]
fn reductions_combine_from_left_to_right() {
    let pool = Pool::builder().workers(3).build().unwrap();
    for len in [0_usize, 1, 1024, 5000, 400_000] {
        let xs = pool.alloc_from_fn(len, |i| i as u64).unwrap().freeze();
        // First, last and whether everything between was adjacent.
        let found = pool.par_reduce(
            &xs,
            || [u64::MAX, u64::MAX, 1],
            |[first, last, sound], &x| {
                let first = if first == u64::MAX { x } else { first };
                [
                    first,
                    x,
                    sound & u64::from(last == u64::MAX || last + 1 == x),
                ]
            },
            |[a, b, left], [c, d, right]| [a, d, left & right & u64::from(b + 1 == c)],
        );
        let expected = match len as u64 {
            0 => [u64::MAX, u64::MAX, 1],
            len => [0, len - 1, 1],
        };
        assert_eq!(found.wait().unwrap(), expected);
    }
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    Map,
    MapInto,
    Zip,
    Generate,
    InPlace,
    Chunks,
    Reduce,
    Sum,
}

fn verb() -> impl Strategy<Value = Verb> {
    use Verb::*;
    prop::sample::select(vec![
        Map, MapInto, Zip, Generate, InPlace, Chunks, Reduce, Sum,
    ])
}

fn run(pool: &Pool, verb: Verb, plain: &[u32], seed: u32) {
    let input = pool.copy_from_slice(plain).unwrap().freeze();
    let one = move |x: u32| x.rotate_left(seed % 32) ^ seed;
    let expected: Vec<u32> = plain.iter().map(|&x| one(x)).collect();
    let with = |&seed: &u32, &x: &u32| x.rotate_left(seed % 32) ^ seed;
    match verb {
        Verb::Map => {
            let output = pool.par_map_with(seed, &input, with).wait().unwrap();
            assert_eq!(*output, *expected);
        }
        Verb::MapInto => {
            let mut output = pool.alloc_uninit(plain.len()).unwrap();
            pool.par_map_into_with(seed, &input, &mut output, with)
                .wait()
                .unwrap();
            assert_eq!(*output, *expected);
        }
        Verb::Zip => {
            let zip = |seed: &u32, a: &u32, b: &u32| a.rotate_left(seed % 32) ^ seed ^ (a ^ b);
            let output = pool
                .par_zip_map_with(seed, &input, &input, zip)
                .wait()
                .unwrap();
            assert_eq!(*output, *expected);
        }
        Verb::Generate => {
            let context = (seed, input.clone());
            let output = pool.par_generate_with(context, plain.len(), |(seed, input), i| {
                input[i].rotate_left(seed % 32) ^ seed
            });
            assert_eq!(*output.wait().unwrap(), *expected);
        }
        Verb::InPlace => {
            let mut data = pool.copy_from_slice(plain).unwrap();
            let change = |seed: &u32, x: &mut u32| *x = x.rotate_left(seed % 32) ^ seed;
            pool.par_for_each_mut_with(seed, &mut data, change)
                .wait()
                .unwrap();
            assert_eq!(*data, *expected);
        }
        Verb::Chunks => {
            let kernel = |seed: &u32, input: &[u32], output: &mut [u32]| {
                for (x, y) in input.iter().zip(output) {
                    *y = x.rotate_left(seed % 32) ^ seed;
                }
            };
            let output = pool.par_chunks_with(seed, &input, kernel).wait().unwrap();
            assert_eq!(*output, *expected);
        }
        Verb::Reduce => {
            let fold =
                |seed: &u32, a: u32, x: &u32| a.wrapping_add(x.rotate_left(seed % 32) ^ seed);
            let job = pool.par_reduce_with(seed, &input, || 0, fold, u32::wrapping_add);
            let expected = expected.iter().fold(0, |a: u32, x| a.wrapping_add(*x));
            assert_eq!(job.wait().unwrap(), expected);
        }
        Verb::Sum => {
            let wide = pool
                .par_map(&input, |&x| u64::from(x))
                .wait()
                .unwrap()
                .freeze();
            let expected = plain.iter().map(|&x| u64::from(x)).sum::<u64>();
            assert_eq!(pool.par_sum(&wide).wait().unwrap(), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_sequence_of_verbs(
        workers in 1..6_usize,
        steps in prop::collection::vec((verb(), 0..20_000_usize, any::<u32>()), 1..12),
    ) {
        let pool = Pool::builder().workers(workers).build().unwrap();
        for (verb, len, seed) in steps {
            let plain: Vec<u32> = (0..len as u32).map(|i| i.wrapping_mul(seed | 1)).collect();
            run(&pool, verb, &plain, seed);
        }
    }
}
