//! Programs that own a pool and end in a way of their own.

#![expect(unsafe_code, reason = "forks, and sets an alarm")]

use std::fs;
use std::io::{BufRead, Write};
use std::process;
use std::thread;

use gristmill::{Error, Job, Pool, SharedSlice, SharedVec, TaskError};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use crate::processes;

const WORKERS: usize = 2;

/// Runs one by its name.
pub(crate) fn run(name: &str) {
    // Whatever hangs ends by itself: nobody is left to end it when the tests are gone.
    // SAFETY: sets a timer of this process.
    unsafe { libc::alarm(50) };
    // Whoever runs the tests in the background may have them ignore what terminals send.
    for terminal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
        // SAFETY: no handler is set, so none can do what a handler must not.
        unsafe { signal(terminal, SigHandler::SigDfl) }.expect("a signal with a default");
    }
    match name {
        "busy" => busy(),
        "idle" => idle(),
        "die_while_starting" => die_while_starting(),
        "exit" => exit(),
        "panic" => panic(),
        "drop_in_future" => drop_in_future(),
        "drop_runtime" => drop_runtime(),
        "ignore_interrupt" => ignore_interrupt(),
        "fork" => forks(),
        other => assert!(processes::run(other), "there is no scenario {other}"),
    }
}

fn pool() -> Pool {
    let builder = Pool::builder().workers(WORKERS).memory_budget(1 << 28);
    builder.build().expect("a pool")
}

pub(crate) fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")
        .and_then(|()| output.flush())
        .expect("the test listens");
}

fn tell_workers(pool: &Pool) {
    let pids: Vec<String> = pool.worker_pids().iter().map(u32::to_string).collect();
    say(&format!("workers {}", pids.join(" ")));
}

pub(crate) fn wait_for_word() {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .expect("the test speaks");
    assert!(!line.is_empty(), "the test is gone");
}

/// A job without end, whose every worker is at it.
fn endless(pool: &Pool) -> Job<'static, SharedVec<u64>> {
    let xs = pool
        .alloc_from_fn(1 << 17, |i| i as u64)
        .expect("room")
        .freeze();
    let job = pool.par_map(&xs, |_| -> u64 {
        loop {
            core::hint::spin_loop();
        }
    });
    let job = job.start().expect("room");
    for pid in pool.worker_pids() {
        // It sleeps until then, but for moments.
        while !fs::read_to_string(format!("/proc/{pid}/stat"))
            .expect("it lives")
            .rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('R'))
        {
            thread::yield_now();
        }
    }
    job
}

fn works(pool: &Pool) {
    let xs = pool
        .alloc_from_fn(10_000, |i| i as u64)
        .expect("room")
        .freeze();
    let ys = pool.par_map(&xs, |x| x + 1).wait().expect("it ends well");
    assert!(ys.iter().zip(1..).all(|(&y, i)| y == i));
    let task = pool
        .spawn(20_u64, |x| x.to_native() + 1)
        .expect("submitted");
    assert_eq!(task.wait().expect("it ends well").to_native(), 21);
    say("works on");
}

fn busy() {
    let pool = pool();
    let job = endless(&pool);
    tell_workers(&pool);
    let _ = job.wait();
}

fn idle() {
    let pool = pool();
    tell_workers(&pool);
    wait_for_word();
}

fn die_while_starting() {
    thread::spawn(|| {
        let me = process::id();
        // As soon as the kernel lists a child, whatever that has come to.
        loop {
            let tasks = fs::read_dir("/proc/self/task").expect("procfs").flatten();
            let mut lists =
                tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
            if lists.any(|list| !list.is_empty()) {
                kill(Pid::from_raw(me as i32), Signal::SIGKILL).expect("ourselves");
            }
        }
    });
    let pool = Pool::builder().workers(64).build();
    wait_for_word();
    drop(pool);
}

fn exit() {
    let pool = pool();
    let _job = endless(&pool);
    tell_workers(&pool);
    wait_for_word();
    process::exit(0);
}

fn panic() {
    let pool = pool();
    let _job = endless(&pool);
    tell_workers(&pool);
    wait_for_word();
    panic!("as planned");
}

fn drop_in_future() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let task = runtime.spawn(async {
        let pool = pool();
        let mut job = endless(&pool);
        tell_workers(&pool);
        tokio::task::block_in_place(wait_for_word);
        // Polled once, so that its waker is known to the pool.
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(Future::poll(std::pin::Pin::new(&mut job), context))
        });
        assert!(polled.await.is_pending());
        drop(pool);
        job.await.err()
    });
    match runtime.block_on(task).expect("no panic") {
        Some(Error::Task(TaskError::PoolClosed)) => say("closed"),
        other => say(&format!("{other:?}")),
    }
    wait_for_word();
}

