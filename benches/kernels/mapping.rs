//! The contest of many structured items that ask for next to nothing: what it costs to carry them.
//!
//! Where it favours whom: rayon and the channel hand over pointers within one process, where the
//! pool's items cross to another and back; and rayon has all of them before it begins.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use futures_util::StreamExt;
use gristmill::{ItemError, Pool, TaskOutput};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rkyv::{Archive, Serialize};
use tokio::runtime;

use crate::contest::{Bound, Contest, Sample, WIDTH, sample};

/// Items a second that are promised.
const RATE: f64 = 1e6;

/// An item, and its own result.
#[derive(Archive, Serialize, Clone, Copy)]
struct Reading {
    sensor: u32,
    celsius: f64,
    valid: bool,
}

fn reading(number: u64) -> Reading {
    Reading {
        sensor: number as u32,
        celsius: number as f64 * 0.5,
        valid: true,
    }
}

fn echo(reading: &ArchivedReading) -> Reading {
    Reading {
        sensor: reading.sensor.to_native(),
        celsius: reading.celsius.to_native(),
        valid: reading.valid,
    }
}

fn sum(results: impl Iterator<Item = Reading>) -> f64 {
    results.map(|reading| reading.celsius).sum()
}

fn expected(items: u64) -> f64 {
    sum((0..items).map(reading))
}

fn celsius(result: Result<TaskOutput<Reading>, ItemError>) -> f64 {
    result.expect("an echo does not fail").celsius.to_native()
}

/// The contests of maps.
pub(crate) fn maps(is_quick: bool) -> Vec<Contest> {
    let items = if is_quick { 20_000 } else { 1_000_000 };
    let pool = Pool::builder().workers(WIDTH).build().expect("a pool");
    vec![structured(&Arc::new(pool), items)]
}

fn add_up(items: u64, work: impl FnOnce() -> f64) -> Sample {
    sample(true, work, |&sum| sum == expected(items))
}

fn structured(pool: &Arc<Pool>, items: u64) -> Contest {
    let (blocking, completed, awaited) = (Arc::clone(pool), Arc::clone(pool), Arc::clone(pool));
    let mut builder = runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().expect("a runtime");
    let builder = rayon::ThreadPoolBuilder::new().num_threads(WIDTH);
    let rayon = builder.build().expect("threads");
    Contest::new("map/structured", Bound::RateAtLeast(RATE))
        .items(items as usize)
        .enter("gristmill, ordered", move |_| {
            add_up(items, || {
                let results = blocking.map((0..items).map(reading), echo).ordered();
                results.expect("it begins").into_iter().map(celsius).sum()
            })
        })
        .enter("rayon, par_iter.map", move |_| {
            add_up(items, || {
                let results: Vec<Reading> = rayon.install(|| {
                    let all: Vec<Reading> = (0..items).map(reading).collect();
                    all.into_par_iter().map(std::hint::black_box).collect()
                });
                sum(results.into_iter())
            })
        })
        .enter("gristmill, as completed", move |_| {
            add_up(items, || {
                let results = completed.map((0..items).map(reading), echo).as_completed();
                let results = results.expect("it begins").into_iter();
                results
                    .map(|(_, it)| it.expect("an echo does not fail").celsius.to_native())
                    .sum()
            })
        })
        .enter("gristmill, await", move |_| {
            add_up(items, || {
                let results = awaited.map((0..items).map(reading), echo).ordered();
                let results = results.expect("it begins");
                runtime.block_on(results.fold(0.0, async |sum, it| sum + celsius(it)))
            })
        })
        .enter("mpsc + threads", move |_| {
            add_up(items, || through_channels(items))
        })
}

/// Bounded channels to two threads and back, in turns, so that results come in order.
fn through_channels(items: u64) -> f64 {
    const WINDOW: usize = 1024;
    type Line = (SyncSender<Reading>, Receiver<Reading>);
    let lines: Vec<Line> = (0..WIDTH)
        .map(|_| {
            let (send, requests) = sync_channel::<Reading>(WINDOW);
            let (answer, receive) = sync_channel(WINDOW);
            thread::spawn(move || {
                for reading in requests {
                    if answer.send(std::hint::black_box(reading)).is_err() {
                        return;
                    }
                }
            });
            (send, receive)
        })
        .collect();
    let mut total = 0.0;
    let mut pending = VecDeque::with_capacity(WINDOW);
    for number in 0..items {
        if pending.len() == WINDOW
            && let Some(line) = pending.pop_front()
        {
            let (_, receive): &Line = &lines[line];
            total += receive.recv().expect("a thread lives").celsius;
        }
        let line = number as usize % WIDTH;
        lines[line].0.send(reading(number)).expect("a thread lives");
        pending.push_back(line);
    }
    for line in pending {
        total += lines[line].1.recv().expect("a thread lives").celsius;
    }
    total
}
