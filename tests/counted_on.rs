//! A task that was left to a worker which is awake, but does not run: whoever waits for it calls
//! another.

use std::fs;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use gristmill::{Pool, TaskHandle, WorkerState};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// So often it is tried to stop a worker while it looks for work.
const ROUNDS: usize = 40;
/// Far beyond what anything takes: for a hang to become a failure.
const HANG: Duration = Duration::from_secs(60);

/// Looks until it is so. The pause between two looks decides nothing; without one this thread would
/// have the core that the worker needs to get there.
fn until(what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < HANG, "it never comes");
        thread::sleep(Duration::from_micros(100));
    }
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).expect("it lives");
}

fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let (_, state) = stat.rsplit_once(") ").expect("a name in parentheses");
    state.starts_with('T')
}

fn ask(pool: &Pool) -> TaskHandle<u32> {
    pool.spawn((), |()| process::id()).unwrap()
}

/// The state of this worker and of the other one.
fn states(pool: &Pool, pid: u32) -> (WorkerState, WorkerState) {
    let (its, mut others): (Vec<_>, Vec<_>) =
        (pool.stats().workers.into_iter()).partition(|worker| worker.pid == Some(pid));
    (its[0].state.clone(), others.remove(0).state)
}

/// Stops a worker while it looks for work and the other sleeps, and then has a task done.
///
/// Nobody is woken for that when it is submitted, for one worker is awake. The supervisor would
/// repair that some time later, as it does with wake-ups that got lost, but it counts none.
fn somebody_is_called(wait: impl Fn(TaskHandle<u32>) -> u32) {
    let longest = Duration::from_millis(500);
    let pool = Pool::builder().workers(2).spin(longest).build().unwrap();
    let mut tried = 0;
    for _ in 0..ROUNDS {
        until(|| {
            let workers = pool.stats().workers;
            (workers.iter()).all(|worker| worker.state == WorkerState::Asleep)
        });
        // It waits twice as long for the next as it waited for this one.
        let awake = wait(ask(&pool));
        signal(awake, Signal::SIGSTOP);
        until(|| is_stopped(awake));
        let before = pool.stats().wake_ups;
        let counts = states(&pool, awake) == (WorkerState::Spinning, WorkerState::Asleep);
        if counts {
            tried += 1;
            assert_ne!(wait(ask(&pool)), awake);
        }
        signal(awake, Signal::SIGCONT);
        if counts && pool.stats().wake_ups > before {
            return;
        }
    }
    assert_eq!(tried, 0, "nobody was called");
    eprintln!("skipped: no worker could be stopped while it looked for work");
}

#[test]
fn whoever_is_blocked_calls_another() {
    somebody_is_called(|task| task.wait().unwrap().to_native());
}

#[cfg(feature = "tokio")]
#[test]
fn a_runtime_that_listens_calls_another() {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    somebody_is_called(|task| runtime.block_on(task).unwrap().to_native());
}
