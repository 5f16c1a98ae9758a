//! (l) Locks: with nobody else there, and from one process to another.

use std::cell::UnsafeCell;
use std::hint::black_box;
use std::time::Duration;

use gristmill::{Mutex, Region, RwLock};

use crate::contest::{Aim, Kind, Row, Turn, Work, timed};
use crate::crew::{Crew, one_thread};
use crate::peer::hand_over::{Way, hand_over};
use crate::peer::inherit::inherit;
use crate::peer::python;
use crate::work::Setup;

pub(crate) const ROWS: [(&str, Setup); 4] = [
    ("l/lock/alone", alone),
    ("l/lock/asleep", asleep),
    ("l/lock/spinning", spinning),
    ("l/lock/inherited", inherited),
];

/// These have `python` in their names.
pub(crate) const PYTHON_ROWS: [(&str, Setup); 2] = [
    ("l/python/lock/alone", python_alone),
    ("l/python/lock/asleep", python_asleep),
];

const OURS: &str = "gristmill Mutex";
const STD: &str = "std::sync::Mutex";
const FUTEX: &str = "a bare futex";
/// So long that whoever waits sleeps.
const ASLEEP: Duration = Duration::from_micros(400);
/// So short that it does not.
const AWAKE: Duration = Duration::from_micros(8);

/// Turns of so many steps, each of which adds one to what `counted` shows afterwards.
fn steps(
    count: usize,
    mut step: impl FnMut() + 'static,
    mut counted: impl FnMut() -> u64 + 'static,
) -> Work {
    Box::new(move |_| {
        let before = counted();
        let ((), time) = timed(|| (0..count).for_each(|_| step()));
        Turn::new(time / count as f64, counted() - before == count as u64)
    })
}

fn shared<T>(make: impl FnOnce(&Region) -> Result<T, gristmill::Error>) -> T {
    let region = Region::new(4 << 20).expect("memory");
    make(&region).expect("room")
}

fn ours(count: usize) -> Work {
    let mutex = shared(|region| Mutex::new(region, 0_u64));
    let counted = mutex.clone();
    steps(
        count,
        move || *black_box(&mutex).lock_blocking().expect("it is whole") += 1,
        move || *counted.lock_blocking().expect("it is whole"),
    )
}

fn ours_awaited(count: usize) -> Work {
    let (mutex, runtime) = (shared(|region| Mutex::new(region, 0_u64)), one_thread());
    Box::new(move |_| {
        let before = *mutex.lock_blocking().expect("it is whole");
        let ((), time) = timed(|| {
            runtime.block_on(async {
                for _ in 0..count {
                    *black_box(&mutex).lock().await.expect("it is whole") += 1;
                }
            });
        });
        let counted = *mutex.lock_blocking().expect("it is whole") - before;
        Turn::new(time / count as f64, counted == count as u64)
    })
}

fn tokio_awaited(count: usize) -> Work {
    let (mutex, runtime) = (tokio::sync::Mutex::new(0_u64), one_thread());
    Box::new(move |_| {
        let before = *mutex.blocking_lock();
        let ((), time) = timed(|| {
            runtime.block_on(async {
                for _ in 0..count {
                    *black_box(&mutex).lock().await += 1;
                }
            });
        });
        let counted = *mutex.blocking_lock() - before;
        Turn::new(time / count as f64, counted == count as u64)
    })
}

/// The C library's lock for processes that survives its holder, with what it guards.
fn robust(count: usize) -> Work {
    // SAFETY: any bits are one that is not made yet.
    let lock: Box<UnsafeCell<libc::pthread_mutex_t>> = Box::new(unsafe { std::mem::zeroed() });
    // SAFETY: places for an attribute and for the lock, which stays where it is.
    unsafe {
        let mut attribute = std::mem::zeroed();
        libc::pthread_mutexattr_init(&raw mut attribute);
        libc::pthread_mutexattr_setpshared(&raw mut attribute, libc::PTHREAD_PROCESS_SHARED);
        libc::pthread_mutexattr_setrobust(&raw mut attribute, libc::PTHREAD_MUTEX_ROBUST);
        assert_eq!(
            libc::pthread_mutex_init(lock.get(), &raw const attribute),
            0
        );
    }
    let number = std::rc::Rc::new(std::cell::Cell::new(0_u64));
    let counted = number.clone();
    let step = move || {
        // SAFETY: it was made.
        assert_eq!(unsafe { libc::pthread_mutex_lock(lock.get()) }, 0);
        black_box(&number).set(number.get() + 1);
        // SAFETY: this thread has it.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(lock.get()) }, 0);
    };
    steps(count, step, move || counted.get())
}

