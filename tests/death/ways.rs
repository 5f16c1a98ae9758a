//! Each way to die inside a task or a kernel, and the exact error that the caller gets.

#![expect(unsafe_code, reason = "dies of it")]

use core::ptr;

use gristmill::{Cause, Pool, TaskError};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::{death, pool, replaced, witness};

const NULL_WRITE: u64 = 0;
const BEYOND_FILE: u64 = 1;
const ABORT: u64 = 2;
const EXIT: u64 = 3;
const EXIT_AT_ONCE: u64 = 4;
const OVERFLOW: u64 = 5;
const PANIC_TWICE: u64 = 6;
const TERMINATE: u64 = 7;
const KILL: u64 = 8;

/// The ways, and what the caller is told.
const WAYS: [(u64, Cause); 9] = [
    (NULL_WRITE, Cause::Signal(Signal::SIGSEGV as i32)),
    (BEYOND_FILE, Cause::Signal(Signal::SIGBUS as i32)),
    (ABORT, Cause::Signal(Signal::SIGABRT as i32)),
    (EXIT, Cause::Exit(0)),
    (EXIT_AT_ONCE, Cause::Exit(3)),
    (OVERFLOW, Cause::Signal(Signal::SIGSEGV as i32)),
    (PANIC_TWICE, Cause::Signal(Signal::SIGABRT as i32)),
    (TERMINATE, Cause::Signal(Signal::SIGTERM as i32)),
    (KILL, Cause::Signal(Signal::SIGKILL as i32)),
];

/// Ends this process.
pub(crate) fn die(way: u64) -> ! {
    match way {
        NULL_WRITE => {
            // SAFETY: nothing is mapped there, so nothing is harmed but this process, as wanted.
            unsafe { ptr::without_provenance_mut::<u64>(8).write_volatile(1) };
        }
        BEYOND_FILE => read_beyond_file(),
        ABORT => std::process::abort(),
        EXIT => std::process::exit(0),
        // SAFETY: ends the process; nothing is left to uphold.
        EXIT_AT_ONCE => unsafe { libc::_exit(3) },
        OVERFLOW => {
            dive(1);
        }
        PANIC_TWICE => {
            let _grenade = PanicsInDrop;
            panic!("the first");
        }
        TERMINATE => kill_self(Signal::SIGTERM),
        KILL => kill_self(Signal::SIGKILL),
        _ => {}
    }
    unreachable!("survived {way}");
}

pub(crate) fn kill_self(signal: Signal) {
    nix::sys::signal::kill(Pid::this(), signal).expect("a process may signal itself");
    // A signal to oneself is delivered before the call returns, unless another thread takes it.
    loop {
        std::thread::park();
    }
}

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("the second");
    }
}

