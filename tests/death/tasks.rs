//! Workers killed while they run tasks.

use std::process;

use gristmill::TaskError;
use nix::sys::signal::Signal;

use crate::witness::{self, Place};
use crate::{KILLED, pool, replaced, signal};

#[test]
fn a_killed_task_fails_and_those_of_others_do_not() {
    let place = Place::new("tasks");
    let pool = pool(3);
    // Each worker holds one task until it is told to go on.
    let held: Vec<_> = (0..3_u32)
        .map(|number| {
            let files = (place.file(&number.to_string()), place.file("end"));
            let task = pool.spawn((number, files), |task| {
                witness::say(&task.1.0, &process::id().to_string());
                witness::obey(&task.1.1);
                task.0.to_native()
            });
            task.expect("submitted")
        })
        .collect();
    let pids: Vec<u32> = (0..3)
        .map(|number| place.read(&number.to_string()).parse().expect("a pid"))
        .collect();
    // More wait behind them.
    let waiting: Vec<_> = (0..100_u64)
        .map(|x| pool.spawn(x, |x| x.to_native() * 3).expect("submitted"))
        .collect();

    signal(pids[1], Signal::SIGKILL);
    let mut held = held.into_iter();
    let (first, second, third) = (held.next(), held.next(), held.next());
    match second
        .expect("three")
        .wait()
        .expect_err("its worker was killed")
    {
        TaskError::WorkerDied(death) => {
            assert_eq!(
                (death.pid, death.cause, death.attempts),
                (pids[1], KILLED, 1)
            );
            assert_eq!((death.elements, death.undefined), (None, vec![]));
        }
        other => panic!("{other}"),
    }
    let now = replaced(&pool, &[pids[1]]);
    assert!(
        now.contains(&pids[0]) && now.contains(&pids[2]),
        "others were disturbed"
    );
    // The replacement works while the other two are still held.
    for (x, task) in (0..).zip(waiting) {
        assert_eq!(
            task.wait().expect("never begun by the dead").to_native(),
            x * 3
        );
    }
    witness::say(&place.file("end"), "");
    for (number, task) in [(0, first), (2, third)] {
        let result = task.expect("three").wait().expect("untouched");
        assert_eq!(result.to_native(), number);
    }
}

#[test]
fn results_outlive_their_worker_and_the_pool() {
    let pool = pool(2);
    let results: Vec<_> = (0..20_u64)
        .map(|seed| {
            let task = pool.spawn(seed, |seed| {
                let seed = seed.to_native();
                let len = 1 << (seed % 18);
                (
                    process::id(),
                    (0..len).map(|i| seed * 1000 + i).collect::<Vec<u64>>(),
                )
            });
            task.expect("submitted").wait().expect("it ends well")
        })
        .collect();
    let right = || {
        for (seed, result) in (0_u64..).zip(&results) {
            let len = 1_u64 << (seed % 18);
            let expected = (0..len).map(|i| seed * 1000 + i);
            assert!(
                result.1.iter().map(|x| x.to_native()).eq(expected),
                "result {seed}"
            );
        }
    };
    right();
    let mut makers: Vec<u32> = results.iter().map(|result| result.0.to_native()).collect();
    makers.sort_unstable();
    makers.dedup();
    for &maker in &makers {
        signal(maker, Signal::SIGKILL);
    }
    replaced(&pool, &makers);
    right();
    // Whoever came after them must not use their memory.
    for _ in 0..50 {
        let task = pool
            .spawn((), |_| vec![u64::MAX; 1 << 17])
            .expect("submitted");
        assert_eq!(task.wait().expect("it ends well").len(), 1 << 17);
    }
    right();
    drop(pool);
    right();
}

#[test]
fn a_result_of_a_dead_worker_that_nobody_has_fetched_yet_is_delivered() {
    let place = Place::new("fetched");
    let pool = pool(1);
    let task = pool
        .spawn((), |_| (process::id(), vec![5_u64; 10_000]))
        .expect("submitted");
    // The worker has ended the first task once it has begun the second.
    let file = place.file("second");
    let second = pool.spawn(file, |file| {
        witness::say(file, &process::id().to_string());
        loop {
            std::thread::park();
        }
    });
    let second: gristmill::TaskHandle<u64> = second.expect("submitted");
    let pid = place.read("second").parse().expect("a pid");
    signal(pid, Signal::SIGKILL);
    assert!(second.wait().is_err());
    let result = task.wait().expect("it had ended");
    assert_eq!(result.0.to_native(), pid);
    assert!(result.1.len() == 10_000 && result.1.iter().all(|x| x.to_native() == 5));
}

#[test]
fn idle_workers_are_replaced_too() {
    let pool = pool(2);
    for round in 0..10 {
        let place = Place::new(&format!("idle-{round}"));
        // Both have served, so that none is killed while it starts.
        let served: Vec<_> = (0..2)
            .map(|_| {
                let files = (place.file("served"), place.file("end"));
                let task = pool.spawn(files, |files| {
                    witness::say(&files.0, "x");
                    witness::obey(&files.1);
                    process::id()
                });
                task.expect("submitted")
            })
            .collect();
        witness::until("both", || {
            (place.read("served").lines().count() == 2).then_some(())
        });
        witness::say(&place.file("end"), "");
        let mut before = Vec::new();
        for task in served {
            before.push(task.wait().expect("nobody kills it").to_native());
        }
        for &pid in &before {
            witness::until("sleep", || witness::sleeps(pid).then_some(()));
            signal(pid, Signal::SIGSTOP);
            signal(pid, Signal::SIGKILL);
        }
        replaced(&pool, &before);
    }
}
