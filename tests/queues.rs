//! Queues within one process: what every call does, and what it does when it cannot.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use gristmill::{
    Error, JoinableQueue, OnDeath, Process, Queue, RecvError, Region, Rkyv, SendError, SimpleQueue,
};

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(20);

/// Polls it once, with a waker that wakes nobody.
fn is_pending(future: Pin<&mut impl Future>) -> bool {
    future.now_or_never().is_none()
}

fn region() -> Region {
    Region::new(16 << 20).unwrap()
}

#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Job {
    name: String,
    weights: Vec<f64>,
}

fn job(size: usize) -> Job {
    Job {
        name: format!("{size} weights"),
        weights: (0..size).map(|at| at as f64).collect(),
    }
}

#[test]
fn aioqueue_put_and_get() {
    let queue = Queue::<u64>::new(&region(), 4).unwrap();
    queue.send(1).wait().unwrap();
    queue.send_blocking(2).unwrap();
    queue.send_timeout(3, SECOND).unwrap();
    queue.try_send(4).unwrap();
    assert_eq!((queue.len(), queue.capacity()), (4, 4));
    assert!(queue.is_full() && !queue.is_empty());
    assert_eq!(queue.recv().wait().unwrap(), 1);
    assert_eq!(queue.recv_blocking().unwrap(), 2);
    assert_eq!(queue.recv_timeout(SECOND).unwrap(), 3);
    assert_eq!(queue.try_recv().unwrap(), 4);
    assert!(queue.is_empty() && !queue.is_full());
}

#[test]
fn aioqueue_full_and_empty_and_timed_out() {
    let queue = Queue::<u64>::new(&region(), 1).unwrap();
    assert!(matches!(queue.try_recv(), Err(RecvError::Empty)));
    assert!(matches!(
        queue.recv_timeout(MOMENT),
        Err(RecvError::TimedOut)
    ));
    queue.try_send(1).unwrap();
    // The item comes back.
    assert!(matches!(queue.try_send(2), Err(SendError::Full(2))));
    let late = queue.send_timeout(3, MOMENT);
    assert!(matches!(late, Err(SendError::TimedOut(3))));
    assert_eq!(late.unwrap_err().into_item(), Some(3));
    assert_eq!(queue.try_recv().unwrap(), 1);
    assert!(matches!(queue.try_recv(), Err(RecvError::Empty)));
}

