//! How workers begin and end: initializer, state, the last word, recycling.

mod policy_support;

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use gristmill::{Builder, Error, Pool, Rkyv, TaskError};
use policy_support::{Tally, die, mark, wait_for};
use rkyv::string::ArchivedString;

/// What an initializer left in its worker.
static LEFT: OnceLock<String> = OnceLock::new();

fn builder() -> Builder {
    Pool::builder().workers(1)
}

fn refusal(builder: Builder) -> (&'static str, String) {
    match builder.build() {
        Err(Error::SettingRefused { setting, reason }) => (setting, reason),
        other => panic!("{other:?}"),
    }
}

/// The process id of the worker that runs a task.
fn pid(pool: &Pool) -> u32 {
    let task = pool.spawn((), |()| std::process::id()).unwrap();
    task.wait().unwrap().to_native()
}

#[test]
fn an_initializer_runs_once_in_each_worker_with_its_context() {
    let tally = Tally::new();
    let pool = Pool::builder()
        .workers(2)
        .initializer((7_u64, Rkyv(tally.path())), |(number, path)| {
            mark(path);
            LEFT.set(number.to_string()).unwrap();
        })
        .build()
        .unwrap();
    assert_eq!(tally.count(), 2);
    for _ in 0..8 {
        let seen = pool.spawn((), |()| LEFT.get().unwrap().clone());
        assert_eq!(*seen.unwrap().wait().unwrap(), *"7");
    }
    assert_eq!(tally.count(), 2);
}

