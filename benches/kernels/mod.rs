//! The range kernels and their contests: the same closures and the same never-inlined functions
//! for the pool, rayon, scoped threads and one thread.
//!
//! Where it favours whom: rivals read and write ordinary vectors, as their users do, on whatever
//! pages the allocator gets; the pool's buffers lie on huge pages where the kernel has some. Time
//! to free an output is not counted, which spares rayon an `munmap`. The pool compiles a closure
//! for AVX2 as well and picks at run time; the rivals get the target the build was asked for.

use std::sync::Arc;
use std::thread;

use gristmill::{Pool, SharedSlice};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::contest::{Bound, Contest, WIDTH, sample};

/// Elements of the memory-bound contests: 512 MiB.
const LARGE: usize = 64 << 20;
const LARGE_QUICK: usize = 1 << 20;

/// Who works.
#[derive(Clone)]
pub(crate) struct Crew {
    pool: Arc<Pool>,
    rayon: Arc<ThreadPool>,
    is_quick: bool,
}

/// A contest that is set up when its turn comes: together they would take gigabytes.
pub(crate) type Setup = fn(&Crew) -> Contest;

/// All of them, in order.
pub(crate) const RANGES: [(&str, Setup); 9] = [
    ("memory/fresh", memory_fresh),
    ("memory/existing", memory_existing),
    ("memory/in_place", in_place),
    ("memory/sum", sum),
    ("compute", compute),
    ("skewed", skewed),
    ("small/hot", small),
    ("vectorised/cached", vectorised_cached),
    ("vectorised/large", vectorised_large),
];

/// One multiplication, one addition and a root: nothing beside the memory traffic.
#[inline]
fn light(x: &f64) -> f64 {
    x.sqrt() * 1.0001 + 3.0
}

/// The same, where the loop around it cannot become one of vectors.
#[inline(never)]
fn light_called(x: &f64) -> f64 {
    light(x)
}

/// `rounds` dependent steps: one symbol, whoever calls it.
#[inline(never)]
fn grind(x: f64, rounds: u32) -> f64 {
    (0..rounds).fold(x, |y, _| y * 0.999_999 + 1e-6)
}

/// 200 steps an element.
fn heavy(x: &f64) -> f64 {
    grind(*x, 200)
}

/// As many steps as the element says.
fn uneven(x: &f64) -> f64 {
    grind(*x, *x as u32)
}

impl Crew {
    pub(crate) fn new(is_quick: bool) -> Self {
        let pool = Pool::builder().workers(WIDTH).build();
        let rayon = rayon::ThreadPoolBuilder::new().num_threads(WIDTH).build();
        Self {
            pool: Arc::new(pool.expect("a pool")),
            rayon: Arc::new(rayon.expect("threads")),
            is_quick,
        }
    }

    fn pick(&self, full: usize, quick: usize) -> usize {
        if self.is_quick { quick } else { full }
    }

    fn large(&self) -> usize {
        self.pick(LARGE, LARGE_QUICK)
    }

    /// The same input for the pool and for the others.
    fn input(&self, len: usize, f: impl Fn(usize) -> f64) -> (SharedSlice<f64>, Arc<Vec<f64>>) {
        let shared = self.pool.alloc_from_fn(len, &f).expect("room");
        (shared.freeze(), Arc::new((0..len).map(f).collect()))
    }
}

/// Whether `output` is `f` of `input`, to the bit.
fn is_map(input: &[f64], output: &[f64], f: impl Fn(&f64) -> f64) -> bool {
    let mut pairs = input.iter().zip(output);
    input.len() == output.len() && pairs.all(|(x, y)| f(x).to_bits() == y.to_bits())
}

/// The same loop by scoped threads, a contiguous part each.
fn scoped(input: &[f64], output: &mut [f64], f: impl Fn(&f64) -> f64 + Copy + Send) {
    let part = input.len().div_ceil(WIDTH).max(1);
    thread::scope(|scope| {
        for (input, output) in input.chunks(part).zip(output.chunks_mut(part)) {
            scope.spawn(move || plain(input, output, f));
        }
    });
}

/// The same loop on this thread.
fn plain(input: &[f64], output: &mut [f64], f: impl Fn(&f64) -> f64) {
    for (x, y) in input.iter().zip(output) {
        *y = f(x);
    }
}

