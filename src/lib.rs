//! gristmill: data-parallel work over large buffers in a pool of worker processes.

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!("gristmill needs Linux 5.14 or newer on x86-64 or aarch64");

// The rooms, by floor. A room imports from the floors below it only; `tests/tidy.rs` reads this
// list and holds the rule. The models (`--cfg gristmill_loom`) build the algorithms only.

// F0: what everything stands on.
mod primitive;
// F1: the kernel's door, and pure slice kernels.
#[cfg(not(gristmill_loom))]
mod numeric;
#[cfg(not(gristmill_loom))]
mod sys;
// F2: where bytes live and who owns them.
mod memory;
// F3: algorithms over borrowed words, strangers to each other.
mod board;
mod ring;
#[cfg(not(gristmill_loom))]
mod shared;
mod sync;
// F4: what the bytes mean.
#[cfg(not(gristmill_loom))]
mod protocol;
// F5: what can go wrong.
#[cfg(not(gristmill_loom))]
mod error;
// F6: the child's life and the parent's, strangers to each other.
#[cfg(not(gristmill_loom))]
mod pool;
#[cfg(not(gristmill_loom))]
mod worker;
// F7: the verbs.
#[cfg(not(gristmill_loom))]
mod par;
#[cfg(not(gristmill_loom))]
mod task;
// F8: what the floors below must survive.
#[cfg(all(test, not(gristmill_loom)))]
mod proof;

#[cfg(not(gristmill_loom))]
pub use error::{Cause, Error, Location, Refusal, Result, TaskError, WorkerDeath};
#[cfg(not(gristmill_loom))]
pub use memory::{MemoryLimit, OutOfMemory};
#[cfg(not(gristmill_loom))]
pub use par::{Job, Progress};
#[cfg(not(gristmill_loom))]
pub use pool::{Builder, Pool};
#[cfg(not(gristmill_loom))]
pub use protocol::archive::{ArchiveError, Payload};
#[cfg(not(gristmill_loom))]
pub use protocol::context::{Context, ContextError, Rkyv};
#[cfg(not(gristmill_loom))]
pub use shared::{SharedSlice, SharedVec};
#[cfg(not(gristmill_loom))]
pub use sys::failure::SysError;
#[cfg(not(gristmill_loom))]
pub use task::{TaskHandle, TaskOutput};
