//! Decisions read from a string of bytes; when they run out, all further ones are zero.

use crate::primitive::atomic::{AtomicU64, Ordering};

/// The bytes that are left.
pub(super) struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        let number = u32::from_le_bytes([self.byte(), self.byte(), self.byte(), 0]);
        number as usize % end
    }

    pub(super) fn word(&mut self) -> u64 {
        u64::from_le_bytes(core::array::from_fn(|_| self.byte()))
    }
}

/// Bytes at a multiple of 64, as archives and contexts are.
pub(super) struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl Aligned {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let mut lines = vec![Line([0; 64]); bytes.len().div_ceil(64)];
        for (line, part) in lines.iter_mut().zip(bytes.chunks(64)) {
            line.0[..part.len()].copy_from_slice(part);
        }
        let len = bytes.len();
        Self { lines, len }
    }

    #[expect(unsafe_code, reason = "lines of bytes as one string of bytes")]
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the lines lie one behind another without padding, and there are enough of them.
        unsafe { core::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl Aligned {
    #[expect(unsafe_code, reason = "as above")]
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

/// What somebody who runs wild may write where `word` is.
pub(super) fn replace(word: &AtomicU64, value: u64) {
    // ORDERING: Relaxed; there is one thread.
    word.store(value, Ordering::Relaxed);
}

/// What stands there.
pub(super) fn read(word: &AtomicU64) -> u64 {
    // ORDERING: Relaxed; there is one thread.
    word.load(Ordering::Relaxed)
}
