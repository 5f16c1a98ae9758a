//! Several queues, and who chooses among them.

use std::collections::HashMap;
use std::process;
use std::sync::{Arc, Mutex};

use gristmill::{
    Error, Pool, QueueId, RoundRobin, Scheduler, SchedulerError, TaskHandle, TaskInfo, WorkerInfo,
};

use crate::gate::{Gate, stand, until};
use crate::killed;

#[test]
fn more_queues_than_workers_are_refused() {
    for (workers, queues) in [(2, 3), (2, 0), (100, 65)] {
        let error = Pool::builder().workers(workers).queues(queues).build();
        let Err(Error::InvalidConfig { setting, found, .. }) = error else {
            panic!("{workers} workers, {queues} queues: {error:?}");
        };
        assert_eq!((setting, found), ("queues", queues.to_string()));
    }
}

/// What a scheduler was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) placed: HashMap<QueueId, usize>,
    started: Vec<WorkerInfo>,
    ended: Vec<WorkerInfo>,
    pub(crate) completed: Vec<(TaskInfo, QueueId)>,
}

/// Round robin that keeps a book.
struct Bookkeeper(RoundRobin, Arc<Mutex<Told>>);

impl Scheduler for Bookkeeper {
    fn queue_for(&mut self, task: &TaskInfo) -> QueueId {
        let queue = self.0.queue_for(task);
        *self.1.lock().unwrap().placed.entry(queue).or_default() += 1;
        queue
    }

    fn on_worker_started(&mut self, worker: &WorkerInfo) {
        self.0.on_worker_started(worker);
        self.1.lock().unwrap().started.push(*worker);
    }

    fn on_worker_ended(&mut self, worker: &WorkerInfo) {
        self.1.lock().unwrap().ended.push(*worker);
    }

    fn on_completed(&mut self, task: &TaskInfo, queue: QueueId) {
        self.1.lock().unwrap().completed.push((*task, queue));
    }
}

pub(crate) fn bookkeeping_pool(workers: usize, queues: usize) -> (Pool, Arc<Mutex<Told>>) {
    let told = Arc::new(Mutex::new(Told::default()));
    let book = Arc::clone(&told);
    let make = move || Bookkeeper(RoundRobin::new(), Arc::clone(&book));
    let pool = Pool::builder().workers(workers).queues(queues);
    (pool.scheduler(make).build().unwrap(), told)
}

#[test]
fn round_robin_deals_in_proportion_to_workers() {
    let (pool, told) = bookkeeping_pool(3, 2);
    let pids = pool.worker_pids();
    let mut shares: HashMap<u32, usize> = HashMap::new();
    for _ in 0..30 {
        let pid = pool.spawn((), |()| process::id()).unwrap().wait().unwrap();
        *shares.entry(pid.to_native()).or_default() += 1;
    }
    let [a, b] = [0, 1].map(QueueId::new);
    {
        let told = told.lock().unwrap();
        assert_eq!(told.placed, HashMap::from([(a, 20), (b, 10)]));
        let queues: Vec<_> = told.started.iter().map(|worker| worker.queue).collect();
        assert_eq!(queues, [a, b, a]);
        assert!(
            told.started
                .iter()
                .map(|worker| worker.pid)
                .eq(pids.iter().copied())
        );
        assert_eq!(told.completed.len(), 30);
        assert!(told.ended.is_empty());
    }
    // Of three workers, the second alone serves the second queue.
    assert_eq!(shares.get(&pids[1]), Some(&10));
    assert!(killed(pids[1]));
    until("the replacement", || {
        told.lock().unwrap().started.len() == 4
    });
    let told = told.lock().unwrap();
    assert_eq!((told.ended[0].pid, told.ended[0].queue), (pids[1], b));
    assert_eq!((told.started[3].index, told.started[3].queue), (1, b));
}

#[test]
fn the_scheduler_hears_of_every_end() {
    let (pool, told) = bookkeeping_pool(2, 2);
    pool.spawn((), |()| panic!("on purpose"))
        .map(|task: TaskHandle<()>| task.wait())
        .unwrap()
        .unwrap_err();
    pool.spawn((), |()| process::abort())
        .map(|task: TaskHandle<()>| task.wait())
        .unwrap()
        .unwrap_err();
    let gates = ["end-a", "end-b"].map(Gate::new);
    let held = gates.each_ref().map(|gate| {
        let held = pool.spawn(gate.file(), |file| stand(file)).unwrap();
        gate.reached();
        held
    });
    let mut cancelled = pool.spawn((), |()| ()).unwrap();
    assert!(cancelled.cancel());
    gates.iter().for_each(Gate::open);
    held.into_iter().for_each(|held| drop(held.wait().unwrap()));
    let told = told.lock().unwrap();
    let mut ids: Vec<_> = told.completed.iter().map(|(task, _)| task.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2, 3, 4]);
}

/// Does as it is told.
struct Puppet(Arc<Mutex<Box<dyn FnMut() -> QueueId + Send>>>);

impl Scheduler for Puppet {
    fn queue_for(&mut self, _: &TaskInfo) -> QueueId {
        // Taken out, for it may panic.
        let mut act = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        act()
    }
}

#[test]
fn a_broken_scheduler_breaks_nothing() {
    type Act = Box<dyn FnMut() -> QueueId + Send>;
    let second: fn() -> Act = || Box::new(|| QueueId::new(1));
    let act = Arc::new(Mutex::new(second()));
    let puppet = Arc::clone(&act);
    let builder = Pool::builder().workers(2).queues(2);
    let pool = builder
        .scheduler(move || Puppet(Arc::clone(&puppet)))
        .build()
        .unwrap();
    let pool = Arc::new(pool);
    let set = |new: Act| *act.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = new;
    let spawn = || pool.spawn((), |()| process::id());
    let pids = pool.worker_pids();
    let works = || assert_eq!(spawn().unwrap().wait().unwrap().to_native(), pids[1]);
    works();
    set(Box::new(|| panic!("on purpose")));
    let Err(Error::Scheduler(SchedulerError::Panicked { message })) = spawn() else {
        panic!("a panic is an error");
    };
    assert_eq!(message, "on purpose");
    set(Box::new(|| QueueId::new(2)));
    let Err(Error::Scheduler(error)) = spawn() else {
        panic!("there is no such queue");
    };
    assert_eq!(
        error,
        SchedulerError::NoSuchQueue {
            found: 2,
            queues: 2
        }
    );
    let inner = Arc::downgrade(&pool);
    set(Box::new(move || {
        let inner = inner.upgrade().expect("the pool lives");
        let refused = inner.spawn((), |()| ());
        assert!(matches!(
            refused,
            Err(Error::Scheduler(SchedulerError::Reentered))
        ));
        QueueId::new(1)
    }));
    works();
    set(second());
    works();
    pool.close();
    assert_eq!(pool.join().wait().unwrap().abandoned, 0);
}
