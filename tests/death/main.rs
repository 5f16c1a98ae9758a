//! Workers that die, in every way and at any time, and what their callers get.

mod ranges;
mod scribble;
mod storm;
mod tasks;
mod ways;
mod wild;
mod witness;

use gristmill::{Cause, Error, Pool, TaskError, WorkerDeath};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A pool of its own for a test.
fn pool(workers: usize) -> Pool {
    Pool::builder()
        .workers(workers)
        .memory_budget(1 << 30)
        .build()
        .expect("a pool")
}

fn signal(pid: u32, signal: Signal) {
    // A worker that has ended already is as dead as it was to be.
    let _ = kill(Pid::from_raw(pid as i32), signal);
}

/// The death that a job failed with.
#[track_caller]
fn death<T>(outcome: Result<T, Error>) -> WorkerDeath {
    match outcome {
        Err(Error::Task(TaskError::WorkerDied(death))) => death,
        Err(other) => panic!("failed otherwise: {other}"),
        Ok(_) => panic!("succeeded"),
    }
}

/// Waits until the pool lists as many workers as it should, none of them in `gone`.
fn replaced(pool: &Pool, gone: &[u32]) -> Vec<u32> {
    witness::until("the replacement", || {
        let pids = pool.worker_pids();
        let whole = pids.len() == pool.workers();
        (whole && pids.iter().all(|pid| !gone.contains(pid))).then_some(pids)
    })
}

const KILLED: Cause = Cause::Signal(Signal::SIGKILL as i32);
