//! Semaphores and events beside what threads use: tokio's `Semaphore` and `Notify`. In turns, so
//! that a slower machine is slower for all.
//!
//! Prints the median and the quartiles of as many rounds as are given (`-- 9`), and of the ratios
//! of the rounds (rival / ours: above 1, ours is faster). Unfair to ours: the rivals need survive
//! nobody's death, and know nothing of processes. Unfair to the rivals: tokio's hand permits over
//! in strict order, ours only to the first in line.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use gristmill::{Event, Region, Semaphore};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

/// Nanoseconds for each of `count` steps.
fn time(count: u64, step: impl FnOnce(u64)) -> f64 {
    let began = Instant::now();
    step(count);
    began.elapsed().as_nanos() as f64 / count as f64
}

/// Acquire and release, with nobody else there.
fn ours_alone(count: u64, region: &Region) -> f64 {
    let semaphore = Semaphore::new(region, 2).expect("room");
    let took = time(count, |count| {
        for _ in 0..count {
            let permit = semaphore.try_acquire().expect("a permit");
            drop(black_box(permit));
        }
    });
    assert_eq!(semaphore.available(), 2);
    took
}

fn tokio_alone(count: u64) -> f64 {
    let semaphore = Arc::new(tokio::sync::Semaphore::new(2));
    let took = time(count, |count| {
        for _ in 0..count {
            let permit = Arc::clone(&semaphore).try_acquire_owned();
            drop(black_box(permit.expect("a permit")));
        }
    });
    assert_eq!(semaphore.available_permits(), 2);
    took
}

/// Tasks of one runtime that wait for the one permit in turns.
const TASKS: u64 = 4;

fn ours_contended(count: u64, runtime: &Runtime, region: &Region) -> f64 {
    let semaphore = Semaphore::new(region, 1).expect("room");
    contend(count, runtime, || {
        let semaphore = semaphore.clone();
        move |count| async move {
            for _ in 0..count {
                let permit = semaphore.acquire().await.expect("not forked");
                tokio::task::yield_now().await;
                drop(permit);
            }
        }
    })
}

fn tokio_contended(count: u64, runtime: &Runtime) -> f64 {
    let semaphore = Arc::new(tokio::sync::Semaphore::new(1));
    contend(count, runtime, || {
        let semaphore = Arc::clone(&semaphore);
        move |count| async move {
            for _ in 0..count {
                let permit = semaphore.acquire().await.expect("it is open");
                tokio::task::yield_now().await;
                drop(permit);
            }
        }
    })
}

fn contend<F, R>(count: u64, runtime: &Runtime, task: impl Fn() -> F) -> f64
where
    F: FnOnce(u64) -> R,
    R: Future<Output = ()> + Send + 'static,
{
    time(count, |count| {
        runtime.block_on(async {
            let tasks = (0..TASKS).map(|_| tokio::spawn(task()(count / TASKS)));
            for task in tasks.collect::<Vec<_>>() {
                task.await.expect("it ends");
            }
        });
    })
}

/// Tasks that all wait, and are let through at once.
fn ours_crowd(count: u64, runtime: &Runtime, region: &Region) -> f64 {
    let event = Event::new(region).expect("room");
    time(count, |count| {
        runtime.block_on(async {
            let tasks = (0..count).map(|_| {
                let event = event.clone();
                tokio::spawn(async move { event.wait().await.expect("not forked") })
            });
            let tasks: Vec<_> = tasks.collect();
            tokio::task::yield_now().await;
            event.set().expect("not forked");
            for task in tasks {
                task.await.expect("it ends");
            }
        });
    })
}

fn tokio_crowd(count: u64, runtime: &Runtime) -> f64 {
    let notify = Arc::new(Notify::new());
    time(count, |count| {
        runtime.block_on(async {
            let tasks = (0..count).map(|_| {
                // It hears of what comes after it was made, polled or not.
                let notified = Arc::clone(&notify).notified_owned();
                tokio::spawn(notified)
            });
            let tasks: Vec<_> = tasks.collect();
            tokio::task::yield_now().await;
            notify.notify_waiters();
            for task in tasks {
                task.await.expect("it ends");
            }
        });
    })
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [2, 1, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

fn say(name: &str, rounds: &[(f64, f64)]) {
    let [ours, low, high] = quartiles(rounds.iter().map(|round| round.0).collect());
    let [theirs, least, most] = quartiles(rounds.iter().map(|round| round.1).collect());
    let [ratio, from, to] = quartiles(rounds.iter().map(|round| round.1 / round.0).collect());
    println!(
        "{name:<36} {ours:7.1} [{low:.1}, {high:.1}] ns, tokio {theirs:7.1} [{least:.1}, \
         {most:.1}] ns, ratio {ratio:.2} [{from:.2}, {to:.2}]"
    );
}

fn main() {
    let is_test = std::env::args().any(|word| word == "--test");
    let rounds = std::env::args().find_map(|word| word.parse().ok());
    let rounds: usize = rounds.unwrap_or(if is_test { 1 } else { 9 });
    let (many, some) = if is_test {
        (1000, 100)
    } else {
        (1_000_000, 10_000)
    };
    let region = Region::new(4 << 20).expect("memory");
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let mut results: [Vec<(f64, f64)>; 3] = Default::default();
    for _ in 0..rounds {
        results[0].push((ours_alone(many, &region), tokio_alone(many)));
        results[1].push((
            ours_contended(many / 10, &runtime, &region),
            tokio_contended(many / 10, &runtime),
        ));
        results[2].push((
            ours_crowd(some, &runtime, &region),
            tokio_crowd(some, &runtime),
        ));
    }
    say("acquire and release, alone", &results[0]);
    say("acquire and release, four tasks", &results[1]);
    say("an event lets 10,000 tasks through", &results[2]);
}
