//! Whatever a caller asks for: a typed error that says what was wanted, or it works. Nothing hangs,
//! nothing panics.

use std::time::Duration;

use gristmill::{Builder, Error, Pool, Process, TaskError, TrySpawnError};

use crate::{builder, pool};

/// Shows that a pool made so works.
fn works(pool: &Pool) {
    let task = pool
        .spawn(20_u32, |n| n.to_native() + 1)
        .expect("submitted");
    assert_eq!(*task.wait().expect("it ends well"), 21);
    let map = pool
        .map(0..10_u32, |n| n.to_native())
        .wait()
        .expect("it ends well");
    assert_eq!(map.len(), 10);
}

#[test]
fn every_setting_out_of_range_is_named_with_what_was_wanted() {
    let new = Pool::builder;
    let table: &[(&str, Builder)] = &[
        ("workers", new().workers(0)),
        ("workers", new().workers(1025)),
        ("workers", new().workers(usize::MAX)),
        ("queues", new().workers(2).queues(0)),
        ("queues", new().workers(2).queues(3)),
        ("queues", new().workers(2).queues(usize::MAX)),
        ("queues", new().workers(1024).queues(65)),
        ("memory_budget", new().memory_budget(0)),
        ("memory_budget", new().memory_budget((4 << 20) - 1)),
        ("memory_budget", new().memory_budget((16 << 40) + 1)),
        ("memory_budget", new().memory_budget(u64::MAX)),
        ("attempts", new().attempts(0)),
        ("queue_depth", new().queue_depth(0)),
        ("worker_memory", new().worker_memory(0)),
        ("worker_memory", new().worker_memory((16 << 20) - 1)),
        ("worker_cpu_time", new().worker_cpu_time(Duration::ZERO)),
        ("worker_open_files", new().worker_open_files(0)),
        ("worker_open_files", new().worker_open_files(15)),
        ("worker_nice", new().worker_nice(20)),
        ("worker_nice", new().worker_nice(-21)),
        ("worker_nice", new().worker_nice(i32::MAX)),
        ("worker_nice", new().worker_nice(i32::MIN)),
        ("worker_cores", new().worker_cores([])),
        ("worker_cores", new().worker_cores([0, 1024])),
        ("worker_cores", new().worker_cores([usize::MAX])),
        ("capture_output", new().capture_output(0)),
        ("max_tasks_per_worker", new().max_tasks_per_worker(0)),
        ("max_worker_memory", new().max_worker_memory(0)),
        ("max_worker_age", new().max_worker_age(Duration::ZERO)),
        ("async_concurrency", new().async_concurrency(0)),
        ("start_timeout", new().start_timeout(Duration::ZERO)),
    ];
    for (name, builder) in table {
        match builder.clone().build() {
            Err(Error::InvalidConfig {
                setting,
                found,
                wanted,
            }) => {
                assert_eq!(setting, *name, "{builder:?}");
                assert!(!found.is_empty() && !wanted.is_empty(), "{builder:?}");
            }
            other => panic!("{builder:?}: {other:?}"),
        }
    }
}

#[test]
fn what_the_kernel_or_the_program_refuses_is_typed() {
    // No machine here has so many cores.
    let refused = builder(1).worker_cores([1023]).build();
    assert!(
        matches!(refused, Err(Error::SettingRefused { .. })),
        "{refused:?}"
    );
    let command = |words: &[&str]| builder(1).command(words.iter().copied()).build();
    for words in [
        &[""][..],
        &["/no/such/program"],
        &["/"],
        &["a\0b"],
        &["true", "\0"],
    ] {
        let refused = command(words);
        let typed = matches!(refused, Err(Error::System(_) | Error::Spawn(_)));
        assert!(typed, "{words:?}: {refused:?}");
    }
    // It starts, and never becomes a worker.
    let refused = command(&["true"]);
    assert!(
        matches!(refused, Err(Error::WorkersKeepDying { .. })),
        "{refused:?}"
    );
    // Nor does this one, which would start for ever.
    let limit = Duration::from_millis(100);
    let refused = builder(1).command(["sleep", "1000"]).start_timeout(limit);
    let refused = refused.build();
    let timed_out = matches!(refused, Err(Error::StartTimedOut { .. } | Error::Spawn(_)));
    assert!(
        timed_out || matches!(refused, Err(Error::WorkersKeepDying { .. })),
        "{refused:?}"
    );
    // No command at all.
    works(&command(&[]).expect("as by default"));
}

