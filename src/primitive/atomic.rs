//! Atomics and fences, from `core` or, under `--cfg gristmill_loom`, from loom.

#[cfg(not(gristmill_loom))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(gristmill_loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// A sequentially consistent fence where no read-modify-write precedes.
#[inline]
pub(crate) fn full_fence() {
    #[cfg(gristmill_loom)]
    fence(Ordering::SeqCst);
    #[cfg(not(gristmill_loom))]
    core::sync::atomic::fence(Ordering::SeqCst);
}

/// A sequentially consistent fence for a place that directly follows a read-modify-write.
///
/// "I wrote mine, now I read yours" (a task against a parked worker, a result against a sleeping
/// parent) needs a store-load barrier on both sides. On x86-64 every locked instruction is one
/// already, so only the compiler must be held; `mfence` would add some 20 ns to each task. Any
/// other machine, and loom, gets the real fence.
#[inline]
pub(crate) fn fence_after_rmw() {
    #[cfg(gristmill_loom)]
    fence(Ordering::SeqCst);
    #[cfg(all(target_arch = "x86_64", not(gristmill_loom)))]
    core::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(not(any(target_arch = "x86_64", gristmill_loom)))]
    core::sync::atomic::fence(Ordering::SeqCst);
}
