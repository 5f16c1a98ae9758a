//! Locks within one process: what every call does, and what theirs do wrong.

#![cfg(feature = "tokio")]
#![expect(unsafe_code, reason = "forks")]

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use gristmill::{
    Condvar, Error, Handle, LockError, Mutex, ReentrantMutex, Region, RegionError, RwLock,
};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

/// Far more than any of this takes.
const PATIENCE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(20);

/// Polls it once, with a waker that wakes nobody.
fn is_pending(future: Pin<&mut impl Future>) -> bool {
    future.now_or_never().is_none()
}

fn region() -> Region {
    Region::new(4 << 20).unwrap()
}

/// An executor of one thread, which stands still if anything blocks it.
fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn aiolock_acquire_and_release() {
    let mutex = Mutex::new(&region(), 7_u64).unwrap();
    drop(mutex.lock().wait().unwrap());
    drop(mutex.lock_timeout(PATIENCE).unwrap());
    drop(one_thread().block_on(mutex.lock()).unwrap());
    let mut guard = mutex.lock_blocking().unwrap();
    assert!(matches!(mutex.try_lock(), Err(LockError::WouldBlock)));
    let late = mutex.lock_timeout(MOMENT);
    assert!(matches!(late, Err(LockError::TimedOut)));
    *guard += 1;
    drop(guard);
    assert_eq!(*mutex.try_lock().unwrap(), 8);
}

#[test]
fn aiolock_release_after_coro_acquire_does_not_deadlock() {
    let mutex = Mutex::new(&region(), 0_u64).unwrap();
    one_thread().block_on(async {
        for _ in 0..100 {
            let guard = mutex.lock().await.unwrap();
            tokio::task::yield_now().await;
            drop(guard);
        }
    });
}

#[test]
fn aiolock_two_coroutines_contend_and_the_loop_goes_on() {
    let mutex = Rc::new(Mutex::new(&region(), 0_u64).unwrap());
    let add = |mutex: Rc<Mutex<u64>>| async move {
        for _ in 0..200 {
            let mut guard = mutex.lock().await.unwrap();
            let seen = *guard;
            // The other one finds it held.
            tokio::task::yield_now().await;
            *guard = seen + 1;
        }
    };
    one_thread().block_on(LocalSet::new().run_until(async {
        let tasks = [(); 3].map(|()| tokio::task::spawn_local(add(Rc::clone(&mutex))));
        for task in tasks {
            task.await.unwrap();
        }
    }));
    assert_eq!(*mutex.try_lock().unwrap(), 600);
}

#[test]
fn aiolock_is_locked_here_and_unlocked_there() {
    let mutex = Mutex::new(&region(), 0_u64).unwrap();
    let guard = one_thread().block_on(mutex.lock()).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| *mutex.lock_blocking().unwrap());
        scope.spawn(move || {
            let mut guard = guard;
            *guard = 5;
        });
        assert_eq!(waiter.join().unwrap(), 5);
    });
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn aiolock_takes_no_thread_and_no_descriptor_a_lock() {
    // In a process of its own, where no other test starts threads.
    let process = gristmill::Process::spawn((), |()| {
        let region = Region::new(4 << 20).unwrap();
        let locks: Vec<_> = (0..50)
            .map(|_| Mutex::new(&region, 0_u64).unwrap())
            .collect();
        let guards: Vec<_> = locks.iter().map(|lock| lock.try_lock().unwrap()).collect();
        let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = (threads(), files());
        let mut waits: Vec<_> = locks.iter().cycle().take(10_000).map(Mutex::lock).collect();
        for wait in &mut waits {
            assert!(is_pending(Pin::new(wait)));
        }
        assert_eq!((threads(), files()), before);
        drop(guards);
        for wait in waits {
            drop(wait.wait().unwrap());
        }
    });
    process.unwrap().wait().unwrap();
}

