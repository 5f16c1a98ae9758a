//! Work that takes too long is ended, and only that.

mod policy_support;

use std::hint;
use std::thread;
use std::time::Duration;

use gristmill::{Error, Pool, Rkyv, TaskError, TaskHandle};
use policy_support::{Tally, mark, wait_for};

const SHORT: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_secs(60);

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

fn timed_out() -> TaskError {
    TaskError::TimedOut {
        limit: SHORT,
        element: None,
    }
}

/// Runs until somebody kills it.
fn forever() -> u64 {
    loop {
        hint::spin_loop();
    }
}

#[test]
fn a_task_that_overruns_is_ended_and_its_worker_replaced() {
    let pool = pool(1);
    let before = pool.worker_pids();
    let tally = Tally::new();
    let task = pool.task(tally.path(), |path| {
        mark(path);
        forever()
    });
    let error = task.idempotent().timeout(SHORT).spawn().unwrap().wait();
    assert_eq!(error.unwrap_err(), timed_out());
    let answer = pool.task(2_u64, |x| x.to_native() + 1).timeout(LONG);
    assert_eq!(*answer.spawn().unwrap().wait().unwrap(), 3);
    assert_ne!(pool.worker_pids(), before);
    // Time that is over is over: it was not tried again.
    assert_eq!(tally.count(), 1);
}

#[test]
fn waiting_for_a_worker_does_not_count() {
    let pool = pool(1);
    let limit = Duration::from_secs(1);
    let busy = pool.spawn((), |()| thread::sleep(Duration::from_millis(1500)));
    let late = pool.task(4_u64, |x| x.to_native() * 2).timeout(limit);
    let late = late.spawn().unwrap();
    busy.unwrap().wait().unwrap();
    assert_eq!(*late.wait().unwrap(), 8);
}

#[test]
fn a_stopped_worker_has_its_time_and_no_more() {
    let pool = pool(1);
    let task: TaskHandle<()> = pool
        .task((), |()| {
            nix::sys::signal::raise(nix::sys::signal::SIGSTOP).unwrap();
        })
        .timeout(SHORT)
        .spawn()
        .unwrap();
    let error = task.wait().unwrap_err();
    assert_eq!(error, timed_out());
    assert_eq!(*pool.spawn(1_u8, |x| x + 1).unwrap().wait().unwrap(), 2);
}

