//! Progress of jobs beside whoever waits for them.

mod seeing_support;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use gristmill::{Job, Pool, Progress, ProgressStream, Rkyv, SharedVec};
use seeing_support::{Gate, pass};

const EACH: Duration = Duration::from_millis(1);

fn pool() -> Pool {
    Pool::builder().workers(1).build().unwrap()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// An executor that only sleeps until it is woken: who is never woken hangs.
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// A job each of whose elements waits at the gate.
fn gated(pool: &Pool, gate: &Gate, len: usize) -> Job<'static, SharedVec<u64>> {
    let xs = pool.alloc_zeroed::<u64>(len).unwrap().freeze();
    pool.par_map_with(Rkyv(gate.paths()), &xs, |paths, x| {
        pass(&paths.0, &paths.1);
        *x
    })
}

#[test]
fn items_come_while_the_job_runs_and_the_last_is_all_of_it() {
    const LEN: u64 = 1 << 16;
    let pool = pool();
    let mut gate = Gate::new();
    let xs = pool.alloc_from_fn(LEN as usize, |i| i as u64).unwrap();
    let mut job = pool.par_map_with(Rkyv(gate.paths()), &xs.freeze(), |paths, &x| {
        // Everything before the last chunk is done when its worker waits here.
        if x == LEN - 1 {
            pass(&paths.0, &paths.1);
        }
        x
    });
    let mut stream = job.progress_stream(EACH);
    // Before it begins there is nothing to say.
    assert!(poll(&mut stream).is_pending());
    let job = job.start().unwrap();
    let mut items = Vec::new();
    while items.last().is_none_or(|item: &Progress| item.done == 0) {
        items.push(block_on(stream.next()).unwrap());
    }
    assert!(items[items.len() - 1].done < LEN, "{items:?}");
    gate.await_workers(1);
    gate.open(1);
    items.extend(block_on(stream.by_ref().collect::<Vec<_>>()));
    assert!(items.iter().all(|item| item.total == LEN), "{items:?}");
    assert!(items.is_sorted_by(|a, b| a.done < b.done), "{items:?}");
    assert_eq!(items[items.len() - 1].done, LEN);
    assert_eq!(block_on(stream.next()), None);
    job.wait().unwrap();
}

fn poll(stream: &mut ProgressStream) -> Poll<Option<Progress>> {
    let mut context = Context::from_waker(Waker::noop());
    pin!(stream).poll_next(&mut context)
}

#[test]
fn nobody_is_polled_more_often_than_asked() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let pool = pool();
    let mut gate = Gate::new();
    let mut job = gated(&pool, &gate, 1000);
    // Never, but for the beginning and the end.
    let mut stream = job.progress_stream(Duration::MAX);
    let job = job.start().unwrap();
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    let mut context = Context::from_waker(&waker);
    let first = pin!(&mut stream).poll_next(&mut context);
    assert!(matches!(
        first,
        Poll::Ready(Some(Progress {
            done: 0,
            total: 1000
        }))
    ));
    assert!(pin!(&mut stream).poll_next(&mut context).is_pending());
    gate.await_workers(1);
    gate.open(1000);
    job.wait().unwrap();
    // When the outcome came, and when the job took it.
    let wakes = count.0.load(Ordering::SeqCst);
    assert!((1..=2).contains(&wakes), "{wakes}");
    let all = Progress {
        done: 1000,
        total: 1000,
    };
    assert_eq!(poll(&mut stream), Poll::Ready(Some(all)));
    assert_eq!(poll(&mut stream), Poll::Ready(None));
}

#[test]
fn it_ends_with_a_job_however_that_ends() {
    let pool = pool();
    // Never begun.
    let mut job = pool.par_generate(10, |i| i as u64);
    let mut stream = job.progress_stream(EACH);
    drop(job);
    assert_eq!(block_on(stream.next()), None);
    // Panicked.
    let mut job = pool.par_generate(10, |i| 1 / (i as u64));
    let stream = job.progress_stream(EACH);
    job.wait().unwrap_err();
    let items: Vec<Progress> = block_on(stream.collect());
    assert!(items.iter().all(|item| item.done < item.total), "{items:?}");
    // Dropped while it runs.
    let mut gate = Gate::new();
    let mut job = gated(&pool, &gate, 10);
    let mut stream = job.progress_stream(EACH);
    let job = job.start().unwrap();
    assert!(block_on(stream.next()).is_some());
    drop(job);
    gate.open(10);
    assert_eq!(block_on(stream.next()), None);
    // Over already.
    let mut job = pool.par_generate(10, |i| i as u64);
    let _ = job.wait_timeout(Duration::MAX).unwrap().unwrap();
    assert_eq!(block_on(job.progress_stream(EACH).next()), None);
}

#[test]
fn the_end_of_a_pool_ends_it() {
    let pool = pool();
    let gate = Gate::new();
    let mut job = gated(&pool, &gate, 10);
    let mut stream = job.progress_stream(Duration::MAX);
    let job = job.start().unwrap();
    assert!(block_on(stream.next()).is_some());
    let closer = thread::spawn(move || drop(pool));
    assert_eq!(block_on(stream.next()), None);
    closer.join().unwrap();
    job.wait().unwrap_err();
}

#[test]
fn a_reduction_has_one_progress() {
    let pool = pool();
    let xs = pool.alloc_from_fn(100_000, |i| i as u64).unwrap().freeze();
    let mut job = pool.par_sum(&xs);
    let stream = job.progress_stream(EACH);
    let total = 100_000;
    assert_eq!(job.wait().unwrap(), total * (total - 1) / 2);
    let items: Vec<Progress> = block_on(stream.collect());
    assert_eq!(items, [Progress { done: total, total }]);
}