#[test]
fn a_cancelled_acquire_has_not_locked_and_passes_its_wake_up_on() {
    let mutex = Mutex::new(&region(), 0_u64).unwrap();
    for _ in 0..200 {
        let guard = mutex.lock_blocking().unwrap();
        let mut first = Box::pin(mutex.lock());
        assert!(is_pending(first.as_mut()));
        std::thread::scope(|scope| {
            let second = scope.spawn(|| one_thread().block_on(mutex.lock()).map(drop));
            drop(guard);
            // Whether the wake-up was its own or not.
            drop(first);
            second.join().unwrap().unwrap();
        });
    }
    assert!(mutex.try_lock().is_ok());
}

#[test]
fn a_panic_poisons_as_it_does_in_std() {
    let region = region();
    let (mutex, rwlock) = (
        Mutex::new(&region, 0_u64).unwrap(),
        RwLock::new(&region, 0_u64).unwrap(),
    );
    let reentrant = ReentrantMutex::new(&region, 0_u64).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _guards = (
            mutex.try_lock().unwrap(),
            rwlock.try_write().unwrap(),
            reentrant.try_lock().unwrap(),
        );
        panic!("with all three");
    }));
    assert!(panicked.is_err());
    assert!(mutex.is_poisoned() && rwlock.is_poisoned() && reentrant.is_poisoned());
    let error = mutex.try_lock().unwrap_err();
    assert!(error.is_poisoned());
    let guard = error.into_guard().unwrap();
    mutex.clear_poison();
    drop(guard);
    assert!(!mutex.is_poisoned());
    assert!(rwlock.try_read().unwrap_err().is_poisoned());
    assert!(rwlock.try_write().unwrap_err().is_poisoned());
    rwlock.clear_poison();
    assert!(rwlock.try_read().is_ok());
    assert!(reentrant.try_lock().unwrap_err().is_poisoned());
    reentrant.clear_poison();
    assert!(reentrant.try_lock().is_ok());
}

#[test]
fn aiorlock_is_had_again_by_its_owner() {
    let mutex = ReentrantMutex::new(&region(), 1_u64).unwrap();
    let outer = mutex.lock_blocking().unwrap();
    let inner = mutex.try_lock().unwrap();
    inner.update(|value| *value += 1);
    outer.set(inner.get() + 1);
    drop(outer);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| matches!(mutex.try_lock(), Err(LockError::WouldBlock)));
        assert!(other.join().unwrap());
        drop(inner);
        let other = scope.spawn(|| mutex.lock_blocking().unwrap().get());
        assert_eq!(other.join().unwrap(), 3);
    });
}

#[test]
fn aiorlock_keeps_two_coroutines_apart() {
    let mutex = Arc::new(ReentrantMutex::new(&region(), 0_u64).unwrap());
    let add = |mutex: Arc<ReentrantMutex<u64>>| async move {
        for _ in 0..100 {
            let outer = mutex.lock().await.unwrap();
            let inner = mutex.lock().await.unwrap();
            let seen = inner.get();
            tokio::task::yield_now().await;
            outer.set(seen + 1);
        }
    };
    for runtime in [
        one_thread(),
        Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap(),
    ] {
        runtime.block_on(async {
            // Guards go with their task from thread to thread.
            let tasks = [(); 3].map(|()| tokio::spawn(add(Arc::clone(&mutex))));
            for task in tasks {
                task.await.unwrap();
            }
        });
    }
    assert_eq!(mutex.try_lock().unwrap().get(), 600);
}

#[test]
fn aiorlock_is_released_elsewhere() {
    let mutex = ReentrantMutex::new(&region(), 0_u64).unwrap();
    let (outer, inner) = (mutex.lock_blocking().unwrap(), mutex.try_lock().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            outer.set(1);
            drop(outer);
        });
        let waiter = scope.spawn(|| mutex.lock_timeout(PATIENCE).unwrap().get());
        scope.spawn(move || drop(inner));
        assert_eq!(waiter.join().unwrap(), 1);
    });
}

#[test]
fn aiocondition_wait_and_notify() {
    let region = region();
    let (mutex, condvar) = (
        Mutex::new(&region, 0_u64).unwrap(),
        Condvar::new(&region).unwrap(),
    );
    one_thread().block_on(async {
        let wait = async {
            let mut guard = mutex.lock().await.unwrap();
            while *guard == 0 {
                // Theirs cannot wait: "cannot wait on un-acquired lock".
                guard = condvar.wait(guard).await.unwrap();
            }
            *guard
        };
        let notify = async {
            *mutex.lock().await.unwrap() = 3;
            condvar.notify_one().unwrap();
        };
        assert_eq!(tokio::join!(wait, notify).0, 3);
    });
}

