//! What mutexes do within one process.

use core::pin::pin;
use core::task::{Context, Waker};
use core::time::Duration;
use std::future::Future;

use super::{LockError, Mutex};
use crate::commons::{Handle, Region, Shared};
use crate::error::{Error, RegionError};

fn region() -> Region {
    Region::new(1 << 20).unwrap()
}

#[test]
fn a_mutex_is_locked_once() {
    let mutex = Mutex::new(&region(), 7_u64).unwrap();
    let guard = mutex.lock().unwrap();
    assert!(matches!(mutex.try_lock(), Err(LockError::WouldBlock)));
    let timeout = Duration::from_millis(1);
    assert!(matches!(
        mutex.lock_timeout(timeout),
        Err(LockError::TimedOut)
    ));
    drop(guard);
    assert_eq!(*mutex.try_lock().unwrap(), 7);
}

#[test]
fn threads_and_tasks_exclude_each_other() {
    const ROUNDS: u64 = 2000;
    let region = region();
    let mutex = Mutex::new(&region, [0_u64; 2]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let mut guard = mutex.lock().unwrap();
                    assert_eq!(guard[0], guard[1]);
                    guard[0] += 1;
                    guard[1] += 1;
                }
            });
            scope.spawn(|| {
                futures_util_block_on(async {
                    for _ in 0..ROUNDS {
                        let mut guard = mutex.lock_async().await.unwrap();
                        assert_eq!(guard[0], guard[1]);
                        guard[0] += 1;
                        guard[1] += 1;
                    }
                });
            });
        }
    });
    assert_eq!(*mutex.lock().unwrap(), [4 * ROUNDS; 2]);
}

/// Runs a future on this thread, which sleeps meanwhile.
fn futures_util_block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker: Waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn a_future_that_is_dropped_passes_its_wake_up_on() {
    let region = region();
    let mutex = Mutex::new(&region, 0_u64).unwrap();
    for _ in 0..200 {
        let guard = mutex.lock().unwrap();
        let mut first = Box::pin(mutex.lock_async());
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending());
        std::thread::scope(|scope| {
            let second = scope.spawn(|| futures_util_block_on(mutex.lock_async()).map(drop));
            drop(guard);
            // Whether it was meant for the first or not.
            drop(first);
            second.join().unwrap().unwrap();
        });
    }
}

#[test]
fn a_handle_outlives_nothing() {
    let region = region();
    let mutex = Mutex::new(&region, 1_u32).unwrap();
    let handle = mutex.handle();
    let again = handle.open().unwrap();
    assert_eq!(*again.lock().unwrap(), 1);
    drop(mutex);
    assert_eq!(*again.lock().unwrap(), 1);
    drop(again);
    let gone = handle.open().unwrap_err();
    assert!(matches!(gone, Error::Region(RegionError::Gone { .. })));
    // Another object in its place is not meant.
    let next = Mutex::new(&region, 2_u32).unwrap();
    assert!(handle.open().is_err());
    drop((next, region));
    let lost = handle.open().unwrap_err();
    assert!(matches!(
        lost,
        Error::Region(RegionError::NotAttached { .. })
    ));
}

#[test]
fn a_handle_of_another_type_is_refused() {
    let region = region();
    let mutex = Mutex::new(&region, 1_u32).unwrap();
    let other: Handle<Mutex<[u64; 4]>> = bytemuck::cast(mutex.handle());
    let refused = other.open().unwrap_err();
    assert!(matches!(
        refused,
        Error::Region(RegionError::WrongKind { .. })
    ));
}