#[test]
fn an_initializer_that_fails_is_an_error_of_build() {
    let (setting, reason) = refusal(builder().initializer(3_u8, |n| panic!("no model {n}")));
    assert_eq!(setting, "initializer");
    assert!(reason.contains("no model 3"), "{reason}");
    let (setting, reason) = refusal(builder().worker_state((), |()| -> u8 { panic!("no line") }));
    assert_eq!(setting, "worker_state");
    assert!(reason.contains("no line"), "{reason}");

    match builder()
        .initializer((), |()| std::process::exit(5))
        .build()
    {
        Err(Error::WorkersKeepDying { death, .. }) => {
            assert_eq!(death.cause, gristmill::Cause::Exit(5));
        }
        other => panic!("{other:?}"),
    }
    match builder().initializer((), |()| die()).build() {
        Err(Error::WorkersKeepDying { death, .. }) => {
            assert_eq!(death.cause.signal_name(), Some("SIGKILL"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_initializer_that_hangs_is_an_error_of_build() {
    let limit = Duration::from_millis(300);
    let hung = builder().start_timeout(limit).initializer((), |()| {
        loop {
            std::thread::park();
        }
    });
    match hung.build() {
        Err(Error::StartTimedOut { limit: told, .. }) => assert_eq!(told, limit),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_initializer_that_fails_later_ends_the_pool_with_its_reason() {
    let tally = Tally::new();
    let pool = builder()
        .initializer(Rkyv(tally.path()), |path| {
            assert!(mark(path) == 1, "the line is busy");
        })
        .build()
        .unwrap();
    let dead: Result<_, TaskError> = pool
        .spawn((), |()| -> () { die() })
        .unwrap()
        .wait()
        .map(drop);
    assert!(matches!(dead, Err(TaskError::WorkerDied(_))), "{dead:?}");
    let end = match pool.spawn((), |()| ()) {
        Ok(task) => task.wait().map(|_| ()).unwrap_err(),
        // It gave up before we came to it; what was pending then would have told.
        Err(Error::PoolClosed) => return,
        Err(other) => panic!("{other}"),
    };
    match end {
        TaskError::NoWorkers {
            attempts, reason, ..
        } => {
            assert_eq!(attempts, 5);
            let reason = reason.unwrap();
            assert!(reason.contains("the line is busy"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_slice_is_no_context_of_an_initializer() {
    let pool = builder().build().unwrap();
    let slice = pool.alloc_zeroed::<u64>(8).unwrap().freeze();
    let refused = builder().initializer(slice, |_| ()).build();
    assert!(matches!(refused, Err(Error::Context(_))), "{refused:?}");
}

type Words = HashMap<String, u32>;

fn learn(words: &mut Words, word: &ArchivedString) -> u32 {
    let count = words.entry(word.to_string()).or_default();
    *count += 1;
    assert!(word.as_str() != "panic", "asked to");
    *count
}

fn learned(pool: &Pool, word: &str) -> Result<u32, TaskError> {
    let task = pool.spawn_with_state(word.to_string(), |words: &mut Words, word| {
        learn(words, word)
    });
    task.unwrap().wait().map(|count| count.to_native())
}

#[test]
fn tasks_borrow_the_state_and_a_panic_takes_it_along() {
    let tally = Tally::new();
    let pool = builder()
        .worker_state(Rkyv(tally.path()), |path| {
            mark(path);
            Words::new()
        })
        .build()
        .unwrap();
    assert_eq!(learned(&pool, "grist"), Ok(1));
    assert_eq!(learned(&pool, "grist"), Ok(2));
    let before = pid(&pool);
    match learned(&pool, "panic") {
        Err(TaskError::Panicked { message, .. }) => assert!(message.contains("asked to")),
        other => panic!("{other:?}"),
    }
    // The same worker, with nothing in it that the panic left half-done.
    assert_eq!(learned(&pool, "grist"), Ok(1));
    assert_eq!(pid(&pool), before);
    assert_eq!(tally.count(), 2);
    // A panic that did not have the state leaves it alone.
    let other: Result<_, _> = pool
        .spawn((), |()| -> u8 { panic!("elsewhere") })
        .unwrap()
        .wait();
    assert!(other.is_err());
    assert_eq!(learned(&pool, "grist"), Ok(2));
}

#[test]
fn a_state_that_cannot_be_made_again_is_a_panic_of_its_task() {
    let tally = Tally::new();
    let pool = builder()
        .worker_state(Rkyv(tally.path()), |path| {
            assert!(mark(path) != 2, "not a second time");
            Words::new()
        })
        .build()
        .unwrap();
    assert!(learned(&pool, "panic").is_err());
    match learned(&pool, "grist") {
        Err(TaskError::Panicked { message, .. }) => {
            assert!(message.contains("not a second time"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(learned(&pool, "grist"), Ok(1));
}

#[test]
fn a_state_of_another_type_is_refused() {
    let none = builder().build().unwrap();
    let task = none.spawn_with_state((), |_: &mut Words, ()| ());
    assert!(matches!(task, Err(Error::WrongState { found: None, .. })));
    let pool = builder().worker_state((), |()| 1_u32).build().unwrap();
    match pool.spawn_with_state((), |_: &mut Words, ()| ()) {
        Err(error @ Error::WrongState { .. }) => {
            let text = error.to_string();
            assert!(text.contains("HashMap") && text.contains("u32"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_state_survives_neither_its_worker_nor_less() {
    let pool = builder()
        .worker_state((), |()| Words::new())
        .build()
        .unwrap();
    assert_eq!(learned(&pool, "grist"), Ok(1));
    let dead: Result<_, TaskError> = pool
        .spawn((), |()| -> () { die() })
        .unwrap()
        .wait()
        .map(drop);
    assert!(dead.is_err());
    assert_eq!(learned(&pool, "grist"), Ok(1));
}

struct Farewell(String);

impl Drop for Farewell {
    fn drop(&mut self) {
        mark(&self.0);
    }
}

#[test]
fn a_closed_pool_lets_its_workers_have_the_last_word() {
    let tally = Tally::new();
    let pool = Pool::builder()
        .workers(2)
        .worker_state(Rkyv(tally.path()), |path| {
            LEFT.set(path.to_string()).unwrap();
            Farewell(path.to_string())
        })
        .on_worker_exit(|| {
            let path = LEFT.get().unwrap();
            // After the state.
            assert!(mark(path) >= 2);
            panic!("nobody hears");
        })
        .build()
        .unwrap();
    let task = pool.spawn(1_u32, |x| x.to_native() + 1).unwrap();
    pool.close();
    assert_eq!(pool.join().wait().unwrap().abandoned, 0);
    assert_eq!(*task.wait().unwrap(), 2);
    assert_eq!(tally.count(), 4);
}

#[test]
fn a_last_word_that_does_not_end_is_cut_off() {
    let pool = builder()
        .start_timeout(Duration::from_secs(1))
        .on_worker_exit(|| {
            loop {
                std::thread::park();
            }
        })
        .build()
        .unwrap();
    pool.close();
    assert_eq!(pool.join().wait().unwrap().abandoned, 0);
}

#[test]
fn a_worker_runs_exactly_as_many_tasks_as_it_may() {
    const EACH: u32 = 7;
    let exits = Tally::new();
    let pool = Pool::builder()
        .workers(2)
        .max_tasks_per_worker(u64::from(EACH))
        .initializer(Rkyv(exits.path()), |path| {
            LEFT.set(path.to_string()).unwrap();
        })
        .on_worker_exit(|| {
            mark(LEFT.get().unwrap());
        })
        .build()
        .unwrap();
    let tasks: Vec<_> = (0..EACH * 20)
        .map(|_| pool.spawn((), |()| std::process::id()).unwrap())
        .collect();
    let mut counts = HashMap::<u32, u32>::new();
    for task in tasks {
        *counts.entry(task.wait().unwrap().to_native()).or_default() += 1;
    }
    assert!(counts.values().all(|&count| count <= EACH), "{counts:?}");
    // At most one worker of each place is still at it.
    let full = counts.values().filter(|&&count| count == EACH).count();
    assert!(full + 2 >= counts.len(), "{counts:?}");
    wait_for(&exits.path(), full as u64);
}

#[test]
fn one_task_a_worker_is_possible() {
    let pool = Pool::builder()
        .workers(2)
        .max_tasks_per_worker(1)
        .build()
        .unwrap();
    let pids: Vec<_> = (0..12)
        .map(|_| pool.spawn((), |()| std::process::id()).unwrap())
        .collect();
    let mut pids: Vec<_> = pids
        .into_iter()
        .map(|pid| pid.wait().unwrap().to_native())
        .collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 12);
}

#[test]
fn a_share_in_a_job_counts_as_one() {
    let pool = builder().max_tasks_per_worker(3).build().unwrap();
    let xs = pool.alloc_from_fn(100_000, |i| i as u64).unwrap().freeze();
    let first = pid(&pool);
    for round in 0..20_u64 {
        let ys = pool
            .par_map_with(round, &xs, |round, x| x + round)
            .wait()
            .unwrap();
        assert!(ys.iter().zip(0..).all(|(y, x)| *y == x + round));
    }
    assert_ne!(pid(&pool), first);
}

#[test]
fn a_worker_that_has_grown_is_replaced() {
    let pool = builder().max_worker_memory(64 << 20).build().unwrap();
    let first = pid(&pool);
    let grow = pool.spawn((), |()| {
        std::mem::forget(std::hint::black_box(vec![1_u8; 96 << 20]));
    });
    grow.unwrap().wait().unwrap();
    // It looks when it has nothing to do, and goes when another is there.
    while pid(&pool) == first {
        std::thread::yield_now();
    }
    let second = pid(&pool);
    assert_eq!(pid(&pool), second);
}

#[test]
fn an_old_worker_is_replaced_while_it_sleeps() {
    let tally = Tally::new();
    let pool = builder()
        .max_worker_age(Duration::from_millis(50))
        .initializer(Rkyv(tally.path()), |path| {
            mark(path);
        })
        .build()
        .unwrap();
    wait_for(&tally.path(), 3);
    assert_eq!(*pool.spawn(1_u8, |x| x + 1).unwrap().wait().unwrap(), 2);
}

#[test]
fn a_failing_successor_does_not_end_its_predecessor() {
    let tally = Tally::new();
    let pool = builder()
        .max_tasks_per_worker(1_000_000)
        .max_worker_age(Duration::from_millis(20))
        .initializer(Rkyv(tally.path()), |path| {
            assert!(mark(path) == 1, "no second one");
        })
        .build()
        .unwrap();
    let first = pid(&pool);
    wait_for(&tally.path(), 6);
    assert_eq!(pid(&pool), first);
}
