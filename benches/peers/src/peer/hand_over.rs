//! A lock that goes from one process to another, and what the kernel's bare words take for it.
//!
//! The holder writes the time and lets go; the other takes the difference once it has the lock.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{ptr, thread};

use gristmill::{Mutex, Queue, Region};

use crate::contest::{Turn, Work};
use crate::peer::partner::{Partner, Served, named};

/// Words of shared memory: the time, the number of the hand-over, the bare word, and a lock of the
/// C library's.
pub(super) type Data = [u64; 16];
pub(super) const TIME: usize = 0;
pub(super) const NUMBER: usize = 1;
const WORD: usize = 2;
const PTHREAD: usize = 8;
const _: () = assert!(PTHREAD * 8 + size_of::<libc::pthread_mutex_t>() <= size_of::<Data>());

/// What is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Mutex = 0,
    /// A word that one sleeps on until the other wakes it.
    Futex = 1,
    /// A word that one looks at without pause.
    Flag = 2,
    /// The C library's lock for processes, which survives its holder.
    Pthread = 3,
}

impl Way {
    pub(super) fn of(number: u64) -> Self {
        [Self::Mutex, Self::Futex, Self::Flag, Self::Pthread][number as usize]
    }
}

/// The clock that all processes share, in nanoseconds.
pub(super) fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a place for the time.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

pub(super) fn pause(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        spin_loop();
    }
}

/// Waits until the number that keeps both in step is there. One that is locked was not seen.
pub(super) fn reach(step: &Mutex<u64>, wanted: u64) {
    while !step.try_lock().is_ok_and(|step| *step == wanted) {
        thread::yield_now();
    }
}

pub(super) fn set(step: &Mutex<u64>, to: u64) {
    *step.lock_blocking().expect("it is whole") = to;
}

/// The words of a mutex that nobody locks meanwhile.
pub(super) struct Bare(*mut Data);

impl Bare {
    pub(super) fn of(mutex: &Mutex<Data>) -> Self {
        Self(&raw mut *mutex.try_lock().expect("nobody has it"))
    }

    fn at(&self, index: usize) -> *mut u64 {
        self.0.cast::<u64>().wrapping_add(index)
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: aligned, mapped as long as the mutex, and reached through this only.
        unsafe { AtomicU32::from_ptr(self.at(WORD).cast()) }
    }

    pub(super) fn pthread(&self) -> *mut libc::pthread_mutex_t {
        self.at(PTHREAD).cast()
    }

    pub(super) fn stamp(&self, number: u64) {
        // SAFETY: words within, which the other reads when it has been let go on.
        unsafe {
            self.at(NUMBER).write_volatile(number);
            self.at(TIME).write_volatile(now());
        }
    }

    /// The time now and that in the words, if the number is right.
    pub(super) fn took(&self, number: u64) -> Option<u64> {
        let now = now();
        // SAFETY: as in `stamp`.
        let found = unsafe {
            (
                self.at(NUMBER).read_volatile(),
                self.at(TIME).read_volatile(),
            )
        };
        (found.0 == number).then(|| now - found.1)
    }

