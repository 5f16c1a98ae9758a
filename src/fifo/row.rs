//! Fronts with bytes behind them, a stride apart: places and hands, of items of any size.

use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// `count` times an `F` with bytes behind it.
pub(crate) struct Row<'a, F> {
    /// # Invariants
    ///
    /// For each `index < count`, `first + index * stride` is an `F` that lives for `'a`, and what
    /// lies between it and the next one belongs to it.
    first: NonNull<u8>,
    stride: usize,
    count: u32,
    lives: PhantomData<&'a F>,
}

impl<F> Clone for Row<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Row<'_, F> {}

// SAFETY: it hands out `&F` and addresses; who reads or writes at those vouches for it.
unsafe impl<F: Sync> Send for Row<'_, F> {}
// SAFETY: as above.
unsafe impl<F: Sync> Sync for Row<'_, F> {}

impl<'a, F> Row<'a, F> {
    /// # Safety
    ///
    /// For each `index < count`, `first + index * stride` is an initialised, aligned `F` that lives
    /// for `'a`, and the bytes up to the next one belong to it.
    pub(crate) unsafe fn new(first: NonNull<u8>, stride: usize, count: u32) -> Self {
        debug_assert!(stride >= size_of::<F>());
        Self {
            first,
            stride,
            count,
            lives: PhantomData,
        }
    }

    pub(crate) fn count(self) -> u32 {
        self.count
    }

    /// How many bytes lie behind each front.
    pub(crate) fn body_size(self) -> usize {
        self.stride - size_of::<F>()
    }

    fn at(self, index: u32) -> NonNull<u8> {
        assert!(index < self.count, "an index that was checked");
        // SAFETY: `index < count`, so this is in the row, which is one object.
        unsafe { self.first.add(index as usize * self.stride) }
    }

    /// The `index`-th front.
    pub(crate) fn front(self, index: u32) -> &'a F {
        // SAFETY: an `F` that lives for `'a`, by the invariant.
        unsafe { self.at(index).cast().as_ref() }
    }

    /// Where the `index`-th front's bytes begin.
    pub(crate) fn body(self, index: u32) -> NonNull<u8> {
        // SAFETY: one past the front, which the stride covers.
        unsafe { self.at(index).add(size_of::<F>()) }
    }

    pub(super) fn each(self, mut visit: impl FnMut(u32, &'a F)) {
        (0..self.count).for_each(|index| visit(index, self.front(index)));
    }

    pub(super) fn find<T>(self, visit: impl FnMut(u32, &'a F) -> Option<T>) -> Option<T> {
        self.find_from(0, visit)
    }

    /// The first hit from `start` on, and round to it.
    pub(super) fn find_from<T>(
        self,
        start: u32,
        mut visit: impl FnMut(u32, &'a F) -> Option<T>,
    ) -> Option<T> {
        let start = start.min(self.count);
        (start..self.count)
            .chain(0..start)
            .find_map(|index| visit(index, self.front(index)))
    }
}

impl<F> fmt::Debug for Row<'_, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Row({} x {} bytes)", self.count, self.stride)
    }
}