#[test]
fn absurd_settings_that_have_a_meaning_have_it() {
    let table = [
        builder(1).attempts(u32::MAX),
        builder(1).max_tasks_per_worker(u64::MAX),
        builder(1).max_worker_memory(u64::MAX),
        builder(1).max_worker_age(Duration::MAX),
        builder(1).async_concurrency(u64::MAX),
        builder(1).start_timeout(Duration::MAX),
        builder(1).queue_depth(usize::MAX),
        builder(1).cancel_grace(Duration::ZERO),
        builder(1).cancel_grace(Duration::MAX),
        builder(1).keep_warm(0),
        builder(1).keep_warm(u64::MAX),
        builder(1).capture_output(usize::MAX),
        builder(1).worker_memory(u64::MAX),
        builder(1).worker_open_files(u64::MAX),
        builder(1).worker_cpu_time(Duration::MAX),
        builder(1).worker_cores([0, 0, 0]),
        builder(2).queues(2).workers(64).workers(2),
        Pool::builder().workers(1).memory_budget(4 << 20),
        Pool::builder().workers(1).memory_budget(16 << 40),
    ];
    for builder in table {
        match builder.clone().build() {
            Ok(pool) => works(&pool),
            // This process may be kept to other cores, or to less of an address space.
            Err(Error::SettingRefused { .. } | Error::System(_)) => {}
            Err(other) => panic!("{builder:?}: {other:?}"),
        }
    }
}

#[test]
fn absurd_terms_of_tasks_and_maps_have_a_meaning() {
    let pool = pool(2);
    let add = |n: &rkyv::rend::u32_le| n.to_native() + 1;
    for limit in [Duration::MAX, Duration::from_secs(u64::MAX)] {
        let task = pool.task(1_u32, add).attempts(0).timeout(limit).spawn();
        let mut task = task.expect("submitted");
        assert_eq!(
            *task
                .wait_timeout(limit)
                .expect("in time")
                .expect("it ends well"),
            2
        );
        let results = pool
            .map(0..100_u32, add)
            .timeout(limit)
            .wait()
            .expect("it ends well");
        assert_eq!(results.len(), 100);
    }
    // No time at all: it has ended in it, or it has not.
    let task = pool
        .task(1_u32, add)
        .timeout(Duration::ZERO)
        .spawn()
        .expect("submitted");
    match task.wait() {
        Ok(result) => assert_eq!(*result, 2),
        Err(error) => assert!(matches!(error, TaskError::TimedOut { .. }), "{error}"),
    }
    let results = pool
        .map(0..100_u32, add)
        .timeout(Duration::ZERO)
        .ordered()
        .expect("begun");
    for (n, result) in (0..).zip(results) {
        match result {
            Ok(result) => assert_eq!(*result, n + 1),
            Err(error) => assert!(matches!(error.error, TaskError::TimedOut { .. }), "{error}"),
        }
    }
    for size in [0, 1, usize::MAX] {
        let map = || pool.map(0..100_u32, add).attempts(0);
        assert_eq!(
            map().read_ahead(size).wait().expect("it ends well").len(),
            100
        );
        assert_eq!(map().batch(size).wait().expect("it ends well").len(), 100);
        assert_eq!(
            map()
                .batch(size)
                .read_ahead(size)
                .wait()
                .expect("it ends well")
                .len(),
            100
        );
    }
    assert_eq!(
        pool.map([0_u32; 0], add)
            .wait()
            .expect("nothing to do")
            .len(),
        0
    );
}

#[test]
fn lengths_beyond_memory_are_errors() {
    let pool = pool(1);
    for len in [usize::MAX, isize::MAX as usize, 1 << 45] {
        let refused = pool.alloc_zeroed::<u64>(len);
        let typed = matches!(
            refused,
            Err(Error::InvalidArgument { .. } | Error::OutOfMemory(_))
        );
        assert!(typed, "{len}");
        let refused = pool.par_generate(len, |i| i as u64).wait();
        let typed = matches!(
            refused,
            Err(Error::InvalidArgument { .. } | Error::OutOfMemory(_))
        );
        assert!(typed, "{len}");
    }
    let large = vec![0_u8; 300 << 20];
    match pool.try_spawn(large, |bytes| bytes.len() as u64) {
        Err(TrySpawnError::Refused(large, Error::OutOfMemory(_))) => {
            assert_eq!(large.len(), 300 << 20);
        }
        other => panic!("{:?}", other.map_err(|error| error.to_string())),
    }
    works(&pool);
}

#[test]
fn names_of_processes_are_any_text() {
    for name in ["", "a\0b", "ünïcödé with spaces", &"x".repeat(10_000)] {
        let process = Process::builder().name(name).spawn((), |()| ());
        match process {
            Ok(process) => {
                assert_eq!(process.name(), name);
                process.wait().expect("it ends well");
            }
            Err(error) => assert!(matches!(error, Error::InvalidArgument { .. }), "{error}"),
        }
    }
    for (name, value) in [("", "x"), ("a=b", "x"), ("a\0", "x"), ("a", "\0")] {
        let refused = Process::builder().env(name, value).spawn((), |()| ());
        assert!(matches!(refused, Err(Error::InvalidArgument { .. })));
    }
}
