//! Hints to the processor that a line will be wanted soon.
//!
//! What one process hands to another travels from core to core line by line, about 0.1 µs each. An
//! atomic exchange waits for its line, and nothing behind it starts before; so whoever knows which
//! lines come next asks for all of them first, and waits once.

#![cfg_attr(
    all(target_arch = "x86_64", not(gristmill_loom)),
    expect(unsafe_code, reason = "instructions that have no safe name")
)]

/// Asks for the line at `address`, which need not be mapped, to read it.
#[inline(always)]
pub(crate) fn to_read<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(gristmill_loom)))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of any address is a hint without architectural effect; SSE is
        // baseline.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[cfg(not(all(target_arch = "x86_64", not(gristmill_loom))))]
    let _ = address;
}

/// Asks for the line at `address`, which need not be mapped, to write it.
#[inline(always)]
pub(crate) fn to_write<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(gristmill_loom)))]
    // SAFETY: a hint without architectural effect on any address; processors of this kind that do
    // not know the instruction take it for one that does nothing.
    unsafe {
        core::arch::asm!(
            "prefetchw [{}]",
            in(reg) address,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(gristmill_loom))))]
    let _ = address;
}
