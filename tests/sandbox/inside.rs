//! What a worker in a sandbox can still do, and what it has in its hands.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use gristmill::{Cause, Error, Pool, Sandbox, TaskError, Violation};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::confined;

/// In both modes, for a call that is missing from the list would only show in the second.
fn both() -> [Pool; 2] {
    [Violation::Deny, Violation::Kill]
        .map(|violation| confined(Sandbox::compute_only().on_violation(violation)))
}

/// Waits until the kernel says that every worker sleeps; beyond a minute it has not.
fn until_asleep(pool: &Pool) {
    let began = Instant::now();
    let sleeps = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('S'))
    };
    while !pool.worker_pids().iter().all(sleeps) {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "they never slept"
        );
        std::thread::yield_now();
    }
}

#[test]
fn jobs_and_tasks_of_any_size_run() {
    for pool in both() {
        let xs = pool.alloc_from_fn(3 << 20, |i| i as f64).unwrap().freeze();
        // Twice: recycled memory changes its protection.
        for _ in 0..2 {
            let ys = pool.par_map(&xs, |x| x + 1.0).wait().unwrap().freeze();
            assert_eq!(ys[(3 << 20) - 1], (3 << 20) as f64);
            assert_eq!(
                pool.par_sum(&ys).wait().unwrap(),
                (1..=3_u64 << 20).sum::<u64>() as f64
            );
        }
        for size in [1_u64, 1 << 10, 1 << 24] {
            let task = pool.spawn(size, |size| vec![7_u8; size.to_native() as usize]);
            assert_eq!(task.unwrap().wait().unwrap().len() as u64, size);
        }
        // They sleep and are woken.
        for round in 0..50_u64 {
            until_asleep(&pool);
            assert_eq!(
                pool.spawn(round, |x| x.to_native())
                    .unwrap()
                    .wait()
                    .unwrap()
                    .to_native(),
                round
            );
        }
    }
}

#[test]
fn what_computing_takes_is_there() {
    for pool in both() {
        let task = pool.spawn((), |()| {
            let big = std::hint::black_box(vec![1_u8; 64 << 20]);
            let threads: Vec<_> = (0..4_u64)
                .map(|i| {
                    let named = std::thread::Builder::new().name(format!("inner {i}"));
                    named.spawn(move || i + 1).expect("a thread")
                })
                .collect();
            let sum: u64 = threads
                .into_iter()
                .map(|thread| thread.join().expect("it ends"))
                .sum();
            let map: HashMap<u64, u64> = [(1, 2)].into();
            let began = Instant::now();
            std::thread::sleep(Duration::from_millis(1));
            let slept = began.elapsed() >= Duration::from_millis(1);
            let _ = std::time::SystemTime::now();
            let _ = std::thread::available_parallelism();
            let _ = std::io::stdout().is_terminal();
            let _ = std::env::current_dir();
            eprint!("");
            let written = std::io::stdout().write_all(b"").is_ok();
            sum + map[&1] + u64::from(slept) + u64::from(written) + big.len() as u64
        });
        assert_eq!(
            task.unwrap().wait().unwrap().to_native(),
            10 + 2 + 1 + 1 + (64 << 20)
        );
    }
}

#[test]
fn a_panic_is_a_panic() {
    for pool in both() {
        for _ in 0..3 {
            let xs = pool.copy_from_slice(&[4_i32, 2, 0, 1]).unwrap().freeze();
            match pool.par_map(&xs, |x| 12 / x).wait() {
                Err(Error::Task(TaskError::Panicked {
                    message, element, ..
                })) => {
                    assert_eq!(message, "attempt to divide by zero");
                    assert_eq!(element, Some(2));
                }
                other => panic!("{other:?}"),
            }
        }
        // Nothing was read before, so the files that it needs are closed to it.
        let task = pool.spawn((), |()| {
            std::backtrace::Backtrace::force_capture().to_string().len() as u64
        });
        assert!(task.unwrap().wait().unwrap().to_native() > 0);
    }
}

