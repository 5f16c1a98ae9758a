//! (a) A map whose time is the memory's, into fresh and into existing output.

use std::sync::Arc;
use std::thread;

use gristmill::{Pool, SharedSlice};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::allocator;
use crate::contest::{Kind, Row, WIDTH, Work, timed, turn};
use crate::crew::{Crew, two_threads};
use crate::kernels::{Element, axpy, is_axpy, stream};
use crate::peer::gang::Gang;
use crate::remote::Remote;
use crate::work::Setup;

pub(crate) const ROWS: [(&str, Setup); 6] = [
    ("a/fresh/f64", fresh::<f64>),
    ("a/fresh/f32", fresh::<f32>),
    ("a/fresh/u8", fresh::<u8>),
    ("a/existing/f64", existing::<f64>),
    ("a/existing/f32", existing::<f32>),
    ("a/existing/u8", existing::<u8>),
];

const MEMCPY: &str = "limit: memcpy, 2 threads";
const STREAM: &str = "limit: streaming copy, 2 threads";

/// In and out.
fn moved(size: usize) -> usize {
    2 * size
}

/// Two threads, half each.
fn by_halves<T: Send + Sync>(
    input: &[T],
    output: &mut [T],
    work: impl Fn(&[T], &mut [T]) + Send + Sync,
) {
    let half = input.len().div_ceil(WIDTH).max(1);
    let work = &work;
    thread::scope(|scope| {
        for (input, output) in input.chunks(half).zip(output.chunks_mut(half)) {
            scope.spawn(move || work(input, output));
        }
    });
}

/// Adds what the machine has to give: the same bytes copied, in the pool's own pages.
fn limits<T: Element>(row: Row, pool: &Pool, input: &SharedSlice<T>) -> Row {
    let output = pool.alloc_uninit::<T>(input.len()).expect("room");
    let output = std::rc::Rc::new(std::cell::RefCell::new(output));
    let (plain, streamed) = (output.clone(), output);
    let (first, second) = (input.clone(), input.clone());
    row.enter(Kind::Limit, MEMCPY, move |check| {
        let mut output = plain.borrow_mut();
        let ((), time) = timed(|| by_halves(&first, &mut output, |x, y| y.copy_from_slice(x)));
        crate::contest::Turn::new(time, !check || **output == *first)
    })
    .enter(Kind::Limit, STREAM, move |check| {
        let mut output = streamed.borrow_mut();
        let copy = |x: &[T], y: &mut [T]| {
            stream(bytemuck::cast_slice(x), bytemuck::cast_slice_mut(y));
        };
        let ((), time) = timed(|| by_halves(&second, &mut output, copy));
        crate::contest::Turn::new(time, !check || **output == *second)
    })
}

fn collect_work<T: Element>(rayon: Arc<ThreadPool>, input: Vec<T>) -> Work {
    Box::new(move |check| {
        let work = || rayon.install(|| input.par_iter().map(|x| x.axpy()).collect::<Vec<T>>());
        turn(check, work, |output| is_axpy(&input, output))
    })
}

/// The work of a child whose allocator is another one; `collect/f64/1024`.
pub(crate) fn collect(name: &str, crew: &Crew) -> Option<Work> {
    let (kind, len) = name.strip_prefix("collect/")?.split_once('/')?;
    let len: usize = len.parse().ok()?;
    let rayon = crew.rayon();
    match kind {
        "f64" => Some(collect_work(rayon, (0..len).map(f64::of).collect())),
        "f32" => Some(collect_work(rayon, (0..len).map(f32::of).collect())),
        "u8" => Some(collect_work(rayon, (0..len).map(u8::of).collect())),
        _ => None,
    }
}

fn fresh<T: Element>(crew: &Crew) -> Row {
    let size = crew.large(10);
    let len = size / size_of::<T>();
    let pool = crew.pool();
    let input = pool.alloc_from_fn(len, T::of).expect("room").freeze();
    let plainly: Vec<T> = (0..len).map(T::of).collect();
    let name = format!("collect/{}/{len}", T::NAME);
    let with_mimalloc = Remote::start(&name, (allocator::VARIABLE, "1"));
    let tunable = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");
    let with_huge_pages = Remote::start(&name, tunable);
    let row = Row::new(
        format!("a/fresh/{}", T::NAME),
        format!(
            "x·a+b over {} MiB of {} into a fresh output",
            size >> 20,
            T::NAME
        ),
    )
    .bytes(moved(size))
    .ahead_of("rayon collect, system allocator", 6.0)
    .ahead_of("rayon collect, mimalloc", 1.35)
    .ahead_of("rayon collect, glibc huge pages", 1.35)
    .ahead_of(MEMCPY, 1.05)
    .within(STREAM, 1.15);
    let (ours, given) = (Arc::clone(&pool), input.clone());
    let row = row
        .enter(Kind::Ours, "gristmill par_map", move |check| {
            let work = || ours.par_map(&given, |x| x.axpy()).wait();
            turn(check, work, |output| {
                output.as_ref().is_ok_and(|output| is_axpy(&given, output))
            })
        })
        .invite(
            Kind::Threads,
            "rayon collect, system allocator",
            Ok(collect_work(crew.rayon(), plainly)),
        )
        .invite(
            Kind::Threads,
            "rayon collect, glibc huge pages",
            with_huge_pages.and_then(Remote::work),
        )
        .invite(
            Kind::Threads,
            "rayon collect, mimalloc",
            with_mimalloc.and_then(Remote::work),
        );
    limits(row, &pool, &input)
}

