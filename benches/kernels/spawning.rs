//! The contests of single tasks: a no-op, there and back, and many of them in flight.
//!
//! Where it favours whom: rayon and the channel report an end through one counter or one shared
//! queue, not through a handle a task, because they have none.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use gristmill::{Pool, TaskHandle};
use rayon::ThreadPool;
use tokio::runtime::{self, Runtime};

use crate::contest::{Bound, Contest, Sample, WIDTH, sample};

/// Tasks in flight.
const WINDOW: usize = 256;
/// No-op tasks a second that are promised.
const RATE: f64 = 1e6;

/// The contests of single tasks.
pub(crate) fn spawns(is_quick: bool) -> Vec<Contest> {
    let tasks = if is_quick { 4 * WINDOW } else { 64 * WINDOW };
    let pool = Pool::builder().workers(WIDTH).build().expect("a pool");
    let pool = Arc::new(pool);
    let burst = if is_quick { 100 } else { 2000 };
    vec![
        round_trip(&pool, burst),
        batches(&pool, tasks),
        awaited(&pool, tasks),
        recycled(is_quick),
    ]
}

fn no_op(pool: &Pool, number: u32) -> TaskHandle<u32> {
    pool.spawn(number, |number| number.to_native())
        .expect("room for a task")
}

fn threads() -> ThreadPool {
    let builder = rayon::ThreadPoolBuilder::new().num_threads(WIDTH);
    builder.build().expect("threads")
}

