//! Events between tasks, threads and processes.

mod signal_support;

use std::pin::pin;
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use gristmill::{Error, Event, Handle, Pool, Process, Queue, RegionError};
use signal_support::{MOMENT, PATIENCE, open, region, runtime};

#[test]
fn aioevent_set_clear_is_set() {
    let event = Event::new(&region()).unwrap();
    assert!(!event.is_set());
    event.set().unwrap();
    event.set().unwrap();
    assert!(event.is_set());
    event.clear().unwrap();
    event.clear().unwrap();
    assert!(!event.is_set());
    assert!(format!("{event:?}").contains("set: false"));
}

#[test]
fn aioevent_wait_with_and_without_a_timeout() {
    let event = Event::new(&region()).unwrap();
    assert!(!event.wait_timeout(MOMENT).unwrap());
    assert!(!event.wait_timeout(Duration::ZERO).unwrap());
    thread::scope(|scope| {
        let waiters = [0, 1, 2].map(|_| scope.spawn(|| event.wait_blocking()));
        event.set().unwrap();
        for waiter in waiters {
            waiter.join().unwrap().unwrap();
        }
    });
    // Level-triggered: it is there for whoever comes later, as often as he comes.
    event.wait_blocking().unwrap();
    assert!(event.wait_timeout(Duration::ZERO).unwrap());
    assert!(event.wait_timeout(Duration::MAX).unwrap());
    event.wait().now_or_never().unwrap().unwrap();
    event.clear().unwrap();
    assert!(event.wait().now_or_never().is_none());
}

#[test]
fn a_set_that_is_cleared_at_once_lets_through_who_waited() {
    let event = Event::new(&region()).unwrap();
    let polled = &mut pin!(event.wait());
    assert!(polled.now_or_never().is_none());
    let asked = event.wait();
    event.set().unwrap();
    event.clear().unwrap();
    polled.now_or_never().unwrap().unwrap();
    asked.now_or_never().unwrap().unwrap();
    assert!(event.wait().now_or_never().is_none());
}

#[test]
fn tasks_and_threads_of_many_processes_wait_for_one_event() {
    let region = region();
    let event = Event::new(&region).unwrap();
    let processes = [0, 1, 2].map(|_| {
        let ready = Event::new(&region).unwrap();
        let names = (event.handle().words(), ready.handle().words());
        let process = Process::builder().region(&region);
        let process = process.spawn(names, |names| {
            let (event, ready): (Event, Event) = (open(&names.0), open(&names.1));
            thread::scope(|scope| {
                let thread = scope.spawn(|| event.wait_blocking().unwrap());
                runtime().block_on(async {
                    let waits = event.wait();
                    ready.set().unwrap();
                    waits.await.unwrap();
                });
                thread.join().unwrap();
            });
        });
        assert!(ready.wait_timeout(PATIENCE).unwrap());
        process.unwrap()
    });
    event.set().unwrap();
    for process in processes {
        process.wait().unwrap();
    }
}

#[test]
fn an_event_is_set_by_a_worker_and_awaited_by_the_program() {
    let region = region();
    let event = Event::new(&region).unwrap();
    let pool = Pool::builder().workers(1).region(&region).build().unwrap();
    let input = pool.alloc_from_fn(100, |i| i as u64).unwrap().freeze();
    let job = pool.par_map_with(event.handle(), &input, |event, x| {
        if *x == 50 {
            event.open().unwrap().set().unwrap();
        }
        *x
    });
    let job = thread::spawn(move || job.wait().unwrap().len());
    runtime().block_on(event.wait()).unwrap();
    assert_eq!(job.join().unwrap(), 100);
}

#[test]
fn a_wait_that_was_dropped_leaves_the_others_their_wake_up() {
    let event = Event::new(&region()).unwrap();
    runtime().block_on(async {
        let event = &event;
        let others = async {
            // Polled, woken, and dropped before it looks again.
            let mut dropped = Box::pin(event.wait());
            assert!((&mut dropped).now_or_never().is_none());
            tokio::task::yield_now().await;
            event.set().unwrap();
            event.clear().unwrap();
            drop(dropped);
        };
        let (waited, ()) = tokio::join!(event.wait(), others);
        waited.unwrap();
    });
}

#[test]
fn a_dead_waiter_swallows_no_wake_up() {
    let region = region();
    let event = Event::new(&region).unwrap();
    let ready = Event::new(&region).unwrap();
    for _ in 0..3 {
        let names = (event.handle().words(), ready.handle().words());
        let process = Process::builder().region(&region);
        let process = process
            .spawn(names, |names| {
                let (event, ready): (Event, Event) = (open(&names.0), open(&names.1));
                ready.set().unwrap();
                let _ = event.wait_blocking();
                // Woken, it is not to go on.
                loop {
                    thread::park();
                }
            })
            .unwrap();
        ready.wait_blocking().unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| event.wait_timeout(PATIENCE).unwrap());
            process.kill().unwrap();
            event.set().unwrap();
            assert!(waiter.join().unwrap());
        });
        process.wait().unwrap_err();
        event.clear().unwrap();
        ready.clear().unwrap();
    }
}

#[test]
fn a_handle_to_something_else_or_to_nothing_is_refused() {
    let region = region();
    let event = Event::new(&region).unwrap();
    let odd = Handle::<Queue<u8>>::from_words(event.handle().words());
    let refused = odd.open().unwrap_err();
    let is_other = matches!(refused, Error::Region(RegionError::OtherKind { .. }));
    assert!(is_other, "{refused}");
    let handle = event.handle();
    drop(event);
    let gone = handle.open().unwrap_err();
    assert!(matches!(gone, Error::Region(RegionError::Gone)), "{gone}");
}

/// In a process of its own, where the threads can be counted.
#[test]
fn ten_thousand_waiting_tasks_are_one_sleeping_thread() {
    let region = region();
    let event = Event::new(&region).unwrap();
    let waiting = Event::new(&region).unwrap();
    let names = (event.handle().words(), waiting.handle().words());
    let process = Process::builder().region(&region);
    let process = process.spawn(names, |names| {
        let (event, waiting): (Event, Event) = (open(&names.0), open(&names.1));
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        runtime().block_on(async {
            let before = threads();
            let tasks: Vec<_> = (0..10_000)
                .map(|_| {
                    let event = event.clone();
                    tokio::spawn(async move { event.wait().await.unwrap() })
                })
                .collect();
            // Each was polled once when this one is polled again.
            tokio::task::yield_now().await;
            assert_eq!(threads(), before);
            waiting.set().unwrap();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(threads(), before);
        });
    });
    assert!(waiting.wait_timeout(PATIENCE).unwrap());
    event.set().unwrap();
    process.unwrap().wait().unwrap();
}