fn drop_runtime() {
    let pool = pool();
    let first = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let job = endless(&pool);
    tell_workers(&pool);
    first.spawn(job);
    wait_for_word();
    drop(first);
    say("runtime gone");
    // The job that nobody awaits any more never ends: its workers are replaced.
    for pid in pool.worker_pids() {
        let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
    }
    let second = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let task = pool.spawn(1_u64, |x| x.to_native() + 1).expect("submitted");
    // The task may have been taken by a worker that was then killed.
    let _ = second.block_on(task);
    works(&pool);
    wait_for_word();
}

fn ignore_interrupt() {
    for terminal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
        // SAFETY: ignoring installs no handler.
        unsafe { signal(terminal, SigHandler::SigIgn) }.expect("a signal that can be ignored");
    }
    let pool = pool();
    tell_workers(&pool);
    for _ in 0..3 {
        wait_for_word();
        works(&pool);
    }
    wait_for_word();
}

/// What a program holds when it forks.
struct Held {
    pool: Pool,
    frozen: SharedSlice<u64>,
    job: Job<'static, SharedVec<u64>>,
    task: gristmill::TaskHandle<u64>,
    output: gristmill::TaskOutput<Vec<u64>>,
}

fn forks() {
    const CHILDREN: u32 = 8;
    let pool = pool();
    tell_workers(&pool);
    wait_for_word();
    let mut sound = 0;
    for _ in 0..CHILDREN {
        let make = pool.spawn((), |_| vec![9_u64; 5000]).expect("submitted");
        let output = make.wait().expect("it ends well");
        let frozen = pool
            .alloc_from_fn(1 << 17, |i| i as u64)
            .expect("room")
            .freeze();
        let job = pool.par_map(&frozen, |x| (0..20).fold(*x, |x, _| x + 1));
        let job = job.start().expect("room");
        let task = pool.spawn(7_u64, |x| x.to_native() * 6).expect("submitted");
        // SAFETY: the child ends by `_exit`; what it does until then is what is tried, and the C
        // library keeps its allocator usable across a fork.
        match unsafe { fork() }.expect("a child") {
            ForkResult::Child => {
                // SAFETY: sets a timer of this process; a fork inherits none.
                unsafe { libc::alarm(20) };
                let held = Held {
                    pool,
                    frozen,
                    job,
                    task,
                    output,
                };
                let code = i32::from(!is_refused(held));
                // SAFETY: ends the child; nothing is left to uphold.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => {
                let status = waitpid(child, None).expect("our child");
                sound += u32::from(matches!(status, WaitStatus::Exited(_, 0)));
            }
        }
        let ys = job.wait().expect("nobody disturbs it");
        assert!(ys.iter().zip(20..).all(|(&y, i)| y == i));
        assert_eq!(task.wait().expect("nobody disturbs it").to_native(), 42);
        // The child dropped its copy of the output: the block must still be ours.
        for _ in 0..4 {
            let other = pool.spawn((), |_| vec![1_u64; 5000]).expect("submitted");
            other.wait().expect("it ends well");
        }
        assert!(
            output.iter().all(|x| x.to_native() == 9),
            "the output was given back"
        );
        assert!(frozen.iter().zip(0..).all(|(&x, i)| x == i));
    }
    say(&format!(
        "children: {sound} of {CHILDREN} refused everything, none hung"
    ));
    works(&pool);
    wait_for_word();
}

/// In the child: everything is refused, and can be dropped.
fn is_refused(held: Held) -> bool {
    let Held {
        pool,
        frozen,
        mut job,
        task,
        output,
    } = held;
    let readable = frozen[77] == 77 && output[0].to_native() == 9;
    let spawned = matches!(pool.spawn(1_u64, |x| x.to_native()), Err(Error::Forked));
    let mapped = matches!(pool.par_map(&frozen, |x| x + 1).wait(), Err(Error::Forked));
    let allocated = matches!(pool.alloc_zeroed::<u64>(10), Err(Error::Forked));
    let _ = job.is_finished();
    let _ = job.progress();
    job.cancel();
    let waited = matches!(job.wait(), Err(Error::Forked));
    let task = matches!(task.wait(), Err(TaskError::Forked));
    let nobody = pool.worker_pids().is_empty();
    drop((output, frozen));
    drop(pool);
    readable && spawned && mapped && allocated && waited && task && nobody
}
