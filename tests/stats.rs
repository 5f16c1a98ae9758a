//! What `Pool::stats` says of workers that are held up, idle, dead.

mod seeing_support;

use std::time::Duration;

use gristmill::{Pool, Rkyv, Stats, WorkerState, WorkerStats};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use seeing_support::{Gate, pass};

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

fn total(stats: &Stats, count: fn(&WorkerStats) -> u64) -> u64 {
    stats.workers.iter().map(count).sum()
}

/// Looks until it is so: what workers say of themselves is there when they get to it.
fn look_until(pool: &Pool, is_so: impl Fn(&Stats) -> bool) -> Stats {
    loop {
        let stats = pool.stats();
        if is_so(&stats) {
            return stats;
        }
        std::thread::yield_now();
    }
}

#[test]
fn tasks_are_seen_waiting_running_and_done() {
    let pool = pool(2);
    let mut gate = Gate::new();
    let hold = || {
        let paths = gate.paths();
        pool.spawn(paths, |paths| pass(&paths.0, &paths.1)).unwrap()
    };
    let tasks = [hold(), hold(), hold(), hold(), hold()];
    gate.await_workers(2);
    let stats = pool.stats();
    assert_eq!((stats.queued, stats.in_flight, stats.jobs), (3, 2, 0));
    let ids: Vec<_> = stats.workers.iter().map(|worker| &worker.state).collect();
    assert!(
        matches!(ids[..], [WorkerState::Task { id: a }, WorkerState::Task { id: b }] if a != b),
        "{ids:?}"
    );
    assert!(stats.workers.iter().all(|worker| worker.state.is_busy()));
    assert_eq!(total(&stats, |worker| worker.tasks_done), 0);
    gate.open(5);
    for task in tasks {
        task.wait().unwrap();
    }
    let stats = pool.stats();
    assert_eq!((stats.queued, stats.in_flight, stats.jobs), (0, 0, 0));
    assert_eq!(total(&stats, |worker| worker.tasks_done), 5);
    let pids: Vec<u32> = stats
        .workers
        .iter()
        .filter_map(|worker| worker.pid)
        .collect();
    assert_eq!(pids, pool.worker_pids());
    // Nothing to do: they spin, then sleep.
    look_until(&pool, |stats| {
        stats
            .workers
            .iter()
            .all(|worker| worker.state == WorkerState::Asleep)
    });
}

#[test]
fn a_chunk_is_seen_with_its_elements() {
    let pool = pool(1);
    let mut gate = Gate::new();
    let xs = pool.alloc_zeroed::<u64>(1000).unwrap().freeze();
    let job = pool.par_map_with(Rkyv(gate.paths()), &xs, |paths, x| {
        // The first element of the first chunk is held up; the gate is open for the others.
        pass(&paths.0, &paths.1);
        *x
    });
    let job = job.start().unwrap();
    gate.await_workers(1);
    let stats = pool.stats();
    assert_eq!((stats.queued, stats.in_flight, stats.jobs), (0, 0, 1));
    match &stats.workers[0].state {
        WorkerState::Job {
            elements: Some(elements),
            ..
        } => assert!(elements.start == 0 && !elements.is_empty() && elements.end <= 1000),
        other => panic!("{other:?}"),
    }
    gate.open(1000);
    job.wait().unwrap();
    let stats = pool.stats();
    assert!(stats.workers[0].chunks_done >= 1);
    assert_eq!((stats.workers[0].tasks_done, stats.jobs), (0, 0));
}

#[test]
fn a_death_is_a_restart_and_the_counts_go_on() {
    let pool = pool(1);
    pool.spawn((), |()| ()).unwrap().wait().unwrap();
    let first = pool.stats().workers[0].clone();
    assert_eq!((first.restarts, first.tasks_done), (0, 1));
    let died: gristmill::TaskHandle<()> = pool.spawn((), |()| std::process::abort()).unwrap();
    died.wait().unwrap_err();
    pool.spawn((), |()| ()).unwrap().wait().unwrap();
    let stats = look_until(&pool, |stats| stats.workers[0].pid.is_some());
    assert_eq!(
        (stats.workers[0].restarts, stats.workers[0].tasks_done),
        (1, 2)
    );
    assert_ne!(stats.workers[0].pid, first.pid);
}

#[test]
fn processor_time_grows_with_work_and_not_with_waiting() {
    let pool = pool(1);
    let before = pool.stats().workers[0].processor_time;
    let work = Duration::from_millis(20);
    // The worker's own account of what it has used.
    let task = pool.spawn(work.as_nanos() as u64, |work| {
        let used = || {
            let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
            let time = usage.user_time() + usage.system_time();
            Duration::from_micros(time.num_microseconds() as u64)
        };
        let began = used();
        while (used() - began).as_nanos() < u128::from(work.to_native()) {
            std::hint::spin_loop();
        }
    });
    task.unwrap().wait().unwrap();
    let after = pool.stats().workers[0].processor_time;
    // Both clocks are cut to microseconds.
    let told = work - Duration::from_micros(10);
    assert!(after >= before + told, "{before:?} {after:?}");
}

#[test]
fn large_results_are_seen_in_the_arena() {
    let pool = pool(1);
    let task = pool.spawn(3_u64 << 20, |len| vec![1_u8; len.to_native() as usize]);
    let result = task.unwrap().wait().unwrap();
    let worker = pool.stats().workers[0].clone();
    assert!(worker.arena_in_use >= 3 << 20, "{worker:?}");
    assert!(worker.arena_committed >= worker.arena_in_use, "{worker:?}");
    assert!(worker.arena_huge <= worker.arena_committed, "{worker:?}");
    drop(result);
}

#[test]
fn a_sleeper_is_woken_once_and_nobody_who_is_awake() {
    let pool = pool(1);
    look_until(&pool, |stats| stats.workers[0].state == WorkerState::Asleep);
    let before = pool.stats();
    let mut gate = Gate::new();
    let task = pool
        .spawn(gate.paths(), |paths| pass(&paths.0, &paths.1))
        .unwrap();
    gate.await_workers(1);
    assert_eq!(pool.stats().wake_ups, before.wake_ups + 1);
    // It is at work: there is nobody to wake.
    let more: Vec<_> = (0..9).map(|_| pool.spawn((), |()| ()).unwrap()).collect();
    let stats = pool.stats();
    assert_eq!(stats.wake_ups, before.wake_ups + 1);
    assert_eq!(stats.wake_ups_saved, before.wake_ups_saved + 9);
    assert_eq!(stats.queued, 9);
    gate.open(1);
    task.wait().unwrap();
    for task in more {
        task.wait().unwrap();
    }
}
