//! One word: nothing, a grave, or where a record lies.
//!
//! ```text
//! word  63    62 61         32 31         0
//!       [ state ][   units    ][   first   ]
//! ```

use crate::primitive::atomic::{AtomicU64, Ordering};

const EMPTY: u64 = 0;
const GRAVE: u64 = 1 << 62;
const LIVE: u64 = 2 << 62;
const STATE: u64 = 3 << 62;

/// The most units that one record may have.
pub(crate) const MOST_UNITS: u32 = (1 << 30) - 1;

/// Where a record lies: so many units from this one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Span(u64);

impl Span {
    pub(super) fn new(first: u32, units: u32) -> Self {
        debug_assert!(units <= MOST_UNITS);
        Self(LIVE | u64::from(units & MOST_UNITS) << 32 | u64::from(first))
    }

    pub(super) fn first(self) -> u32 {
        self.0 as u32
    }

    pub(super) fn units(self) -> u32 {
        (self.0 >> 32) as u32 & MOST_UNITS
    }
}

/// A word and a note beside it: the record's hash, or when it was given up.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Slot {
    word: AtomicU64,
    note: AtomicU64,
}

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<Slot>() == 16);

impl Slot {
    /// Of an empty table.
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU64::new(EMPTY),
            note: AtomicU64::new(0),
        }
    }

    /// The record that is here.
    pub(super) fn live(&self) -> Option<Span> {
        // ORDERING: Acquire; pairs with the Release in `set`, which publishes the record.
        let word = self.word.load(Ordering::Acquire);
        (word & STATE == LIVE).then_some(Span(word))
    }

    /// Whether nothing is here, nor behind here in any search that comes by.
    pub(super) fn is_empty(&self) -> bool {
        // ORDERING: Acquire; what was moved from here on is seen where it is now.
        self.word.load(Ordering::Acquire) & STATE == EMPTY
    }

    /// What was noted for the record. It may be that of a later one.
    pub(super) fn note(&self) -> u64 {
        // ORDERING: Relaxed; published by the word, which was loaded before.
        self.note.load(Ordering::Relaxed)
    }

    /// Publishes a record. The linearisation point of whatever is written.
    pub(super) fn set(&self, span: Span, note: u64) {
        step();
        // ORDERING: Relaxed; the word publishes it. Whoever reads it with the former word has met a
        // record that was given up meanwhile.
        self.note.store(note, Ordering::Relaxed);
        step();
        // ORDERING: Release; publishes the record's bytes, the note, and that the version is odd.
        self.word.store(span.0, Ordering::Release);
    }

    /// Leaves a grave: searches go on behind it.
    pub(super) fn bury(&self) {
        step();
        // ORDERING: Release; publishes that the version is odd, and the note of what is given up.
        self.word.store(GRAVE, Ordering::Release);
    }

    /// Leaves nothing.
    pub(super) fn clear(&self) {
        step();
        // ORDERING: Release; as in `bury`, and publishes where the record is now, if it was moved.
        self.word.store(EMPTY, Ordering::Release);
    }

    /// Puts any word here, as a wild store would.
    #[cfg(all(test, not(gristmill_loom)))]
    pub(super) fn forge(&self, word: u64) {
        self.word.store(word, Ordering::Relaxed);
    }

    pub(super) fn is_grave(&self) -> bool {
        // ORDERING: Relaxed; asked by the writer alone.
        self.word.load(Ordering::Relaxed) & STATE == GRAVE
    }
}

/// A point at which a writer may die. In tests it does.
#[inline]
pub(super) fn step() {
    #[cfg(all(test, not(gristmill_loom)))]
    super::tests::death::step();
}
