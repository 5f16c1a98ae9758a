//! What a task's result costs by its size: waited for one by one, and with many in flight.
//!
//! No rival: the figures are for comparing one version of the crate with another. Prints the
//! median, least and greatest time a task of as many rounds as are given (`-- 9`), in microseconds.

use std::collections::VecDeque;
use std::time::Instant;

use gristmill::{Pool, TaskHandle};

const SIZES: [u64; 5] = [64, 1 << 10, 4 << 10, 64 << 10, 1 << 20];
/// Bytes of results in a round, and the most tasks.
const ROUND: u64 = 256 << 20;
const TASKS: u64 = 20_000;
const WINDOW: usize = 64;

fn submit(pool: &Pool, size: u64) -> TaskHandle<Vec<u8>> {
    let task = pool.spawn(size, |size| vec![7_u8; size.to_native() as usize]);
    task.expect("room for a task")
}

fn check(task: TaskHandle<Vec<u8>>, size: u64) {
    let bytes = task.wait().expect("it ends well");
    assert!(bytes.len() as u64 == size && bytes.last() == Some(&7));
}

fn microseconds(tasks: u64, work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64() * 1e6 / tasks as f64
}

fn say(name: &str, size: u64, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let [first, last] = [times[0], times[times.len() - 1]];
    let median = times[times.len() / 2];
    println!("{size:>8} bytes, {name}: {median:8.2} [{first:.2}, {last:.2}] µs a task");
}

fn main() {
    let rounds = std::env::args().find_map(|word| word.parse().ok());
    let is_test = std::env::args().any(|word| word == "--test");
    let rounds: u32 = rounds.unwrap_or(if is_test { 1 } else { 5 });
    let pool = Pool::builder().workers(2).build().expect("a pool");
    for size in SIZES {
        let tasks = if is_test {
            100
        } else {
            (ROUND / size).min(TASKS)
        };
        let one_by_one = || (0..tasks).for_each(|_| check(submit(&pool, size), size));
        let in_flight = || {
            let mut window = VecDeque::with_capacity(WINDOW);
            for _ in 0..tasks {
                if window.len() == WINDOW {
                    window
                        .pop_front()
                        .into_iter()
                        .for_each(|oldest| check(oldest, size));
                }
                window.push_back(submit(&pool, size));
            }
            window.into_iter().for_each(|task| check(task, size));
        };
        // The first touch of memory is none of our business.
        microseconds(tasks, in_flight);
        let time = |work: &dyn Fn()| (0..rounds).map(|_| microseconds(tasks, work)).collect();
        say("one by one", size, time(&one_by_one));
        say("64 in flight", size, time(&in_flight));
    }
}
