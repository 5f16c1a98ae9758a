//! `SharedVec` and `SharedSlice`: typed buffers in the region.

mod slice;
mod vec;

pub use slice::SharedSlice;
pub use vec::SharedVec;

use std::fmt;

/// How many elements `Debug` shows of a buffer that may have billions.
const SHOWN: usize = 16;

/// Writes the first elements as a list.
fn debug_elements<T: fmt::Debug>(elements: &[T], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut list = f.debug_list();
    list.entries(elements.iter().take(SHOWN));
    if elements.len() > SHOWN {
        list.finish_non_exhaustive()
    } else {
        list.finish()
    }
}
