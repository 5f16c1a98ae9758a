//! What users of Python's pools complain of, where no other test shows that it is not so here.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use gristmill::{Cause, Error, TaskError, TaskHandle};
use nix::sys::resource::{Resource, getrlimit};

use crate::seeing_support::{Gate, pass};
use crate::{builder, pool};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn blocking_tasks_spread_over_idle_workers() {
    let pool = pool(2);
    let mut gate = Gate::new();
    let run = |paths: &rkyv::Archived<(String, String)>| {
        pass(&paths.0, &paths.1);
        std::process::id()
    };
    let tasks: Vec<TaskHandle<u32>> = (0..8)
        .map(|_| pool.spawn(gate.paths(), run).expect("submitted"))
        .collect();
    // None has ended, and two have begun: neither worker sits on what the other could do.
    gate.await_workers(2);
    let stats = pool.stats();
    assert_eq!((stats.in_flight, stats.queued), (2, 6));
    assert!(stats.workers.iter().all(|worker| worker.state.is_busy()));
    gate.open(8);
    let mut pids: Vec<u32> = tasks
        .into_iter()
        .map(|task| task.wait().expect("well").to_native())
        .collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 2);
}

#[test]
fn a_million_items_and_the_pool_still_closes() {
    const MANY: u32 = 1_000_000;
    let pool = pool(2);
    let results = pool
        .map(0..MANY, |n| n.to_native())
        .as_completed()
        .expect("begun");
    let mut sum = 0_u64;
    for (_, result) in results {
        sum += u64::from(result.expect("it ends well").to_native());
    }
    assert_eq!(sum, u64::from(MANY) * u64::from(MANY - 1) / 2);
    pool.close();
    assert_eq!(pool.join().wait().expect("closed").abandoned, 0);
}

#[test]
fn an_endless_map_does_not_keep_a_pool_from_closing() {
    let pool = pool(2);
    let mut results = pool
        .map(0_u32.., |n| n.to_native())
        .ordered()
        .expect("begun")
        .into_iter();
    assert_eq!(
        results.next().expect("endless").expect("well").to_native(),
        0
    );
    pool.close();
    // What is on its way is told, one way or the other, and then the stream ends.
    let told = results.by_ref().inspect(|result| match result {
        Ok(_) => {}
        Err(error) => assert_eq!(error.error, TaskError::PoolClosed),
    });
    assert!(told.count() < 100_000);
    assert_eq!(pool.join().wait().expect("closed").abandoned, 0);
}

fn root(x: &rkyv::rend::f64_le) -> f64 {
    x.to_native().sqrt()
}

#[test]
fn plain_functions_local_functions_and_closures_are_the_same() {
    fn local(x: &rkyv::rend::f64_le) -> f64 {
        x.to_native() * 2.0
    }
    let pool = pool(1);
    let of = |x: &rkyv::rend::f64_le| x.to_native() + 1.0;
    let items = || [4.0_f64, 9.0];
    let roots = pool.map(items(), root).wait().expect("it ends well");
    let doubles = pool.map(items(), local).wait().expect("it ends well");
    let more = pool.map(items(), of).wait().expect("it ends well");
    assert_eq!(
        [*roots[1], *doubles[1], *more[1]].map(|x| x.to_native()),
        [3.0, 18.0, 10.0]
    );
}

#[test]
fn an_item_that_hangs_is_ended_and_its_neighbours_are_not() {
    let pool = pool(2);
    let limit = Duration::from_millis(300);
    // Hung items in the middle of batches and alone; 300 ms are time enough for all others.
    let run = |n: &rkyv::rend::u32_le| loop {
        if !matches!(n.to_native(), 70 | 71 | 150) {
            break n.to_native() + 1;
        }
        std::hint::spin_loop();
    };
    for batch in [None, Some(1), Some(64)] {
        let mut map = pool.map(0..200_u32, run).timeout(limit).idempotent();
        if let Some(items) = batch {
            map = map.batch(items);
        }
        let results = map.ordered().expect("begun");
        let mut hung = Vec::new();
        for (n, result) in (0..).zip(results) {
            match result {
                Ok(found) => assert_eq!(*found, n + 1),
                Err(error) => {
                    let element = None;
                    assert_eq!(error.error, TaskError::TimedOut { limit, element });
                    hung.push(error.index);
                }
            }
        }
        assert_eq!(hung, [70, 71, 150], "{batch:?}");
    }
}

#[test]
fn a_limit_for_items_is_none_for_the_map() {
    let pool = pool(1);
    // Together they take far longer than one may.
    let nap = |_: &rkyv::rend::u32_le| thread::sleep(Duration::from_millis(2));
    let results = pool
        .map(0..300_u32, nap)
        .batch(300)
        .timeout(Duration::from_millis(500));
    assert_eq!(results.wait().expect("no item took so long").len(), 300);
}

