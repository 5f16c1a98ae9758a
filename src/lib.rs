//! gristmill: data-parallel work over large buffers in a pool of worker processes.

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!("gristmill needs Linux 5.14 or newer on x86-64 or aarch64");

// The rooms, by floor. A room imports from the floors below it only; `tests/tidy.rs` reads this
// list and holds the rule.

// F0: what everything stands on.
mod primitive;
// F1: the kernel's door, and pure slice kernels.
mod numeric;
mod sys;
// F2: where bytes live and who owns them.
mod memory;
// F3: algorithms over borrowed words, strangers to each other.
mod board;
mod ring;
mod shared;
mod sync;
// F4: what the bytes mean.
mod protocol;
// F5: what can go wrong.
mod error;
// F6: the child's life and the parent's, strangers to each other.
mod pool;
mod worker;
// F7: the verbs.
mod par;
mod task;

pub use error::{Cause, Error, Location, Result, TaskError, WorkerDeath};
pub use memory::{MemoryLimit, OutOfMemory};
pub use par::{Job, Progress};
pub use pool::{Builder, Pool};
pub use protocol::archive::{ArchiveError, Payload};
pub use protocol::context::{Context, ContextError, Rkyv};
pub use shared::{SharedSlice, SharedVec};
pub use sys::failure::SysError;
pub use task::{TaskHandle, TaskOutput};
