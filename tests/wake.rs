//! Tasks that wait for other tasks, after and beside a stream of quick ones: as long as those come
//! briskly, workers that sleep are left asleep, but no task is left behind one that waits for it.
//! And chunks of jobs that wait for each other, where there are more workers than cores.

mod signal_support;

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use gristmill::{Barrier, Handle, Pool, TaskHandle};
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

/// More workers than cores, of whom a job is given no more than there are cores at first.
fn crowd() -> u32 {
    2 * workers(3)
}

fn pool_with_barrier(parties: u32) -> (Pool, Barrier) {
    let region = region();
    let pool = Pool::builder().workers(crowd() as usize).region(&region);
    let barrier = Barrier::new(&region, parties).unwrap();
    (pool.build().unwrap(), barrier)
}

#[test]
fn chunks_that_sleep_wait_for_one_that_a_sleeping_worker_must_run() {
    let (pool, barrier) = pool_with_barrier(crowd());
    let met = pool.par_generate_with(barrier.handle().words(), crowd() as usize, |words, _| {
        let barrier: Barrier = Handle::from_words(*words).open().unwrap();
        u8::from(barrier.wait_timeout(PATIENCE).is_ok())
    });
    assert!(met.wait().unwrap().iter().all(|&met| met == 1));
}

#[test]
fn chunks_that_spin_wait_for_one_that_a_sleeping_worker_must_run() {
    let (pool, barrier) = pool_with_barrier(crowd());
    let met = pool.par_generate_with(barrier.handle().words(), crowd() as usize, |words, _| {
        let barrier: Barrier = Handle::from_words(*words).open().unwrap();
        let (mut met, began) = (pin!(barrier.wait()), Instant::now());
        let mut context = Context::from_waker(Waker::noop());
        while met.as_mut().poll(&mut context).is_pending() {
            assert!(began.elapsed() < PATIENCE, "the others never came");
        }
        1_u8
    });
    assert!(met.wait().unwrap().iter().all(|&met| met == 1));
}

#[test]
fn chunks_of_a_job_that_is_only_looked_at_wait_for_each_other() {
    let (pool, barrier) = pool_with_barrier(crowd() + 1);
    let words = barrier.handle().words();
    let mut job = pool.par_generate_with(words, crowd() as usize, |words, _| {
        let barrier: Barrier = Handle::from_words(*words).open().unwrap();
        u8::from(barrier.wait_timeout(PATIENCE).is_ok())
    });
    assert!(job.wait_timeout(Duration::ZERO).is_none());
    assert!(barrier.wait_timeout(PATIENCE).is_ok(), "they never came");
    assert!(job.wait().unwrap().iter().all(|&met| met == 1));
}

#[test]
fn chunks_of_a_job_that_nobody_waits_for_wait_for_each_other() {
    let (pool, barrier) = pool_with_barrier(crowd() + 1);
    let words = barrier.handle().words();
    let job = pool.par_generate_with(words, crowd() as usize, |words, _| {
        let barrier: Barrier = Handle::from_words(*words).open().unwrap();
        u8::from(barrier.wait_timeout(PATIENCE).is_ok())
    });
    let job = job.start().unwrap();
    assert!(barrier.wait_timeout(PATIENCE).is_ok(), "they never came");
    assert!(job.wait().unwrap().iter().all(|&met| met == 1));
}
