//! All lanes at once: workers killed while tasks of every kind flow, and tasks taken back.

use std::collections::HashSet;
use std::process;
use std::sync::Mutex;
use std::thread;

use gristmill::{Pool, Priority, TaskError};

use crate::gate::{Gate, stand};
use crate::killed;
use crate::queues::bookkeeping_pool;

#[test]
fn waiting_tasks_of_every_lane_can_be_cancelled() {
    let pool = Pool::builder().workers(2).queues(2).build().unwrap();
    let gates = ["cancel-a", "cancel-b"].map(Gate::new);
    let held = gates.each_ref().map(|gate| {
        let held = pool.spawn(gate.file(), |file| stand(file)).unwrap();
        gate.reached();
        held
    });
    for priority in [Priority::Low, Priority::Normal, Priority::High] {
        let mut tasks: Vec<_> = (0..700)
            .map(|_| {
                let task = pool.task((), |()| ());
                task.priority(priority).spawn().unwrap()
            })
            .collect();
        assert!(tasks.iter_mut().all(|task| task.cancel()));
    }
    let mut sticky: Vec<_> = (0..1500_u64)
        .map(|key| pool.task((), |()| ()).sticky(key % 2).spawn().unwrap())
        .collect();
    assert!(sticky.iter_mut().all(|task| task.cancel()));
    gates.iter().for_each(Gate::open);
    held.into_iter().for_each(|held| drop(held.wait().unwrap()));
    pool.close();
    assert_eq!(pool.join().wait().unwrap().abandoned, 0);
}

#[test]
fn a_storm_over_all_lanes_loses_nothing() {
    const TASKS: u64 = 3000;
    const KILLS: usize = 12;
    let (pool, told) = bookkeeping_pool(4, 2);
    let kills = Mutex::new(0);
    thread::scope(|scope| {
        let users: Vec<_> = (0..3)
            .map(|user| {
                scope.spawn({
                    let pool = &pool;
                    move || storm(pool, user, TASKS / 3)
                })
            })
            .collect();
        let mut seen = HashSet::new();
        while *kills.lock().unwrap() < KILLS && users.iter().any(|user| !user.is_finished()) {
            // Only those that have served, so that no start is ended.
            let pid = pool.spawn((), |()| process::id()).unwrap().wait();
            if let Ok(pid) = pid
                && seen.insert(pid.to_native())
                && killed(pid.to_native())
            {
                *kills.lock().unwrap() += 1;
            }
        }
        let lost: usize = users.into_iter().map(|user| user.join().unwrap()).sum();
        let kills = *kills.lock().unwrap();
        assert!(kills > 2, "{kills} kills are no storm");
        assert!(lost <= kills, "{lost} tasks lost by {kills} deaths");
    });
    pool.close();
    assert_eq!(pool.join().wait().unwrap().abandoned, 0);
    let told = told.lock().unwrap();
    let placed: usize = told.placed.values().sum();
    let ids: HashSet<_> = told.completed.iter().map(|(task, _)| task.id).collect();
    assert_eq!(
        (ids.len(), told.completed.len()),
        (placed, placed),
        "each has one end"
    );
}

/// Submits tasks of all kinds, and looks whose results come; how many were lost.
fn storm(pool: &Pool, user: u64, tasks: u64) -> usize {
    let mut lost = 0;
    for batch in 0..tasks / 100 {
        let handles: Vec<_> = (0..100)
            .map(|i| {
                let id = user << 32 | batch << 8 | i;
                let task = pool.task(id, |id| id.to_native().wrapping_mul(0x9e37_79b9));
                let task = match i % 5 {
                    0 => task.sticky(i / 5),
                    1 => task.sticky(i / 5).idempotent(),
                    2 => task.priority(Priority::High).idempotent(),
                    3 => task.priority(Priority::Low),
                    _ => task,
                };
                (id, task.spawn().expect("submitted"))
            })
            .collect();
        for (id, handle) in handles {
            match handle.wait() {
                Ok(result) => assert_eq!(*result, id.wrapping_mul(0x9e37_79b9), "another's"),
                Err(TaskError::WorkerDied(_)) => lost += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
    lost
}
