//! One function in one process: what a caller sees of it.

#![expect(unsafe_code, reason = "forks, and writes to where nothing is mapped")]

use std::fs;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use gristmill::{Cause, Error, Pool, Process, TaskError, Worker, WorkerDeath};

/// Long enough for anything; nothing is decided by it but that something hangs.
const LIMIT: Duration = Duration::from_secs(120);

fn forever(_: &()) {
    loop {
        thread::park();
    }
}

#[track_caller]
fn died(outcome: Result<(), TaskError>) -> WorkerDeath {
    match outcome {
        Err(TaskError::WorkerDied(death)) => death,
        other => panic!("{other:?}"),
    }
}

fn alive(pid: u32) -> bool {
    // A zombie is there, too.
    fs::exists(format!("/proc/{pid}")).expect("procfs")
}

#[test]
fn exit_codes() {
    let returned = Process::spawn(7_u64, |n| assert_eq!(n.to_native(), 7)).expect("started");
    assert_eq!(returned.wait(), Ok(()));
    assert_eq!(returned.exit_code(), Some(Cause::Exit(0)));

    for code in [0_i32, 3, 255] {
        let left = Process::spawn(code, |code| std::process::exit(code.to_native()));
        let left = left.expect("started");
        match left.wait() {
            Ok(()) => assert_eq!(code, 0),
            outcome => {
                let death = died(outcome);
                assert_eq!((death.pid, death.cause), (left.pid(), Cause::Exit(code)));
                assert_eq!(death.name.as_deref(), Some(left.name()));
            }
        }
        assert_eq!(left.exit_code(), Some(Cause::Exit(code)));
    }
}

#[test]
fn kill_and_terminate() {
    for (signal, name) in [(9, "SIGKILL"), (15, "SIGTERM")] {
        let process = Process::spawn((), forever).expect("started");
        assert!(process.is_alive() && process.exit_code().is_none());
        match signal {
            9 => process.kill().expect("sent"),
            _ => process.terminate().expect("sent"),
        }
        let death = died(process.wait());
        assert_eq!(death.cause, Cause::Signal(signal));
        assert!(death.to_string().contains(name), "{death}");
        assert!(!death.to_string().contains("replaced"), "{death}");
        assert_eq!(process.exit_code(), Some(Cause::Signal(signal)));
        assert!(!process.is_alive());
        // Nobody is meant any more.
        process.kill().expect("no error");
        process.terminate().expect("no error");
        assert!(!alive(process.pid()), "not reaped");
    }
}

#[test]
fn a_handler_of_the_function_answers_sigterm() {
    extern "C" fn leave(_: i32) {
        // SAFETY: ends the process, as a handler may.
        unsafe { libc::_exit(42) }
    }
    let process = Process::spawn((), |()| {
        let handler = leave as extern "C" fn(i32);
        // SAFETY: the handler calls nothing but `_exit`.
        unsafe { libc::signal(libc::SIGTERM, handler as libc::sighandler_t) };
        // SAFETY: sends to the parent what tells it that the handler is there.
        unsafe { libc::raise(libc::SIGTERM) };
    });
    let process = process.expect("started");
    assert_eq!(died(process.wait()).cause, Cause::Exit(42));
}

#[test]
fn names() {
    let worker = Process::builder().name("a name that is long");
    let worker = worker.spawn_worker((), |()| {
        fs::read_to_string("/proc/self/comm").expect("procfs")
    });
    let worker = worker.expect("started");
    assert_eq!(worker.name(), "a name that is long");
    assert_eq!(*worker.wait().expect("it ends well"), *"a name that is \n");
    let [one, other] = [(); 2].map(|()| Process::spawn((), |()| ()).expect("started"));
    assert_ne!(one.name(), other.name());
    assert!(one.name().starts_with("gristmill-p"));
    assert!(one.is_daemon() && one.pid() != other.pid());
    one.wait().and(other.wait()).expect("they end well");
}

