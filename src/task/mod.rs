//! Single tasks: rkyv in, rkyv out, nothing copied between.

#![expect(
    unsafe_code,
    reason = "task functions summon their closure; outputs skip a second check"
)]

pub(crate) mod map;

mod bounded;
mod builder;
mod handle;
mod output;
mod set;
mod spawn;
#[cfg(feature = "tokio")]
mod spawn_async;
mod state;

pub use bounded::{TrySpawnError, WhenFree};
pub use builder::TaskBuilder;
pub use handle::TaskHandle;
pub use output::TaskOutput;
pub use set::{Gather, TaskSet};