#[test]
fn tasks_at_the_edge_of_their_time_end_one_way_or_the_other() {
    let pool = pool(2);
    let limit = Duration::from_millis(2);
    // What follows in the same worker must never pay for its predecessor.
    let tasks: Vec<_> = (0..150_u64)
        .map(|index| {
            let task = pool.task(index, |index| {
                let pause = 1_500 + index.to_native() % 10 * 100;
                thread::sleep(Duration::from_micros(pause));
            });
            task.timeout(limit).spawn().unwrap()
        })
        .collect();
    for task in tasks {
        match task.wait() {
            Ok(_) | Err(TaskError::TimedOut { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_job_that_overruns_is_ended() {
    let pool = pool(2);
    let before = pool.worker_pids();
    let input = pool.alloc_from_fn(10_000, |i| i as u64).unwrap().freeze();
    let job = pool.par_map(&input, |&x| if x == 7_777 { forever() } else { x });
    match job.timeout(SHORT).wait() {
        Err(Error::Task(error)) => assert_eq!(error, timed_out()),
        other => panic!("{other:?}"),
    }
    let again = pool.par_map(&input, |x| x + 1).timeout(LONG);
    assert_eq!(again.wait().unwrap()[9_999], 10_000);
    assert_ne!(pool.worker_pids(), before);
}

#[test]
fn a_buffer_comes_back_from_a_job_that_overran() {
    let pool = pool(2);
    let mut data = pool.alloc_from_fn(1_000, |i| i as u64).unwrap();
    let job = pool.par_for_each_mut(&mut data, |x| {
        if *x == 500 {
            forever();
        }
    });
    let error = job.timeout(SHORT).wait().unwrap_err();
    let TaskError::TimedOut { .. } = task_error(error) else {
        panic!("another error");
    };
    assert_eq!(data.len(), 1_000);
    assert_eq!(data[999], 999);
}

#[test]
fn a_reduction_has_one_time_for_both_of_its_steps() {
    let pool = pool(2);
    let input = pool.alloc_from_fn(10_000, |i| i as u64).unwrap().freeze();
    let job = pool.par_reduce(&input, || 0, |a: u64, x| a + x, |a, b| forever() + a + b);
    let error = task_error(job.timeout(SHORT).wait().unwrap_err());
    assert_eq!(error, timed_out());
}

fn task_error(error: Error) -> TaskError {
    match error {
        Error::Task(error) => error,
        error => panic!("{error}"),
    }
}

#[test]
fn nobody_is_killed_for_a_job_that_was_never_begun() {
    let pool = pool(1);
    let before = pool.worker_pids();
    let (began, go) = (Tally::new(), Tally::new());
    let busy = pool.spawn((began.path(), go.path()), |files| {
        mark(&files.0);
        wait_for(&files.1, 1);
    });
    wait_for(&began.path(), 1);
    let job = pool.par_generate(100, |i| i as u64).timeout(SHORT);
    let error = task_error(job.wait().unwrap_err());
    assert_eq!(error, timed_out());
    mark(&go.path());
    busy.unwrap().wait().unwrap();
    assert_eq!(pool.worker_pids(), before);
}

#[test]
fn a_cancelled_task_is_ended_after_its_grace() {
    let pool = Pool::builder().workers(1).cancel_grace(SHORT).build();
    let pool = pool.unwrap();
    let before = pool.worker_pids();
    let began = Tally::new();
    let task = pool.spawn(began.path(), |path| {
        mark(path);
        forever()
    });
    let mut task = task.unwrap();
    wait_for(&began.path(), 1);
    assert!(!task.cancel());
    assert_eq!(task.wait().unwrap_err(), TaskError::Cancelled);
    // There is only one worker, so this comes after its end.
    assert_eq!(*pool.spawn(1_u8, |x| x + 1).unwrap().wait().unwrap(), 2);
    assert_ne!(pool.worker_pids(), before);
}

#[test]
fn a_cancelled_job_is_ended_after_its_grace() {
    let pool = Pool::builder().workers(2).cancel_grace(SHORT).build();
    let pool = pool.unwrap();
    let began = Tally::new();
    let job = pool.par_map_with(
        Rkyv(began.path()),
        &pool.copy_from_slice(&[1_u64, 2]).unwrap().freeze(),
        |path, _| {
            mark(path);
            forever()
        },
    );
    let mut job = job.start().unwrap();
    wait_for(&began.path(), 1);
    job.cancel();
    assert_eq!(task_error(job.wait().unwrap_err()), TaskError::Cancelled);
    assert_eq!(*pool.spawn(1_u8, |x| x + 1).unwrap().wait().unwrap(), 2);
}

#[test]
fn what_is_merely_dropped_runs_to_its_end() {
    let pool = Pool::builder().workers(1).cancel_grace(Duration::ZERO);
    let pool = pool.build().unwrap();
    let before = pool.worker_pids();
    let (began, go) = (Tally::new(), Tally::new());
    let task = pool.spawn((began.path(), go.path()), |files| {
        mark(&files.0);
        wait_for(&files.1, 1);
        mark(&files.0);
    });
    wait_for(&began.path(), 1);
    drop(task);
    mark(&go.path());
    wait_for(&began.path(), 2);
    assert_eq!(*pool.spawn(1_u8, |x| x + 1).unwrap().wait().unwrap(), 2);
    assert_eq!(pool.worker_pids(), before);
}
