//! The life of a worker process: attach, take work, wait for more, and leave when it has served.
//!
//! ```text
//! entry (before main) → life::run: attach, verify, say Ready
//!   ├ serve: ┌ claim a chunk of an open job → run_range
//!            ├ claim a task from the ring   → run_task
//!   │        └ neither: spin a while, park, sleep in the kernel
//!   └ leave: say Ending, drop the state, run what the program wants at the end
//! ```
//!
//! A process for one function takes the same entrance, and [`solo`] instead of [`life`]; so does a
//! [`server`], which forks workers.
//!
//! # Invariants
//! - One thread speaks the protocol. It works on at most one claim at a time, and each claim's word
//!   names it, so that the parent can undo or finish whatever it was doing when it died. Futures,
//!   which are claims as well, are polled by a second thread that touches no shared word.
//! - It never waits for another worker.
//! - User code runs only inside `protocol::panic::catch`; what escapes that is a death.

pub(crate) mod arena;
pub(crate) mod entry;
pub(crate) mod error_hook;
pub(crate) mod life;

mod bell;
#[cfg(feature = "tracing")]
mod echo;
#[cfg(feature = "tokio")]
mod futures;
mod idle;
mod place;
mod privilege;
mod rounds;
mod run_range;
mod run_task;
mod server;
mod settle;
mod solo;
mod state;
mod tenure;
