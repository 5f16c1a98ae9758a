//! Jobs and tasks as futures: under tokio's runtimes, under none, and under several that come and
//! go.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use gristmill::{Error, Job, Pool, SharedVec, TaskError};
use tokio::runtime::{Builder, Runtime};

/// A hang is told after this long.
const PATIENCE: Duration = Duration::from_secs(60);

fn pool() -> Pool {
    Pool::builder().workers(2).build().unwrap()
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi_thread() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The least of executors.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let began = std::time::Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park_timeout(PATIENCE);
        assert!(began.elapsed() < PATIENCE, "nobody woke the future");
    }
}

/// Runs `body` in a thread, and fails if it does not end.
fn in_time(body: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let thread = thread::spawn(move || {
        body();
        let _ = done.send(());
    });
    match ended.recv_timeout(PATIENCE) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        _ => thread.join().unwrap(),
    }
}

/// Long enough that nobody finds the outcome at the first look.
fn slow(pool: &Pool, len: usize) -> Job<'static, SharedVec<f64>> {
    pool.par_generate(len, |i| (0..3000).fold(i as f64, |x, _| (x + 1.0).sqrt()))
}

fn slow_value(i: usize) -> f64 {
    (0..3000).fold(i as f64, |x, _| (x + 1.0).sqrt())
}

async fn some_of_everything(pool: &Pool) {
    let ys = slow(pool, 300).await.unwrap();
    assert_eq!(ys[299], slow_value(299));
    let sum = pool.par_sum(&ys.freeze()).await.unwrap();
    assert!(sum > 0.0);
    let mut xs = pool.alloc_from_fn(1000, |i| i as u64).unwrap();
    pool.par_for_each_mut(&mut xs, |x| *x += 1).await.unwrap();
    assert_eq!(xs[999], 1000);
    let task = pool.spawn(3000_u32, |n| {
        (0..n.to_native()).fold(0.5_f64, |x, _| x.sqrt())
    });
    assert!(*task.unwrap().await.unwrap() > 0.9);
    let mut task = pool.spawn((), |()| -> u8 { panic!("on purpose") }).unwrap();
    assert!(matches!((&mut task).await, Err(TaskError::Panicked { .. })));
    let bad = pool.par_generate(10, |i| [1_u8; 5][i]).await;
    assert!(matches!(
        bad,
        Err(Error::Task(TaskError::Panicked {
            element: Some(5..10),
            ..
        }))
    ));
}

#[test]
fn every_executor() {
    in_time(|| {
        let pool = pool();
        for _ in 0..5 {
            block_on(some_of_everything(&pool));
            current_thread().block_on(some_of_everything(&pool));
            multi_thread().block_on(some_of_everything(&pool));
            let local = tokio::task::LocalSet::new();
            current_thread().block_on(local.run_until(some_of_everything(&pool)));
        }
    });
}

#[test]
fn a_thousand_awaited_at_once() {
    for runtime in [current_thread(), multi_thread()] {
        in_time(move || {
            let pool = Arc::new(pool());
            runtime.block_on(async {
                let mut all = tokio::task::JoinSet::new();
                for i in 0..1000_u64 {
                    let pool = Arc::clone(&pool);
                    all.spawn(async move {
                        let task = pool.spawn(i, |i| i.to_native() * 2).unwrap();
                        assert_eq!(*task.await.unwrap(), i * 2);
                        let job = pool.par_generate_with(i, 100, |a, b| a + b as u64);
                        assert_eq!(job.await.unwrap()[99], i + 99);
                    });
                }
                while let Some(ended) = all.join_next().await {
                    ended.unwrap();
                }
            });
        });
    }
}

#[test]
fn a_runtime_without_drivers() {
    in_time(|| {
        let pool = pool();
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(some_of_everything(&pool));
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        runtime.block_on(some_of_everything(&pool));
    });
}