fn alone_row(name: &str, what: &str, count: usize) -> Row {
    let row = Row::new(name, what);
    row.invite(Kind::Ours, OURS, Ok(ours(count)))
}

fn alone(crew: &Crew) -> Row {
    let count = crew.pick(500_000, 1000);
    let what = "a lock is taken, what it guards changed, and let go, with nobody else there";
    let row = alone_row("l/lock/alone", what, count).within(STD, 2.0);
    let row = row.invite(
        Kind::Ours,
        "gristmill Mutex, awaited",
        Ok(ours_awaited(count)),
    );

    let lock = shared(|region| RwLock::new(region, 0_u64));
    let row = row.enter(Kind::Ours, "gristmill RwLock, read", move |_| {
        let read = |_| *black_box(&lock).read_blocking().expect("it is whole");
        let (sum, time) = timed(|| (0..count).map(read).sum::<u64>());
        Turn::new(time / count as f64, sum == 0)
    });

    let mutex = std::sync::Arc::new(std::sync::Mutex::new(0_u64));
    let counted = mutex.clone();
    let std = steps(
        count,
        move || *black_box(&mutex).lock().expect("it is whole") += 1,
        move || *counted.lock().expect("it is whole"),
    );
    let row = row.invite(Kind::Threads, STD, Ok(std));
    let row = row.invite(
        Kind::Threads,
        "tokio::sync::Mutex, awaited",
        Ok(tokio_awaited(count)),
    );
    let pthread = "pthread_mutex, shared and robust";
    row.invite(Kind::Processes, pthread, Ok(robust(count)))
}

fn handed(row: Row, kind: Kind, name: &str, way: Way, count: usize, waits: Duration) -> Row {
    row.invite(kind, name, hand_over(way, count, waits))
}

fn asleep(crew: &Crew) -> Row {
    let count = crew.pick(50, 5);
    let what = "a lock is let go and had by another process, which slept";
    let row = Row::new("l/lock/asleep", what).within(FUTEX, 1.3);
    let row = handed(row, Kind::Ours, OURS, Way::Mutex, count, ASLEEP);
    let pthread = "pthread_mutex, shared and robust";
    let row = handed(row, Kind::Processes, pthread, Way::Pthread, count, ASLEEP);
    handed(row, Kind::Limit, FUTEX, Way::Futex, count, ASLEEP)
}

fn spinning(crew: &Crew) -> Row {
    let count = crew.pick(1000, 5);
    let what = "a lock is let go and had by another process, which looked for it";
    let row = Row::new("l/lock/spinning", what).aim(Aim::Seconds { at_most: 0.5e-6 });
    let row = handed(row, Kind::Ours, OURS, Way::Mutex, count, AWAKE);
    let pthread = "pthread_mutex, shared and robust";
    let row = handed(row, Kind::Processes, pthread, Way::Pthread, count, AWAKE);
    handed(
        row,
        Kind::Limit,
        "a flag that is watched",
        Way::Flag,
        count,
        AWAKE,
    )
}

fn inherited(crew: &Crew) -> Row {
    let count = crew.pick(20, 2);
    let what = "a holder is killed; a process that slept, and did not start it, has the lock";
    let row = Row::new("l/lock/inherited", what).aim(Aim::Seconds { at_most: 0.1 });
    let ours = inherit(Way::Mutex, count, ASLEEP);
    let theirs = inherit(Way::Pthread, count, ASLEEP);
    let row = row.invite(Kind::Ours, OURS, ours);
    row.invite(Kind::Processes, "pthread_mutex, shared and robust", theirs)
}

fn python_alone(crew: &Crew) -> Row {
    let what = "a lock is taken and let go, with nobody else there, beside Python's";
    let row = alone_row("l/python/lock/alone", what, crew.pick(500_000, 1000));
    let peers = [
        "multiprocessing.Lock",
        "multiprocessing.RLock",
        "AioLock",
        "threading.Lock",
    ];
    peers.into_iter().fold(row, |row, peer| {
        let count = if peer == "AioLock" { 1000 } else { 50_000 };
        let work = format!("lock/{}", crew.pick(count, 50));
        row.invite(Kind::Python, peer, python::shared(peer, &work, 0))
    })
}

fn python_asleep(crew: &Crew) -> Row {
    let what = "a lock is let go and had by another process, which slept, beside Python's";
    let count = crew.pick(50, 5);
    let row = Row::new("l/python/lock/asleep", what);
    let row = handed(row, Kind::Ours, OURS, Way::Mutex, count, ASLEEP);
    let work = format!("asleep/{count}");
    let peer = "multiprocessing.Lock";
    row.invite(Kind::Python, peer, python::shared(peer, &work, 0))
}
