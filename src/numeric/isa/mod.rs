//! What differs between instruction sets: the widest registers, streaming stores, prefetches.

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(not(target_arch = "x86_64"), path = "portable.rs")]
mod selected;

pub(super) use selected::{
    STREAMS, fence, likes_halves, likes_lanes, prefetch, store, store_halves, widest,
};

/// A loop that is compiled once for every instruction set that [`widest`] chooses from.
pub(super) trait Kernel {
    type Output;

    /// Runs the loop. To be `#[inline(always)]`, down to the call of the user's closure: what is
    /// not inlined here keeps the baseline's instructions.
    fn run(self) -> Self::Output;
}
