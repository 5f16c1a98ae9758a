//! A caller that runs parts of its job itself.
//!
//! Where it matters who ran what, all workers are held at a gate: then it is the caller, or nobody.

mod seeing_support;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use futures_util::StreamExt;
use gristmill::{Error, Pool, ProgressStream, Result, Rkyv, SharedVec, TaskError, TaskHandle};
use seeing_support::{Gate, arrive, pass};

fn pool() -> Pool {
    Pool::builder().workers(2).build().unwrap()
}

/// Keeps all workers of a pool busy until it is let go.
struct Held {
    gate: Gate,
    tasks: Vec<TaskHandle<()>>,
}

impl Held {
    fn new(pool: &Pool) -> Self {
        let mut gate = Gate::new();
        let hold = |_| {
            pool.spawn(gate.paths(), |paths| {
                pass(paths.0.as_str(), paths.1.as_str());
            })
        };
        let tasks: Vec<_> = (0..2).map(|n| hold(n).unwrap()).collect();
        gate.await_workers(tasks.len());
        Self { gate, tasks }
    }

    fn let_go(mut self) -> Result<(), TaskError> {
        self.gate.open(self.tasks.len());
        self.tasks
            .into_iter()
            .try_for_each(|task| task.wait().map(drop))
    }
}

#[track_caller]
fn panicked<T: core::fmt::Debug>(outcome: Result<T, Error>) -> (Option<u64>, String) {
    match outcome {
        Err(Error::Task(TaskError::Panicked {
            message, element, ..
        })) => (element, message),
        other => panic!("a panic was expected: {other:?}"),
    }
}

/// Each verb as threads would do it, asked again and again: the first time nobody knows how long it
/// takes, later it is begun here, or shared.
#[test]
fn every_verb_gives_what_workers_give() -> Result<(), Error> {
    every_verb(&pool())
}

#[test]
fn every_verb_gives_the_same_in_a_crowd() -> Result<(), Error> {
    every_verb(&Pool::builder().workers(9).build()?)
}

fn every_verb(pool: &Pool) -> Result<(), Error> {
    for len in [0, 1, 2, 63, 64, 65, 257, 4_097, 300_000] {
        let xs = pool.alloc_from_fn(len, |i| i as f64 * 0.5)?.freeze();
        let ys = pool.alloc_from_fn(len, |i| i as u32)?.freeze();
        let roots: Vec<f64> = xs.iter().map(|x| x.sqrt()).collect();
        for _ in 0..4 {
            let mapped = pool.par_map(&xs, |x: &f64| x.sqrt()).wait_helping()?;
            assert_eq!(*mapped, *roots, "par_map of {len}");
            let mut output = pool.alloc_zeroed(len)?;
            let job = pool.par_map_into(&xs, &mut output, |x: &f64| x.sqrt());
            job.wait_helping()?;
            assert_eq!(*output, *roots, "par_map_into of {len}");
            let zipped = pool.par_zip_map(&xs, &ys, |x: &f64, y: &u32| x - f64::from(*y));
            let zipped = zipped.wait_helping()?;
            assert!(
                zipped
                    .iter()
                    .zip(&*ys)
                    .all(|(z, y)| *z == f64::from(*y) * -0.5)
            );
            let made = pool.par_generate(len, |i| i as u64 + 7).wait_helping()?;
            assert!(
                (0..).zip(&*made).all(|(i, x)| *x == i + 7),
                "par_generate of {len}"
            );
            pool.par_for_each_mut(&mut output, |x: &mut f64| *x = -*x)
                .wait_helping()?;
            assert!(output.iter().zip(&roots).all(|(x, root)| *x == -root));
            // Rounding does not depend on who adds.
            let (alone, helped) = (pool.par_sum(&xs).wait()?, pool.par_sum(&xs).wait_helping()?);
            assert_eq!(alone.to_bits(), helped.to_bits(), "par_sum of {len}");
            assert_eq!(pool.par_max(&ys).wait_helping()?, ys.last().copied());
        }
    }
    Ok(())
}

