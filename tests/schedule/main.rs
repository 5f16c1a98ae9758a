//! Queues and their scheduler, priorities, and sticky keys: who takes which task, and when.

mod gate;
mod priorities;
mod queues;
mod recycled;
mod sticky;
mod storm;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Kills a worker; whether it was there.
fn killed(pid: u32) -> bool {
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).is_ok()
}