#[test]
fn a_capacity_of_zero_is_refused_and_any_other_is_exact() {
    let region = region();
    let refused = Queue::<u64>::new(&region, 0).unwrap_err();
    assert!(
        matches!(refused, Error::InvalidArgument { .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("capacity"), "{refused}");
    for capacity in [1, 2, 3, 7, 100] {
        let queue = Queue::<u8>::new(&region, capacity).unwrap();
        assert_eq!(queue.capacity(), capacity);
        for round in 0..3 {
            for at in 0..capacity {
                queue.try_send(at as u8).unwrap();
            }
            assert!(
                matches!(queue.try_send(0), Err(SendError::Full(0))),
                "{round}"
            );
            assert!(
                queue
                    .drain()
                    .map(Result::unwrap)
                    .eq((0..capacity).map(|at| at as u8))
            );
        }
    }
}

#[test]
fn a_queue_larger_than_its_region_is_refused() {
    let region = Region::new(2 << 20).unwrap();
    Queue::<[u64; 64]>::new(&region, 1 << 20).unwrap_err();
    Queue::<u64>::new(&region, usize::MAX).unwrap_err();
    // And nothing is lost by it.
    let queue = Queue::<u64>::new(&region, 1024).unwrap();
    queue.try_send(1).unwrap();
    assert_eq!(queue.try_recv().unwrap(), 1);
}

#[test]
fn an_item_larger_than_the_region_is_refused_and_nothing_is_lost() {
    let region = Region::new(2 << 20).unwrap();
    let queue = Queue::<[u8]>::new(&region, 4).unwrap();
    let item = vec![1_u8; 8 << 20];
    match queue.try_send(&item) {
        Err(SendError::TooLarge {
            item: given,
            wanted,
            available,
        }) => {
            assert_eq!(given.len(), item.len());
            assert_eq!(wanted, 8 << 20);
            assert!(available < wanted);
        }
        other => panic!("{other:?}"),
    }
    // Over and over: what was refused takes nothing.
    for _ in 0..100 {
        queue.try_send(&item[..1 << 19]).unwrap();
        assert_eq!(queue.try_recv().unwrap().len(), 1 << 19);
    }
}

#[test]
fn archives_of_any_size_are_read_in_place() {
    let queue = Queue::<Rkyv<Job>>::new(&region(), 4).unwrap();
    for size in [0, 1, 10, 11, 12, 13, 100, 100_000] {
        let sent = job(size);
        queue.try_send(&sent).unwrap();
        let received = queue.try_recv().unwrap();
        assert_eq!(received.name, sent.name.as_str());
        assert_eq!(received.weights.len(), size);
        assert_eq!(received.to_owned().unwrap(), sent);
    }
}

#[test]
fn a_block_is_freed_when_its_guard_is_dropped() {
    let region = Region::new(4 << 20).unwrap();
    let queue = Queue::<[u8]>::new(&region, 4).unwrap();
    let item = vec![7_u8; 3 << 19];
    for _ in 0..50 {
        queue.try_send(&item).unwrap();
        let received = queue.try_recv().unwrap();
        assert!(received.iter().all(|&byte| byte == 7));
    }
}

#[test]
fn guards_do_not_hold_up_others() {
    let queue = Queue::<[u8]>::new(&region(), 2).unwrap();
    queue.try_send(b"kept").unwrap();
    let kept = queue.try_recv().unwrap();
    for round in 0..100_u8 {
        queue.try_send(&[round]).unwrap();
        assert_eq!(&*queue.try_recv().unwrap(), &[round]);
    }
    assert_eq!(&*kept, b"kept");
}

#[test]
fn too_many_guards_are_an_error_and_take_nothing() {
    let queue = Queue::<[u8]>::builder(4).held(1).build(&region()).unwrap();
    queue.try_send(b"one").unwrap();
    queue.try_send(b"two").unwrap();
    let one = queue.try_recv().unwrap();
    assert!(matches!(
        queue.try_recv(),
        Err(RecvError::TooManyHeld { limit: 1 })
    ));
    assert!(matches!(
        queue.recv().wait(),
        Err(RecvError::TooManyHeld { limit: 1 })
    ));
    drop(one);
    assert_eq!(&*queue.try_recv().unwrap(), b"two");
}

#[test]
fn what_is_given_back_is_received_first() {
    let queue = Queue::<[u8]>::builder(2)
        .on_death(OnDeath::ComesBack)
        .build(&region())
        .unwrap();
    queue.try_send(b"one").unwrap();
    queue.try_send(b"two").unwrap();
    queue.try_recv().unwrap().give_back();
    assert_eq!(&*queue.try_recv().unwrap(), b"one");
    assert_eq!(&*queue.try_recv().unwrap(), b"two");
    assert!(matches!(queue.try_recv(), Err(RecvError::Empty)));
}

#[test]
fn aioqueue_close_drains() {
    let queue = Queue::<u64>::new(&region(), 4).unwrap();
    queue.try_send(1).unwrap();
    queue.try_send(2).unwrap();
    queue.close();
    queue.close();
    assert!(queue.is_closed());
    assert!(matches!(queue.try_send(3), Err(SendError::Closed(3))));
    assert!(matches!(queue.send(3).wait(), Err(SendError::Closed(3))));
    // What was refused is not counted.
    assert_eq!(queue.len(), 2);
    assert_eq!(queue.iter().collect::<Result<Vec<_>, _>>().unwrap(), [1, 2]);
    assert!(matches!(queue.recv().wait(), Err(RecvError::Closed)));
    assert!(matches!(queue.try_recv(), Err(RecvError::Closed)));
}

#[test]
fn closing_wakes_whoever_waits() {
    let full = Queue::<u64>::new(&region(), 1).unwrap();
    full.try_send(1).unwrap();
    let empty = Queue::<u64>::new(&region(), 1).unwrap();
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| full.send(2).wait());
        let receiver = scope.spawn(|| empty.recv().wait());
        full.close();
        empty.close();
        assert!(matches!(sender.join().unwrap(), Err(SendError::Closed(2))));
        assert!(matches!(receiver.join().unwrap(), Err(RecvError::Closed)));
    });
}

