//! Single tasks: rkyv in, rkyv out, nothing copied between.

#![expect(
    unsafe_code,
    reason = "task functions summon their closure; outputs skip a second check"
)]

mod builder;
mod handle;
mod output;
mod spawn;
#[cfg(feature = "tokio")]
mod spawn_async;
mod state;

pub use builder::TaskBuilder;
pub use handle::TaskHandle;
pub use output::TaskOutput;
