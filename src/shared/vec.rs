//! The unique, writable buffer.

#![expect(unsafe_code, reason = "views the bytes of a block as elements")]

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use bytemuck::Pod;

use super::{SharedSlice, debug_elements};
use crate::memory::block::Block;
use crate::memory::region::Region;

/// A buffer of `len` elements in shared memory, with one owner.
///
/// Like a boxed slice: it is a `[T]`, its length is fixed, and dropping it gives the memory back to
/// its pool, which keeps it warm for the next buffer. A pool makes it
/// (`Pool::alloc_from_fn` and its kin, or the output of a parallel job), and it keeps what it needs
/// of the pool alive. [`SharedVec::new`] makes an empty one without a pool.
///
/// To share it, with workers as an input or between threads, [`freeze`](Self::freeze) it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = gristmill::Pool::new()?;
/// let mut squares = pool.alloc_from_fn(4, |index| (index * index) as f64)?;
/// squares[3] += 1.0;
/// assert_eq!(*squares, [0.0, 1.0, 4.0, 10.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Forking
///
/// A child that this process forks inherits the buffer: both see what either writes. Dropping it
/// in the child frees nothing.
pub struct SharedVec<T> {
    /// Invariant: the block holds `len` elements, at its start, at an address aligned for `T`;
    /// while this handle exists, nobody else writes there, but for a job that borrowed it.
    block: Block,
    elements: NonNull<T>,
    len: usize,
}

// SAFETY: a unique handle to elements that may be sent; the block is `Send`.
unsafe impl<T: Send> Send for SharedVec<T> {}
// SAFETY: a shared handle gives out `&[T]` only; the block is `Sync`.
unsafe impl<T: Sync> Sync for SharedVec<T> {}

impl<T> SharedVec<T> {
    /// An empty buffer, which needs no pool.
    pub const fn new() -> Self {
        Self {
            block: Block::empty(),
            elements: NonNull::dangling(),
            len: 0,
        }
    }
}

impl<T: Pod> SharedVec<T> {
    /// The first `len` elements in `block`.
    ///
    /// # Panics
    /// If the block is too small or not aligned for them.
    pub(crate) fn from_block(block: Block, len: usize) -> Self {
        let bytes = size_of::<T>()
            .checked_mul(len)
            .expect("the elements fit the address space");
        assert!(bytes <= block.size(), "{len} elements fit the block");
        if bytes == 0 {
            return Self {
                block,
                elements: NonNull::dangling(),
                len,
            };
        }
        let elements = block.as_ptr().cast::<T>();
        assert!(
            elements.is_aligned(),
            "the block is aligned for the elements"
        );
        Self {
            block,
            elements,
            len,
        }
    }

    /// The region that holds the elements; `None` if there are none.
    pub(crate) fn region(&self) -> Option<&Arc<Region>> {
        self.block.region()
    }

    /// Where the elements start in the region. Without elements there is no such place.
    pub(crate) fn offset(&self) -> u64 {
        self.block.offset()
    }

    /// The first element in this process; dangling but aligned if there is none.
    pub(crate) fn elements(&self) -> NonNull<T> {
        self.elements
    }

    /// Takes the buffer out and leaves an empty one: how a job rents a buffer that it was lent.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Makes the buffer read-only and shareable. No element is copied.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = gristmill::Pool::new()?;
    /// let input = pool.copy_from_slice(&[1.0, 2.0, 3.0])?.freeze();
    /// let tail = input.slice(1..);
    /// assert_eq!(*tail, [2.0, 3.0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn freeze(self) -> SharedSlice<T> {
        SharedSlice::from_vec(self)
    }
}

impl<T: Pod> Deref for SharedVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: by the invariant the elements are there, aligned, and written by nobody while we
        // are borrowed; any bytes are a valid `T`, for it is `Pod`.
        unsafe { NonNull::slice_from_raw_parts(self.elements, self.len).as_ref() }
    }
}

impl<T: Pod> DerefMut for SharedVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and the borrow is unique.
        unsafe { NonNull::slice_from_raw_parts(self.elements, self.len).as_mut() }
    }
}

impl<T> Default for SharedVec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Pod> AsRef<[T]> for SharedVec<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: Pod> AsMut<[T]> for SharedVec<T> {
    fn as_mut(&mut self) -> &mut [T] {
        self
    }
}

impl<'a, T: Pod> IntoIterator for &'a SharedVec<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T: Pod> IntoIterator for &'a mut SharedVec<T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl<T: Pod + PartialEq> PartialEq for SharedVec<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Pod + Eq> Eq for SharedVec<T> {}

/// Shows the first elements only, as there may be billions.
impl<T: Pod + fmt::Debug> fmt::Debug for SharedVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_elements(self, f)
    }
}