    pub(super) fn make_pthread(&self) {
        // SAFETY: places for an attribute and a lock, which is made once, before it is used.
        unsafe {
            let mut attribute = std::mem::zeroed();
            libc::pthread_mutexattr_init(&raw mut attribute);
            libc::pthread_mutexattr_setpshared(&raw mut attribute, libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_mutexattr_setrobust(&raw mut attribute, libc::PTHREAD_MUTEX_ROBUST);
            assert_eq!(
                libc::pthread_mutex_init(self.pthread(), &raw const attribute),
                0
            );
        }
    }

    pub(super) fn lock(&self) {
        // SAFETY: it was made.
        assert_eq!(unsafe { libc::pthread_mutex_lock(self.pthread()) }, 0);
    }

    pub(super) fn unlock(&self) {
        // SAFETY: this thread has it.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(self.pthread()) }, 0);
    }

    /// Waits for the lock of a holder that dies; whether it did. Nobody has the lock afterwards.
    pub(super) fn inherit(&self) -> bool {
        // SAFETY: it was made.
        let got = unsafe { libc::pthread_mutex_lock(self.pthread()) };
        // SAFETY: this thread has it, if the holder died.
        let died = got == libc::EOWNERDEAD
            && unsafe { libc::pthread_mutex_consistent(self.pthread()) } == 0;
        self.unlock();
        died
    }

    fn wait(&self, way: Way, number: u32) {
        while self.word().load(Ordering::Acquire) != number {
            if way == Way::Flag {
                spin_loop();
                continue;
            }
            let none = ptr::null::<libc::timespec>();
            let (wait, before) = (libc::FUTEX_WAIT, number - 1);
            // SAFETY: a word that is there, and no timeout.
            unsafe { libc::syscall(libc::SYS_futex, self.at(WORD), wait, before, none) };
        }
    }

    fn go(&self, way: Way, number: u32) {
        self.word().store(number, Ordering::Release);
        if way == Way::Futex {
            // SAFETY: a word that is there.
            unsafe { libc::syscall(libc::SYS_futex, self.at(WORD), libc::FUTEX_WAKE, 1) };
        }
    }
}

/// The process that waits: it says how long each took, in nanoseconds.
fn serve(names: Vec<[u64; 2]>) -> Served {
    let mutex = named::<Mutex<Data>>(&names, 0).open().expect("a mutex");
    let step = named::<Mutex<u64>>(&names, 1).open().expect("a mutex");
    let times = named::<Queue<u64>>(&names, 2).open().expect("a queue");
    let way = Way::of(names[3][0]);
    let bare = Bare::of(&mutex);
    let mut number = 0;
    Box::new(move |count| {
        let mut right = 0;
        for _ in 0..count {
            number += 1;
            reach(&step, 2 * number);
            let took = match way {
                Way::Mutex => {
                    let guard = mutex.lock_blocking().expect("it is whole");
                    let now = now();
                    (guard[NUMBER] == number).then(|| now - guard[TIME])
                }
                Way::Pthread => {
                    bare.lock();
                    let took = bare.took(number);
                    bare.unlock();
                    took
                }
                Way::Futex | Way::Flag => {
                    bare.wait(way, number as u32);
                    bare.took(number)
                }
            };
            right += u64::from(took.is_some());
            times.try_send(took.unwrap_or(0)).expect("room");
            set(&step, 2 * number + 1);
        }
        right
    })
}

/// Turns of so many hand-overs, each to a process that has waited for so long.
pub(crate) fn hand_over(way: Way, count: usize, waits: Duration) -> Result<Work, String> {
    let text = |error: gristmill::Error| error.to_string();
    let region = Region::new(4 << 20).map_err(text)?;
    let mutex = Mutex::<Data>::new(&region, [0; 16]).map_err(text)?;
    let step = Mutex::new(&region, 0).map_err(text)?;
    let times = Queue::<u64>::new(&region, count).map_err(text)?;
    let bare = Bare::of(&mutex);
    bare.make_pthread();
    let names = vec![
        mutex.handle().words(),
        step.handle().words(),
        times.handle().words(),
        [way as u64, 0],
    ];
    let partner = Partner::start(&region, names, serve)?;
    let mut number = 0;
    Ok(Box::new(move |_| {
        if partner.begin(count as u64).is_none() {
            return Turn::new(f64::NAN, false);
        }
        for _ in 0..count {
            number += 1;
            match way {
                Way::Mutex => {
                    let mut guard = mutex.lock_blocking().expect("it is whole");
                    set(&step, 2 * number);
                    pause(waits);
                    guard[NUMBER] = number;
                    guard[TIME] = now();
                }
                Way::Pthread => {
                    bare.lock();
                    set(&step, 2 * number);
                    pause(waits);
                    bare.stamp(number);
                    bare.unlock();
                }
                Way::Futex | Way::Flag => {
                    set(&step, 2 * number);
                    pause(waits);
                    bare.stamp(number);
                    bare.go(way, number as u32);
                }
            }
            reach(&step, 2 * number + 1);
        }
        let right = partner.end() == Some(count as u64);
        let samples = (0..count).map_while(|_| times.try_recv().ok());
        Turn::of_samples(samples.map(|time| time as f32 * 1e-9).collect(), right)
    }))
}
