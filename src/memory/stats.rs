//! The figures of a heap.

/// What a pool's shared memory takes and gives, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStats {
    /// The most that may be committed.
    pub budget: u64,
    /// Asked for by the blocks there are, without those only reserved.
    pub in_use: u64,
    /// Address space of the reserved blocks; what is committed there, the heap does not know.
    pub reserved: u64,
    /// Memory taken from the kernel by the heap: for blocks, for the rest of their extents, and
    /// warm.
    pub committed: u64,
    /// Of that, free and kept for later.
    pub warm: u64,
    /// Of that, in huge pages.
    pub huge: u64,
    /// What all processes together take of the machine for the region, workers' results included.
    pub resident: u64,
}
