//! The work itself. What is called an element at a time is one symbol that is never inlined; what
//! must be inlined into each library's loop, because that is what is compared, is a closure.

use bytemuck::Pod;

/// A kind of element, and the map whose time is the memory's.
pub(crate) trait Element: Pod + PartialEq + Send + Sync {
    const NAME: &'static str;

    fn of(index: usize) -> Self;

    /// One multiplication and one addition.
    fn axpy(self) -> Self;
}

impl Element for f64 {
    const NAME: &'static str = "f64";

    fn of(index: usize) -> Self {
        index as Self
    }

    #[inline]
    fn axpy(self) -> Self {
        self * 1.0001 + 3.0
    }
}

impl Element for f32 {
    const NAME: &'static str = "f32";

    fn of(index: usize) -> Self {
        index as Self
    }

    #[inline]
    fn axpy(self) -> Self {
        self * 1.0001 + 3.0
    }
}

impl Element for u8 {
    const NAME: &'static str = "u8";

    fn of(index: usize) -> Self {
        index as Self
    }

    #[inline]
    fn axpy(self) -> Self {
        self.wrapping_mul(3).wrapping_add(7)
    }
}

/// The loop of whoever brings his own.
#[inline(never)]
pub(crate) fn axpy<T: Element>(input: &[T], output: &mut [T]) {
    for (x, y) in input.iter().zip(output) {
        *y = x.axpy();
    }
}

/// Whether each output is the map of its input.
pub(crate) fn is_axpy<T: Element>(input: &[T], output: &[T]) -> bool {
    let mut pairs = input.iter().zip(output);
    input.len() == output.len() && pairs.all(|(x, y)| x.axpy() == *y)
}

/// `steps` dependent steps of about two nanoseconds.
#[inline(never)]
pub(crate) fn grind(x: f64, steps: u32) -> f64 {
    (0..steps).fold(x, |y, _| y * 0.999_999 + 1e-6)
}

/// Writes a message: numbers from `seed` on.
#[inline(never)]
pub(crate) fn write(message: &mut [u64], seed: u64) {
    for (index, word) in message.iter_mut().enumerate() {
        *word = seed.wrapping_add(index as u64);
    }
}

/// Reads a message.
#[inline(never)]
pub(crate) fn read(message: &[u64]) -> u64 {
    message.iter().fold(0, |sum, &word| sum.wrapping_add(word))
}

/// What [`read`] makes of what [`write`] wrote.
pub(crate) fn expected(words: usize, seed: u64) -> u64 {
    let words = words as u64;
    let pairs = words.wrapping_mul(words.wrapping_sub(1)) / 2;
    words.wrapping_mul(seed).wrapping_add(pairs)
}

/// Copies with stores that pass the cache: the most that the memory gives to anybody who reads as
/// much as he writes. Four pages at a time, which beats one stream of lines by a fifth where the
/// memory of one core is bound by the pages that are open.
#[inline(never)]
pub(crate) fn stream(input: &[u8], output: &mut [u8]) {
    assert_eq!(input.len(), output.len());
    let whole = input.len() / BLOCK * BLOCK;
    let (blocks, rest) = input.split_at(whole);
    let (to, to_rest) = output.split_at_mut(whole);
    to_rest.copy_from_slice(rest);
    #[cfg(target_arch = "x86_64")]
    if to.as_ptr().cast::<[u8; 64]>().is_aligned() && std::is_x86_feature_detected!("avx") {
        // SAFETY: as long as each other, whole blocks, the output aligned; AVX is there.
        unsafe { stream_blocks(blocks.as_ptr(), to.as_mut_ptr(), whole) };
        return;
    }
    to.copy_from_slice(blocks);
}

const PAGE: usize = 4096;
const BLOCK: usize = 4 * PAGE;

/// # Safety
/// Both are valid for `size` bytes, which are whole blocks; `output` is aligned to 32 bytes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
unsafe fn stream_blocks(input: *const u8, output: *mut u8, size: usize) {
    use core::arch::x86_64::{__m256i, _mm_sfence, _mm256_loadu_si256, _mm256_stream_si256};
    for block in (0..size).step_by(BLOCK) {
        for line in (0..PAGE).step_by(64) {
            for page in 0..4 {
                let offset = block + page * PAGE + line;
                let [first, second] = [offset, offset + 32];
                let from = [first, second].map(|offset| input.wrapping_add(offset));
                // SAFETY: within the `size` bytes.
                let a = unsafe { _mm256_loadu_si256(from[0].cast()) };
                // SAFETY: within the `size` bytes.
                let b = unsafe { _mm256_loadu_si256(from[1].cast()) };
                let to = [first, second].map(|offset| output.wrapping_add(offset));
                // SAFETY: within the `size` bytes, and aligned.
                unsafe { _mm256_stream_si256(to[0].cast::<__m256i>(), a) };
                // SAFETY: within the `size` bytes, and aligned.
                unsafe { _mm256_stream_si256(to[1].cast::<__m256i>(), b) };
            }
        }
    }
    // Whoever reads next must find what was streamed.
    _mm_sfence();
}