/// The halves of an output, which threads that outlive a call take along and bring back.
type Halves<T> = Vec<(usize, Vec<T>)>;

fn halves<T: Element>(len: usize) -> Halves<T> {
    let half = len.div_ceil(WIDTH);
    let starts = (0..len).step_by(half.max(1));
    starts
        .map(|start| (start, vec![T::of(1); half.min(len - start)]))
        .collect()
}

fn are_axpy<T: Element>(input: &[T], halves: &Halves<T>) -> bool {
    let mut halves = halves.iter();
    halves.all(|(start, half)| is_axpy(&input[*start..][..half.len()], half))
}

fn existing<T: Element>(crew: &Crew) -> Row {
    let size = crew.large(8);
    let len = size / size_of::<T>();
    let pool = crew.pool();
    let input = pool.alloc_from_fn(len, T::of).expect("room").freeze();
    let plainly: Arc<Vec<T>> = Arc::new((0..len).map(T::of).collect());
    let mut target = pool.alloc_zeroed::<T>(len).expect("room");
    let (ours, given) = (Arc::clone(&pool), input.clone());
    let row = Row::new(
        format!("a/existing/{}", T::NAME),
        format!(
            "x·a+b over {} MiB of {} into an existing output",
            size >> 20,
            T::NAME
        ),
    )
    .bytes(moved(size))
    .ahead_of("rayon zip", 1.35)
    .within(STREAM, 1.15)
    .enter(Kind::Ours, "gristmill par_map_into", move |check| {
        let (done, time) = timed(|| ours.par_map_into(&given, &mut target, |x| x.axpy()).wait());
        let right = done.is_ok() && (!check || is_axpy(&given, &target));
        crate::contest::Turn::new(time, right)
    });
    // One output for both: each writes all of it.
    let output = std::rc::Rc::new(std::cell::RefCell::new(vec![T::of(1); len]));
    let (for_rayon, for_scope) = (output.clone(), output);
    let (rayon, from) = (crew.rayon(), Arc::clone(&plainly));
    let row = row.enter(Kind::Threads, "rayon zip", move |check| {
        let mut output = for_rayon.borrow_mut();
        let pairs = output.par_iter_mut().zip(&*from);
        let ((), time) = timed(|| rayon.install(|| pairs.for_each(|(y, x)| *y = x.axpy())));
        crate::contest::Turn::new(time, !check || is_axpy(&from, &output))
    });
    let from = Arc::clone(&plainly);
    let row = row.enter(Kind::Threads, "thread::scope", move |check| {
        let mut output = for_scope.borrow_mut();
        let ((), time) = timed(|| by_halves(&from, &mut output, axpy));
        crate::contest::Turn::new(time, !check || is_axpy(&from, &output))
    });
    // And one for these two, in halves that they can own.
    let output = std::rc::Rc::new(std::cell::RefCell::new(halves::<T>(len)));
    let (for_gang, for_tokio) = (output.clone(), output);
    let (gang, from) = (Gang::new(), Arc::clone(&plainly));
    let row = row.enter(Kind::Threads, "crossbeam + threads", move |check| {
        let mut output = for_gang.borrow_mut();
        let halves = std::mem::take(&mut *output);
        let (done, time) = timed(|| {
            let jobs = halves.into_iter().map(|(start, mut half)| {
                let from = Arc::clone(&from);
                move || {
                    axpy(&from[start..][..half.len()], &mut half);
                    (start, half)
                }
            });
            gang.run(jobs)
        });
        *output = done;
        crate::contest::Turn::new(time, !check || are_axpy(&from, &output))
    });
    let (runtime, from) = (two_threads(), plainly);
    let row = row.enter(Kind::Threads, "tokio spawn_blocking", move |check| {
        let mut output = for_tokio.borrow_mut();
        let halves = std::mem::take(&mut *output);
        let (done, time) = timed(|| {
            runtime.block_on(async {
                let jobs = halves.into_iter().map(|(start, mut half)| {
                    let from = Arc::clone(&from);
                    tokio::task::spawn_blocking(move || {
                        axpy(&from[start..][..half.len()], &mut half);
                        (start, half)
                    })
                });
                let mut done = Vec::new();
                for job in jobs.collect::<Vec<_>>() {
                    done.push(job.await.expect("it does not panic"));
                }
                done
            })
        });
        *output = done;
        crate::contest::Turn::new(time, !check || are_axpy(&from, &output))
    });
    limits(row, &pool, &input)
}
