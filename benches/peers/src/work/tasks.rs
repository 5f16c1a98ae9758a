//! (f) Calls that do nothing: one by one, from several submitters, in batches, awaited.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};
use gristmill::{Pool, TaskHandle};
use rayon::prelude::*;

use crate::contest::{Kind, Row, Turn, WIDTH, Work, timed};
use crate::crew::{Crew, one_thread, two_threads};
use crate::work::Setup;

pub(crate) const ROWS: [(&str, Setup); 7] = [
    ("f/one_by_one", one_by_one),
    ("f/submitters/2", |crew| submitters(crew, 2)),
    ("f/submitters/4", |crew| submitters(crew, 4)),
    ("f/batches", batches),
    ("f/awaited/1", |crew| awaited(crew, 1, 20_000)),
    ("f/awaited/16", |crew| awaited(crew, 16, 200_000)),
    ("f/awaited/256", |crew| awaited(crew, 256, 1_000_000)),
];

/// Calls in flight.
const WINDOW: usize = 256;
const CROSSBEAM: &str = "crossbeam + threads";
const PROCSPAWN: &str = "procspawn";

/// The answer to a number, which each rival computes.
#[inline]
pub(crate) fn answer(number: u64) -> u64 {
    number ^ 1
}

/// All answers to the numbers below `tasks`, added up.
fn expected(tasks: usize) -> u64 {
    (0..tasks as u64).map(answer).fold(0, u64::wrapping_add)
}

/// Times the work, which adds up the answers, by the task.
pub(crate) fn add_up(tasks: usize, work: impl FnOnce() -> u64) -> Turn {
    let (sum, time) = timed(work);
    Turn::new(time / tasks as f64, sum == expected(tasks))
}

fn spawn(pool: &Pool, number: u64) -> TaskHandle<u64> {
    let task = pool.spawn(number, |number| answer(number.to_native()));
    task.expect("room for a task")
}

/// Submits `tasks` calls, of which so many are pending at most, and adds up the answers in order.
fn window<H>(
    numbers: impl Iterator<Item = u64>,
    mut submit: impl FnMut(u64) -> H,
    mut wait: impl FnMut(H) -> u64,
) -> u64 {
    let mut pending = VecDeque::with_capacity(WINDOW);
    let mut sum = 0_u64;
    for number in numbers {
        if pending.len() == WINDOW {
            sum = sum.wrapping_add(pending.pop_front().map_or(0, &mut wait));
        }
        pending.push_back(submit(number));
    }
    pending.into_iter().map(wait).fold(sum, u64::wrapping_add)
}

/// A turn of tasks, 256 of them in flight.
pub(crate) fn one_by_one_turn(pool: &Pool, tasks: usize) -> Turn {
    add_up(tasks, || {
        let wait = |task: TaskHandle<u64>| task.wait().map_or(0, |sum| sum.to_native());
        window(0..tasks as u64, |number| spawn(pool, number), wait)
    })
}

/// Two threads that take requests from one channel and answer through another. There is no handle a
/// call, which spares it something.
struct Channels {
    requests: Sender<u64>,
    answers: Receiver<u64>,
}

impl Channels {
    fn new() -> Self {
        let (requests, given) = unbounded::<u64>();
        let (done, answers) = unbounded();
        for _ in 0..WIDTH {
            let (given, done) = (given.clone(), done.clone());
            thread::spawn(move || {
                for number in given {
                    if done.send(answer(number)).is_err() {
                        return;
                    }
                }
            });
        }
        Self { requests, answers }
    }

    fn turn(&self, tasks: usize) -> u64 {
        let submit = |number| self.requests.send(number).expect("a thread lives");
        let wait = |()| self.answers.recv().expect("a thread lives");
        window(0..tasks as u64, submit, wait)
    }
}

/// The same in messages of 64 calls.
struct Batches {
    requests: Sender<Vec<u64>>,
    answers: Receiver<Vec<u64>>,
}

impl Batches {
    fn new() -> Self {
        let (requests, given) = unbounded::<Vec<u64>>();
        let (done, answers) = unbounded();
        for _ in 0..WIDTH {
            let (given, done) = (given.clone(), done.clone());
            thread::spawn(move || {
                for mut batch in given {
                    batch
                        .iter_mut()
                        .for_each(|number| *number = answer(*number));
                    if done.send(batch).is_err() {
                        return;
                    }
                }
            });
        }
        Self { requests, answers }
    }

    fn turn(&self, tasks: usize) -> u64 {
        let mut pending = 0;
        let mut sum = 0_u64;
        let mut take = || {
            let batch = self.answers.recv().expect("a thread lives");
            sum = batch.into_iter().fold(sum, u64::wrapping_add);
        };
        for first in (0..tasks as u64).step_by(64) {
            if pending == WINDOW / 64 {
                take();
                pending -= 1;
            }
            let batch = (first..(first + 64).min(tasks as u64)).collect();
            self.requests.send(batch).expect("a thread lives");
            pending += 1;
        }
        (0..pending).for_each(|_| take());
        sum
    }
}

