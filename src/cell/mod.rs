//! A value of any size that changes as a whole: whoever reads it sees it as one writer left it.
//!
//! There are two copies, and the version says which of them is the value. A writer fills the other
//! and then makes it the value, by one store. A writer that dies before has changed nothing.
//!
//! ```text
//! header   0          64
//!          [ version ][ unused ]
//! words    [ the value when the version is even ][ the value when it is odd ]
//! ```

#[cfg(all(test, gristmill_loom))]
mod model;
#[cfg(all(test, not(gristmill_loom)))]
mod tests;

use crate::primitive::atomic::{AtomicU64, Ordering};

/// What the two copies have in common.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct CellHeader {
    version: AtomicU64,
}

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<CellHeader>() == 64);

impl CellHeader {
    /// Of a cell whose first copy is the value.
    pub(crate) fn new() -> Self {
        Self {
            version: AtomicU64::new(0),
        }
    }
}

/// A value, by its parts: an even number of words, which are borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell<'a> {
    header: &'a CellHeader,
    copies: [&'a [AtomicU64]; 2],
}

impl<'a> Cell<'a> {
    pub(crate) fn new(header: &'a CellHeader, words: &'a [AtomicU64]) -> Self {
        let (even, odd) = words.split_at(words.len() / 2);
        Self {
            header,
            copies: [even, odd],
        }
    }

    /// Reads the value, as many words as there are on either side. Goes on for as long as writers
    /// are faster than one copy.
    pub(crate) fn load(&self, value: &mut [u64]) {
        loop {
            // ORDERING: C1, Acquire; pairs with the Release C3: the copy is complete.
            let version = self.header.version.load(Ordering::Acquire);
            for (word, from) in value.iter_mut().zip(self.copies[version as usize % 2]) {
                // ORDERING: C2, Acquire; whoever reads what a later writer has put into this copy
                // sees that the version has moved on: the writer saw so before it wrote.
                *word = from.load(Ordering::Acquire);
            }
            // ORDERING: Relaxed; not before the loads C2, which are Acquire.
            if self.header.version.load(Ordering::Relaxed) == version {
                return;
            }
        }
    }

    /// Changes the value. One process does so at a time, which the caller sees to.
    pub(crate) fn store(&self, value: &[u64]) {
        // ORDERING: Relaxed; only writers store it, and the caller's lock orders them.
        let next = self.header.version.load(Ordering::Relaxed).wrapping_add(1);
        for (&word, to) in value.iter().zip(self.copies[next as usize % 2]) {
            // ORDERING: C2, Release; publishes that the version has left this copy.
            to.store(word, Ordering::Release);
        }
        // ORDERING: C3, Release; publishes the copy to C1. The linearisation point.
        self.header.version.store(next, Ordering::Release);
    }
}
