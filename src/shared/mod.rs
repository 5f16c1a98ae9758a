//! `SharedVec` and `SharedSlice`: typed buffers in the region.

use core::ops::Deref;

/// Stand-in until the room is built.
#[derive(Clone, Debug)]
pub struct SharedSlice<T: 'static> {
    pub(crate) elements: &'static [T],
}

impl<T> Deref for SharedSlice<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.elements
    }
}