/// aioprocessing: a timed-out `coro_get` eats the next item and blocks the interpreter's exit.
#[test]
fn a_get_that_timed_out_does_not_eat_the_next_item() {
    let queue = Queue::<u64>::new(&region(), 4).unwrap();
    assert!(matches!(
        queue.recv_timeout(MOMENT),
        Err(RecvError::TimedOut)
    ));
    queue.try_send(1).unwrap();
    assert_eq!(queue.try_recv().unwrap(), 1);
}

#[tokio::test]
async fn a_get_that_was_cancelled_does_not_eat_the_next_item() {
    let queue = Queue::<u64>::new(&region(), 4).unwrap();
    for round in 0..10 {
        let mut dropped = Box::pin(queue.recv());
        assert!(is_pending(dropped.as_mut()));
        // Woken for it, and dropped all the same.
        queue.try_send(round).unwrap();
        drop(dropped);
        assert_eq!(queue.recv().await.unwrap(), round);
    }
    let late = tokio::time::timeout(MOMENT, queue.recv()).await;
    assert!(late.is_err());
    queue.send(7).await.unwrap();
    assert_eq!(queue.recv().await.unwrap(), 7);
}

#[tokio::test]
async fn a_wake_up_for_a_cancelled_get_goes_to_the_next() {
    let queue = Queue::<u64>::new(&region(), 4).unwrap();
    let mut first = Box::pin(queue.recv());
    let mut second = Box::pin(queue.recv());
    assert!(is_pending(first.as_mut()));
    assert!(is_pending(second.as_mut()));
    queue.try_send(1).unwrap();
    drop(first);
    assert_eq!(
        tokio::time::timeout(10 * SECOND, second)
            .await
            .unwrap()
            .unwrap(),
        1
    );
}

#[tokio::test]
async fn a_put_that_was_cancelled_has_put_nothing() {
    let queue = Queue::<u64>::new(&region(), 1).unwrap();
    queue.send(1).await.unwrap();
    let mut dropped = Box::pin(queue.send(2));
    assert!(is_pending(dropped.as_mut()));
    let mut other = Box::pin(queue.send(3));
    assert!(is_pending(other.as_mut()));
    // There is room, and the one that is woken for it gives up.
    assert_eq!(queue.try_recv().unwrap(), 1);
    assert_eq!(
        dropped.as_mut().now_or_never().map(|sent| sent.is_ok()),
        Some(true)
    );
    assert_eq!(queue.recv().await.unwrap(), 2);
    let cancelled = queue.send(9);
    assert_eq!(cancelled.cancel(), Some(9));
    tokio::time::timeout(10 * SECOND, other)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(queue.recv().await.unwrap(), 3);
}

#[tokio::test]
async fn a_wake_up_for_a_cancelled_put_goes_to_the_next() {
    let queue = Queue::<u64>::new(&region(), 1).unwrap();
    queue.send(1).await.unwrap();
    let mut first = Box::pin(queue.send(2));
    let mut second = Box::pin(queue.send(3));
    assert!(is_pending(first.as_mut()));
    assert!(is_pending(second.as_mut()));
    assert_eq!(queue.try_recv().unwrap(), 1);
    drop(first);
    tokio::time::timeout(10 * SECOND, second)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(queue.try_recv().unwrap(), 3);
}

/// aioprocessing: two coroutines of one process that contend freeze the event loop.
#[tokio::test]
async fn many_tasks_of_one_thread_share_a_queue() {
    let queue = Queue::<u64>::new(&region(), 3).unwrap();
    let mut tasks = Vec::new();
    for sender in 0..20 {
        let queue = queue.clone();
        tasks.push(tokio::spawn(async move {
            for at in 0..50 {
                queue.send(sender * 50 + at).await.unwrap();
            }
        }));
    }
    let mut seen = vec![false; 1000];
    for _ in 0..1000 {
        let item = queue.recv().await.unwrap() as usize;
        assert!(!std::mem::replace(&mut seen[item], true));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_queue() {
    let queue = Queue::<u64>::new(&region(), 2).unwrap();
    let sender = queue.clone();
    let sender = tokio::spawn(async move {
        for item in 0..100 {
            sender.send(item).await.unwrap();
        }
        sender.close();
    });
    let items: Vec<_> = queue.incoming().map(Result::unwrap).collect().await;
    assert!(items.into_iter().eq(0..100));
    sender.await.unwrap();
}

#[test]
fn blocking_and_async_mix() {
    let queue = Queue::<u64>::new(&region(), 2).unwrap();
    let thread = queue.clone();
    let thread = std::thread::spawn(move || (0..1000).map(|_| thread.recv().wait().unwrap()).sum());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        for item in 0..1000 {
            queue.send(item).await.unwrap();
        }
    });
    let sum: u64 = thread.join().unwrap();
    assert_eq!(sum, 499_500);
}