#[test]
fn is_alive_follows_the_kernel() {
    let process = Process::spawn((), forever).expect("started");
    assert!(process.is_alive());
    process.kill().expect("sent");
    // Asked alone, without anybody who waits: it is the asking that finds out.
    while process.is_alive() {
        thread::yield_now();
    }
    assert_eq!(process.exit_code(), Some(Cause::Signal(9)));
}

#[test]
fn join_twice_and_from_many() {
    let worker = Worker::spawn(5_u64, |n| vec![n.to_native(); 1000]).expect("started");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(worker.wait().expect("it ends well")[999], 5));
        }
    });
    let (first, second) = (worker.wait(), worker.wait());
    let (first, second) = (first.expect("it ends well"), second.expect("it ends well"));
    drop(first);
    drop(worker);
    assert_eq!(second.len(), 1000);
    assert!(second.iter().all(|n| *n == 5));
}

#[test]
fn join_with_a_timeout_leaves_it_running() {
    let process = Process::spawn((), forever).expect("started");
    assert!(process.wait_timeout(Duration::from_millis(20)).is_none());
    assert!(process.wait_timeout(Duration::ZERO).is_none());
    assert!(process.is_alive());
    process.kill().expect("sent");
    assert!(process.wait_timeout(LIMIT).expect("it has ended").is_err());
    assert!(process.wait_timeout(Duration::MAX).is_some());
}

#[test]
fn a_result_is_none_while_it_runs() {
    let worker: Worker<u64> = Worker::spawn((), |()| {
        forever(&());
        1
    })
    .expect("started");
    assert!(worker.result().is_none());
    worker.kill().expect("sent");
    assert!(worker.wait().is_err());
    assert!(matches!(
        worker.result(),
        Some(Err(TaskError::WorkerDied(_)))
    ));
    let worker = Worker::spawn((), |()| 1_u64).expect("started");
    worker.wait().expect("it ends well");
    assert_eq!(*worker.result().expect("ended").expect("well"), 1);
}

