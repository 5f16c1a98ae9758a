//! Locks between processes, and what their deaths leave.

#![cfg(feature = "tokio")]

use std::time::Duration;

use gristmill::{
    Condvar, Handle, LockError, Mutex, Object, Pool, Process, ReentrantMutex, Region, RwLock,
};
use tokio::runtime::{Builder, Runtime};

/// Far more than any of this takes.
const PATIENCE: Duration = Duration::from_secs(60);
const ROUNDS: u64 = 300;

fn region() -> Region {
    Region::new(4 << 20).unwrap()
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn open<T: Object>(words: &rkyv::Archived<[u64; 2]>) -> T {
    let words = [words[0].into(), words[1].into()];
    Handle::from_words(words).open().unwrap()
}

/// Two numbers that are the same whenever nobody is between the two steps.
type Pair = [u64; 2];

fn add(mutex: &Mutex<Pair>) {
    for _ in 0..ROUNDS {
        let mut guard = mutex.lock_blocking().unwrap();
        assert_eq!(guard[0], guard[1]);
        guard[0] += 1;
        std::hint::black_box(&mut guard);
        guard[1] += 1;
    }
}

#[test]
fn processes_workers_tasks_and_threads_exclude_each_other() {
    let region = region();
    let mutex = Mutex::new(&region, [0_u64; 2]).unwrap();
    let name = mutex.handle().words();
    let pool = Pool::builder().workers(2).region(&region).build().unwrap();
    let tasks = [(); 2].map(|()| pool.spawn(name, |name| add(&open(name))).unwrap());
    let builder = Process::builder().region(&region);
    let process = builder.spawn_async(name, async |name| {
        let mutex: Mutex<Pair> = open(name);
        for _ in 0..ROUNDS {
            let mut guard = mutex.lock().await.unwrap();
            guard[0] += 1;
            tokio::task::yield_now().await;
            guard[1] += 1;
        }
    });
    let process = process.unwrap();
    add(&mutex);
    for task in tasks {
        task.wait().unwrap();
    }
    process.wait().unwrap();
    assert_eq!(*mutex.try_lock().unwrap(), [4 * ROUNDS; 2]);
}

#[test]
fn a_context_takes_a_lock_to_every_chunk() {
    let region = region();
    let mutex = Mutex::new(&region, 0_u64).unwrap();
    let pool = Pool::builder().workers(2).region(&region).build().unwrap();
    let input = pool.alloc_from_fn(1000, |i| i as u64).unwrap().freeze();
    let job = pool.par_map_with(mutex.handle(), &input, |mutex, x| {
        if x % 100 == 0 {
            *mutex.open().unwrap().lock_blocking().unwrap() += x;
        }
        *x
    });
    job.wait().unwrap();
    assert_eq!(*mutex.try_lock().unwrap(), 4500);
}

#[test]
fn a_lock_crosses_in_a_queue() {
    let region = region();
    let queue = gristmill::Queue::<Handle<Mutex<u64>>>::new(&region, 4).unwrap();
    let mutex = Mutex::new(&region, 0_u64).unwrap();
    queue.send_blocking(mutex.handle()).unwrap();
    let builder = Process::builder().region(&region);
    let process = builder.spawn(queue.handle().words(), |name| {
        let queue: gristmill::Queue<Handle<Mutex<u64>>> = open(name);
        let mutex = queue.recv_blocking().unwrap().open().unwrap();
        *mutex.lock_blocking().unwrap() = 9;
    });
    process.unwrap().wait().unwrap();
    assert_eq!(*mutex.try_lock().unwrap(), 9);
}

/// Starts a process that locks `mutex`, writes half of what it should, and stays there.
fn doomed(region: &Region, mutex: &Mutex<Pair>) -> Process {
    let has_it = Mutex::new(region, 0_u64).unwrap();
    let changed = Condvar::new(region).unwrap();
    let names = (
        mutex.handle().words(),
        has_it.handle().words(),
        changed.handle().words(),
    );
    let process = Process::builder().region(region).spawn(names, |names| {
        let (mutex, has_it): (Mutex<Pair>, Mutex<u64>) = (open(&names.0), open(&names.1));
        let changed: Condvar = open(&names.2);
        let mut guard = mutex.lock_blocking().unwrap();
        guard[0] += 1;
        *has_it.lock_blocking().unwrap() = 1;
        changed.notify_all().unwrap();
        loop {
            std::thread::park();
        }
    });
    let guard = has_it.lock_blocking().unwrap();
    let waited = changed.wait_while_timeout(guard, PATIENCE, |has_it| *has_it == 0);
    assert!(waited.unwrap().1);
    process.unwrap()
}

#[test]
fn a_killed_holder_leaves_the_lock_to_the_next_who_waits() {
    let region = region();
    let mutex = Mutex::new(&region, [0_u64; 2]).unwrap();
    let process = doomed(&region, &mutex);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| mutex.lock_timeout(PATIENCE));
        process.kill().unwrap();
        let Err(LockError::Poisoned(mut guard)) = waiter.join().unwrap() else {
            panic!("it was not told");
        };
        // What the dead wrote is there, and can be repaired.
        assert_eq!(*guard, [1, 0]);
        guard[1] = 1;
        mutex.clear_poison();
    });
    assert_eq!(*mutex.lock_timeout(PATIENCE).unwrap(), [1, 1]);
}

