//! In which order one worker takes what waits.

use std::sync::atomic::{AtomicU64, Ordering};

use gristmill::{Pool, Priority, TaskHandle};

use crate::gate::{Gate, stand};

/// How many tasks this worker has begun in a test's order.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// Submits a task that says as how many-th it was begun.
fn numbered(pool: &Pool, priority: Priority) -> TaskHandle<u64> {
    let task = pool.task((), |()| BEGUN.fetch_add(1, Ordering::Relaxed));
    task.priority(priority).spawn().expect("submitted")
}

fn number(task: TaskHandle<u64>) -> u64 {
    task.wait().expect("done").to_native()
}

#[test]
fn a_high_task_overtakes_a_thousand_low_ones() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let gate = Gate::new("high");
    let held = pool.spawn(gate.file(), |file| stand(file)).unwrap();
    gate.reached();
    let low: Vec<_> = (0..1000).map(|_| numbered(&pool, Priority::Low)).collect();
    let normal = numbered(&pool, Priority::Normal);
    let high = numbered(&pool, Priority::High);
    gate.open();
    held.wait().unwrap();
    // One look in eight begins elsewhere.
    assert!(number(high) <= 1);
    assert!(number(normal) <= 3);
    let mut numbers: Vec<_> = low.into_iter().map(number).collect();
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn a_high_task_does_not_wait_for_a_slot() {
    // More than there are slots, so that most of them wait in the parent.
    let pool = Pool::builder().workers(1).build().unwrap();
    let gate = Gate::new("slots");
    let held = pool.spawn(gate.file(), |file| stand(file)).unwrap();
    gate.reached();
    let many: Vec<_> = (0..6000)
        .map(|_| numbered(&pool, Priority::Normal))
        .collect();
    let high = numbered(&pool, Priority::High);
    gate.open();
    held.wait().unwrap();
    assert!(number(high) <= 1);
    assert_eq!(many.into_iter().map(number).max(), Some(6000));
}

#[test]
fn nobody_starves() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let gate = Gate::new("starve");
    let held = pool.spawn(gate.file(), |file| stand(file)).unwrap();
    gate.reached();
    let high: Vec<_> = (0..480).map(|_| numbered(&pool, Priority::High)).collect();
    let normal: Vec<_> = (0..10).map(|_| numbered(&pool, Priority::Normal)).collect();
    let low: Vec<_> = (0..10).map(|_| numbered(&pool, Priority::Low)).collect();
    gate.open();
    held.wait().unwrap();
    for tasks in [normal, low] {
        for (index, task) in (1..).zip(tasks) {
            // Of any 32 tasks one is of each kind that waits, in their order.
            assert!(
                number(task) <= 32 * index,
                "the {index}-th waited for too long"
            );
        }
    }
    let last = high.into_iter().map(number).max();
    assert_eq!(
        last,
        Some(499),
        "low tasks went before high ones only now and then"
    );
}
