//! Tasks that wait for other tasks, after and beside a stream of quick ones: as long as those come
//! briskly, workers that sleep are left asleep, but no task is left behind one that waits for it.

mod signal_support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

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

/// Says that all is over when it goes, also with a panic.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// So many tasks meet, each on a worker of its own; once after quick tasks, once while others go on
/// as long as there is a worker left for them.
fn meet(workers: u32, parties: u32) {
    let region = region();
    let pool = Pool::builder().workers(workers as usize).region(&region);
    let pool = pool.build().unwrap();
    let barrier = Barrier::new(&region, parties).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ends = Ends(&over);
        scope.spawn(|| {
            while parties < workers && !over.load(Ordering::Relaxed) {
                stream(&pool, 1);
            }
        });
        for round in 0..40 {
            stream(&pool, 5 * round);
            let tasks = (0..parties).map(|_| {
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
    });
}

/// At least as many workers as cores, for which alone others are left asleep.
fn workers(least: u32) -> u32 {
    let cores = thread::available_parallelism().map_or(2, |cores| cores.get() as u32);
    least.max(cores)
}

#[test]
fn a_task_waits_for_one_that_was_submitted_behind_it() {
    meet(workers(2), 2);
}

#[test]
fn all_but_one_wait_for_each_other_while_quick_tasks_go_on() {
    meet(workers(3), workers(3) - 1);
}

#[test]
fn three_tasks_wait_for_a_fourth_with_more_workers_than_cores() {
    meet(workers(4), 4);
}

#[test]
fn many_tasks_wait_for_the_last() {
    meet(workers(16), 16);
}
