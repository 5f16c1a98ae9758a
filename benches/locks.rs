//! Locks: uncontended beside `std::sync::Mutex`, and handed from one process to another beside a
//! bare futex. In turns, so that a slower machine is slower for all.
//!
//! Prints the median and the quartiles of as many rounds as are given (`-- 9`). Unfair to ours:
//! std's mutex serves threads of one process, and nobody who dies; the bare futex guards nothing.
//! Unfair to the rivals: none spins before it sleeps, which in the first hand-off nobody does.

#![expect(unsafe_code, reason = "a bare futex, on words of shared memory")]

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use gristmill::{Handle, Mutex, Region, Worker};

/// What is handed over: when, as the sender's clock had it; and words for the bare futex.
type Data = [u64; 8];

/// How the two processes keep step: a number that both look at.
type Step = Mutex<u64>;

const OURS: u64 = 0;
const FUTEX: u64 = 1;

/// Nanoseconds a lock and unlock.
fn uncontended(count: u32, mut once: impl FnMut()) -> f64 {
    let began = Instant::now();
    for _ in 0..count {
        once();
    }
    began.elapsed().as_nanos() as f64 / f64::from(count)
}

/// The clock that all processes share, in nanoseconds.
fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a place for the time.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn pause(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        spin_loop();
    }
}

fn reach(step: &Step, wanted: u64) {
    // One that is held at this moment has not been seen.
    while !step.try_lock().is_ok_and(|step| *step == wanted) {
        std::thread::yield_now();
    }
}

fn set(step: &Step, to: u64) {
    *step.lock_blocking().expect("it is whole") = to;
}

/// A word of its own and the time, in the data of a mutex that nobody locks meanwhile.
struct Bare(*mut Data);

impl Bare {
    fn of(mutex: &Mutex<Data>) -> Self {
        let mut guard = mutex.try_lock().expect("nobody has it");
        Self(&raw mut *guard)
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: aligned, mapped as long as the mutex, and reached through this only.
        unsafe { AtomicU32::from_ptr(self.0.cast::<u32>()) }
    }

    fn wait(&self, number: u32) {
        while self.word().load(Ordering::Acquire) != number {
            let wait = libc::FUTEX_WAIT;
            let none = std::ptr::null::<libc::timespec>();
            // SAFETY: a word that is there, and no timeout.
            unsafe { libc::syscall(libc::SYS_futex, self.0, wait, number - 1, none) };
        }
    }

    fn wake(&self, number: u32) {
        // SAFETY: the second half of the data, which is read after the word has moved.
        unsafe { self.0.cast::<u64>().wrapping_add(1).write_volatile(now()) };
        self.word().store(number, Ordering::Release);
        // SAFETY: a word that is there.
        unsafe { libc::syscall(libc::SYS_futex, self.0, libc::FUTEX_WAKE, 1) };
    }

    fn sent(&self) -> u64 {
        // SAFETY: as in `wake`.
        unsafe { self.0.cast::<u64>().wrapping_add(1).read_volatile() }
    }
}

type Names = ([u64; 2], [u64; 2], u64, u64);

/// The process that waits: how long each hand-over took, in nanoseconds.
fn receive(names: &rkyv::Archived<Names>) -> Vec<u64> {
    let name = |words: &rkyv::Archived<[u64; 2]>| [words[0].into(), words[1].into()];
    let mutex: Mutex<Data> = Handle::from_words(name(&names.0))
        .open()
        .expect("it is there");
    let step: Step = Handle::from_words(name(&names.1))
        .open()
        .expect("it is there");
    let (way, rounds) = (names.2.to_native(), names.3.to_native());
    let bare = (way == FUTEX).then(|| Bare::of(&mutex));
    set(&step, 1);
    (1..=rounds)
        .map(|round| {
            reach(&step, 2 * round);
            let took = match &bare {
                Some(bare) => {
                    bare.wait(round as u32);
                    now() - bare.sent()
                }
                None => {
                    let guard = mutex.lock_blocking().expect("it is whole");
                    now() - guard[1]
                }
            };
            set(&step, 2 * round + 1);
            took
        })
        .collect()
}

/// Median nanoseconds from one process to another that has waited for so long.
fn hand_off(way: u64, rounds: u64, waits: Duration) -> f64 {
    let region = Region::new(4 << 20).expect("memory");
    let mutex = Mutex::new(&region, [0; 8]).expect("room");
    let step = Mutex::new(&region, 0).expect("room");
    let names = (mutex.handle().words(), step.handle().words(), way, rounds);
    let worker: Worker<Vec<u64>> = gristmill::Process::builder()
        .region(&region)
        .spawn_worker(names, receive)
        .expect("a process");
    reach(&step, 1);
    let bare = (way == FUTEX).then(|| Bare::of(&mutex));
    for round in 1..=rounds {
        match &bare {
            Some(bare) => {
                set(&step, 2 * round);
                pause(waits);
                bare.wake(round as u32);
            }
            None => {
                let mut guard = mutex.lock_blocking().expect("it is whole");
                set(&step, 2 * round);
                pause(waits);
                guard[1] = now();
            }
        }
        reach(&step, 2 * round + 1);
    }
    let took = worker.wait().expect("it goes well");
    assert_eq!(took.len() as u64, rounds);
    let mut took: Vec<_> = took.iter().map(|took| took.to_native() as f64).collect();
    took.sort_by(f64::total_cmp);
    took[took.len() / 2]
}

fn say(name: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let at = |quarter: usize| times[(times.len() - 1) * quarter / 4];
    println!("{name:<34} {:9.1} [{:.1}, {:.1}] ns", at(2), at(1), at(3));
}

fn main() {
    let is_test = std::env::args().any(|word| word == "--test");
    let rounds = std::env::args().find_map(|word| word.parse().ok());
    let rounds: usize = rounds.unwrap_or(if is_test { 1 } else { 9 });
    let (count, hands) = if is_test { (1000, 3) } else { (1_000_000, 200) };
    let region = Region::new(4 << 20).expect("memory");
    let ours = Mutex::new(&region, 0_u64).expect("room");
    let reads = gristmill::RwLock::new(&region, 0_u64).expect("room");
    let theirs = std::sync::Mutex::new(0_u64);
    let mut times: [Vec<f64>; 6] = Default::default();
    for _ in 0..rounds {
        times[0].push(uncontended(count, || {
            *black_box(&ours).lock_blocking().expect("it is whole") += 1;
        }));
        times[1].push(uncontended(count, || {
            *black_box(&theirs).lock().expect("it is whole") += 1;
        }));
        times[2].push(uncontended(count, || {
            black_box(*black_box(&reads).read_blocking().expect("it is whole"));
        }));
        let asleep = Duration::from_micros(400);
        times[3].push(hand_off(OURS, hands, asleep));
        times[4].push(hand_off(FUTEX, hands, asleep));
        times[5].push(hand_off(OURS, 5 * hands, Duration::from_micros(8)));
    }
    let counted = u64::from(count) * rounds as u64;
    assert_eq!(*ours.lock_blocking().expect("it is whole"), counted);
    assert_eq!(*theirs.lock().expect("it is whole"), counted);
    let names = [
        "lock and unlock, gristmill",
        "lock and unlock, std",
        "read and unlock, gristmill RwLock",
        "to a process asleep, gristmill",
        "to a process asleep, bare futex",
        "to a process spinning, gristmill",
    ];
    for (name, times) in names.into_iter().zip(times) {
        say(name, times);
    }
}
