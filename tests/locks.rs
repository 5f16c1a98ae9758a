//! Locks between processes: excluded, awaited, inherited, and left behind by the dead.

use std::time::{Duration, Instant};

use gristmill::{Handle, LockError, Mutex, Pool, Process, Region, Shared};

/// No test waits for longer than this for what has to happen.
const LONG: Duration = Duration::from_secs(60);

fn region() -> Region {
    Region::new(1 << 20).unwrap()
}

#[test]
fn processes_workers_and_threads_exclude_each_other() {
    const ROUNDS: u64 = 500;
    let region = region();
    let mutex = Mutex::new(&region, [0_u64; 2]).unwrap();
    let add = |mutex: &Mutex<[u64; 2]>| {
        for _ in 0..ROUNDS {
            let mut guard = mutex.lock().unwrap();
            assert_eq!(guard[0], guard[1]);
            guard[0] += 1;
            std::hint::black_box(&mut guard);
            guard[1] += 1;
        }
    };
    let pool = Pool::builder().workers(2).region(&region).build().unwrap();
    let tasks = [(); 2].map(|()| {
        pool.spawn(mutex.handle(), |mutex| {
            let mutex = mutex.open().unwrap();
            for _ in 0..ROUNDS {
                let mut guard = mutex.lock().unwrap();
                assert_eq!(guard[0], guard[1]);
                guard[0] += 1;
                guard[1] += 1;
            }
        })
        .unwrap()
    });
    let process = Process::builder()
        .region(&region)
        .spawn(mutex.handle(), |mutex| {
            let mutex = mutex.open().unwrap();
            for _ in 0..ROUNDS {
                let mut guard = mutex.lock().unwrap();
                assert_eq!(guard[0], guard[1]);
                guard[0] += 1;
                guard[1] += 1;
            }
        })
        .unwrap();
    add(&mutex);
    for task in tasks {
        task.wait().unwrap();
    }
    process.wait().unwrap();
    assert_eq!(*mutex.lock().unwrap(), [4 * ROUNDS; 2]);
}

/// Starts a process that dies while it holds `mutex`, and waits until it has it.
fn doomed(region: &Region, mutex: &Mutex<u64>) -> Process {
    let process = Process::builder()
        .region(region)
        .spawn(mutex.handle(), |mutex| {
            let mutex = mutex.open().unwrap();
            let mut guard = mutex.lock().unwrap();
            *guard = 1;
            loop {
                std::thread::park();
            }
        })
        .unwrap();
    let began = Instant::now();
    // It holds it once it cannot be had and says 1; the value is read where nobody writes it.
    while !matches!(mutex.try_lock(), Err(LockError::WouldBlock)) {
        assert!(began.elapsed() < LONG);
        std::thread::yield_now();
    }
    process
}

#[test]
fn whoever_waits_for_a_dead_holder_gets_the_lock_poisoned() {
    let region = region();
    let mutex = Mutex::new(&region, 0_u64).unwrap();
    let process = doomed(&region, &mutex);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| mutex.lock_timeout(LONG));
        process.kill().unwrap();
        let mut guard = match waiter.join().unwrap() {
            Err(LockError::Poisoned(guard)) => guard,
            other => panic!("{other:?}"),
        };
        assert!(mutex.is_poisoned() && guard.is_poisoned());
        *guard = 2;
        guard.clear_poison();
    });
    assert!(!mutex.is_poisoned());
    assert_eq!(*mutex.lock().unwrap(), 2);
}

#[test]
fn a_poisoned_mutex_stays_so_until_it_is_repaired() {
    let region = region();
    let mutex = Mutex::new(&region, 0_u64).unwrap();
    let process = doomed(&region, &mutex);
    process.kill().unwrap();
    for _ in 0..3 {
        assert!(matches!(
            mutex.lock_timeout(LONG),
            Err(LockError::Poisoned(_))
        ));
    }
    mutex
        .lock()
        .unwrap_err()
        .into_guard()
        .unwrap()
        .clear_poison();
    drop(mutex.lock().unwrap());
}

#[test]
fn a_try_finds_out_about_a_dead_holder() {
    let region = region();
    let mutex = Mutex::new(&region, 0_u64).unwrap();
    let process = doomed(&region, &mutex);
    process.kill().unwrap();
    let began = Instant::now();
    while !matches!(mutex.try_lock(), Err(LockError::Poisoned(_))) {
        assert!(began.elapsed() < LONG);
        std::thread::yield_now();
    }
}

#[cfg(feature = "tokio")]
#[test]
fn a_task_that_waits_for_a_dead_worker_gets_the_lock_poisoned() {
    let region = region();
    let pool = Pool::builder().workers(1).region(&region).build().unwrap();
    let mutex = Mutex::new(&region, 0_u64).unwrap();
    let holds = Mutex::new(&region, 0_u64).unwrap();
    let mut task = pool
        .spawn((mutex.handle(), holds.handle()), |handles| {
            let (mutex, holds) = (handles.0.open().unwrap(), handles.1.open().unwrap());
            let _guard = mutex.lock().unwrap();
            *holds.lock().unwrap() = u64::from(std::process::id());
            while std::hint::black_box(true) {
                std::thread::park();
            }
        })
        .unwrap();
    let began = Instant::now();
    while *holds.lock().unwrap() == 0 {
        assert!(began.elapsed() < LONG);
        std::thread::yield_now();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let wait = tokio::time::timeout(LONG, mutex.lock_async());
        let (guard, _) = tokio::join!(wait, async { task.cancel() });
        assert!(guard.unwrap().unwrap_err().is_poisoned());
    });
}

#[test]
fn a_process_without_the_region_says_so() {
    let region = region();
    let mutex = Mutex::new(&region, 0_u64).unwrap();
    let handle: Handle<Mutex<u64>> = mutex.handle();
    let worker = Process::builder()
        .spawn_worker(handle, |handle| handle.open().unwrap_err().to_string())
        .unwrap();
    let said = worker.wait().unwrap();
    assert!(said.contains("not attached"), "{}", &*said);
}
