//! Tasks that want more done: what they return asks for it, or they have a pool of their own.

use std::sync::OnceLock;

use gristmill::{Error, Pool, TaskError, TaskSet};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{children, lives, pool, until};

#[test]
fn a_task_asks_for_tasks_and_no_depth_locks_up() {
    // One worker: a task that waited for another would wait for ever.
    let pool = pool(1);
    let steps = |n: &rkyv::rend::u32_le| match n.to_native() {
        0 => vec![],
        n => vec![n - 1],
    };
    let mut tasks = TaskSet::new();
    tasks.push(pool.spawn(500_u32, steps).expect("submitted"));
    let mut ran = 0;
    while let Some((_, asked)) = tasks.wait_next() {
        ran += 1;
        for n in asked.expect("it ends well").iter() {
            tasks.push(pool.spawn(n.to_native(), steps).expect("submitted"));
        }
    }
    assert_eq!(ran, 501);
}

/// A worker's own pool, kept from task to task.
fn inner() -> &'static Pool {
    static INNER: OnceLock<Pool> = OnceLock::new();
    INNER.get_or_init(|| pool(2))
}

#[test]
fn a_task_may_use_a_pool_of_its_own_which_dies_with_its_worker() {
    let outer = pool(1);
    let mut seen = None;
    for round in 0..3_u64 {
        let task = outer.spawn(round, |round| {
            let sum = inner().map(0..100_u64, |n| n.to_native()).wait();
            let sum: u64 = sum
                .expect("it ends well")
                .iter()
                .map(|n| n.to_native())
                .sum();
            (inner().worker_pids(), children(), sum + round.to_native())
        });
        let result = task.expect("submitted").wait().expect("it ends well");
        assert_eq!(result.2, 4950 + round);
        let pids: Vec<u32> = result.0.iter().map(|pid| pid.to_native()).collect();
        assert_eq!((pids.len(), result.1.len()), (2, 2));
        // The same pool each time.
        assert_eq!(*seen.get_or_insert(pids.clone()), pids);
    }
    let grandchildren = seen.expect("three rounds");
    assert!(grandchildren.iter().all(|&pid| lives(pid)));
    let worker = outer.worker_pids()[0];
    kill(Pid::from_raw(worker as i32), Signal::SIGKILL).expect("it lives");
    until("the end of the grandchildren", || {
        !grandchildren.iter().any(|&pid| lives(pid))
    });
    // The pool goes on; its new worker has none until it asks for one.
    let task = outer
        .spawn((), |()| children().len() as u32)
        .expect("submitted");
    assert_eq!(*task.wait().expect("it ends well"), 0);
}

#[test]
fn grandchildren_die_with_the_pool_that_is_dropped() {
    let outer = pool(1);
    let task = outer
        .spawn((), |()| inner().worker_pids())
        .expect("submitted");
    let pids: Vec<u32> = task
        .wait()
        .expect("it ends well")
        .iter()
        .map(|p| p.to_native())
        .collect();
    drop(outer);
    until("the end of the grandchildren", || {
        !pids.iter().any(|&pid| lives(pid))
    });
}

#[test]
fn a_workers_death_in_an_inner_pool_is_the_tasks_to_answer() {
    let outer = pool(1);
    let task = outer.spawn((), |()| {
        let task = inner().spawn((), |()| -> u32 { std::process::abort() });
        let died = matches!(
            task.expect("submitted").wait(),
            Err(TaskError::WorkerDied(_))
        );
        let task = inner()
            .spawn(4_u32, |n| n.to_native() + 1)
            .expect("submitted");
        (died, task.wait().expect("it ends well").to_native())
    });
    let result = task.expect("submitted").wait().expect("it ends well");
    assert_eq!((result.0, result.1.to_native()), (true, 5));
}

static OURS: OnceLock<Pool> = OnceLock::new();

#[test]
fn the_programs_own_pool_is_refused_in_a_worker_with_what_to_do() {
    // A worker that is started anew has no pool in the program's statics.
    let started = pool(1);
    OURS.set(pool(1)).expect("once");
    let task = started
        .spawn((), |()| OURS.get().is_some())
        .expect("submitted");
    assert!(!*task.wait().expect("it ends well"));
    // A fork finds the program's, and is told that it is not its own.
    // SAFETY: the workers take no lock that another thread may hold: they look at one variable,
    // and the pool refuses before it does anything else.
    #[expect(unsafe_code, reason = "forks workers")]
    let forks = unsafe { crate::builder(1).fork() }.build().expect("a pool");
    let task = forks.spawn((), |()| {
        let ours = OURS.get().expect("it was made before");
        match ours.spawn((), |()| ()) {
            Err(error @ Error::Forked) => error.to_string(),
            other => format!("{other:?}"),
        }
    });
    let answer = task.expect("submitted").wait().expect("it ends well");
    assert!(
        answer.contains("TaskSet") && answer.contains("of its own"),
        "{}",
        &*answer
    );
}
