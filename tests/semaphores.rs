//! Semaphores between tasks, threads and processes.

mod signal_support;

use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use gristmill::{
    AcquireError, BoundedSemaphore, Error, Event, Handle, Pool, Process, Region, RegionError,
    ReleaseError, Semaphore, Value,
};
use signal_support::{MOMENT, PATIENCE, open, region, runtime};

#[test]
fn aiosemaphore_acquire_and_release() {
    let semaphore = Semaphore::new(&region(), 2).unwrap();
    let one = semaphore.acquire_blocking().unwrap();
    let two = semaphore.acquire().now_or_never().unwrap().unwrap();
    assert_eq!(semaphore.available(), 0);
    let none = semaphore.try_acquire().unwrap_err();
    assert!(matches!(none, AcquireError::NoPermits), "{none}");
    let late = semaphore.acquire_timeout(MOMENT).unwrap_err();
    assert!(matches!(late, AcquireError::TimedOut), "{late}");
    drop(one);
    let one = semaphore.acquire_timeout(Duration::MAX).unwrap();
    drop((one, two));
    assert_eq!(semaphore.available(), 2);
    assert!(format!("{semaphore:?}").contains("available: 2"));
}

#[test]
fn aiosemaphore_raw_acquire_and_release() {
    // As Python's: acquired here and released there, and it may grow.
    let semaphore = Semaphore::new(&region(), 0).unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| semaphore.acquire_blocking().unwrap().forget());
        semaphore.release(1).unwrap();
        waiter.join().unwrap();
    });
    assert_eq!(semaphore.available(), 0);
    semaphore.release(3).unwrap();
    semaphore.release(0).unwrap();
    assert_eq!(semaphore.available(), 3);
}

#[test]
fn aiosemaphore_get_value() {
    let semaphore = Semaphore::new(&region(), 3).unwrap();
    let permit = semaphore.try_acquire_many(2).unwrap();
    assert_eq!((permit.count(), semaphore.available()), (2, 1));
}

#[test]
fn aioboundedsemaphore_released_too_often_is_an_error() {
    let semaphore = BoundedSemaphore::new(&region(), 2).unwrap();
    assert_eq!(semaphore.limit(), 2);
    for _ in 0..3 {
        let refused = semaphore.release(1).unwrap_err();
        let is_it = matches!(
            refused,
            ReleaseError::TooMany {
                released: 1,
                limit: 2
            }
        );
        assert!(is_it, "{refused}");
    }
    // What a guard holds is not to be released besides.
    let permit = semaphore.try_acquire().unwrap();
    semaphore.release(1).unwrap_err();
    permit.forget();
    semaphore.release(2).unwrap_err();
    semaphore.release(1).unwrap();
    semaphore.release(1).unwrap_err();
    assert_eq!(semaphore.available(), 2);
}

#[test]
fn several_permits_are_acquired_all_or_none() {
    let semaphore = BoundedSemaphore::new(&region(), 3).unwrap();
    let two = semaphore.acquire_many_blocking(2).unwrap();
    semaphore.try_acquire_many(2).unwrap_err();
    semaphore.acquire_many_timeout(2, MOMENT).unwrap_err();
    assert_eq!(semaphore.available(), 1);
    let none = semaphore.try_acquire_many(0).unwrap();
    assert_eq!(none.count(), 0);
    drop((none, two));
    let all = semaphore.acquire_many(3).now_or_never().unwrap().unwrap();
    assert_eq!((all.count(), semaphore.available()), (3, 0));
}

#[test]
fn numbers_of_permits_out_of_range_are_refused() {
    let region = region();
    for (permits, bounded) in [
        (Semaphore::MAX_PERMITS + 1, false),
        (u32::MAX, true),
        (0, true),
    ] {
        let refused = match bounded {
            true => BoundedSemaphore::new(&region, permits).unwrap_err(),
            false => Semaphore::new(&region, permits).unwrap_err(),
        };
        let is_it = matches!(refused, Error::InvalidArgument { .. });
        assert!(
            is_it && refused.to_string().contains("permits"),
            "{refused}"
        );
    }
    let semaphore = Semaphore::new(&region, Semaphore::MAX_PERMITS).unwrap();
    assert!(matches!(
        semaphore.release(1),
        Err(ReleaseError::TooMany { .. })
    ));
    assert!(matches!(
        semaphore.release(u32::MAX),
        Err(ReleaseError::TooMany { .. })
    ));
    let all = semaphore.try_acquire_many(Semaphore::MAX_PERMITS).unwrap();
    drop(all);
    assert_eq!(semaphore.available(), Semaphore::MAX_PERMITS);
    // More than there will ever be is no wait without end.
    let small = BoundedSemaphore::new(&region, 2).unwrap();
    for refused in [
        small.try_acquire_many(3).unwrap_err(),
        small.acquire_many_blocking(u32::MAX).unwrap_err(),
        small.acquire_many(3).now_or_never().unwrap().unwrap_err(),
    ] {
        assert!(
            matches!(refused, AcquireError::TooMany { limit: 2, .. }),
            "{refused}"
        );
    }
}

