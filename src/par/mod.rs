//! The data-parallel verbs: one value for async and blocking callers alike.
//!
//! Each verb comes plain and, as `…_with`, with an explicit context. A verb is three things: a
//! kernel, which a worker runs on one chunk; a plan, which allocates the output and describes the
//! job; and a finish, which makes the caller's value of what the job kept alive.

#![expect(
    unsafe_code,
    reason = "kernels take their output and their closure from a call"
)]

mod chunks;
mod generate;
mod in_place;
mod isolate;
mod job;
mod launch;
mod map;
mod progress;
mod reduce;
mod statistics;
mod zip;

pub use isolate::Isolated;
pub use job::{Job, Progress};
pub use progress::ProgressStream;