#[test]
fn a_death_names_signal_process_and_memory() {
    const LIMIT: u64 = 256 << 20;
    let pool = builder(1).worker_memory(LIMIT).build().expect("a pool");
    let worker = pool.worker_pids()[0];
    let task = pool.spawn(64_u64 << 20, |bytes| {
        let held = vec![1_u8; bytes.to_native() as usize];
        std::hint::black_box(&held);
        vec![0_u8; 1 << 40].len() as u64
    });
    match task.expect("submitted").wait() {
        Err(TaskError::WorkerDied(death)) => {
            assert_eq!((death.pid, death.cause), (worker, Cause::Signal(6)));
            assert!(death.peak_memory.expect("told") >= 64 << 20, "{death}");
            assert!(death.task.is_some(), "{death}");
            for part in ["SIGABRT", "MiB", "task"] {
                assert!(death.to_string().contains(part), "{death}");
            }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_task_that_dies_is_told_by_the_number_that_was_seen() {
    let pool = pool(1);
    let mut gate = Gate::new();
    let task = pool.spawn(gate.paths(), |paths| {
        pass(&paths.0, &paths.1);
        std::process::abort()
    });
    let task: TaskHandle<()> = task.expect("submitted");
    gate.await_workers(1);
    let state = pool.stats().workers[0].state.clone();
    let gristmill::WorkerState::Task { id } = state else {
        panic!("{state:?}")
    };
    gate.open(1);
    match task.wait() {
        Err(TaskError::WorkerDied(death)) => {
            assert_eq!(death.task.map(|task| task.parts()), Some(id))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pool_after_its_end_refuses_everything() {
    let pool = pool(1);
    let buffer = pool.alloc_zeroed::<u64>(10).expect("room").freeze();
    pool.terminate().wait().expect("it ends");
    let closed = |error: Error| {
        matches!(
            error,
            Error::PoolClosed | Error::Task(TaskError::PoolClosed)
        )
    };
    let add = |n: &rkyv::rend::u32_le| n.to_native() + 1;
    assert!(closed(pool.spawn(1_u32, add).expect_err("closed")));
    assert!(closed(
        pool.task(1_u32, add)
            .timeout(Duration::MAX)
            .spawn()
            .expect_err("closed")
    ));
    assert!(closed(
        pool.task(1_u32, add).sticky(1).spawn().expect_err("closed")
    ));
    assert!(closed(
        pool.spawn_with((), 1_u32, |(), n| n.to_native())
            .expect_err("closed")
    ));
    assert!(closed(
        pool.spawn_when_free(1_u32, add).wait().expect_err("closed")
    ));
    match pool.try_spawn(1_u32, add) {
        Err(gristmill::TrySpawnError::Refused(1, error)) => assert!(closed(error)),
        other => panic!("{other:?}"),
    }
    match pool.map([1_u32, 2], add).wait() {
        Err(Error::Item(error)) => assert_eq!(error.error, TaskError::PoolClosed),
        other => panic!("{other:?}"),
    }
    assert!(closed(
        pool.par_map(&buffer, |x| x + 1).wait().expect_err("closed")
    ));
    assert!(closed(pool.par_sum(&buffer).wait().expect_err("closed")));
    // And what needs no workers goes on.
    assert_eq!((pool.worker_pids(), buffer[9]), (vec![], 0));
    assert_eq!(pool.stats().in_flight, 0);
}

#[test]
fn open_files_are_those_of_the_pool_and_not_of_the_tasks() {
    // 50 used queues are 107 descriptors there; here tasks and maps have none.
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let count = gristmill::Worker::spawn((), |()| {
        let count = || std::fs::read_dir("/proc/self/fd").expect("procfs").count() as u32;
        let pool = pool(2);
        let warm = pool.map(0..10_u32, |n| n.to_native()).wait();
        drop(warm.expect("it ends well"));
        let before = count();
        let tasks: Vec<_> = (0..500_u32)
            .map(|n| pool.spawn(n, |n| n.to_native()).expect("submitted"))
            .collect();
        let maps: Vec<_> = (0..50_u32)
            .map(|n| pool.map([n], |n| n.to_native()).ordered().expect("begun"))
            .collect();
        let during = count();
        drop((tasks, maps));
        (before, during)
    });
    let count = count.expect("started").wait().expect("it ends well");
    assert!(u64::from(count.1.to_native()) < soft);
    assert_eq!(count.0, count.1);
}

#[test]
fn buffers_are_dropped_in_any_order() {
    let of = |pool: &gristmill::Pool| {
        let xs = pool.alloc_from_fn(10_000, |i| i as u64).expect("room");
        xs.freeze()
    };
    // The pool first, then a view of it.
    let first = pool(1);
    let xs = of(&first);
    let view = xs.clone();
    drop((first, xs));
    assert_eq!(view[9_999], 9_999);
    drop(view);

    // The input, the context and the handle of a job and a task that still run.
    let second = pool(1);
    let (xs, table) = (of(&second), of(&second));
    let task = second.spawn((), |()| ()).expect("submitted");
    let job = second.par_map_with(table.clone(), &xs, |table, x| table[*x as usize] + x);
    let job = job.start().expect("room");
    drop((xs, table));
    let ys = job.wait().expect("well");
    drop(second);
    assert!(ys.iter().zip(0..).all(|(&y, i)| y == 2 * i));
    drop(task);
}