/// `par_map` into a fresh output against the three others.
fn fresh(
    crew: &Crew,
    contest: Contest,
    (shared, plainly): (SharedSlice<f64>, Arc<Vec<f64>>),
    f: impl Fn(&f64) -> f64 + Copy + Send + Sync + 'static,
) -> Contest {
    let (pool, rayon) = (Arc::clone(&crew.pool), Arc::clone(&crew.rayon));
    let inputs = [(); 3].map(|()| Arc::clone(&plainly));
    let [for_rayon, for_threads, for_one] = inputs;
    contest
        .items(plainly.len())
        .enter("gristmill", move |check| {
            let work = || pool.par_map(&shared, f).wait();
            sample(check, work, |output| match output {
                Ok(output) => is_map(&shared, output, f),
                Err(_) => false,
            })
        })
        .enter("rayon", move |check| {
            let work = || rayon.install(|| for_rayon.par_iter().map(f).collect::<Vec<f64>>());
            sample(check, work, |output| is_map(&for_rayon, output, f))
        })
        .enter("thread::scope", move |check| {
            let work = || {
                let mut output = vec![0.0; for_threads.len()];
                scoped(&for_threads, &mut output, f);
                output
            };
            sample(check, work, |output| is_map(&for_threads, output, f))
        })
        .enter("one thread", move |check| {
            let work = || for_one.iter().map(f).collect::<Vec<f64>>();
            sample(check, work, |output| is_map(&for_one, output, f))
        })
}

fn memory_fresh(crew: &Crew) -> Contest {
    let contest = Contest::new("memory/fresh", Bound::RatioAtLeast(3.0));
    let input = crew.input(crew.large(), |i| i as f64);
    fresh(crew, contest, input, light)
}

fn memory_existing(crew: &Crew) -> Contest {
    let (shared, plainly) = crew.input(crew.large(), |i| i as f64);
    let (pool, rayon) = (Arc::clone(&crew.pool), Arc::clone(&crew.rayon));
    let mut target = pool.alloc_zeroed::<f64>(shared.len()).expect("room");
    // Without zeros: pages that were never written are one page of zeros.
    let [mut for_rayon, mut for_threads, mut for_one] = [(); 3].map(|()| vec![1.0; plainly.len()]);
    let inputs = [(); 3].map(|()| Arc::clone(&plainly));
    let [from_rayon, from_threads, from_one] = inputs;
    Contest::new("memory/existing", Bound::RatioAtLeast(1.0))
        .items(plainly.len())
        .enter("gristmill", move |check| {
            let work = || pool.par_map_into(&shared, &mut target, light).wait();
            let mut done = sample(check, work, Result::is_ok);
            done.right &= !check || is_map(&shared, &target, light);
            done
        })
        .enter("rayon", move |check| {
            let work = || {
                let pairs = for_rayon.par_iter_mut().zip(&*from_rayon);
                rayon.install(|| pairs.for_each(|(y, x)| *y = light(x)));
            };
            let mut done = sample(check, work, |()| true);
            done.right = !check || is_map(&from_rayon, &for_rayon, light);
            done
        })
        .enter("thread::scope", move |check| {
            let work = || scoped(&from_threads, &mut for_threads, light);
            let mut done = sample(check, work, |()| true);
            done.right = !check || is_map(&from_threads, &for_threads, light);
            done
        })
        .enter("one thread", move |check| {
            let work = || plain(&from_one, &mut for_one, light);
            let mut done = sample(check, work, |()| true);
            done.right = !check || is_map(&from_one, &for_one, light);
            done
        })
}

fn in_place(crew: &Crew) -> Contest {
    // Turning a sign over twice brings the input back: every turn finds the same kind of values.
    fn turn_over(x: &mut f64) {
        *x = -*x;
    }
    fn is_turned(values: &[f64], turns: u32) -> bool {
        let sign = if turns.is_multiple_of(2) { 1.0 } else { -1.0 };
        let mut values = values.iter().enumerate();
        values.all(|(i, &x)| x == sign * i as f64)
    }
    let len = crew.large();
    let (pool, rayon) = (Arc::clone(&crew.pool), Arc::clone(&crew.rayon));
    let mut shared = pool.alloc_from_fn(len, |i| i as f64).expect("room");
    let mut plainly: Vec<f64> = (0..len).map(|i| i as f64).collect();
    let mut alone = plainly.clone();
    let (mut ours, mut theirs, mut its) = (0, 0, 0);
    Contest::new("memory/in_place", Bound::RatioAtLeast(0.98))
        .items(len)
        .enter("gristmill", move |check| {
            let work = || pool.par_for_each_mut(&mut shared, turn_over).wait();
            let mut done = sample(check, work, Result::is_ok);
            ours += 1;
            done.right &= !check || is_turned(&shared, ours);
            done
        })
        .enter("rayon", move |check| {
            let work = || rayon.install(|| plainly.par_iter_mut().for_each(turn_over));
            let mut done = sample(check, work, |()| true);
            theirs += 1;
            done.right = !check || is_turned(&plainly, theirs);
            done
        })
        .enter("one thread", move |check| {
            let work = || alone.iter_mut().for_each(turn_over);
            let mut done = sample(check, work, |()| true);
            its += 1;
            done.right = !check || is_turned(&alone, its);
            done
        })
}

