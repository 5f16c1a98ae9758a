//! What one call over a few elements costs, hot and after a pause, and the smallest work that pays.
//!
//! ```text
//! cargo bench --bench calls
//! cargo bench --bench calls -- hot        figures with that in their name
//! cargo bench --bench calls -- --test     a few rounds only
//! ```
//! Pool and rayon take turns, round by round; each figure is the median of the rounds, and of a
//! round the median of its calls, for a call that meets an interrupt says nothing about calls.

#[path = "kernels/contest.rs"]
#[allow(dead_code, reason = "of a contest only the options are used here")]
mod contest;

use std::env;
use std::hint::{self, black_box};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use contest::{WIDTH, is_quick};
use gristmill::{Pool, SharedSlice};
use rayon::ThreadPool;
use rayon::prelude::*;

/// Elements of a call.
const LEN: usize = 256;
/// Calls of a round, back to back, and after pauses.
const HOT: usize = 2000;
const PAUSED: usize = 40;
const ROUNDS: usize = 15;
const PAUSE: Duration = Duration::from_millis(1);
const SMALLEST: &str = "smallest work that pays";
const LINE_THERE_AND_BACK: &str = "a bare line there and back";

/// One multiplication, one addition and a root.
#[inline]
fn light(x: &f64) -> f64 {
    x.sqrt() * 1.0001 + 3.0
}

/// `rounds` dependent steps: one symbol, whoever calls it.
#[inline(never)]
fn grind(x: f64, rounds: u32) -> f64 {
    (0..rounds).fold(x, |y, _| y * 0.999_999 + 1e-6)
}

/// As many steps as the element says.
fn uneven(x: &f64) -> f64 {
    grind(*x, *x as u32)
}

struct Crew {
    pool: Pool,
    rayon: ThreadPool,
    rounds: usize,
}

/// How a pause is spent.
#[derive(Clone, Copy)]
enum Pause {
    None,
    Busy,
    Asleep,
}

impl Pause {
    fn spend(self) {
        match self {
            Self::None => {}
            Self::Asleep => thread::sleep(PAUSE),
            Self::Busy => {
                let began = Instant::now();
                while began.elapsed() < PAUSE {
                    hint::spin_loop();
                }
            }
        }
    }
}

fn main() {
    let pool = Pool::builder().workers(WIDTH).build().expect("a pool");
    let rayon = rayon::ThreadPoolBuilder::new().num_threads(WIDTH).build();
    let crew = Crew {
        pool,
        rayon: rayon.expect("threads"),
        rounds: if is_quick() { 3 } else { ROUNDS },
    };
    let hot = if is_quick() { 100 } else { HOT };
    println!("{WIDTH} workers against {WIDTH} threads; microseconds a call over {LEN} elements");
    println!("{:<30} {}", LINE_THERE_AND_BACK, spread(trips(crew.rounds)));
    let filter = env::args().skip(1).find(|option| !option.starts_with('-'));
    let wants = |name: &str| filter.as_ref().is_none_or(|filter| name.contains(filter));
    let pauses = [
        ("hot", Pause::None),
        ("after 1 ms of work elsewhere", Pause::Busy),
        ("after 1 ms of sleep", Pause::Asleep),
    ];
    for (name, pause) in pauses {
        let calls = if matches!(pause, Pause::None) {
            hot
        } else {
            PAUSED
        };
        if wants(name) {
            crew.compare(name, calls, pause);
        }
    }
    if wants(SMALLEST) {
        crew.smallest(hot / 10);
    }
}

/// What no hand-over between two cores is faster than: one line written by one thread, seen and
/// answered by another, both spinning.
fn trips(rounds: usize) -> Vec<f64> {
    const TRIPS: u32 = 10_000;
    let line = AtomicU32::new(0);
    let trip = || {
        let began = Instant::now();
        for turn in 0..TRIPS {
            line.store(2 * turn + 1, Ordering::Release);
            while line.load(Ordering::Acquire) != 2 * turn + 2 {
                hint::spin_loop();
            }
        }
        began.elapsed().as_secs_f64() * 1e6 / f64::from(TRIPS)
    };
    thread::scope(|scope| {
        (0..rounds)
            .map(|_| {
                line.store(0, Ordering::Relaxed);
                let answer = scope.spawn(|| {
                    for turn in 0..TRIPS {
                        while line.load(Ordering::Acquire) != 2 * turn + 1 {
                            hint::spin_loop();
                        }
                        line.store(2 * turn + 2, Ordering::Release);
                    }
                });
                let time = trip();
                answer.join().expect("it only counts");
                time
            })
            .collect()
    })
}

impl Crew {
    fn compare(&self, name: &str, calls: usize, pause: Pause) {
        let plainly: Vec<f64> = (0..LEN).map(|i| i as f64).collect();
        let shared = self.pool.copy_from_slice(&plainly).expect("room").freeze();
        let [mut ours, mut theirs] = [(); 2].map(|()| Vec::new());
        for _ in 0..self.rounds {
            ours.push(middle(calls, pause, || self.ours(&shared, light)));
            theirs.push(middle(calls, pause, || self.theirs(&plainly, light)));
        }
        let ratios = theirs.iter().zip(&ours).map(|(a, b)| a / b).collect();
        println!(
            "{name:<30} gristmill {}  rayon {}  ratio {}",
            spread(ours),
            spread(theirs),
            spread(ratios)
        );
    }

    /// The time on one thread of the least work that is done sooner when it is handed over.
    fn smallest(&self, calls: usize) {
        let [mut ours, mut theirs] = [(); 2].map(|()| Vec::new());
        for _ in 0..self.rounds.div_ceil(3) {
            let [mut our_least, mut their_least] = [f64::INFINITY; 2];
            // From large to small, as long as it pays.
            for steps in (0..14).rev().map(|step| 2.0 * 1.5_f64.powi(step)) {
                let plainly = vec![steps; LEN];
                let shared = self.pool.copy_from_slice(&plainly).expect("room").freeze();
                let alone = middle(calls, Pause::None, || {
                    plainly.iter().map(uneven).collect::<Vec<f64>>()
                });
                let us = middle(calls, Pause::None, || self.ours(&shared, uneven));
                let they = middle(calls, Pause::None, || self.theirs(&plainly, uneven));
                if us < alone && our_least > alone {
                    our_least = alone;
                }
                if they < alone && their_least > alone {
                    their_least = alone;
                }
            }
            ours.push(our_least);
            theirs.push(their_least);
        }
        println!(
            "{SMALLEST:<30} gristmill {}  rayon {}",
            spread(ours),
            spread(theirs)
        );
    }

    fn ours(
        &self,
        input: &SharedSlice<f64>,
        f: impl Fn(&f64) -> f64 + Copy + Send + Sync + 'static,
    ) -> impl Sized {
        self.pool.par_map(input, f).wait().expect("a result")
    }

    fn theirs(&self, input: &[f64], f: fn(&f64) -> f64) -> impl Sized {
        self.rayon
            .install(|| input.par_iter().map(f).collect::<Vec<f64>>())
    }
}

/// The median of the times of calls, in microseconds.
fn middle<R>(calls: usize, pause: Pause, mut call: impl FnMut() -> R) -> f64 {
    let times = (0..calls).map(|_| {
        pause.spend();
        let began = Instant::now();
        let output = black_box(call());
        let time = began.elapsed().as_secs_f64() * 1e6;
        drop(output);
        time
    });
    median(times.collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Median and quartiles.
fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let [low, middle, high] = [1, 2, 3].map(|quarter| values[values.len() * quarter / 4]);
    format!("{middle:>6.2} [{low:.2}, {high:.2}]")
}