/// One turn of a future, with nobody to wake.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn select_and_timeouts_lose_nothing() {
    in_time(|| {
        let pool = pool();
        current_thread().block_on(async {
            for _ in 0..20 {
                let mut job = slow(&pool, 2000);
                let mut turns = 0;
                let ys = loop {
                    tokio::select! {
                        ys = &mut job => break ys.unwrap(),
                        () = tokio::time::sleep(Duration::from_micros(200)) => turns += 1,
                    }
                };
                assert_eq!(ys[1999], slow_value(1999), "after {turns} turns");
                let mut task = pool.spawn((), |()| slow_value(1)).unwrap();
                let answer = loop {
                    let limit = Duration::from_micros(50);
                    if let Ok(answer) = tokio::time::timeout(limit, &mut task).await {
                        break answer.unwrap();
                    }
                };
                assert_eq!(answer.to_native(), slow_value(1));
            }
        });
    });
}

#[test]
fn runtimes_come_and_go() {
    in_time(|| {
        let pool = pool();
        for round in 0..10_u32 {
            let mut job = slow(&pool, 5000);
            let mut task = pool.spawn(round, |x| x.to_native() + 1).unwrap();
            let runtime = current_thread();
            runtime.block_on(async {
                let _ = futures_poll(&mut job).await;
                let _ = futures_poll(&mut task).await;
            });
            // Half of them stay, but are polled no more.
            if round % 2 == 0 {
                drop(runtime);
            } else {
                std::mem::forget(runtime);
            }
            // A future that was awaited in one goes on in another, or in none.
            let ys = match round % 3 {
                0 => current_thread().block_on(job),
                1 => multi_thread().block_on(job),
                _ => block_on(job),
            };
            assert_eq!(ys.unwrap()[4999], slow_value(4999));
            match multi_thread().block_on(task) {
                Ok(answer) => assert_eq!(answer.to_native(), round + 1),
                Err(error) => assert_eq!(error, TaskError::Cancelled, "it was taken before"),
            }
            multi_thread().block_on(some_of_everything(&pool));
        }
    });
}

/// Polls once, inside whatever runtime this is.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context).is_ready()))
        .await
}

