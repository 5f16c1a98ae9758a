//! Arrays in a region with a name: one process's until they are published, then everybody's to
//! read.

#![expect(unsafe_code, reason = "lends the bytes of the mapping")]

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use bytemuck::Pod;

use super::region::Inner;
use crate::error::NameError;

/// An array that only this process has yet; see [`NamedRegion::alloc`](crate::NamedRegion::alloc).
/// Dropped before it is published, it never was.
pub struct NamedVec<T: Pod> {
    /// Invariant: the entry is FILLING and this process's until the value is dropped or published;
    /// meanwhile `data` is `len` elements that nobody else reads or writes.
    region: Arc<Inner>,
    entry: usize,
    data: NonNull<T>,
    len: usize,
    elements: PhantomData<T>,
}

/// An array that was published: read where it lies, by any number of processes, and changed by
/// none.
///
/// A clone is another handle to the same array. It keeps the region, and the region's name.
pub struct NamedSlice<T: Pod> {
    /// Invariant: `data` is `len` elements of a READY entry of the region.
    region: Arc<Inner>,
    data: NonNull<T>,
    len: usize,
    elements: PhantomData<T>,
}

// SAFETY: owns plain data, which may be written from any one thread.
unsafe impl<T: Pod + Send> Send for NamedVec<T> {}
// SAFETY: a shared reference only reads.
unsafe impl<T: Pod + Sync> Sync for NamedVec<T> {}
// SAFETY: only ever reads plain data that nobody writes.
unsafe impl<T: Pod + Send + Sync> Send for NamedSlice<T> {}
// SAFETY: as for `Send`.
unsafe impl<T: Pod + Send + Sync> Sync for NamedSlice<T> {}

impl<T: Pod> NamedVec<T> {
    pub(super) fn new(region: Arc<Inner>, entry: usize, data: NonNull<T>, len: usize) -> Self {
        Self {
            region,
            entry,
            data,
            len,
            elements: PhantomData,
        }
    }

    /// Shows the array to all who have the region, for good.
    ///
    /// # Errors
    /// [`NameError::Forked`] in a child that was forked since: the array is its parent's.
    pub fn publish(self) -> Result<NamedSlice<T>, NameError> {
        if !self.region.is_here() {
            return Err(NameError::Forked);
        }
        if let Some(entry) = self.region.entry(self.entry) {
            entry.publish();
        }
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped, so that the handle is moved out of it once.
        let region = unsafe { std::ptr::read(&raw const this.region) };
        Ok(NamedSlice::new(region, this.data, this.len))
    }
}

impl<T: Pod> Drop for NamedVec<T> {
    fn drop(&mut self) {
        if let Some(entry) = self.region.entry(self.entry)
            && self.region.is_here()
        {
            entry.give_up();
        }
    }
}

impl<T: Pod> Deref for NamedVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: by the invariant; any bytes are a value of plain data.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

impl<T: Pod> DerefMut for NamedVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

impl<T: Pod> NamedSlice<T> {
    pub(super) fn new(region: Arc<Inner>, data: NonNull<T>, len: usize) -> Self {
        Self {
            region,
            data,
            len,
            elements: PhantomData,
        }
    }

    /// Where it begins, in bytes from the start of the region's file: for programs that map that by
    /// other means.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.region.offset_of(self.data.cast())
    }
}

impl<T: Pod> Clone for NamedSlice<T> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.region), self.data, self.len)
    }
}

impl<T: Pod> Deref for NamedSlice<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: by the invariant; nobody writes to what was published.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

impl<T: Pod> fmt::Debug for NamedVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedVec")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl<T: Pod> fmt::Debug for NamedSlice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedSlice")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