/// Calls of procspawn's pool: far fewer, which is the same a call.
fn procspawn_work() -> Result<Work, String> {
    let pool = procspawn::Pool::new(WIDTH).map_err(|error| error.to_string())?;
    // Killed with the pool when the row ends.
    Ok(Box::new(move |_| {
        add_up(500, || {
            let submit = |number| pool.spawn(number, answer);
            let mut pending = VecDeque::with_capacity(64);
            let mut sum = 0_u64;
            for number in 0..500 {
                if pending.len() == 64 {
                    let oldest: Option<procspawn::JoinHandle<u64>> = pending.pop_front();
                    let value = oldest.and_then(|handle| handle.join().ok());
                    sum = sum.wrapping_add(value.unwrap_or(0));
                }
                pending.push_back(submit(number));
            }
            let rest = pending.into_iter().map(|handle| handle.join().unwrap_or(0));
            rest.fold(sum, u64::wrapping_add)
        })
    }))
}

fn one_by_one(crew: &Crew) -> Row {
    let tasks = crew.pick(100_000, 1000);
    let (pool, rayon) = (crew.pool(), crew.rayon());
    let (runtime, blocking) = (two_threads(), two_threads());
    let channels = Channels::new();
    Row::new(
        "f/one_by_one",
        "a no-op call, one message each, from one thread, 256 in flight, answers taken in turn",
    )
    .ahead_of(CROSSBEAM, 1.0)
    .ahead_of(PROCSPAWN, 100.0)
    .enter(Kind::Ours, "gristmill spawn", move |_| {
        one_by_one_turn(&pool, tasks)
    })
    .enter(Kind::Threads, CROSSBEAM, move |_| {
        add_up(tasks, || channels.turn(tasks))
    })
    .enter(Kind::Threads, "rayon spawn, a counter", move |_| {
        add_up(tasks, || {
            let (left, sum) = (AtomicU64::new(tasks as u64), AtomicU64::new(0));
            // From outside, as everybody here; the end of the scope is waited for once.
            rayon.in_place_scope(|scope| {
                for number in 0..tasks as u64 {
                    let (left, sum) = (&left, &sum);
                    scope.spawn(move |_| {
                        sum.fetch_add(answer(number), Ordering::Relaxed);
                        left.fetch_sub(1, Ordering::Release);
                    });
                }
            });
            sum.into_inner()
        })
    })
    .enter(Kind::Threads, "tokio spawn", move |_| {
        add_up(tasks, || {
            let submit = |number| runtime.spawn(async move { answer(number) });
            window(0..tasks as u64, submit, |task| {
                runtime.block_on(task).unwrap_or(0)
            })
        })
    })
    .enter(Kind::Threads, "tokio spawn_blocking", move |_| {
        add_up(tasks, || {
            let submit = |number| blocking.spawn_blocking(move || answer(number));
            window(0..tasks as u64, submit, |task| {
                blocking.block_on(task).unwrap_or(0)
            })
        })
    })
    .invite(Kind::Processes, PROCSPAWN, procspawn_work())
}

fn submitters(crew: &Crew, count: usize) -> Row {
    let tasks = crew.pick(100_000, 1000) / count;
    let pool = crew.pool();
    let channels: Arc<Vec<Channels>> = Arc::new(vec![Channels::new()]);
    let all = tasks * count;
    // Each submitter adds up the answers to the same numbers, or whichever the channel gives it.
    let right = expected(tasks).wrapping_mul(count as u64);
    let split = move |one: &(dyn Fn() -> u64 + Sync)| {
        let (sum, time) = timed(|| {
            thread::scope(|scope| {
                let threads = (0..count).map(|_| scope.spawn(one));
                let threads: Vec<_> = threads.collect();
                let sums = threads.into_iter().map(|thread| thread.join().unwrap_or(0));
                sums.fold(0, u64::wrapping_add)
            })
        });
        Turn::new(time / all as f64, sum == right)
    };
    Row::new(
        format!("f/submitters/{count}"),
        format!("the same from {count} threads at once"),
    )
    .ahead_of(CROSSBEAM, 1.0)
    .enter(Kind::Ours, "gristmill spawn", move |_| {
        split(&|| {
            let wait = |task: TaskHandle<u64>| task.wait().map_or(0, |sum| sum.to_native());
            window(0..tasks as u64, |number| spawn(&pool, number), wait)
        })
    })
    .enter(Kind::Threads, CROSSBEAM, move |_| {
        split(&|| channels[0].turn(tasks))
    })
}