#[test]
fn a_panic_brings_its_report_and_exit_code_101() {
    let line = line!() + 1;
    let process = Process::spawn(1_u64, |n| assert_eq!(n.to_native(), 2, "as planned"));
    let process = process.expect("started");
    match process.wait() {
        Err(TaskError::Panicked {
            message, location, ..
        }) => {
            assert!(message.contains("as planned"), "{message}");
            let location = location.expect("known");
            assert_eq!((location.file.as_str(), location.line), (file!(), line));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(process.exit_code(), Some(Cause::Exit(101)));
    // Asked again it says the same.
    assert!(matches!(process.wait(), Err(TaskError::Panicked { .. })));
}

#[test]
fn abort_and_segmentation_fault() {
    let abort = Process::spawn((), |()| std::process::abort()).expect("started");
    assert_eq!(died(abort.wait()).cause, Cause::Signal(6));
    let wild: Worker<u64> = Worker::spawn((), |()| {
        // SAFETY: none; it must die here.
        unsafe { std::ptr::without_provenance_mut::<u64>(16).write_volatile(1) };
        1
    })
    .expect("started");
    match wild.wait() {
        Err(TaskError::WorkerDied(death)) => assert_eq!(death.cause, Cause::Signal(11)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn exit_inside_a_worker_leaves_no_result() {
    let worker: Worker<u64> = Worker::spawn((), |()| std::process::exit(0)).expect("started");
    match worker.wait() {
        Err(TaskError::WorkerDied(death)) => assert_eq!(death.cause, Cause::Exit(0)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_complete_result_counts_whatever_follows() {
    extern "C" fn crash() {
        std::process::abort();
    }
    let worker = Worker::spawn((), |()| {
        // SAFETY: registers a function that is there to the end.
        unsafe { libc::atexit(crash) };
        77_u64
    });
    let worker = worker.expect("started");
    assert_eq!(*worker.wait().expect("it was complete"), 77);
    assert_eq!(worker.exit_code(), Some(Cause::Signal(6)));
    let process = Process::spawn((), |()| {
        // SAFETY: as above.
        unsafe { libc::atexit(crash) };
    });
    let process = process.expect("started");
    assert_eq!(died(process.wait()).cause, Cause::Signal(6));
}

#[test]
fn large_and_empty_results() {
    const COUNT: usize = (64 << 20) / 8;
    let large = Worker::spawn(COUNT as u64, |count| {
        (0..count.to_native()).collect::<Vec<u64>>()
    });
    let large = large.expect("started").wait().expect("it ends well");
    assert_eq!(large.len(), COUNT);
    assert!(large.iter().zip(0..).all(|(x, i)| *x == i));

    let empty = Worker::spawn((), |()| ()).expect("started");
    assert!(empty.wait().expect("it ends well").as_bytes().is_empty());

    let arguments: Vec<u64> = (0..1 << 20).collect();
    let sum = Worker::spawn(arguments, |xs| {
        xs.iter().map(|x| x.to_native()).sum::<u64>()
    });
    let sum = sum.expect("started").wait().expect("it ends well");
    assert_eq!(*sum, ((1_u64 << 20) - 1) << 19);
}

#[test]
fn dropping_detaches_and_the_keeper_reaps() {
    let process = Process::spawn((), |()| ()).expect("started");
    let pid = process.pid();
    drop(process);
    while alive(pid) {
        thread::yield_now();
    }
    // One that runs on: ended by its number, as nobody holds it any more.
    let process = Process::spawn((), forever).expect("started");
    let pid = process.pid();
    drop(process);
    assert!(alive(pid));
    // SAFETY: a plain system call; the process is not reaped, for it has not ended.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
    while alive(pid) {
        thread::yield_now();
    }
}

#[test]
fn kill_on_drop_kills() {
    let builder = || Process::builder().kill_on_drop(true);
    let process = builder().spawn((), forever).expect("started");
    let pid = process.pid();
    let join = process.join();
    drop(process);
    assert!(alive(pid), "somebody still waits for it");
    drop(join);
    while alive(pid) {
        thread::yield_now();
    }
}

#[test]
fn the_environment_is_ours_and_a_little_more() {
    let builder = Process::builder().env("GRISTMILL_TEST", "one");
    let builder = builder
        .env("GRISTMILL_TEST", "two")
        .env("PATH", "elsewhere");
    let worker = builder.spawn_worker((), |()| {
        let read = |name| std::env::var(name).unwrap_or_default();
        let own = std::env::vars().filter(|(name, _)| name.starts_with("GRISTMILL_WORKER"));
        (read("GRISTMILL_TEST"), read("PATH"), own.count() as u64)
    });
    let seen = worker.expect("started").wait().expect("it ends well");
    assert_eq!(
        (&*seen.0, &*seen.1, seen.2.to_native()),
        ("two", "elsewhere", 0)
    );
    for (name, value) in [("", "x"), ("a=b", "x"), ("a\0", "x"), ("a", "\0")] {
        let refused = Process::builder().env(name, value).spawn((), |()| ());
        assert!(matches!(refused, Err(Error::InvalidArgument { .. })));
    }
}

#[test]
fn fifty_at_a_time() {
    let workers: Vec<Worker<u64>> = (0..50_u64)
        .map(|i| Worker::spawn(i, |i| i.to_native() * 2).expect("started"))
        .collect();
    for (worker, i) in workers.iter().zip(0..) {
        assert_eq!(*worker.wait().expect("it ends well"), 2 * i);
    }
}

#[test]
fn from_within_a_process_and_from_within_a_pools_worker() {
    let nested = Worker::spawn(3_u64, |n| {
        let inner = Worker::spawn(n.to_native(), |n| n.to_native() + 1).expect("started");
        inner.wait().expect("it ends well").to_native() * 10
    });
    assert_eq!(*nested.expect("started").wait().expect("it ends well"), 40);
    let pool = Pool::builder().workers(1).memory_budget(1 << 28).build();
    let pool = pool.expect("a pool");
    let task = pool.spawn(3_u64, |n| {
        let inner = Worker::spawn(n.to_native(), |n| n.to_native() + 1).expect("started");
        inner.wait().expect("it ends well").to_native() * 10
    });
    let result = task.expect("submitted").wait().expect("it ends well");
    assert_eq!(*result, 40);
    // And a pool within a process.
    let pooled = Worker::spawn(1000_u64, |n| {
        let pool = Pool::builder().workers(1).memory_budget(1 << 28).build();
        let pool = pool.expect("a pool");
        let xs = pool
            .par_generate(n.to_native() as usize, |i| i as u64)
            .wait();
        let xs = xs.expect("it ends well").freeze();
        pool.par_sum(&xs).wait().expect("it ends well")
    });
    assert_eq!(
        *pooled.expect("started").wait().expect("it ends well"),
        499_500
    );
}

#[test]
fn a_daemon_of_a_worker_dies_with_it() {
    let outer = Worker::spawn((), |()| {
        let inner = Process::spawn((), forever).expect("started");
        inner.pid()
    });
    let inner = outer
        .expect("started")
        .wait()
        .expect("it ends well")
        .to_native();
    while fs::read_to_string(format!("/proc/{inner}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
    {
        thread::yield_now();
    }
}

#[test]
fn a_forked_child_is_refused() {
    let held = Worker::spawn((), |()| 5_u64).expect("started");
    let running = Process::builder().kill_on_drop(true).spawn((), forever);
    let running = running.expect("started");
    let join = held.join();
    // SAFETY: the child calls what is to be tried, and leaves by `_exit`.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: sets a timer of this process.
            unsafe { libc::alarm(60) };
            let refused = matches!(Process::spawn((), |()| ()), Err(Error::Forked))
                && matches!(held.wait(), Err(TaskError::Forked))
                && matches!(held.result(), Some(Err(TaskError::Forked)))
                && matches!(running.kill(), Err(Error::Forked))
                && !running.is_alive()
                && running.exit_code().is_none()
                && matches!(block_on(join), Err(TaskError::Forked));
            drop((held, running));
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!refused)) }
        }
        child => {
            let mut status = 0;
            // SAFETY: waits for our child; `status` may be written.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0, "something was not refused");
        }
    }
    assert_eq!(*held.wait().expect("nobody disturbed it"), 5);
    assert!(running.is_alive(), "the child has killed it");
    running.kill().expect("sent");
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor.
fn block_on<F: IntoFuture>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future.into_future());
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Starts a process as soon as it is woken, on the thread that wakes it.
struct StartsAtOnce(mpsc::Sender<bool>);

impl Wake for StartsAtOnce {
    fn wake(self: Arc<Self>) {
        let refused = matches!(Process::spawn((), |()| ()), Err(Error::Spawn(_)));
        let _ = self.0.send(refused);
    }
}

#[test]
fn a_waker_that_starts_a_process_hangs_nobody() {
    let process = Process::spawn((), forever).expect("started");
    let (sender, answer) = mpsc::channel();
    let waker = Waker::from(Arc::new(StartsAtOnce(sender)));
    let mut join = process.join();
    let polled = std::pin::Pin::new(&mut join).poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    // Ended without asking, so that it is the keeper who hears of it.
    process.kill().expect("sent");
    assert!(answer.recv_timeout(LIMIT).expect("it was woken"));
    assert!(process.wait().is_err());
}

#[test]
fn await_without_a_runtime() {
    let worker = Worker::spawn(4_u64, |n| n.to_native() + 1).expect("started");
    // A second one, which is dropped after it was polled.
    let mut dropped = worker.join();
    let waker = Waker::noop();
    let _ = std::pin::Pin::new(&mut dropped).poll(&mut Context::from_waker(waker));
    drop(dropped);
    assert_eq!(*block_on(&worker).expect("it ends well"), 5);
    assert_eq!(*block_on(worker).expect("it ends well"), 5);
    block_on(Process::spawn((), |()| ()).expect("started")).expect("it ends well");
}
