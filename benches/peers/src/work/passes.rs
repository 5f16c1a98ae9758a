//! (i) Three stages over a large buffer, and (j) a sum.

use std::sync::Arc;
use std::thread;

use gristmill::Pool;
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::allocator;
use crate::contest::{Kind, Row, WIDTH, Work, turn};
use crate::crew::Crew;
use crate::kernels::Element;
use crate::remote::Remote;
use crate::work::Setup;

pub(crate) const ROWS: [(&str, Setup); 2] = [("i/pipeline", pipeline), ("j/sum", sum)];

#[inline]
fn second(x: &f64) -> f64 {
    x * 0.5 + 1.0
}

/// The sums of different orders differ in the last bits.
fn is_near(sum: f64, expected: f64) -> bool {
    (sum - expected).abs() <= expected.abs() * 1e-9
}

fn expected(input: &[f64]) -> f64 {
    input.iter().map(|x| second(&x.axpy())).sum()
}

fn ours(pool: &Pool, input: &gristmill::SharedSlice<f64>) -> Result<f64, gristmill::Error> {
    let first = pool.par_map(input, |x| x.axpy()).wait()?.freeze();
    let next = pool.par_map(&first, second).wait()?.freeze();
    drop(first);
    pool.par_sum(&next).wait()
}

fn stages(rayon: Arc<ThreadPool>, input: Vec<f64>) -> Work {
    let expected = expected(&input);
    Box::new(move |_| {
        let work = || {
            rayon.install(|| {
                let first: Vec<f64> = input.par_iter().map(|x| x.axpy()).collect();
                let next: Vec<f64> = first.par_iter().map(second).collect();
                drop(first);
                next.par_iter().sum::<f64>()
            })
        };
        turn(true, work, |sum| is_near(*sum, expected))
    })
}

/// The work of a child whose allocator is another one; `stages/1024`.
pub(crate) fn remote_stages(name: &str, crew: &Crew) -> Option<Work> {
    let len: usize = name.strip_prefix("stages/")?.parse().ok()?;
    Some(stages(crew.rayon(), (0..len).map(f64::of).collect()))
}

fn pipeline(crew: &Crew) -> Row {
    let size = crew.large(10);
    let len = size / 8;
    let pool = crew.pool();
    let input = pool.alloc_from_fn(len, f64::of).expect("room").freeze();
    let plainly: Vec<f64> = (0..len).map(f64::of).collect();
    let expected = expected(&plainly);
    let remote = Remote::start(&format!("stages/{len}"), (allocator::VARIABLE, "1"));
    let (fused, fusing) = (crew.rayon(), plainly.clone());
    let (buffers, from) = (crew.rayon(), plainly.clone());
    let mut first = vec![1.0; len];
    let mut next = vec![1.0; len];
    Row::new(
        "i/pipeline",
        format!(
            "map, map, sum over {} MiB of f64, each stage a pass",
            size >> 20
        ),
    )
    .bytes(5 * size)
    .ahead_of("rayon, system allocator", 1.0)
    .enter(Kind::Ours, "gristmill", move |_| {
        turn(
            true,
            || ours(&pool, &input),
            |sum| sum.as_ref().is_ok_and(|sum| is_near(*sum, expected)),
        )
    })
    .invite(
        Kind::Threads,
        "rayon, system allocator",
        Ok(stages(crew.rayon(), plainly)),
    )
    .invite(
        Kind::Threads,
        "rayon, mimalloc",
        remote.and_then(Remote::work),
    )
    .enter(Kind::Threads, "rayon, two buffers reused", move |_| {
        let work = || {
            buffers.install(|| {
                let pairs = first.par_iter_mut().zip(&from);
                pairs.for_each(|(y, x)| *y = x.axpy());
                let pairs = next.par_iter_mut().zip(&first);
                pairs.for_each(|(y, x)| *y = second(x));
                next.par_iter().sum::<f64>()
            })
        };
        turn(true, work, |sum| is_near(*sum, expected))
    })
    .enter(Kind::Threads, "rayon, fused into one pass", move |_| {
        let work = || fused.install(|| fusing.par_iter().map(|x| second(&x.axpy())).sum::<f64>());
        turn(true, work, |sum| is_near(*sum, expected))
    })
}

fn sum(crew: &Crew) -> Row {
    let size = crew.large(6);
    let len = size / 8;
    let (pool, rayon) = (crew.pool(), crew.rayon());
    let input = pool.alloc_from_fn(len, f64::of).expect("room").freeze();
    let plainly: Arc<Vec<f64>> = Arc::new((0..len).map(f64::of).collect());
    let expected: f64 = plainly.iter().sum();
    let halves = Arc::clone(&plainly);
    let mut bits = None;
    Row::new(
        "j/sum",
        format!(
            "the sum of {} MiB of f64; ours has the same bits each time",
            size >> 20
        ),
    )
    .bytes(size)
    .ahead_of("rayon sum", 1.3)
    .enter(Kind::Ours, "gristmill par_sum", move |_| {
        turn(
            true,
            || pool.par_sum(&input).wait(),
            |sum| {
                let Ok(sum) = sum else { return false };
                let same = *bits.get_or_insert(sum.to_bits()) == sum.to_bits();
                same && is_near(*sum, expected)
            },
        )
    })
    .enter(Kind::Threads, "rayon sum", move |_| {
        let work = || rayon.install(|| plainly.par_iter().sum::<f64>());
        turn(true, work, |sum| is_near(*sum, expected))
    })
    .enter(Kind::Threads, "thread::scope, halves", move |_| {
        let work = || {
            thread::scope(|scope| {
                let half = halves.len().div_ceil(WIDTH);
                let parts = halves.chunks(half);
                let threads = parts.map(|part| scope.spawn(|| part.iter().sum::<f64>()));
                let threads: Vec<_> = threads.collect();
                let sums = threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap_or(0.0));
                sums.sum::<f64>()
            })
        };
        turn(true, work, |sum| is_near(*sum, expected))
    })
}
