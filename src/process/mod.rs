//! One function in one process of its own.
//!
//! ```text
//! Process::spawn ─ envelope ─▶ keeper's thread ─ posix_spawn ─▶ worker::solo: run, answer, exit
//!      ▲                          │ epoll on pidfds                          │
//!      └── wakers, condition ◀── reap, read the envelope ◀──── death ────────┘
//! ```
//!
//! | state | how it is left | to |
//! |---|---|---|
//! | running | somebody reaps the process: the keeper, or who asks whether it is alive | ended |
//! | ended | never: the outcome is there for all who ask, as often as they ask | |
//!
//! | the process | `join` of a [`Process`] | `join` of a [`Worker`] | exit code |
//! |---|---|---|---|
//! | returns | `Ok` | its result | 0 |
//! | panics | `Panicked` | `Panicked` | 101 |
//! | calls `exit(0)` | `Ok` | `WorkerDied` | 0 |
//! | calls `exit(n)`, is killed | `WorkerDied` | `WorkerDied` | `n`, or the signal |
//! | returns, then dies in a destructor | `WorkerDied` | its result | the signal |
//!
//! # Invariants
//! - One thread starts every process of the program, because the kernel ties a process's death
//!   signal to the thread that started it; it is never ended. Without processes it sleeps.
//! - An envelope is read once its process was reaped, and by whoever reaped it.
//! - Wakers are called with no lock held.

#![expect(
    unsafe_code,
    reason = "functions of processes summon their closures and runtimes"
)]

mod builder;
mod function;
mod handle;
mod join;
mod keeper;
mod record;
mod worker;

pub use builder::ProcessBuilder;
pub use handle::Process;
pub use join::Join;
pub use worker::Worker;