#[test]
fn a_killed_holder_leaves_the_lock_to_a_task_that_awaits() {
    let region = region();
    let mutex = Mutex::new(&region, [0_u64; 2]).unwrap();
    let process = doomed(&region, &mutex);
    one_thread().block_on(async {
        let wait = tokio::time::timeout(PATIENCE, mutex.lock());
        let (locked, ()) = tokio::join!(wait, async { process.kill().unwrap() });
        assert!(locked.unwrap().unwrap_err().is_poisoned());
    });
}

#[test]
fn a_poisoned_lock_stays_so_until_it_is_cleared() {
    let region = region();
    let mutex = Mutex::new(&region, [0_u64; 2]).unwrap();
    let process = doomed(&region, &mutex);
    process.kill().unwrap();
    for _ in 0..3 {
        let outcome = mutex.lock_timeout(PATIENCE);
        assert!(matches!(outcome, Err(LockError::Poisoned(_))));
    }
    assert!(mutex.is_poisoned());
    mutex.clear_poison();
    drop(mutex.try_lock().unwrap());
}

#[test]
fn a_worker_that_dies_holding_a_lock_is_followed() {
    let region = region();
    let mutex = Mutex::new(&region, [0_u64; 2]).unwrap();
    let pool = Pool::builder().workers(1).region(&region).build().unwrap();
    let task = pool.spawn(mutex.handle().words(), |name| {
        let mutex: Mutex<Pair> = open(name);
        std::mem::forget(mutex.lock_blocking().unwrap());
        if std::hint::black_box(true) {
            std::process::abort();
        }
    });
    task.unwrap().wait().unwrap_err();
    let outcome = mutex.lock_timeout(PATIENCE);
    assert!(outcome.unwrap_err().is_poisoned());
}