fn read_beyond_file() {
    let name = c"empty";
    // SAFETY: the name is a C string.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), 0) };
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: without MAP_FIXED the kernel picks an unused range, so no memory is touched.
    let page = unsafe { libc::mmap(ptr::null_mut(), 4096, access, libc::MAP_SHARED, fd, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    // SAFETY: mapped, but the file has no bytes: the kernel ends the process.
    unsafe { page.cast::<u64>().write_volatile(1) };
}

#[expect(unconditional_recursion, reason = "overflows the stack")]
fn dive(depth: u64) -> u64 {
    let frame = core::hint::black_box([depth; 512]);
    dive(depth + 1) + core::hint::black_box(frame)[3]
}

#[test]
fn a_task_that_dies_tells_how() {
    let pool = pool(2);
    for (way, cause) in WAYS {
        let before = pool.worker_pids();
        let task = pool
            .spawn(way, |way| -> u64 { die(way.to_native()) })
            .expect("submitted");
        let error = task.wait().expect_err("it died");
        let TaskError::WorkerDied(death) = error else {
            panic!("way {way}: {error}");
        };
        assert_eq!(death.cause, cause, "way {way}");
        assert!(before.contains(&death.pid), "way {way}: {death}");
        assert_eq!((death.attempts, death.elements), (1, None), "way {way}");
        assert!(death.undefined.is_empty(), "way {way}");
        replaced(&pool, &[death.pid]);
        // The pool goes on.
        assert_eq!(answer(&pool), 42, "way {way}");
    }
}

#[test]
fn a_kernel_that_dies_tells_how_and_where() {
    let pool = pool(2);
    let xs = pool
        .alloc_from_fn(5_000, |i| i as u64)
        .expect("room")
        .freeze();
    for (way, cause) in WAYS {
        let fatal = 4_321_u64;
        let job = pool.par_map_with((fatal, way), &xs, |(fatal, way), x| {
            if x == fatal { die(*way) } else { x + 1 }
        });
        let death = death(job.wait());
        assert_eq!(death.cause, cause, "way {way}");
        assert_eq!(death.attempts, 3, "way {way}");
        let elements = death.elements.expect("a range job");
        assert!(elements.contains(&fatal), "way {way}: {elements:?}");
        assert_eq!(answer(&pool), 42, "way {way}");
    }
    let ys = pool
        .par_map(&xs, |x| x + 1)
        .wait()
        .expect("the pool goes on");
    assert!(ys.iter().zip(1..).all(|(&y, i)| y == i));
}

fn answer(pool: &Pool) -> u64 {
    let task = pool.spawn(6_u64, |x| x.to_native() * 7).expect("submitted");
    task.wait().expect("the pool goes on").to_native()
}

/// A result that does not like to be dropped, and takes a block of the arena.
#[derive(rkyv::Archive, rkyv::Serialize)]
#[rkyv(derive(Debug))]
struct Grudging(Vec<u8>);

impl Drop for Grudging {
    fn drop(&mut self) {
        panic!("I stay");
    }
}

#[test]
fn a_result_that_panics_in_drop_is_a_panic() {
    // More results than the arena, as large as the budget, could hold at once.
    let budget = 64 << 20;
    let pool = Pool::builder()
        .workers(1)
        .memory_budget(budget)
        .build()
        .expect("a pool");
    let worker = pool.worker_pids();
    for round in 0..100 {
        let task = pool
            .spawn((), |_| Grudging(vec![7; 1 << 20]))
            .expect("submitted");
        match task.wait().expect_err("it panics") {
            TaskError::Panicked {
                message, location, ..
            } => {
                assert_eq!(message, "I stay");
                let location = location.expect("a place");
                assert!(location.file.ends_with("ways.rs"), "{location}");
            }
            other => panic!("round {round}: {other}"),
        }
    }
    // The arena has its blocks back.
    let task = pool.spawn((), |_| vec![7_u8; 32 << 20]).expect("submitted");
    assert_eq!(task.wait().expect("there is room").len(), 32 << 20);
    assert_eq!(pool.worker_pids(), worker, "a panic ends no worker");
}

/// A panic's payload that panics when it is dropped, and so does the payload of that panic.
struct Nested;

impl Drop for Nested {
    fn drop(&mut self) {
        std::panic::panic_any(Self);
    }
}

#[test]
fn a_payload_that_panics_in_drop_is_a_panic() {
    let pool = pool(1);
    let worker = pool.worker_pids();
    let task = pool
        .spawn((), |_| -> u64 { std::panic::panic_any(Nested) })
        .expect("submitted");
    let error = task.wait().expect_err("it panics");
    assert!(matches!(error, TaskError::Panicked { .. }), "{error}");
    assert_eq!(answer(&pool), 42);
    assert_eq!(pool.worker_pids(), worker, "a panic ends no worker");
}

#[test]
fn a_panic_outlives_its_worker() {
    let place = witness::Place::new("panic");
    let pool = pool(2);
    // Large enough that both workers are woken.
    let last = (1 << 17) - 1;
    let xs = pool
        .alloc_from_fn(1 << 17, |i| i as u64)
        .expect("room")
        .freeze();
    let names = ["held", "panicking", "end"].map(|name| place.file(name));
    let job = pool.par_map_with((last, gristmill::Rkyv(names)), &xs, |(last, files), x| {
        let [held, panicking, end] = files;
        if x == last {
            witness::say(held, &std::process::id().to_string());
            witness::obey(end);
        }
        if *x == 0 {
            witness::obey(held);
            witness::say(panicking, &std::process::id().to_string());
            panic!("remember me");
        }
        *x
    });
    let job = job.start().expect("room");
    let panicked = place.read("panicking").parse().expect("a pid");
    let held: u32 = place.read("held").parse().expect("a pid");
    assert_ne!(panicked, held);
    // It has told of the panic once it sleeps: nothing else is left for it to do.
    witness::until("the panic", || witness::sleeps(panicked).then_some(()));
    crate::signal(panicked, Signal::SIGKILL);
    replaced(&pool, &[panicked]);
    witness::say(&place.file("end"), "");
    match job.wait().expect_err("it panicked") {
        gristmill::Error::Task(TaskError::Panicked {
            message, element, ..
        }) => {
            assert_eq!((message.as_str(), element), ("remember me", Some(0)));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_death_tells_how_much_memory_it_took() {
    let pool = pool(1);
    // Beyond the parent's own peak, below which the kernel cannot tell whose it was.
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .expect("a peak");
    let wanted = (peak.parse::<u64>().expect("a number") << 10) + (512 << 20);
    let task = pool.spawn(wanted, |size| -> u64 {
        let memory = vec![1_u8; size.to_native() as usize];
        core::hint::black_box(&memory);
        die(KILL)
    });
    let error = task.expect("submitted").wait().expect_err("it died");
    let TaskError::WorkerDied(death) = error else {
        panic!("{error}");
    };
    let found = death.peak_memory.expect("far more than the parent had");
    assert!(
        found >= wanted && found < wanted + (256 << 20),
        "{found} of {wanted}"
    );
}