/// A fault of theirs: the release waits in line behind the acquire, on the same single thread.
#[test]
fn a_release_after_an_acquire_does_not_deadlock() {
    let semaphore = Semaphore::new(&region(), 1).unwrap();
    runtime().block_on(async {
        let permit = semaphore.acquire().await.unwrap();
        let other = semaphore.acquire();
        let release = async {
            tokio::task::yield_now().await;
            drop(permit);
        };
        let (other, ()) = tokio::join!(other, release);
        drop(other.unwrap());
    });
}

/// A fault of theirs: the loop freezes.
#[test]
fn two_tasks_of_one_process_contend_and_the_loop_goes_on() {
    let semaphore = Semaphore::new(&region(), 1).unwrap();
    let beats = AtomicU32::new(0);
    runtime().block_on(async {
        let contend = async {
            for _ in 0..50 {
                let permit = semaphore.acquire().await.unwrap();
                tokio::task::yield_now().await;
                drop(permit);
            }
        };
        let again = async {
            for _ in 0..50 {
                let permit = semaphore.acquire().await.unwrap();
                tokio::task::yield_now().await;
                drop(permit);
                tokio::task::yield_now().await;
            }
        };
        let beat = async {
            for _ in 0..100 {
                beats.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(contend, again, beat);
    });
    assert_eq!((beats.into_inner(), semaphore.available()), (100, 1));
}

#[test]
fn an_acquire_that_was_dropped_takes_no_permit_and_no_wake_up() {
    let semaphore = Semaphore::new(&region(), 0).unwrap();
    // In line, behind, behind.
    let mut first = Box::pin(semaphore.acquire_many(2));
    assert!((&mut first).now_or_never().is_none());
    let mut second = Box::pin(semaphore.acquire());
    assert!((&mut second).now_or_never().is_none());
    let mut third = pin!(semaphore.acquire());
    assert!((&mut third).now_or_never().is_none());
    semaphore.release(1).unwrap();
    assert!(
        (&mut second).now_or_never().is_none(),
        "it is the first one's"
    );
    // The first one goes, and calls the second, which goes when it was called.
    drop(first);
    thread::yield_now();
    drop(second);
    let third = runtime().block_on(third).unwrap();
    assert_eq!((third.count(), semaphore.available()), (1, 0));
}

#[test]
fn an_acquire_that_timed_out_takes_no_permit_and_leaves_the_line() {
    let semaphore = Semaphore::new(&region(), 1).unwrap();
    for _ in 0..20 {
        let late = semaphore.acquire_many_timeout(2, Duration::from_micros(100));
        assert!(matches!(late, Err(AcquireError::TimedOut)));
        drop(semaphore.try_acquire().unwrap());
    }
}

#[test]
fn who_wants_many_is_not_starved_by_those_who_want_few() {
    let semaphore = Semaphore::new(&region(), 4).unwrap();
    let is_served = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while is_served.load(Ordering::Relaxed) == 0 {
                    let permit = semaphore.acquire_blocking().unwrap();
                    thread::yield_now();
                    drop(permit);
                }
            });
        }
        let all = semaphore.acquire_many_timeout(4, PATIENCE);
        is_served.store(1, Ordering::Relaxed);
        assert_eq!(all.unwrap().count(), 4);
    });
    assert_eq!(semaphore.available(), 4);
}

#[test]
fn who_is_first_in_line_is_served_first() {
    let semaphore = Semaphore::new(&region(), 3).unwrap();
    let held = semaphore.acquire_blocking().unwrap();
    let order = Mutex::new(Vec::new());
    let acquire = |count| {
        let permit = semaphore.acquire_many_timeout(count, PATIENCE).unwrap();
        order.lock().unwrap().push(count);
        drop(permit);
    };
    thread::scope(|scope| {
        scope.spawn(|| acquire(3));
        // Two are free, and nobody gets one once the other is first in line.
        while semaphore.try_acquire().is_ok() {
            thread::yield_now();
        }
        scope.spawn(|| acquire(1));
        let late = semaphore.acquire_timeout(MOMENT);
        assert!(matches!(late, Err(AcquireError::TimedOut)));
        assert_eq!(semaphore.available(), 2);
        drop(held);
    });
    assert_eq!(*order.lock().unwrap(), [3, 1]);
}