#[test]
fn the_caller_does_what_no_worker_can() -> Result<(), Error> {
    static HERE: AtomicU64 = AtomicU64::new(0);
    let count = |x: &u64| {
        HERE.fetch_add(1, Ordering::Relaxed);
        x + 1
    };
    let pool = pool();
    let xs = pool.alloc_from_fn(10_000, |i| i as u64)?.freeze();
    let held = Held::new(&pool);
    let job = pool.par_map(&xs, count);
    assert!((1..).zip(&*job.wait_helping()?).all(|(i, x)| *x == i));
    assert_eq!(HERE.swap(0, Ordering::Relaxed), 10_000);
    // One that was begun without a word of help.
    let job = pool.par_map(&xs, count).start()?;
    assert_eq!(job.wait_helping()?[9_999], 10_000);
    assert_eq!(HERE.swap(0, Ordering::Relaxed), 10_000);
    held.let_go()?;
    // And not unless it is asked to.
    pool.par_map(&xs, count).wait()?;
    assert_eq!(HERE.load(Ordering::Relaxed), 0);
    Ok(())
}

#[test]
fn a_limit_of_time_is_for_those_who_can_be_killed() -> Result<(), Error> {
    static HERE: AtomicBool = AtomicBool::new(false);
    let pool = pool();
    let xs = pool.alloc_from_fn(10_000, |i| i as u64)?.freeze();
    let held = Held::new(&pool);
    let job = pool.par_map(&xs, |x| {
        HERE.store(true, Ordering::Relaxed);
        x + 1
    });
    let outcome = job.timeout(Duration::from_millis(20)).wait_helping();
    let timed_out = matches!(outcome, Err(Error::Task(TaskError::TimedOut { .. })));
    assert!(timed_out, "{outcome:?}");
    held.let_go()?;
    let job = pool.par_map(&xs, |x| {
        HERE.store(true, Ordering::Relaxed);
        x + 2
    });
    let job = job.element_timeout(Duration::from_secs(100));
    assert_eq!(job.wait_helping()?[9], 11);
    assert!(!HERE.load(Ordering::Relaxed));
    Ok(())
}

/// With each number of elements, for a panic meets the caller alone, in a part of a known job, or
/// in one that it took from the board.
#[test]
fn a_panic_here_is_an_error_that_names_the_element() -> Result<(), Error> {
    let pool = pool();
    for len in [2, 100, 3_000, 100_000] {
        let xs = pool.alloc_from_fn(len, |i| i as u64)?.freeze();
        let held = Held::new(&pool);
        for bad in [0, 1, len as u64 / 2, len as u64 - 1] {
            // The first of those that fail, though each of them would.
            let job = || {
                pool.par_map_with(bad, &xs, |&bad, &x| {
                    assert!(x < bad, "element {x} is bad");
                    x
                })
            };
            let (element, message) = panicked(job().wait_helping());
            assert_eq!(
                (element, message),
                (Some(bad), format!("element {bad} is bad"))
            );
        }
        held.let_go()?;
        for bad in [0, len as u64 / 2, len as u64] {
            let outcome = pool
                .par_map_with(bad, &xs, |&bad, &x| {
                    assert!(x != bad, "element {x} is bad");
                    x
                })
                .wait_helping();
            if bad == len as u64 {
                assert_eq!(*outcome?, *xs);
            } else {
                assert_eq!(panicked(outcome).0, Some(bad));
            }
        }
    }
    Ok(())
}

#[test]
fn what_a_panic_leaves_in_place_is_as_told() -> Result<(), Error> {
    let pool = pool();
    let mut data = pool.alloc_from_fn(10_000, |i| i as i64)?;
    let held = Held::new(&pool);
    let job = pool.par_for_each_mut(&mut data, |x: &mut i64| {
        assert!(*x != 5_000, "stop");
        *x = -*x;
    });
    assert_eq!(panicked(job.wait_helping()).0, Some(5_000));
    held.let_go()?;
    // The caller went in order, so all before are new and all from there on are old.
    assert!((0..5_000).zip(&*data).all(|(i, x)| *x == -i));
    assert!((5_000..).zip(&data[5_000..]).all(|(i, x)| *x == i));
    Ok(())
}