#[test]
fn a_backtrace_has_its_names() {
    // Whether backtraces are wanted is asked once a process, so that the test is one of its own.
    if std::env::var_os("RUST_BACKTRACE").is_none_or(|value| value != "1") {
        let again = std::process::Command::new("/proc/self/exe")
            .args(["--exact", "inside::a_backtrace_has_its_names"])
            .env("RUST_BACKTRACE", "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&again.stdout);
        assert!(
            again.status.success() && said.contains("1 passed"),
            "{said}"
        );
        return;
    }
    let pool = confined(Sandbox::compute_only().on_violation(Violation::Kill));
    match pool
        .spawn((), |()| a_function_with_a_name())
        .unwrap()
        .wait()
    {
        Err(TaskError::Panicked { backtrace, .. }) => {
            let backtrace = backtrace.unwrap();
            assert!(backtrace.contains("a_function_with_a_name"), "{backtrace}");
        }
        other => panic!("{other:?}"),
    }
}

#[inline(never)]
fn a_function_with_a_name() -> u8 {
    panic!("it panics")
}

/// Has a worker end itself.
type End = fn(&Pool) -> Result<(), TaskError>;

#[test]
fn other_ends_are_told_as_they_were() {
    for pool in both() {
        let ends: [(End, Cause); 4] = [
            (
                |pool| end(pool.spawn((), |()| std::process::abort())),
                Cause::Signal(6),
            ),
            (
                |pool| end(pool.spawn((), |()| std::process::exit(7))),
                Cause::Exit(7),
            ),
            (
                |pool| {
                    end(pool.spawn((), |()| {
                        nix::sys::signal::raise(nix::sys::signal::SIGTERM).unwrap()
                    }))
                },
                Cause::Signal(15),
            ),
            (
                |pool| {
                    end(pool.spawn((), |()| {
                        // SAFETY: a fault is what is wanted; nothing is there to be read.
                        unsafe { std::ptr::without_provenance::<u8>(8).read_volatile() };
                    }))
                },
                Cause::Signal(11),
            ),
        ];
        for (end, cause) in ends {
            match end(&pool) {
                Err(TaskError::WorkerDied(death)) => assert_eq!(death.cause, cause),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn end(task: Result<gristmill::TaskHandle<()>, Error>) -> Result<(), TaskError> {
    task.unwrap().wait().map(drop)
}

/// Numbers of the descriptors that are open, told without looking at a file.
fn open_descriptors() -> Vec<i32> {
    let open = |&fd: &i32| {
        // SAFETY: the call takes integers; an error is an answer.
        unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
    };
    (0..1024).filter(open).collect()
}

#[test]
fn nothing_that_the_program_has_open_is_handed_over() {
    // What it made inheritable on purpose, too.
    let file = std::fs::File::open("/proc/self/status").unwrap();
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let plain = Pool::builder().workers(1).build().unwrap();
    let count = |pool: &Pool| {
        let task = pool.spawn((), |()| open_descriptors()).unwrap();
        task.wait()
            .unwrap()
            .iter()
            .map(|fd| fd.to_native())
            .collect::<Vec<_>>()
    };
    assert!(count(&plain).contains(&file.as_raw_fd()));
    let pool = confined(Sandbox::compute_only());
    let open = count(&pool);
    assert!(!open.contains(&file.as_raw_fd()));
    // Standard streams, the region and both events; the ruleset has served.
    assert_eq!(open.len(), 6, "{open:?}");
}

/// What the set-up of the test below opened.
static OPENED: std::sync::OnceLock<OwnedFd> = std::sync::OnceLock::new();

#[test]
fn the_setup_may_open_what_tasks_use() {
    let setup = || {
        let file = std::fs::File::open("/proc/self/exe").expect("not confined yet");
        OPENED.set(file.into()).expect("once");
    };
    let builder = Pool::builder().workers(1).worker_setup(setup);
    let pool = builder.sandbox(Sandbox::compute_only()).build().unwrap();
    let task = pool.spawn((), |()| {
        let mut magic = [0_u8; 4];
        let file = OPENED.get().expect("set up").as_raw_fd();
        // SAFETY: writes at most four bytes, into four that are there.
        let read = unsafe { libc::pread(file, magic.as_mut_ptr().cast(), 4, 0) };
        (read as i64, magic)
    });
    let answer = task.unwrap().wait().unwrap();
    assert_eq!((answer.0.to_native(), answer.1), (4, *b"\x7fELF"));
}

#[test]
fn the_parent_may_make_the_descriptor_inheritable_after_the_fact() {
    // One that is made inheritable while workers are replaced is closed in the replacement.
    let pool = confined(Sandbox::compute_only());
    let file = std::fs::File::open("/proc/self/status").unwrap();
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    for _ in 0..4 {
        assert!(end(pool.spawn((), |()| std::process::abort())).is_err());
        let open = pool
            .spawn((), |()| open_descriptors())
            .unwrap()
            .wait()
            .unwrap();
        assert_eq!(open.len(), 6);
    }
    // SAFETY: the number is not used by anybody else afterwards.
    drop(unsafe { OwnedFd::from_raw_fd(fcntl(&file, FcntlArg::F_DUPFD_CLOEXEC(900)).unwrap()) });
}

#[cfg(feature = "tokio")]
#[test]
fn futures_wait_and_are_answered() {
    for pool in both() {
        let naps: Vec<_> = (0..8_u64)
            .map(|x| {
                pool.spawn_async(x, async |x| {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    let big = vec![x.to_native(); 1 << 14];
                    tokio::task::yield_now().await;
                    big
                })
            })
            .collect();
        for (x, nap) in (0..).zip(naps) {
            assert_eq!(nap.unwrap().wait().unwrap()[99], x);
        }
        let net = pool.spawn_async((), async |()| std::fs::read("/etc/hostname").is_ok());
        assert!(!*net.unwrap().wait().unwrap());
    }
}

#[test]
fn the_initializer_and_the_state_are_made_inside_and_successors_are_confined() {
    let reads = || std::fs::read("/proc/self/stat").is_ok();
    for violation in [Violation::Deny, Violation::Kill] {
        let pool = Pool::builder()
            .workers(1)
            .sandbox(Sandbox::compute_only().on_violation(violation))
            .initializer((), move |()| assert!(!reads(), "it is not confined"))
            .worker_state((), move |()| reads())
            .on_worker_exit(|| ())
            .max_tasks_per_worker(2)
            .max_worker_memory(64 << 20)
            .build()
            .unwrap();
        let mut workers = std::collections::HashSet::new();
        for _ in 0..6 {
            let task =
                pool.spawn_with_state((), |reads: &mut bool, ()| (*reads, std::process::id()));
            let seen = task.unwrap().wait().unwrap();
            assert!(!seen.0, "it is not confined");
            workers.insert(seen.1.to_native());
        }
        assert_eq!(workers.len(), 3);
        // What it may use is read from a file that was opened before.
        let pool = Pool::builder()
            .workers(1)
            .sandbox(Sandbox::compute_only().on_violation(violation))
            .max_worker_memory(64 << 20)
            .build()
            .unwrap();
        let first = pool.worker_pids();
        let hog = pool.spawn((), |()| std::mem::forget(vec![1_u8; 128 << 20]));
        hog.unwrap().wait().unwrap();
        while pool.worker_pids().iter().any(|pid| first.contains(pid)) {
            std::thread::yield_now();
        }
    }
}
