//! Tasks that wait for other tasks, after a stream of quick ones: as long as those come briskly,
//! workers that sleep are left asleep, but no task is left behind one that waits for it.

mod signal_support;

use gristmill::{Barrier, Pool, TaskHandle};
use signal_support::{PATIENCE, open, region};

/// Quick tasks, so many at a time, as long as it takes until a sleeping worker has seen that they
/// are quick.
fn stream(pool: &Pool, rounds: u64) {
    for round in 0..rounds {
        let quick = |number: u64| pool.spawn(number, |number| number.to_native() + 1);
        let tasks: Vec<TaskHandle<u64>> = (0..64).map(|i| quick(round + i).unwrap()).collect();
        for (task, number) in tasks.into_iter().zip(round..) {
            assert_eq!(task.wait().unwrap().to_native(), number + 1);
        }
    }
}

/// So many tasks meet, each on a worker of its own, while quick tasks go on around them.
fn meet(workers: u32) {
    let region = region();
    let pool = Pool::builder().workers(workers as usize).region(&region);
    let pool = pool.build().unwrap();
    let barrier = Barrier::new(&region, workers).unwrap();
    for round in 0..40 {
        stream(&pool, 5 * round);
        let tasks = (0..workers).map(|_| {
            let met = pool.spawn(barrier.handle().words(), |words| {
                let barrier: Barrier = open(words);
                barrier.wait_timeout(PATIENCE).is_ok()
            });
            met.unwrap()
        });
        for task in tasks.collect::<Vec<TaskHandle<bool>>>() {
            assert!(*task.wait().unwrap(), "the others never came");
        }
    }
}

#[test]
fn a_task_waits_for_one_that_was_submitted_behind_it() {
    meet(2);
}

#[test]
fn three_tasks_wait_for_a_fourth_with_more_workers_than_cores() {
    meet(4);
}

#[test]
fn many_tasks_wait_for_the_last() {
    meet(16);
}