#[test]
fn an_isolated_job_goes_on_whoever_failed() -> Result<(), Error> {
    let pool = pool();
    for len in [100, 5_000] {
        let xs = pool.alloc_from_fn(len, |i| i as u64)?.freeze();
        for _ in 0..3 {
            let job = pool.par_map(&xs, |&x| {
                assert!(x % 50 != 7, "no");
                x * 2
            });
            let isolated = job.isolate().wait_helping()?;
            let failed: Vec<u64> = isolated.failures.iter().map(|f| f.elements.start).collect();
            assert_eq!(failed, (7..len as u64).step_by(50).collect::<Vec<_>>());
            let fine = (0..len).filter(|i| i % 50 != 7);
            assert!(fine.into_iter().all(|i| isolated.values[i] == 2 * i as u64));
        }
    }
    Ok(())
}

/// A worker that dies over its part fails the job, as it would without help, and not the caller.
#[test]
fn a_worker_that_dies_is_survived() -> Result<(), Error> {
    /// Set in this process only.
    static ARRIVALS: Mutex<Option<Gate>> = Mutex::new(None);
    static HERE: AtomicU64 = AtomicU64::new(0);
    let mut gate = ARRIVALS.lock().unwrap();
    let paths = gate.insert(Gate::new()).paths();
    drop(gate);
    let pool = Pool::builder().workers(1).attempts(2).build()?;
    // Each is a part.
    let xs = pool.alloc_from_fn(4, |i| i as u64)?.freeze();
    let job = pool.par_map_with(Rkyv(paths), &xs, |paths, x| {
        match &mut *ARRIVALS.lock().unwrap() {
            Some(gate) => {
                // Who arrives second succeeds a worker that is known to be dead.
                if HERE.fetch_add(1, Ordering::Relaxed) == 0 {
                    gate.await_workers(2);
                }
            }
            None => {
                arrive(paths.1.as_str());
                std::process::abort();
            }
        }
        x + 1
    });
    match job.wait_helping() {
        Err(Error::Task(TaskError::WorkerDied(death))) => {
            assert!(death.attempts == 2 && death.elements.is_some(), "{death:?}");
        }
        other => panic!("a death was expected: {other:?}"),
    }
    let here = HERE.load(Ordering::Relaxed);
    assert!(here <= 1, "the caller takes no more than it has: {here}");
    assert_eq!(
        pool.par_map(&xs, |x| x + 3).wait()?[1],
        4,
        "the pool goes on"
    );
    Ok(())
}

#[test]
fn a_pool_that_is_terminated_meanwhile_ends_the_job() -> Result<(), Error> {
    static ENTERED: AtomicBool = AtomicBool::new(false);
    static GONE: AtomicBool = AtomicBool::new(false);
    let pool = pool();
    let xs = pool.alloc_from_fn(1_000, |i| i as u64)?.freeze();
    let _held = Held::new(&pool);
    let outcome: Result<SharedVec<u64>, Error> = thread::scope(|scope| {
        scope.spawn(|| {
            while !ENTERED.load(Ordering::Acquire) {
                thread::yield_now();
            }
            let ended = pool.terminate().wait();
            GONE.store(true, Ordering::Release);
            assert!(ended.is_ok());
        });
        let job = pool.par_map(&xs, |x| {
            ENTERED.store(true, Ordering::Release);
            while !GONE.load(Ordering::Acquire) {
                thread::yield_now();
            }
            x + 1
        });
        job.wait_helping()
    });
    let closed = matches!(outcome, Err(Error::Task(TaskError::PoolClosed)));
    assert!(closed, "{outcome:?}");
    assert_eq!(xs[999], 999, "the input is there still");
    Ok(())
}