fn one_thread() -> Runtime {
    let mut builder = runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

fn two_threads() -> Runtime {
    let mut builder = runtime::Builder::new_multi_thread();
    let builder = builder.worker_threads(WIDTH).enable_all();
    builder.build().expect("a runtime")
}

/// Threads behind a channel each, with one channel for the answers.
struct Channels {
    requests: Vec<Sender<u32>>,
    answers: Receiver<u32>,
}

impl Channels {
    fn new() -> Self {
        let (answer, answers) = channel();
        let requests = (0..WIDTH).map(|_| {
            let (request, requests) = channel();
            let answer = answer.clone();
            thread::spawn(move || {
                for number in requests {
                    if answer.send(number).is_err() {
                        return;
                    }
                }
            });
            request
        });
        Self {
            requests: requests.collect(),
            answers,
        }
    }

    fn submit(&self, number: u32) {
        let request = &self.requests[number as usize % WIDTH];
        request.send(number).expect("the thread lives");
    }

    fn receive(&self) -> u32 {
        self.answers.recv().expect("a thread lives")
    }
}

/// One task, waited for before the next.
fn round_trip(pool: &Arc<Pool>, burst: u32) -> Contest {
    let (waiting, awaiting) = (Arc::clone(pool), Arc::clone(pool));
    let (ours, theirs) = (one_thread(), two_threads());
    let rayon = threads();
    let channels = Channels::new();
    Contest::new("spawn/round_trip", Bound::None)
        .burst(burst)
        .enter("gristmill, wait", move |_| {
            let work = || no_op(&waiting, 7).wait();
            sample(true, work, |n| matches!(n, Ok(n) if **n == 7))
        })
        .enter("rayon, install", move |_| {
            sample(true, || rayon.install(|| 7), |&n| n == 7)
        })
        .enter("gristmill, await", move |_| {
            let work = || ours.block_on(no_op(&awaiting, 7));
            sample(true, work, |n| matches!(n, Ok(n) if **n == 7))
        })
        .enter("tokio::spawn", move |_| {
            let work = || theirs.block_on(async { tokio::spawn(async { 7 }).await });
            sample(true, work, |n| matches!(n, Ok(7)))
        })
        .enter("mpsc + threads", move |_| {
            let work = || {
                channels.submit(7);
                channels.receive()
            };
            sample(true, work, |&n| n == 7)
        })
}

/// The sum of the first `tasks` numbers, modulo what a `u32` holds.
fn expected(tasks: usize) -> u32 {
    (0..tasks as u32).fold(0, u32::wrapping_add)
}

fn add_up(tasks: usize, work: impl FnOnce() -> u32) -> Sample {
    sample(true, work, |&sum| sum == expected(tasks))
}

/// Batches of tasks, submitted, then waited for in order.
fn batches(pool: &Arc<Pool>, tasks: usize) -> Contest {
    let pool = Arc::clone(pool);
    let rayon = threads();
    let channels = Channels::new();
    Contest::new("spawn/batches", Bound::RateAtLeast(RATE))
        .items(tasks)
        .enter("gristmill, wait", move |_| {
            let mut handles = Vec::with_capacity(WINDOW);
            add_up(tasks, || {
                let mut sum = 0_u32;
                for first in (0..tasks as u32).step_by(WINDOW) {
                    handles.extend((first..first + WINDOW as u32).map(|n| no_op(&pool, n)));
                    for handle in handles.drain(..) {
                        let number = handle.wait().expect("a no-op does not fail");
                        sum = sum.wrapping_add(number.to_native());
                    }
                }
                sum
            })
        })
        .enter("rayon::spawn, counter", move |_| {
            add_up(tasks, || {
                let mut total = 0_u32;
                for first in (0..tasks as u32).step_by(WINDOW) {
                    let left = Arc::new(AtomicUsize::new(WINDOW));
                    let sum = Arc::new(AtomicUsize::new(0));
                    for number in first..first + WINDOW as u32 {
                        let (left, sum) = (Arc::clone(&left), Arc::clone(&sum));
                        rayon.spawn(move || {
                            sum.fetch_add(number as usize, Ordering::Relaxed);
                            left.fetch_sub(1, Ordering::Release);
                        });
                    }
                    while left.load(Ordering::Acquire) > 0 {
                        thread::yield_now();
                    }
                    total = total.wrapping_add(sum.load(Ordering::Relaxed) as u32);
                }
                total
            })
        })
        .enter("mpsc + threads", move |_| {
            add_up(tasks, || {
                let mut sum = 0_u32;
                for first in (0..tasks as u32).step_by(WINDOW) {
                    (first..first + WINDOW as u32).for_each(|number| channels.submit(number));
                    for _ in 0..WINDOW {
                        sum = sum.wrapping_add(channels.receive());
                    }
                }
                sum
            })
        })
}

/// A sliding window of tasks, submitted and awaited by one task of a runtime.
fn awaited(pool: &Arc<Pool>, tasks: usize) -> Contest {
    let pool = Arc::clone(pool);
    let (ours, theirs) = (one_thread(), two_threads());
    Contest::new("spawn/awaited", Bound::RateAtLeast(RATE))
        .items(tasks)
        .enter("gristmill, await", move |_| {
            add_up(tasks, || {
                ours.block_on(async {
                    let mut window = VecDeque::with_capacity(WINDOW);
                    let mut sum = 0_u32;
                    for number in 0..tasks as u32 {
                        if window.len() == WINDOW {
                            sum = sum.wrapping_add(first(&mut window).await);
                        }
                        window.push_back(no_op(&pool, number));
                    }
                    while !window.is_empty() {
                        sum = sum.wrapping_add(first(&mut window).await);
                    }
                    sum
                })
            })
        })
        .enter("tokio::spawn", move |_| {
            add_up(tasks, || {
                theirs.block_on(async {
                    let mut window = VecDeque::with_capacity(WINDOW);
                    let mut sum = 0_u32;
                    for number in 0..tasks as u32 {
                        if window.len() == WINDOW
                            && let Some(oldest) = window.pop_front()
                        {
                            sum = sum.wrapping_add(answer(oldest).await);
                        }
                        window.push_back(tokio::spawn(async move { number }));
                    }
                    for rest in window {
                        sum = sum.wrapping_add(answer(rest).await);
                    }
                    sum
                })
            })
        })
}

/// Tasks of a millisecond, by workers that are replaced after 100 of them and by others.
fn recycled(is_quick: bool) -> Contest {
    let tasks = if is_quick { 200 } else { 1000 };
    let crew = |most: Option<u64>| {
        let builder = Pool::builder().workers(WIDTH);
        let builder = match most {
            Some(most) => builder.max_tasks_per_worker(most),
            None => builder,
        };
        builder.build().expect("a pool")
    };
    let (ours, others) = (crew(Some(100)), crew(None));
    Contest::new("spawn/recycled", Bound::RatioAtLeast(0.9))
        .items(tasks)
        .enter("replaced after 100", move |_| milliseconds(&ours, tasks))
        .enter("never replaced", move |_| milliseconds(&others, tasks))
}

fn milliseconds(pool: &Pool, tasks: usize) -> Sample {
    add_up(tasks, || {
        let busy = |number: u32| {
            let task = pool.spawn(number, |number| {
                let began = Instant::now();
                while began.elapsed() < Duration::from_millis(1) {
                    std::hint::spin_loop();
                }
                number.to_native()
            });
            task.expect("room for a task")
        };
        let handles: Vec<_> = (0..tasks as u32).map(busy).collect();
        let numbers = handles
            .into_iter()
            .map(|handle| handle.wait().expect("it does not fail").to_native());
        numbers.fold(0, u32::wrapping_add)
    })
}

async fn first(window: &mut VecDeque<TaskHandle<u32>>) -> u32 {
    let Some(oldest) = window.pop_front() else {
        return 0;
    };
    let answer = oldest.await.expect("a no-op does not fail");
    answer.to_native()
}

async fn answer(task: tokio::task::JoinHandle<u32>) -> u32 {
    task.await.expect("a no-op does not fail")
}
