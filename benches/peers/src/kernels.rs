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
/// much as he writes.
#[inline(never)]
pub(crate) fn stream(input: &[u8], output: &mut [u8]) {
    assert_eq!(input.len(), output.len());
    #[cfg(target_arch = "x86_64")]
    if output.as_ptr().cast::<[u8; 64]>().is_aligned() && input.len().is_multiple_of(64) {
        // SAFETY: as long as each other, whole lines, the output aligned to them.
        unsafe { stream_lines(input.as_ptr(), output.as_mut_ptr(), input.len()) };
        return;
    }
    output.copy_from_slice(input);
}

/// # Safety
/// Both are valid for `size` bytes, which are whole lines; `output` is aligned to a line.
#[cfg(target_arch = "x86_64")]
unsafe fn stream_lines(input: *const u8, output: *mut u8, size: usize) {
    use core::arch::x86_64::{
        __m128i, _MM_HINT_NTA, _mm_loadu_si128, _mm_prefetch, _mm_sfence, _mm_stream_si128,
    };
    /// Found best on the machine of the records.
    const AHEAD: usize = 1024;
    for offset in (0..size).step_by(64) {
        let from = input.wrapping_add(offset);
        // SAFETY: a prefetch may be of any address.
        unsafe { _mm_prefetch::<_MM_HINT_NTA>(from.wrapping_add(AHEAD).cast()) };
        for part in [0, 16, 32, 48] {
            // SAFETY: within the `size` bytes.
            let part16 = unsafe { _mm_loadu_si128(from.wrapping_add(part).cast()) };
            let to = output.wrapping_add(offset + part).cast::<__m128i>();
            // SAFETY: within the `size` bytes, and aligned.
            unsafe { _mm_stream_si128(to, part16) };
        }
    }
    // SAFETY: always there on x86-64. Whoever reads next must find what was streamed.
    unsafe { _mm_sfence() };
}