#[test]
fn a_permit_may_be_released_by_another_task_or_thread() {
    let semaphore = Semaphore::new(&region(), 1).unwrap();
    let permit = semaphore.acquire_blocking().unwrap();
    let thread = thread::spawn(move || drop(permit));
    let permit = runtime().block_on(semaphore.acquire()).unwrap();
    thread.join().unwrap();
    // It keeps the semaphore, too.
    drop(semaphore);
    assert_eq!(permit.count(), 1);
}

#[test]
fn workers_share_permits_and_never_have_more() {
    let region = region();
    let semaphore = BoundedSemaphore::new(&region, 2).unwrap();
    let running = Value::new(&region, 0_u32).unwrap();
    let pool = Pool::builder().workers(3).region(&region).build().unwrap();
    let input = pool.alloc_from_fn(300, |_| 1_u32).unwrap().freeze();
    let output = pool.par_map_with(
        (semaphore.handle(), running.handle()),
        &input,
        |(semaphore, running), x| {
            let (semaphore, running) = (semaphore.open().unwrap(), running.open().unwrap());
            let _permit = semaphore.acquire_blocking().unwrap();
            let add = |count: &mut u32| {
                *count += *x;
                *count
            };
            let among = running.update(add).unwrap();
            running.update(|count| *count -= *x).unwrap();
            among
        },
    );
    let output = output.wait().unwrap();
    assert!(output.iter().all(|&among| among == 1 || among == 2));
    assert_eq!(semaphore.available(), 2);
}

#[test]
fn permits_of_a_dead_process_are_free_at_once() {
    let region = region();
    let semaphore = BoundedSemaphore::new(&region, 5).unwrap();
    let ready = Event::new(&region).unwrap();
    for round in 0..4 {
        let names = (semaphore.handle().words(), ready.handle().words());
        let process = Process::builder().region(&region);
        let process = process.spawn(names, |names| {
            let (semaphore, ready): (BoundedSemaphore, Event) = (open(&names.0), open(&names.1));
            let two = semaphore.acquire_many_blocking(2).unwrap();
            let one = semaphore.acquire_blocking().unwrap();
            // Lost, but still the process's.
            std::mem::forget(one);
            ready.set().unwrap();
            let _in_line = semaphore.acquire_many_blocking(4);
            drop(two);
        });
        let process = process.unwrap();
        ready.wait_blocking().unwrap();
        ready.clear().unwrap();
        if round % 2 == 1 {
            // Wait until it is first in line.
            while semaphore.try_acquire().is_ok() {
                thread::yield_now();
            }
        }
        thread::scope(|scope| {
            let all = scope.spawn(|| semaphore.acquire_many_timeout(5, PATIENCE).unwrap());
            process.kill().unwrap();
            assert_eq!(all.join().unwrap().count(), 5);
        });
        process.wait().unwrap_err();
        assert_eq!(semaphore.available(), 5);
    }
}

#[test]
fn a_forgotten_permit_does_not_come_back_by_a_death() {
    let region = region();
    let semaphore = BoundedSemaphore::new(&region, 2).unwrap();
    let process = Process::builder().region(&region);
    let process = process.spawn(semaphore.handle().words(), |name| {
        let semaphore: BoundedSemaphore = open(name);
        semaphore.acquire_blocking().unwrap().forget();
        std::mem::forget(semaphore.acquire_blocking().unwrap());
        std::process::abort();
    });
    process.unwrap().wait().unwrap_err();
    let one = semaphore.acquire_timeout(PATIENCE).unwrap();
    semaphore.try_acquire().unwrap_err();
    semaphore.release(1).unwrap();
    drop(one);
    assert_eq!(semaphore.available(), 2);
}

#[test]
fn a_semaphore_with_a_bound_is_not_opened_as_one_without() {
    let region = region();
    let semaphore = Semaphore::new(&region, 1).unwrap();
    let odd = Handle::<BoundedSemaphore>::from_words(semaphore.handle().words());
    let refused = odd.open().unwrap_err();
    let is_it = matches!(refused, Error::Region(RegionError::Foreign { .. }));
    assert!(is_it, "{refused}");
    let tiny = Region::new(1).unwrap();
    let fill: Vec<_> = std::iter::from_fn(|| Semaphore::new(&tiny, 1).ok()).collect();
    let refused = Semaphore::new(&tiny, 1).unwrap_err();
    assert!(matches!(refused, Error::Region(_)), "{refused}");
    assert!(fill.len() > 100);
}
