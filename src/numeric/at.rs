//! Where a kernel stood when the closure panicked.

use std::cell::Cell;

/// The index, within the slice handed to a kernel, of the element whose closure unwound.
///
/// It is written while unwinding only: where the closure cannot panic, the counter behind it is
/// dead code and the loop vectorises as if it were not there.
#[derive(Debug, Default)]
pub(crate) struct At(Cell<Option<usize>>);

impl At {
    pub(crate) const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// The element of the last unwind, if there was one.
    pub(crate) fn get(&self) -> Option<usize> {
        self.0.get()
    }
}

/// Counts elements in a register; reports the count if dropped by an unwind.
pub(super) struct Step<'a> {
    at: &'a At,
    index: usize,
}

impl<'a> Step<'a> {
    #[inline(always)]
    pub(super) fn new(at: &'a At) -> Self {
        Self { at, index: 0 }
    }

    /// The element at the count is done. Wrapping, because an overflow check would be a second way
    /// out of the loop; a slice has no `usize::MAX` elements unless they are of size zero.
    #[inline(always)]
    pub(super) fn advance(&mut self) {
        self.index = self.index.wrapping_add(1);
    }

    /// The next element is the one at `index`.
    #[inline(always)]
    pub(super) fn stand(&mut self, index: usize) {
        self.index = index;
    }

    /// All went well: nothing is reported.
    #[inline(always)]
    pub(super) fn finish(self) {
        std::mem::forget(self);
    }
}

impl Drop for Step<'_> {
    #[inline]
    fn drop(&mut self) {
        self.at.0.set(Some(self.index));
    }
}