#[test]
fn aiocondition_wait_for_a_predicate() {
    let region = region();
    let (mutex, condvar) = (
        Mutex::new(&region, 0_u64).unwrap(),
        Condvar::new(&region).unwrap(),
    );
    std::thread::scope(|scope| {
        for blocking in [true, false] {
            let (mutex, condvar) = (&mutex, &condvar);
            scope.spawn(move || {
                let guard = mutex.lock_blocking().unwrap();
                let guard = match blocking {
                    true => condvar.wait_while_blocking(guard, |value| *value < 100),
                    false => one_thread().block_on(condvar.wait_while(guard, |value| *value < 100)),
                };
                assert!(*guard.unwrap() >= 100);
            });
        }
        for _ in 0..100 {
            *mutex.lock_blocking().unwrap() += 1;
            condvar.notify_all().unwrap();
        }
    });
    let guard = mutex.lock_blocking().unwrap();
    let late = condvar.wait_while_timeout(guard, MOMENT, |value| *value < 1000);
    let (guard, in_time) = late.unwrap();
    assert!(!in_time && *guard == 100);
    let (guard, notified) = condvar.wait_timeout(guard, MOMENT).unwrap();
    assert!(!notified, "nobody else is there");
    // It is locked again.
    assert!(matches!(mutex.try_lock(), Err(LockError::WouldBlock)));
    drop(guard);
}

#[test]
fn aiocondition_each_notice_wakes_somebody() {
    let region = region();
    let (mutex, condvar) = (
        Mutex::new(&region, 0_i64).unwrap(),
        Condvar::new(&region).unwrap(),
    );
    const WAITERS: i64 = 4;
    std::thread::scope(|scope| {
        for waiter in 0..WAITERS {
            let (mutex, condvar) = (&mutex, &condvar);
            scope.spawn(move || {
                let take = |tokens: &mut i64| *tokens == 0;
                let guard = mutex.lock_blocking().unwrap();
                let guard = match waiter % 2 {
                    0 => condvar.wait_while_blocking(guard, take),
                    _ => one_thread().block_on(condvar.wait_while(guard, take)),
                };
                *guard.unwrap() -= 1;
            });
        }
        for _ in 0..WAITERS {
            *mutex.lock_blocking().unwrap() += 1;
            condvar.notify_one().unwrap();
        }
    });
    assert_eq!(*mutex.try_lock().unwrap(), 0);
}

#[test]
fn a_cancelled_wait_leaves_the_lock_free_and_passes_its_notice_on() {
    let region = region();
    let (mutex, condvar) = (
        Mutex::new(&region, 0_u8).unwrap(),
        Condvar::new(&region).unwrap(),
    );
    for _ in 0..100 {
        let mut first = Box::pin(condvar.wait(mutex.lock_blocking().unwrap()));
        assert!(is_pending(first.as_mut()));
        let mut second = Box::pin(condvar.wait(mutex.try_lock().unwrap()));
        assert!(is_pending(second.as_mut()));
        condvar.notify_one().unwrap();
        drop(first);
        drop(one_thread().block_on(second).unwrap());
        assert!(mutex.try_lock().is_ok());
    }
    // Dropped before it was polled.
    drop(condvar.wait(mutex.try_lock().unwrap()));
    assert!(mutex.try_lock().is_ok());
}