fn sum(crew: &Crew) -> Contest {
    // Small whole numbers: every order of additions gives the same sum.
    let (shared, plainly) = crew.input(crew.large(), |i| (i % 1024) as f64);
    let (pool, rayon) = (Arc::clone(&crew.pool), Arc::clone(&crew.rayon));
    let expected: f64 = plainly.iter().sum();
    let alone = Arc::clone(&plainly);
    Contest::new("memory/sum", Bound::RatioAtLeast(1.0))
        .items(plainly.len())
        .enter("gristmill", move |check| {
            let work = || pool.par_sum(&shared).wait();
            sample(
                check,
                work,
                |sum| matches!(sum, Ok(sum) if *sum == expected),
            )
        })
        .enter("rayon", move |check| {
            let work = || rayon.install(|| plainly.par_iter().sum::<f64>());
            sample(check, work, |sum| *sum == expected)
        })
        .enter("one thread", move |check| {
            let work = || alone.iter().sum::<f64>();
            sample(check, work, |sum| *sum == expected)
        })
}

fn compute(crew: &Crew) -> Contest {
    let input = crew.input(crew.pick(256 << 10, 8 << 10), |i| i as f64);
    let contest = Contest::new("compute", Bound::RatioAtLeast(0.98));
    fresh(crew, contest, input, heavy)
}

fn skewed(crew: &Crew) -> Contest {
    let len = crew.pick(128 << 10, 8 << 10);
    // The last hundredth costs a thousand times as much: nine tenths of all work.
    let costly = len - len / 100;
    let input = crew.input(len, |i| if i < costly { 10.0 } else { 10_000.0 });
    let contest = Contest::new("skewed", Bound::RatioAtLeast(0.98));
    fresh(crew, contest, input, uneven)
}

fn small(crew: &Crew) -> Contest {
    let (shared, plainly) = crew.input(256, |i| i as f64);
    let (pool, rayon) = (Arc::clone(&crew.pool), Arc::clone(&crew.rayon));
    let alone = Arc::clone(&plainly);
    Contest::new("small/hot", Bound::MicrosecondsAtMost(5.0))
        .burst(if crew.is_quick { 100 } else { 2000 })
        .enter("gristmill", move |check| {
            let work = || pool.par_map(&shared, light).wait();
            sample(check, work, |output| match output {
                Ok(output) => is_map(&shared, output, light),
                Err(_) => false,
            })
        })
        .enter("rayon", move |check| {
            let work = || rayon.install(|| plainly.par_iter().map(light).collect::<Vec<f64>>());
            sample(check, work, |output| is_map(&plainly, output, light))
        })
        .enter("one thread", move |check| {
            let work = || alone.iter().map(light).collect::<Vec<f64>>();
            sample(check, work, |output| is_map(&alone, output, light))
        })
}

/// The closure of `par_map` against a loop by hand, and against a loop that cannot be vectorised.
fn vectorised(crew: &Crew, name: &'static str, len: usize, burst: u32) -> Contest {
    let shared = crew.pool.alloc_from_fn(len, |i| i as f64).expect("room");
    let shared = shared.freeze();
    let [first, second, third] = [(); 3].map(|()| (Arc::clone(&crew.pool), shared.clone()));
    fn by_hand(input: &[f64], output: &mut [f64]) {
        for (x, y) in input.iter().zip(output) {
            *y = light(x);
        }
    }
    Contest::new(name, Bound::RatioAtLeast(0.98))
        .items(len)
        .burst(burst)
        .enter("gristmill", move |check| {
            let work = || first.0.par_map(&first.1, light).wait();
            sample(check, work, |output| match output {
                Ok(output) => is_map(&first.1, output, light),
                Err(_) => false,
            })
        })
        .enter("par_chunks, loop by hand", move |check| {
            let work = || second.0.par_chunks(&second.1, by_hand).wait();
            sample(check, work, |output| match output {
                Ok(output) => is_map(&second.1, output, light),
                Err(_) => false,
            })
        })
        .enter("par_map, not inlined", move |check| {
            let work = || third.0.par_map(&third.1, light_called).wait();
            sample(check, work, |output| match output {
                Ok(output) => is_map(&third.1, output, light),
                Err(_) => false,
            })
        })
}

fn vectorised_cached(crew: &Crew) -> Contest {
    vectorised(crew, "vectorised/cached", 64 << 10, 20)
}

fn vectorised_large(crew: &Crew) -> Contest {
    vectorised(crew, "vectorised/large", crew.large(), 1)
}
