//! The shared, read-only view.

#![expect(
    unsafe_code,
    reason = "keeps a pointer to the elements beside their owner"
)]

use std::fmt;
use std::ops::{Deref, RangeBounds};
use std::ptr::NonNull;
use std::sync::Arc;

use bytemuck::Pod;

use crate::memory::region::Region;

use super::{SharedVec, debug_elements};

/// A read-only view of elements in shared memory, with any number of owners.
///
/// Like an `Arc<[T]>` that can be sliced: cloning and slicing copy no element, and the memory goes
/// back to its pool with the last handle. It is the input of parallel jobs; a job keeps a handle of
/// its own, so dropping yours while it runs is fine. [`SharedVec::freeze`] makes it,
/// [`SharedSlice::try_into_vec`] turns it back.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = gristmill::Pool::new()?;
/// let prices = pool.copy_from_slice(&[3.0, 1.0, 2.0])?.freeze();
/// let first = prices.slice(..2);
/// drop(prices);
/// assert_eq!(*first, [3.0, 1.0]);
/// # Ok(())
/// # }
/// ```
pub struct SharedSlice<T> {
    /// The whole buffer, of which nobody takes a unique reference while it is in here.
    whole: Arc<SharedVec<T>>,
    /// Invariant: `len` elements of `whole`.
    elements: NonNull<T>,
    len: usize,
}

// SAFETY: gives out `&T` from several threads, and the last handle drops the buffer, which only
// gives memory back; so as for `Arc`, the elements must be both.
unsafe impl<T: Send + Sync> Send for SharedSlice<T> {}
// SAFETY: as for `Send`; a `&SharedSlice` can be cloned.
unsafe impl<T: Send + Sync> Sync for SharedSlice<T> {}

impl<T: Pod> SharedSlice<T> {
    /// Shares all of a buffer.
    pub(crate) fn from_vec(vec: SharedVec<T>) -> Self {
        let (elements, len) = (vec.elements(), vec.len());
        Self {
            whole: Arc::new(vec),
            elements,
            len,
        }
    }

    /// The region that holds the elements; `None` if there are none.
    pub(crate) fn region(&self) -> Option<&Arc<Region>> {
        self.whole.region()
    }

    /// Where the view starts in the region. Without elements there is no such place.
    pub(crate) fn offset(&self) -> u64 {
        let distance = self.elements.addr().get() - self.whole.elements().addr().get();
        self.whole.offset() + distance as u64
    }

    /// A view of a part of this one, which shares the ownership.
    ///
    /// # Panics
    /// If the range is not within the view, as indexing would;
    /// [`get_slice`](Self::get_slice) does not.
    #[must_use]
    #[track_caller]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let bounds = (range.start_bound().cloned(), range.end_bound().cloned());
        // Indexing panics with the standard message, at the caller's line.
        let part: &[T] = &self[bounds];
        self.part(part)
    }

    /// A view of a part of this one, or `None` if the range is not within the view.
    pub fn get_slice(&self, range: impl RangeBounds<usize>) -> Option<Self> {
        let bounds = (range.start_bound().cloned(), range.end_bound().cloned());
        Some(self.part(self.get(bounds)?))
    }

    fn part(&self, part: &[T]) -> Self {
        Self {
            whole: Arc::clone(&self.whole),
            elements: NonNull::from(part).cast(),
            len: part.len(),
        }
    }

    /// Turns the view back into a unique, writable buffer, without a copy, if this is the last
    /// handle and covers the whole buffer; else gives itself back. A job that is still running
    /// holds a handle of its own inputs.
    ///
    /// # Errors
    /// The unchanged view, if there are other handles or it is only a part.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = gristmill::Pool::new()?;
    /// let shared = pool.alloc_zeroed::<u32>(2)?.freeze();
    /// let clone = shared.clone();
    /// let shared = shared.try_into_vec().unwrap_err();
    /// drop(clone);
    /// let mut unique = shared.try_into_vec().unwrap();
    /// unique[0] = 1;
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_into_vec(self) -> Result<SharedVec<T>, Self> {
        let Self {
            whole,
            elements,
            len,
        } = self;
        if len != whole.len() {
            return Err(Self {
                whole,
                elements,
                len,
            });
        }
        Arc::try_unwrap(whole).map_err(|whole| Self {
            whole,
            elements,
            len,
        })
    }

    /// Whether both are views of the very same elements.
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        Arc::ptr_eq(&this.whole, &other.whole)
            && this.elements == other.elements
            && this.len == other.len
    }
}

impl<T: Pod> Deref for SharedSlice<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: by the invariant these are elements of `whole`, which we keep alive and which
        // nobody writes; any bytes are a valid `T`, for it is `Pod`.
        unsafe { NonNull::slice_from_raw_parts(self.elements, self.len).as_ref() }
    }
}

impl<T> Clone for SharedSlice<T> {
    fn clone(&self) -> Self {
        Self {
            whole: Arc::clone(&self.whole),
            elements: self.elements,
            len: self.len,
        }
    }
}

impl<T: Pod> Default for SharedSlice<T> {
    fn default() -> Self {
        SharedVec::new().freeze()
    }
}

impl<T: Pod> From<SharedVec<T>> for SharedSlice<T> {
    fn from(vec: SharedVec<T>) -> Self {
        vec.freeze()
    }
}

impl<T: Pod> AsRef<[T]> for SharedSlice<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<'a, T: Pod> IntoIterator for &'a SharedSlice<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Pod + PartialEq> PartialEq for SharedSlice<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Pod + Eq> Eq for SharedSlice<T> {}

/// Shows the first elements only, as there may be billions.
impl<T: Pod + fmt::Debug> fmt::Debug for SharedSlice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_elements(self, f)
    }
}
