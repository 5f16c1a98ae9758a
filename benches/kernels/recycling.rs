//! What it costs to replace workers after so many tasks: the successor starts beside the work.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};

use gristmill::{Pool, TaskHandle};

use crate::contest::{Bound, Contest, Sample, WIDTH, timed};

/// The throughput that is promised, as a share of that without recycling.
const SHARE: f64 = 0.90;
const MAX_TASKS: u64 = 100;
/// Tasks a turn, and how many are pending at a time.
const TASKS: usize = 1_000;
const TASKS_QUICK: usize = 250;
const WINDOW: usize = 4 * WIDTH;

pub(crate) fn recycling(is_quick: bool) -> Contest {
    let tasks = if is_quick { TASKS_QUICK } else { TASKS };
    let steps = calibrate();
    Contest::new("recycling/tasks of 1 ms", Bound::RatioAtLeast(SHARE))
        .items(tasks)
        .enter("100 tasks a worker", turn(Some(MAX_TASKS), tasks, steps))
        .enter("workers for ever", turn(None, tasks, steps))
}

/// Work whose amount is fixed, so that a start beside it costs what it takes from it.
fn work(steps: u64) -> u64 {
    let mut x = 1_u64;
    for _ in 0..steps {
        x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
    x
}

/// How many steps take a millisecond, at the best of some tries.
fn calibrate() -> u64 {
    const STEPS: u64 = 200_000;
    let times = (0..20).map(|_| {
        let began = Instant::now();
        work(STEPS);
        began.elapsed()
    });
    let best = times.min().unwrap_or(Duration::from_millis(1));
    (STEPS as f64 * 1e-3 / best.as_secs_f64()) as u64
}

fn turn(max_tasks: Option<u64>, tasks: usize, steps: u64) -> impl FnMut(bool) -> Sample {
    let builder = Pool::builder().workers(WIDTH).memory_budget(16 << 20);
    let builder = match max_tasks {
        Some(tasks) => builder.max_tasks_per_worker(tasks),
        None => builder,
    };
    let pool = builder.build().expect("a pool");
    let answer = work(steps);
    move |_| {
        let (right, time) = timed(|| stream(&pool, tasks, steps, answer));
        Sample { time, right }
    }
}

fn stream(pool: &Pool, tasks: usize, steps: u64, answer: u64) -> bool {
    let mut right = true;
    let mut pending: VecDeque<TaskHandle<u64>> = VecDeque::with_capacity(WINDOW);
    let mut end = |task: TaskHandle<u64>| {
        right &= *task.wait().expect("nothing that fails") == answer;
    };
    for _ in 0..tasks {
        if pending.len() == WINDOW {
            pending.pop_front().map(&mut end);
        }
        let task = pool.spawn(steps, |steps| work(steps.to_native()));
        pending.push_back(task.expect("submitted"));
    }
    pending.into_iter().for_each(end);
    right
}
