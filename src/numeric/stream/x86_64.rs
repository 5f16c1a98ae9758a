//! x86-64: SSE2, which every such processor has.
//!
//! Stores of 16 bytes are as fast here as of 32: four of them, back to back, fill one
//! write-combining buffer either way.
#![expect(unsafe_code, reason = "intrinsics that take raw pointers")]

use std::arch::x86_64::{
    __m128i, _MM_HINT_T0, _mm_load_si128, _mm_prefetch, _mm_sfence, _mm_stream_si128,
};
use std::mem::MaybeUninit;

use super::{LINE, Line};

/// Whether going through a tile pays.
pub(in super::super) const AVAILABLE: bool = true;

/// Registers in a line.
const QUARTERS: usize = LINE / size_of::<__m128i>();

/// Asks for the line at `address`, which need not be mapped.
#[inline(always)]
pub(in super::super) fn prefetch(address: *const u8) {
    // SAFETY: a prefetch of any address is a hint without architectural effect; SSE is baseline.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

/// Writes one line past the cache; [`fence`] must follow before anybody else may rely on it.
#[inline(always)]
pub(super) fn store(line: &Line, target: &mut MaybeUninit<Line>) {
    let from = std::ptr::from_ref(line).cast::<__m128i>();
    let to = target.as_mut_ptr().cast::<__m128i>();
    let registers: [__m128i; QUARTERS] = std::array::from_fn(|quarter| {
        let from = from.wrapping_add(quarter);
        // SAFETY: `quarter < QUARTERS`, so these 16 bytes lie in `line`, which is initialised and
        // aligned to 64.
        unsafe { _mm_load_si128(from) }
    });
    for (quarter, register) in registers.into_iter().enumerate() {
        let to = to.wrapping_add(quarter);
        // SAFETY: `quarter < QUARTERS`, so these 16 bytes lie in `target`, which is exclusively
        // borrowed and aligned to 64. The caller fences before the borrow's result is relied on.
        unsafe { _mm_stream_si128(to, register) }
    }
}

/// Orders all earlier [`store`]s before every later store of this thread.
#[inline(always)]
pub(super) fn fence() {
    // SAFETY: SSE is baseline.
    unsafe { _mm_sfence() }
}
