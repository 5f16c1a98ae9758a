//! Events between tasks, threads and processes.

mod signal_support;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use gristmill::{Error, Event, Handle, Pool, Process, Queue, RegionError};
use signal_support::{MOMENT, PATIENCE, at_rest, open, region, runtime};

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

/// In a process of its own, where the threads can be counted and nobody else wakes them.
#[test]
fn ten_thousand_waiting_tasks_are_one_sleeping_thread() {
    const MANY: usize = 10_000;
    let region = region();
    let event = Event::new(&region).unwrap();
    let waiting = Queue::<u64>::new(&region, 4).unwrap();
    let more = Event::new(&region).unwrap();
    let names = [event.handle().words(), more.handle().words()];
    let process = Process::builder().region(&region);
    let process = process.spawn((names, waiting.handle().words()), |names| {
        let (event, more): (Event, Event) = (open(&names.0[0]), open(&names.0[1]));
        let waiting: Queue<u64> = open(&names.1);
        // It sleeps in its poll, not on a word.
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap().block_on(async {
            let polled = Arc::new(AtomicUsize::new(0));
            let wait = || {
                let (event, polled) = (event.clone(), Arc::clone(&polled));
                tokio::spawn(async move {
                    polled.fetch_add(1, Ordering::Relaxed);
                    event.wait().await.unwrap();
                })
            };
            let all_wait = async |count| {
                while polled.load(Ordering::Relaxed) < count {
                    tokio::task::yield_now().await;
                }
            };
            let mut tasks = vec![wait()];
            all_wait(1).await;
            waiting.send(1).await.unwrap();
            more.wait().await.unwrap();
            tasks.extend((1..MANY).map(|_| wait()));
            all_wait(MANY).await;
            waiting.send(tasks.len() as u64).await.unwrap();
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
    let process = process.unwrap();
    assert_eq!(waiting.recv_timeout(PATIENCE).unwrap(), 1);
    let of_one = at_rest(process.pid());
    more.set().unwrap();
    assert_eq!(waiting.recv_timeout(PATIENCE).unwrap(), MANY as u64);
    // At rest they have not used a nanosecond of a processor.
    let of_many = at_rest(process.pid());
    match of_many.on_words {
        Some(count) => assert_eq!(count, 1, "{of_many:?}"),
        None => eprintln!("SKIPPED: which calls another process is in may not be seen here"),
    }
    assert_eq!(
        (of_many.all, of_many.on_words),
        (of_one.all, of_one.on_words)
    );
    // Where the kernel does not count it, it is empty or nothing but zeros.
    let counts = |run: &String| run.contains(|digit| matches!(digit, '1'..='9'));
    if !of_many.runs.iter().any(counts) {
        eprintln!("SKIPPED: how long a thread has run is not counted here");
    }
    println!("{MANY} tasks: {of_many:?}, the same as some time before");
    event.set().unwrap();
    process.wait().unwrap();
}