fn batches(crew: &Crew) -> Row {
    let tasks = crew.pick(1_000_000, 1000);
    let (pool, rayon) = (crew.pool(), crew.rayon());
    let (channels, in_batches) = (Channels::new(), Batches::new());
    let few = tasks / 10;
    Row::new(
        "f/batches",
        "no-op calls by the verb that takes many at once",
    )
    .ahead_of(CROSSBEAM, 3.0)
    .ahead_of(PROCSPAWN, 100.0)
    .enter(Kind::Ours, "gristmill map", move |_| {
        add_up(tasks, || {
            let map = pool.map(0..tasks as u64, |number| answer(number.to_native()));
            let answers = map.ordered().expect("room").into_iter();
            let values = answers.map(|value| value.map_or(0, |value| value.to_native()));
            values.fold(0, u64::wrapping_add)
        })
    })
    .enter(Kind::Threads, CROSSBEAM, move |_| {
        add_up(few, || channels.turn(few))
    })
    .enter(Kind::Threads, "crossbeam + threads, in 64s", move |_| {
        add_up(tasks, || in_batches.turn(tasks))
    })
    .enter(Kind::Threads, "rayon par_iter", move |_| {
        add_up(tasks, || {
            let answers: Vec<u64> =
                rayon.install(|| (0..tasks as u64).into_par_iter().map(answer).collect());
            answers.into_iter().fold(0, u64::wrapping_add)
        })
    })
    .invite(Kind::Processes, PROCSPAWN, procspawn_work())
}

/// So many callers on one runtime, each of which awaits one call after the other.
async fn callers<F>(count: usize, tasks: usize, call: impl Fn(u64) -> F) -> u64
where
    F: Future<Output = u64>,
{
    let call = &call;
    let callers = (0..count).map(|first| async move {
        let mut sum = 0_u64;
        for number in (first..tasks).step_by(count) {
            sum = sum.wrapping_add(call(number as u64).await);
        }
        sum
    });
    let sums = futures_util::future::join_all(callers).await;
    sums.into_iter().fold(0, u64::wrapping_add)
}

/// Turns of so many calls by so many callers.
type Turns = Box<dyn FnMut(usize) -> Turn>;

/// Turns of calls awaited by callers, of one contender.
pub(crate) fn awaited_turn(who: &str, crew: &Crew, count: usize) -> Option<Turns> {
    Some(match who {
        "gristmill spawn" => {
            let (pool, runtime) = (crew.pool(), one_thread());
            Box::new(move |tasks| {
                add_up(tasks, || {
                    runtime.block_on(callers(count, tasks, |number| {
                        let task = spawn(&pool, number);
                        async { task.await.map_or(0, |sum| sum.to_native()) }
                    }))
                })
            })
        }
        "tokio spawn" => {
            let runtime = two_threads();
            Box::new(move |tasks| {
                add_up(tasks, || {
                    runtime.block_on(callers(count, tasks, |number| async move {
                        let task = tokio::spawn(async move { answer(number) });
                        task.await.unwrap_or(0)
                    }))
                })
            })
        }
        "tokio spawn_blocking" => {
            let runtime = two_threads();
            Box::new(move |tasks| {
                add_up(tasks, || {
                    runtime.block_on(callers(count, tasks, |number| async move {
                        let task = tokio::task::spawn_blocking(move || answer(number));
                        task.await.unwrap_or(0)
                    }))
                })
            })
        }
        "rayon spawn + oneshot" => {
            let (rayon, runtime) = (crew.rayon(), one_thread());
            Box::new(move |tasks| {
                add_up(tasks, || {
                    runtime.block_on(callers(count, tasks, |number| {
                        let (done, answered) = tokio::sync::oneshot::channel();
                        rayon.spawn(move || {
                            // Nobody listens only when all is over.
                            let _ = done.send(answer(number));
                        });
                        async { answered.await.unwrap_or(0) }
                    }))
                })
            })
        }
        _ => return None,
    })
}

fn awaited(crew: &Crew, count: usize, tasks: usize) -> Row {
    let tasks = crew.pick(tasks, 1000);
    let row = Row::new(
        format!("f/awaited/{count}"),
        format!("no-op calls awaited on a runtime of tokio's, by {count} callers at once"),
    )
    .ahead_of("tokio spawn", 1.5)
    .ahead_of("tokio spawn_blocking", 4.0);
    let contenders = [
        (Kind::Ours, "gristmill spawn", tasks),
        (Kind::Threads, "tokio spawn", tasks),
        (Kind::Threads, "tokio spawn_blocking", tasks / 5),
        (Kind::Threads, "rayon spawn + oneshot", tasks / 5),
    ];
    contenders.into_iter().fold(row, |row, (kind, who, tasks)| {
        let turns = awaited_turn(who, crew, count).ok_or_else(|| String::from("unknown"));
        row.invite(
            kind,
            who,
            turns.map(|mut turn| -> Work { Box::new(move |_| turn(tasks)) }),
        )
    })
}
