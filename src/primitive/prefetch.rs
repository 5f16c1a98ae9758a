//! Asking for a line before it is needed.
//!
//! A line that another core wrote last takes about a tenth of a microsecond to come, and atomic
//! steps wait for each other. Asked for together, several come in the time of one.

#![cfg_attr(
    all(target_arch = "x86_64", not(gristmill_loom)),
    expect(unsafe_code, reason = "prefetches are intrinsics on raw pointers")
)]

/// Asks for the line in which `place` begins, to be read.
#[inline(always)]
pub(crate) fn prefetch_read<T>(place: &T) {
    #[cfg(all(target_arch = "x86_64", not(gristmill_loom)))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint without architectural effect; SSE is baseline.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(place).cast()) }
    }
    let _ = place;
}

/// Asks for the line in which `place` begins, to be written.
#[inline(always)]
pub(crate) fn prefetch_write<T>(place: &T) {
    #[cfg(all(target_arch = "x86_64", not(gristmill_loom)))]
    {
        use core::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: a hint without architectural effect, which processors that lack it ignore.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(core::ptr::from_ref(place).cast()) }
    }
    let _ = place;
}
