//! x86-64: streaming through SSE2, which every such processor has; loops in AVX2 where it is found.
//!
//! Streaming stores of 16 bytes are as fast as of 32: four of them, back to back, fill one
//! write-combining buffer either way.
#![expect(
    unsafe_code,
    reason = "intrinsics on raw pointers, calls across target features"
)]

use std::arch::x86_64::{
    __cpuid, __m128i, __m256i, _MM_HINT_T0, _mm_load_si128, _mm_prefetch, _mm_sfence,
    _mm_stream_si128, _mm256_load_si256, _mm256_stream_si256,
};
use std::mem::MaybeUninit;
use std::sync::OnceLock;

use super::super::stream::{LINE, Line};
use super::Kernel;

/// Non-temporal stores are at hand.
pub(in super::super) const STREAMS: bool = true;

/// Runs `kernel` in the widest registers of this machine: programs are mostly compiled for the
/// baseline, whose square roots, say, take twice the time an element.
///
/// The results are the same bit for bit: lanes do not mix, each operation rounds as its scalar
/// form, the compiler never fuses a product and a sum that were not written
/// `mul_add`, and `mul_add`
/// is one rounding either way (but through a library call in the baseline).
#[inline(always)]
pub(in super::super) fn widest<K: Kernel>(kernel: K) -> K::Output {
    if has_avx2() {
        // SAFETY: the processor has both features, as just asked.
        unsafe { in_avx2(kernel) }
    } else {
        kernel.run()
    }
}

/// Whether [`widest`] runs a kernel in 32-byte registers.
#[inline(always)]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// The loop with 32-byte registers.
#[target_feature(enable = "avx2,fma")]
fn in_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

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
pub(in super::super) fn store(line: &Line, target: &mut MaybeUninit<Line>) {
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

/// Whether two stores a line are quicker here than four, within [`widest`]: measured of the cores
/// that [`likes_lanes`] speaks of, where a gibibyte takes 3 to 9 % less time.
#[inline]
pub(in super::super) fn likes_halves() -> bool {
    has_avx2() && likes_lanes()
}

/// As [`store`], in halves of a line.
///
/// # Safety
/// [`likes_halves`] said so.
#[inline(always)]
pub(in super::super) unsafe fn store_halves(line: &Line, target: &mut MaybeUninit<Line>) {
    // SAFETY: the caller has asked whether the processor has AVX2, which includes AVX.
    unsafe { halves(line, target) }
}

#[inline]
#[target_feature(enable = "avx")]
fn halves(line: &Line, target: &mut MaybeUninit<Line>) {
    let from = std::ptr::from_ref(line).cast::<__m256i>();
    let to = target.as_mut_ptr().cast::<__m256i>();
    // SAFETY: the first half of `line`, which is initialised and aligned to 64.
    let first = unsafe { _mm256_load_si256(from) };
    // SAFETY: the second half of it.
    let second = unsafe { _mm256_load_si256(from.wrapping_add(1)) };
    // SAFETY: the first half of `target`, which is exclusively borrowed and aligned to 64. The
    // caller fences before the borrow's result is relied on.
    unsafe { _mm256_stream_si256(to, first) };
    // SAFETY: the second half of it; as above.
    unsafe { _mm256_stream_si256(to.wrapping_add(1), second) };
}

/// Orders all earlier [`store`]s before every later store of this thread.
#[inline(always)]
pub(in super::super) fn fence() {
    // SAFETY: SSE is baseline.
    unsafe { _mm_sfence() }
}

/// Whether a core of this machine streams faster in several pages at a time. Of Intel's it was
/// measured. On AMD's one row came within a twentieth of the fastest loop that was tried.
#[inline]
pub(in super::super) fn likes_lanes() -> bool {
    // In a virtual machine the instruction goes to the host and back: once is enough.
    static INTEL: OnceLock<bool> = OnceLock::new();
    *INTEL.get_or_init(|| {
        let vendor = __cpuid(0);
        [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes) == [*b"Genu", *b"ineI", *b"ntel"]
    })
}