#[test]
fn an_rwlock_has_many_readers_or_one_writer() {
    let lock = RwLock::new(&region(), [1_u64; 2]).unwrap();
    let (one, another) = (lock.try_read().unwrap(), lock.read_blocking().unwrap());
    assert_eq!((*one, lock.readers()), (*another, 2));
    assert!(matches!(lock.try_write(), Err(LockError::WouldBlock)));
    let late = lock.write_timeout(MOMENT);
    assert!(matches!(late, Err(LockError::TimedOut)));
    // Who gave up keeps nobody out.
    drop((one, another, lock.try_read().unwrap()));
    let mut writer = lock.try_write().unwrap();
    *writer = [2; 2];
    assert!(matches!(lock.try_read(), Err(LockError::WouldBlock)));
    assert!(matches!(lock.try_write(), Err(LockError::WouldBlock)));
    let late = lock.read_timeout(MOMENT);
    assert!(matches!(late, Err(LockError::TimedOut)));
    drop(writer);
    assert_eq!(*lock.read_timeout(PATIENCE).unwrap(), [2; 2]);
}

#[test]
fn a_writer_that_waits_keeps_new_readers_out_until_it_gives_up() {
    let lock = RwLock::new(&region(), 0_u64).unwrap();
    let reader = lock.try_read().unwrap();
    let mut writer = Box::pin(lock.write());
    assert!(is_pending(writer.as_mut()));
    assert!(matches!(lock.try_read(), Err(LockError::WouldBlock)));
    let mut late = Box::pin(lock.read());
    assert!(is_pending(late.as_mut()));
    drop(writer);
    drop(one_thread().block_on(late).unwrap());
    let mut writer = Box::pin(lock.write());
    assert!(is_pending(writer.as_mut()));
    drop(reader);
    *one_thread().block_on(writer).unwrap() = 1;
    assert_eq!(*lock.try_read().unwrap(), 1);
}

#[test]
fn readers_and_writers_of_threads_and_tasks_exclude_each_other() {
    let lock = RwLock::new(&region(), [0_u64; 2]).unwrap();
    const ROUNDS: u64 = 500;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let lock = &lock;
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let mut writer = lock.write_blocking().unwrap();
                    writer[0] += 1;
                    std::hint::black_box(&mut writer);
                    writer[1] += 1;
                }
            });
            scope.spawn(move || {
                one_thread().block_on(async {
                    for _ in 0..ROUNDS {
                        let reader = lock.read().await.unwrap();
                        assert_eq!(reader[0], reader[1]);
                        drop(reader);
                        let mut writer = lock.write().await.unwrap();
                        writer[0] += 1;
                        writer[1] += 1;
                    }
                });
            });
        }
    });
    assert_eq!(*lock.try_read().unwrap(), [4 * ROUNDS; 2]);
}

#[test]
fn a_handle_leads_to_what_it_names_or_nowhere() {
    let region = region();
    let mutex = Mutex::new(&region, 1_u32).unwrap();
    let handle = mutex.handle();
    let again = handle.open().unwrap();
    let other: Handle<Mutex<[u64; 4]>> = Handle::from_words(handle.words());
    let refused = other.open().unwrap_err();
    assert!(matches!(
        refused,
        Error::Region(RegionError::Foreign { .. })
    ));
    let other: Handle<RwLock<u32>> = Handle::from_words(handle.words());
    let refused = other.open().unwrap_err();
    assert!(matches!(
        refused,
        Error::Region(RegionError::OtherKind { .. })
    ));
    drop(mutex);
    assert_eq!(*again.try_lock().unwrap(), 1);
    drop(again);
    let gone = handle.open().unwrap_err();
    assert!(matches!(gone, Error::Region(RegionError::Gone)));
}

#[test]
fn a_forked_child_holds_nothing() {
    let mutex = Mutex::new(&region(), 0_u64).unwrap();
    let guard = mutex.lock_blocking().unwrap();
    // SAFETY: the child takes no lock that another thread may hold: it looks at the mutex, drops
    // the guard, which does nothing there, and ends.
    match unsafe { libc::fork() } {
        0 => {
            let refused = matches!(mutex.try_lock(), Err(LockError::Region(Error::Forked)));
            drop(guard);
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(!refused)) };
        }
        child => {
            let mut status = 0;
            // SAFETY: our own child, and a place for its status.
            let reaped = unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!((reaped, status), (child, 0));
        }
    }
    assert!(matches!(mutex.try_lock(), Err(LockError::WouldBlock)));
    drop(guard);
    assert!(mutex.try_lock().is_ok());
}
