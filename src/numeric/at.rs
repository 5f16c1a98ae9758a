//! Where a kernel stood when the closure panicked.

use std::cell::Cell;
use std::ops::Range;

/// Of [`Step`]: every element before the one at the count is done.
const IN_ORDER: usize = usize::MAX;

/// The index, within the slice handed to a kernel, of the element whose closure unwound.
///
/// It is written while unwinding only: where the closure cannot panic, the counter behind it is
/// dead code and the loop vectorises as if it were not there.
#[derive(Debug, Default)]
pub(crate) struct At {
    element: Cell<Option<usize>>,
    passed_over: Cell<(usize, usize)>,
}

impl At {
    pub(crate) const fn new() -> Self {
        Self {
            element: Cell::new(None),
            passed_over: Cell::new((0, 0)),
        }
    }

    /// The element of the last unwind, if there was one.
    pub(crate) fn get(&self) -> Option<usize> {
        self.element.get()
    }

    /// Elements before that of the last unwind some of which had not had their turn: empty where
    /// the kernel goes in order.
    pub(crate) fn passed_over(&self) -> Range<usize> {
        let (start, end) = self.passed_over.get();
        start..end
    }
}

/// Counts elements in a register; reports the count if dropped by an unwind.
pub(super) struct Step<'a> {
    at: &'a At,
    index: usize,
    /// From here on elements are not done in order.
    since: usize,
}

impl<'a> Step<'a> {
    #[inline(always)]
    pub(super) fn new(at: &'a At) -> Self {
        Self {
            at,
            index: 0,
            since: IN_ORDER,
        }
    }

    /// The element at the count is done. Wrapping, because an overflow check would be a second way
    /// out of the loop; a slice has no `usize::MAX` elements unless they are of size zero.
    #[inline(always)]
    pub(super) fn advance(&mut self) {
        self.index = self.index.wrapping_add(1);
    }

    /// The next element is the one at `index`, and those before it are done; of those from
    /// `since` on only some, if that is given.
    #[inline(always)]
    pub(super) fn stand(&mut self, index: usize, since: Option<usize>) {
        self.index = index;
        self.since = since.unwrap_or(IN_ORDER);
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
        self.at.element.set(Some(self.index));
        let start = self.since.min(self.index);
        self.at.passed_over.set((start, self.index));
    }
}