#[test]
fn aiojoinablequeue_task_done_and_join() {
    let queue = JoinableQueue::<u64>::new(&region(), 8).unwrap();
    queue.join().wait().unwrap();
    assert!(matches!(queue.task_done(), Err(Error::NotOwed)));
    for item in 0..5 {
        queue.try_send(item).unwrap();
    }
    assert_eq!(queue.unfinished(), 5);
    assert!(!queue.join().wait_timeout(MOMENT).unwrap());
    std::thread::scope(|scope| {
        let joiner = scope.spawn(|| queue.join().wait());
        for _ in 0..5 {
            queue.try_recv().unwrap();
            assert!(queue.unfinished() > 0);
            queue.task_done().unwrap();
        }
        joiner.join().unwrap().unwrap();
    });
    assert!(matches!(queue.task_done(), Err(Error::NotOwed)));
}

#[tokio::test]
async fn aiojoinablequeue_join_is_awaited() {
    let queue = JoinableQueue::<u64>::new(&region(), 8).unwrap();
    queue.send(1).await.unwrap();
    let mut join = Box::pin(queue.join());
    assert!(is_pending(join.as_mut()));
    let worker = queue.clone();
    tokio::spawn(async move {
        // One makes another before it is done.
        assert_eq!(worker.recv().await.unwrap(), 1);
        worker.send(2).await.unwrap();
        worker.task_done().unwrap();
        assert_eq!(worker.recv().await.unwrap(), 2);
        worker.task_done().unwrap();
    });
    tokio::time::timeout(10 * SECOND, join)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(queue.unfinished(), 0);
}

#[test]
fn aiosimplequeue_put_get_empty_close() {
    let queue = SimpleQueue::<Rkyv<Job>>::new(&region()).unwrap();
    assert!(queue.is_empty());
    queue.send(&job(3)).wait().unwrap();
    assert!(!queue.is_empty());
    assert_eq!(queue.recv().wait().unwrap().weights.len(), 3);
    queue.close();
    assert!(matches!(queue.try_recv(), Err(RecvError::Closed)));
    assert!(matches!(queue.try_send(&job(0)), Err(SendError::Closed(_))));
}

/// aioprocessing: 50 used queues are 100 threads and 107 descriptors. In a process of its own:
/// nobody else opens or starts anything there.
#[test]
fn fifty_used_queues_take_no_threads_and_no_descriptors() {
    let process = Process::spawn((), |()| {
        let count = |what: &str| {
            std::fs::read_dir(format!("/proc/self/{what}"))
                .unwrap()
                .count()
        };
        let counts = || (count("task"), count("fd"));
        let region = region();
        let use_it = |queue: &Queue<u64>| {
            queue.send(1).wait().unwrap();
            queue.recv().wait().unwrap();
            let late = queue.recv_timeout(Duration::from_micros(10));
            assert!(matches!(late, Err(RecvError::TimedOut)));
        };
        use_it(&Queue::new(&region, 4).unwrap());
        let before = counts();
        let queues: Vec<_> = (0..50).map(|_| Queue::new(&region, 4).unwrap()).collect();
        queues.iter().for_each(use_it);
        assert_eq!(counts(), before);
    });
    process.unwrap().wait().unwrap();
}

/// aioprocessing: the thread of a cancelled `coro_get` keeps the interpreter from its exit.
#[test]
fn gets_that_timed_out_were_dropped_or_wait_hold_up_no_exit() {
    let process = Process::spawn((), |()| {
        let queue = Queue::<u64>::new(&region(), 4).unwrap();
        assert!(matches!(
            queue.recv_timeout(MOMENT),
            Err(RecvError::TimedOut)
        ));
        let mut dropped = Box::pin(queue.recv());
        assert!(is_pending(dropped.as_mut()));
        drop(dropped);
        // One that is never dropped, either.
        let mut left = Box::pin(queue.recv());
        assert!(is_pending(left.as_mut()));
        std::mem::forget(left);
    });
    let ended = process.unwrap().wait_timeout(60 * SECOND);
    ended.expect("it ends").unwrap();
}
