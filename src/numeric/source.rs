//! What a kernel reads: a slice, two slices in step, or bare indices.

use std::iter::Zip;
use std::ops::Range;
use std::slice;

use super::isa;
use super::stream::LINE;

/// Items by position. `items` hands out iterators whose length the optimiser can see, which is
/// what lets the loop over them vectorise without a bounds check an element.
pub(super) trait Source {
    type Item;
    type Items: Iterator<Item = Self::Item>;
    /// Bytes of memory read an item, in the widest of the slices.
    const STRIDE: usize;

    /// The items at `range`.
    fn items(&self, range: Range<usize>) -> Self::Items;

    /// Asks for the memory of `range`, which may lie beyond the end.
    fn prefetch(&self, range: Range<usize>);
}

impl<'a, T> Source for &'a [T] {
    type Item = &'a T;
    type Items = slice::Iter<'a, T>;
    const STRIDE: usize = size_of::<T>();

    #[inline(always)]
    fn items(&self, range: Range<usize>) -> Self::Items {
        self[range].iter()
    }

    #[inline(always)]
    fn prefetch(&self, range: Range<usize>) {
        let bytes = range.len() * size_of::<T>();
        let start = self.as_ptr().wrapping_add(range.start).cast::<u8>();
        for offset in (0..bytes).step_by(LINE) {
            isa::prefetch(start.wrapping_add(offset));
        }
    }
}

impl<A: Source, B: Source> Source for (A, B) {
    type Item = (A::Item, B::Item);
    type Items = Zip<A::Items, B::Items>;
    const STRIDE: usize = if A::STRIDE > B::STRIDE {
        A::STRIDE
    } else {
        B::STRIDE
    };

    #[inline(always)]
    fn items(&self, range: Range<usize>) -> Self::Items {
        self.0.items(range.clone()).zip(self.1.items(range))
    }

    #[inline(always)]
    fn prefetch(&self, range: Range<usize>) {
        self.0.prefetch(range.clone());
        self.1.prefetch(range);
    }
}

/// The indices from `first` upwards; nothing is read from memory.
pub(super) struct Indices {
    pub(super) first: usize,
}

impl Source for Indices {
    type Item = usize;
    type Items = Range<usize>;
    const STRIDE: usize = 0;

    #[inline(always)]
    fn items(&self, range: Range<usize>) -> Self::Items {
        self.first + range.start..self.first + range.end
    }

    #[inline(always)]
    fn prefetch(&self, _: Range<usize>) {}
}
