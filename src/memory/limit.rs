//! What an allocation is refused for.

use crate::sys::failure::SysError;

/// There was no shared memory for a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "out of shared memory: wanted {wanted} bytes, {available} available {}",
    limit.explanation()
)]
#[non_exhaustive]
pub struct OutOfMemory {
    /// The bytes that were asked for.
    pub wanted: u64,
    /// The bytes that were left when they were asked for.
    pub available: u64,
    /// What the bytes were counted against.
    pub limit: MemoryLimit,
}

/// Which limit an allocation met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryLimit {
    /// The memory budget of the pool.
    Budget,
    /// The memory of the machine, or of the control group of this process.
    Machine,
    /// The address space that the pool reserved, in one piece.
    AddressSpace,
}

impl MemoryLimit {
    fn explanation(self) -> &'static str {
        match self {
            Self::Budget => {
                "within the budget of the pool; drop buffers that are no longer needed, or give \
                 the pool a larger budget"
            }
            Self::Machine => {
                "on this machine; drop buffers that are no longer needed, or work on smaller pieces"
            }
            Self::AddressSpace => {
                "in one piece of the pool's address space; drop buffers that are no longer needed, \
                 or give the pool a larger region"
            }
        }
    }
}

/// Why [`Heap::allocate`](super::heap::Heap::allocate) has nothing to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AllocError {
    /// A limit was met.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// Nothing in the region is aligned like this.
    #[error("wanted an alignment of {wanted} bytes; give one of at most 2 MiB")]
    Alignment {
        /// The alignment that was asked for.
        wanted: usize,
    },
    /// The allocator belongs to the process that made it.
    #[error("this process was forked from the one that owns the pool; make a pool of its own")]
    Forked,
    /// The kernel refused for another reason than memory.
    #[error(transparent)]
    System(#[from] SysError),
}
