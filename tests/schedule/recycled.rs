//! Queues and keys in a pool whose workers succeed each other.

use std::collections::HashMap;
use std::process;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gristmill::{Pool, QueueId, RoundRobin, Scheduler, TaskInfo, WorkerInfo};

use crate::gate::{Gate, stand, until};
use crate::killed;

/// Beyond this a test has hung.
const LIMIT: Duration = Duration::from_secs(120);

fn pid_for(pool: &Pool, key: u64) -> u32 {
    let task = pool.task((), |()| process::id()).sticky(key).spawn();
    let pid = task.unwrap().wait_timeout(LIMIT).expect("in time").unwrap();
    pid.to_native()
}

/// Has the only worker replaced, and so moved to another place.
fn succeed(pool: &Pool) {
    let first = pool.worker_pids();
    let grow = pool.spawn((), |()| {
        std::mem::forget(std::hint::black_box(vec![1_u8; 96 << 20]));
    });
    grow.unwrap().wait().unwrap();
    until("a successor", || {
        !pool.worker_pids().iter().any(|pid| first.contains(pid))
    });
}

#[test]
fn keys_whose_worker_dies_alone_wait_for_the_one_that_replaces_it() {
    let builder = Pool::builder().workers(1).max_worker_memory(64 << 20);
    let pool = builder.build().unwrap();
    succeed(&pool);
    let gate = Gate::new("alone");
    let task = pool.task(gate.file(), |file| stand(file)).sticky(7_u64);
    let held = task.spawn().unwrap();
    let before = gate.reached();
    let after = pool.task((), |()| process::id()).sticky(7_u64).spawn();
    assert!(killed(before));
    assert!(held.wait().is_err());
    let after = after.unwrap().wait_timeout(LIMIT).expect("in time");
    assert_ne!(after.unwrap().to_native(), before);
}

#[test]
fn keys_go_to_the_successor_and_those_of_others_stay() {
    const EACH: u64 = 50;
    let builder = Pool::builder().workers(2).max_tasks_per_worker(EACH);
    let pool = builder.build().unwrap();
    let (mine, mut counts) = (pid_for(&pool, 0), HashMap::from([(0_u32, 0_u64)]));
    let other = (1..).find(|&key| pid_for(&pool, key) != mine).unwrap();
    let others = pid_for(&pool, other);
    // One worker is recycled again and again, so that there is always a place for its successor.
    for _ in 0..10 * EACH {
        *counts.entry(pid_for(&pool, 0)).or_default() += 1;
    }
    assert!(counts.values().all(|&count| count <= EACH), "{counts:?}");
    assert!(counts.len() > 10, "{counts:?}");
    assert!(!counts.contains_key(&others), "a key went to a neighbour");
    assert_eq!(pid_for(&pool, other), others);
}

#[test]
fn what_waits_for_a_retiring_worker_alone_is_done_by_its_successor() {
    let builder = Pool::builder().workers(2).max_tasks_per_worker(10);
    let pool = builder.build().unwrap();
    // More than there are slots for one lane, for one worker of two at a time.
    let tasks: Vec<_> = (0..3000_u64)
        .map(|i| {
            let task = pool.task(i, |i| (process::id(), i.to_native()));
            task.sticky(7_u64).spawn().unwrap()
        })
        .collect();
    let mut counts: HashMap<u32, u32> = HashMap::new();
    for (i, mut task) in (0..).zip(tasks) {
        let answer = task.wait_timeout(LIMIT).expect("in time").unwrap();
        assert_eq!(answer.1, i);
        *counts.entry(answer.0.to_native()).or_default() += 1;
    }
    assert!(counts.values().all(|&count| count <= 10), "{counts:?}");
}

/// Round robin that notes where it placed tasks, and who serves.
struct Noting(RoundRobin, Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    placed: HashMap<QueueId, u32>,
    started: u32,
    ended: u32,
    serving: HashMap<usize, QueueId>,
}

impl Scheduler for Noting {
    fn queue_for(&mut self, task: &TaskInfo) -> QueueId {
        let queue = self.0.queue_for(task);
        *self.1.lock().unwrap().placed.entry(queue).or_default() += 1;
        queue
    }

    fn on_worker_started(&mut self, worker: &WorkerInfo) {
        self.0.on_worker_started(worker);
        let mut told = self.1.lock().unwrap();
        told.started += 1;
        let before = told.serving.insert(worker.index, worker.queue);
        assert_eq!(before, None, "{worker:?} started twice");
    }

    fn on_worker_ended(&mut self, worker: &WorkerInfo) {
        self.0.on_worker_ended(worker);
        let mut told = self.1.lock().unwrap();
        told.ended += 1;
        let before = told.serving.remove(&worker.index);
        assert_eq!(before, Some(worker.queue), "{worker:?} was not there");
    }
}

#[test]
fn successors_serve_the_queue_of_those_before_them() {
    const TASKS: u32 = 900;
    let told = Arc::new(Mutex::new(Told::default()));
    let book = Arc::clone(&told);
    let builder = Pool::builder()
        .workers(3)
        .queues(2)
        .max_tasks_per_worker(20);
    let builder = builder.scheduler(move || Noting(RoundRobin::new(), Arc::clone(&book)));
    let pool = builder.build().unwrap();
    for _ in 0..TASKS {
        let mut task = pool.spawn((), |()| ()).unwrap();
        task.wait_timeout(LIMIT).expect("in time").unwrap();
    }
    let told = told.lock().unwrap();
    assert!(told.started > 20 && told.ended > 20);
    let [a, b] = [0, 1].map(|queue| told.placed[&QueueId::new(queue)]);
    assert_eq!(a + b, TASKS);
    // Two workers serve the first and one the second, also while they succeed each other: but for
    // the moments when both, or neither, of two are told of.
    assert!(a > TASKS * 58 / 100 && a < TASKS * 75 / 100, "{a} and {b}");
}