#[test]
fn a_killed_waiter_swallows_no_wake_up() {
    let region = region();
    let mutex = Mutex::new(&region, 0_u64).unwrap();
    let waits = Mutex::new(&region, 0_u64).unwrap();
    let changed = Condvar::new(&region).unwrap();
    let held = mutex.try_lock().unwrap();
    let names = (
        mutex.handle().words(),
        waits.handle().words(),
        changed.handle().words(),
    );
    // Its task waits: the bit of its process stands in the wait set when it is killed.
    let builder = Process::builder().region(&region);
    let process = builder.spawn_async(names, async |names| {
        let (mutex, waits): (Mutex<u64>, Mutex<u64>) = (open(&names.0), open(&names.1));
        let changed: Condvar = open(&names.2);
        let mut wait = Box::pin(mutex.lock());
        std::future::poll_fn(|context| {
            assert!(wait.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        *waits.lock_blocking().unwrap() = 1;
        changed.notify_all().unwrap();
        drop(wait.await.unwrap());
    });
    let process = process.unwrap();
    let guard = waits.lock_blocking().unwrap();
    let waited = changed.wait_while_timeout(guard, PATIENCE, |waits| *waits == 0);
    assert!(waited.unwrap().1);
    process.kill().unwrap();
    process.wait().unwrap_err();
    drop(held);
    // Each hand-over wakes one; with the dead one's bit some would go to nobody.
    let runtime = one_thread();
    for _ in 0..50 {
        let guard = mutex.lock_timeout(PATIENCE).unwrap();
        runtime.block_on(async {
            let wait = tokio::time::timeout(PATIENCE, mutex.lock());
            let (locked, ()) = tokio::join!(wait, async { drop(guard) });
            drop(locked.expect("a wake-up was lost").unwrap());
        });
    }
}

#[test]
fn a_killed_reader_is_not_waited_for_and_a_killed_writer_poisons() {
    let region = region();
    let lock = RwLock::new(&region, 0_u64).unwrap();
    for is_writer in [false, true] {
        let names = (lock.handle().words(), u64::from(is_writer));
        let process = Process::builder().region(&region).spawn(names, |names| {
            let lock: RwLock<u64> = open(&names.0);
            let guards = match names.1.to_native() {
                0 => (Some(lock.read_blocking().unwrap()), None),
                _ => (None, Some(lock.write_blocking().unwrap())),
            };
            std::mem::forget(guards);
            std::process::abort();
        });
        process.unwrap().wait().unwrap_err();
        match lock.write_timeout(PATIENCE) {
            Ok(_) => assert!(!is_writer),
            Err(error) => assert!(is_writer && error.is_poisoned(), "{error}"),
        }
    }
    assert!(lock.try_read().unwrap_err().is_poisoned());
}

#[test]
fn a_reentrant_lock_of_a_killed_holder_is_followed() {
    let region = region();
    let lock = ReentrantMutex::new(&region, 1_u64).unwrap();
    let builder = Process::builder().region(&region);
    let process = builder.spawn(lock.handle().words(), |name| {
        let lock: ReentrantMutex<u64> = open(name);
        let (outer, inner) = (lock.lock_blocking().unwrap(), lock.lock_blocking().unwrap());
        outer.set(2);
        std::mem::forget((outer, inner));
        std::process::abort();
    });
    process.unwrap().wait().unwrap_err();
    let guard = lock.lock_timeout(PATIENCE).unwrap_err().into_guard();
    assert_eq!(guard.unwrap().get(), 2);
    lock.clear_poison();
    assert_eq!(lock.try_lock().unwrap().get(), 2);
}

#[test]
fn a_condition_goes_on_when_its_waiters_and_holders_are_killed() {
    let region = region();
    let mutex = Mutex::new(&region, [0_u64; 2]).unwrap();
    let changed = Condvar::new(&region).unwrap();
    let names = (mutex.handle().words(), changed.handle().words());
    let start = || {
        let builder = Process::builder().region(&region);
        let process = builder.spawn(names, |names| {
            let (mutex, changed): (Mutex<Pair>, Condvar) = (open(&names.0), open(&names.1));
            let mut guard = mutex.lock_blocking().unwrap();
            guard[0] += 1;
            // `u64::MAX` ends it.
            let guard = changed.wait_while_blocking(guard, |pair| pair[1] != u64::MAX);
            drop(guard.unwrap());
        });
        process.unwrap()
    };
    let processes = [(); 3].map(|()| start());
    // They wait once the mutex can be had and says 3.
    while mutex.lock_timeout(PATIENCE).unwrap()[0] < 3 {
        std::thread::yield_now();
    }
    let [dead, living @ ..] = processes;
    dead.kill().unwrap();
    dead.wait().unwrap_err();
    mutex.lock_timeout(PATIENCE).unwrap()[1] = u64::MAX;
    // One notice each; what the dead would have got goes to the living.
    for _ in &living {
        changed.notify_one().unwrap();
    }
    for process in living {
        process
            .wait_timeout(PATIENCE)
            .expect("a notice was lost")
            .unwrap();
    }
}

#[test]
fn whoever_waits_uses_no_processor() {
    let region = region();
    let mutex = Mutex::new(&region, [0_u64; 2]).unwrap();
    let process = doomed(&region, &mutex);
    let builder = Process::builder().region(&region);
    let waiting = builder.spawn(mutex.handle().words(), |name| {
        let mutex: Mutex<Pair> = open(name);
        drop(mutex.lock_blocking());
    });
    let waiting = waiting.unwrap();
    // Each thread of it comes to stand in a system call that no clock ends.
    let sleeps_for_good = |call: &str| {
        let mut parts = call.split_whitespace();
        let number = parts.next().and_then(|number| number.parse().ok());
        let arguments: Vec<_> = parts.collect();
        match number {
            Some(libc::SYS_futex) => arguments.get(3) == Some(&"0x0"),
            Some(libc::SYS_epoll_wait | libc::SYS_epoll_pwait) => arguments
                .get(3)
                .is_some_and(|timeout| timeout.ends_with("ffffffff")),
            _ => false,
        }
    };
    let began = std::time::Instant::now();
    loop {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", waiting.pid())).unwrap();
        let calls: Result<Vec<_>, _> = tasks
            .map(|task| std::fs::read_to_string(task.unwrap().path().join("syscall")))
            .collect();
        let Ok(calls) = calls else {
            eprintln!("SKIPPED: what system calls another process is in may not be seen here");
            break;
        };
        // The main thread and the two of the region.
        if calls.len() >= 3 && calls.iter().all(|call| sleeps_for_good(call)) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{calls:?}");
        std::thread::yield_now();
    }
    process.kill().unwrap();
    waiting
        .wait_timeout(PATIENCE)
        .expect("it is woken")
        .unwrap();
}