/// The elements that a stream says are done, and of how many.
fn told(stream: ProgressStream) -> Vec<(u64, u64)> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let each = stream.map(|progress| (progress.done, progress.total));
    let mut all = pin!(each.collect());
    loop {
        match all.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(all) => return all,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn progress_is_told_of_what_is_done_here() -> Result<(), Error> {
    let pool = pool();
    let xs = pool.alloc_from_fn(3_000, |i| i as u64)?.freeze();
    let held = Held::new(&pool);
    // The first time nobody knows how long it takes; later none of it comes on the board.
    for _ in 0..4 {
        let mut job = pool.par_map(&xs, |x| x + 1);
        let stream = job.progress_stream(Duration::from_millis(1));
        job.wait_helping()?;
        assert_eq!(told(stream).last(), Some(&(3_000, 3_000)));
    }
    held.let_go()?;
    for _ in 0..4 {
        let mut job = pool.par_sum(&xs);
        let stream = job.progress_stream(Duration::from_millis(1));
        assert_eq!(job.wait_helping()?, 4_498_500);
        let told = told(stream);
        assert!(told.iter().all(|&(_, total)| total == 3_000), "{told:?}");
        assert_eq!(told.last(), Some(&(3_000, 3_000)));
    }
    Ok(())
}

/// A pool that is closed meanwhile does what it has accepted, also the second step of a reduction.
#[test]
fn a_pool_that_is_closed_meanwhile_ends_in_order() -> Result<(), Error> {
    /// Set in this process only, once somebody is to close the pool.
    static HERE: AtomicBool = AtomicBool::new(false);
    static ENTERED: AtomicBool = AtomicBool::new(false);
    static CLOSED: AtomicBool = AtomicBool::new(false);
    static OVER: AtomicBool = AtomicBool::new(false);
    let fold = |sum: u64, x: &u64| {
        ENTERED.store(true, Ordering::Release);
        while HERE.load(Ordering::Acquire) && !CLOSED.load(Ordering::Acquire) {
            thread::yield_now();
        }
        sum + x
    };
    let pool = pool();
    let xs = pool.alloc_from_fn(100, |i| i as u64)?.freeze();
    // So that it is known to take no time.
    for _ in 0..3 {
        let sum = pool
            .par_reduce(&xs, || 0, fold, |a, b| a + b)
            .wait_helping()?;
        assert_eq!(sum, 4_950);
    }
    HERE.store(true, Ordering::Release);
    ENTERED.store(false, Ordering::Release);
    let sum = thread::scope(|scope| {
        scope.spawn(|| {
            // Beside other programs it may go to a worker after all.
            while !(ENTERED.load(Ordering::Acquire) || OVER.load(Ordering::Acquire)) {
                thread::yield_now();
            }
            pool.close();
            CLOSED.store(true, Ordering::Release);
        });
        let sum = pool
            .par_reduce(&xs, || 0, fold, |a, b| a + b)
            .wait_helping();
        OVER.store(true, Ordering::Release);
        sum
    })?;
    assert_eq!(sum, 4_950);
    assert_eq!(pool.join().wait()?.abandoned, 0);
    Ok(())
}

#[test]
fn what_runs_here_may_ask_the_pool_itself() -> Result<(), Error> {
    /// Set in this process only.
    static POOL: OnceLock<Pool> = OnceLock::new();
    let pool = POOL.get_or_init(pool);
    let xs = pool.alloc_from_fn(70, |i| i as u64)?.freeze();
    for _ in 0..3 {
        let job = pool.par_map(&xs, |x| match POOL.get() {
            Some(pool) => {
                let inner = pool.par_generate(10, |i| i as u64).wait_helping();
                x + inner.expect("it ends well").iter().sum::<u64>()
            }
            None => x + 45,
        });
        assert!((45..).zip(&*job.wait_helping()?).all(|(i, y)| i == *y));
    }
    Ok(())
}

/// Several callers of one pool, each of which helps with its own.
#[test]
fn callers_help_side_by_side() -> Result<(), Error> {
    let pool = pool();
    thread::scope(|scope| {
        let callers: Vec<_> = (0..4_u64)
            .map(|caller| {
                let pool = &pool;
                scope.spawn(move || -> Result<(), Error> {
                    let xs = pool.alloc_from_fn(2_000, |i| i as u64)?.freeze();
                    for round in 0..50 {
                        let job = pool.par_map_with(caller + round, &xs, |&add, x| x + add);
                        let ys = job.wait_helping()?;
                        assert!((caller + round..).zip(&*ys).all(|(i, y)| *y == i));
                    }
                    Ok(())
                })
            })
            .collect();
        callers
            .into_iter()
            .try_for_each(|caller| caller.join().unwrap())
    })
}