#[test]
fn two_runtimes_and_a_blocked_thread_at_once() {
    in_time(|| {
        let pool = Arc::new(pool());
        let threads = [0, 1, 2, 3].map(|kind| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                for _ in 0..30 {
                    match kind {
                        0 => current_thread().block_on(some_of_everything(&pool)),
                        1 => multi_thread().block_on(some_of_everything(&pool)),
                        2 => block_on(some_of_everything(&pool)),
                        _ => assert_eq!(slow(&pool, 300).wait().unwrap()[7], slow_value(7)),
                    }
                }
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_pool_dropped_under_its_futures() {
    in_time(|| {
        for runtime in [current_thread(), multi_thread()] {
            let pool = pool();
            let jobs: Vec<_> = (0..100).map(|_| slow(&pool, 20_000)).collect();
            let task = pool.spawn((), |()| {
                loop {
                    std::hint::spin_loop()
                }
            });
            let task: gristmill::TaskHandle<()> = task.unwrap();
            runtime.block_on(async {
                let mut all = tokio::task::JoinSet::new();
                for job in jobs {
                    let mut job = job.start().unwrap();
                    let _ = futures_poll(&mut job).await;
                    all.spawn(async move { job.await.map(drop) });
                }
                let task = tokio::spawn(task);
                tokio::task::yield_now().await;
                drop(pool);
                assert_eq!(task.await.unwrap().unwrap_err(), TaskError::PoolClosed);
                while let Some(ended) = all.join_next().await {
                    let closed = Err::<(), _>(TaskError::PoolClosed);
                    match ended.unwrap() {
                        Err(Error::Task(error)) => assert_eq!(Err(error), closed),
                        other => other.unwrap(),
                    }
                }
            });
        }
    });
}

#[test]
fn leaked_jobs_corrupt_nothing() {
    let pool = Pool::builder()
        .workers(2)
        .memory_budget(256 << 20)
        .build()
        .unwrap();
    let mut emptied = pool.alloc_zeroed::<f64>(20_000).unwrap();
    for _ in 0..10 {
        std::mem::forget(slow(&pool, 20_000).start().unwrap());
    }
    let job = pool.par_for_each_mut(&mut emptied, |x| {
        *x = (0..3000).fold(*x, |x, _| (x + 1.0).sqrt());
    });
    std::mem::forget(job.start().unwrap());
    assert!(emptied.is_empty(), "the job has it");
    for round in 0..500_u64 {
        let xs = pool.alloc_from_fn(10_000, |i| i as u64 ^ round).unwrap();
        assert!(xs.iter().enumerate().all(|(i, &x)| x == i as u64 ^ round));
    }
}

#[test]
fn dropped_jobs_give_their_memory_back() {
    let pool = Pool::builder()
        .workers(2)
        .memory_budget(16 << 20)
        .build()
        .unwrap();
    for _ in 0..30 {
        // Two of these do not fit at once.
        let len = (10 << 20) / 8;
        let job = pool.par_generate(len, |i| (0..20).fold(i as f64, |x, _| (x + 1.0).sqrt()));
        let mut job = job.start();
        while matches!(job, Err(Error::OutOfMemory(_))) {
            job = pool.par_generate(len, |i| i as f64).start();
        }
        let mut job = job.unwrap();
        let _ = poll_once(&mut job);
        drop(job);
    }
    let free = loop {
        match pool.alloc_from_fn((14 << 20) / 8, |i| i as u64) {
            Ok(vec) => break vec,
            Err(Error::OutOfMemory(_)) => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    assert!(free.iter().enumerate().all(|(i, &x)| x == i as u64));
}

#[test]
fn a_future_dropped_half_way_leaves_the_vector_empty() {
    let pool = pool();
    let xs = pool.alloc_from_fn(50_000, |i| i as f64).unwrap().freeze();
    let mut ys = pool.alloc_zeroed::<f64>(50_000).unwrap();
    let mut job = pool.par_map_into(&xs, &mut ys, |x| {
        (0..3000).fold(*x, |x, _| (x + 1.0).sqrt())
    });
    assert!(poll_once(&mut job).is_pending());
    drop(job);
    assert!(ys.is_empty());
    let mut ys = pool.alloc_zeroed::<f64>(50_000).unwrap();
    drop(pool.par_map_into(&xs, &mut ys, |x| *x));
    assert_eq!(ys.len(), 50_000, "it had not begun");
    let again = pool.par_map_into(&xs, &mut ys, |x| *x);
    block_on(again).unwrap();
    assert_eq!(*ys, *xs);
}

async fn call(pool: &Pool, number: u64) -> u64 {
    let task = pool.spawn(number, |number| number.to_native() + 1);
    task.unwrap().await.unwrap().to_native()
}

#[test]
fn a_lone_caller_makes_way_for_nobody_and_for_others() {
    in_time(|| {
        for runtime in [current_thread(), multi_thread()] {
            let pool = pool();
            runtime.block_on(async {
                // Now and then it makes way, and nobody comes.
                for number in 0..2000 {
                    assert_eq!(call(&pool, number).await, number + 1);
                }
                // Then somebody does each time, and then nobody again.
                let callers = (0..8).map(|first| {
                    let pool = &pool;
                    async move {
                        for number in (first..first * 400).step_by(8) {
                            assert_eq!(call(pool, number).await, number + 1);
                        }
                    }
                });
                futures_util::future::join_all(callers).await;
            });
        }
    });
}

#[test]
fn who_polls_again_and_again_needs_no_listener() {
    in_time(|| {
        let pool = pool();
        current_thread().block_on(async {
            // From now on this runtime has one, which has no turn below.
            call(&pool, 0).await;
            let spawn = |number: u64| pool.spawn(number, |number| number.to_native()).unwrap();
            for _ in 0..100 {
                let (mut first, mut second) = (spawn(1), spawn(2));
                while poll_once(&mut first).is_pending() {}
                while poll_once(&mut second).is_pending() {}
            }
        });
    });
}
