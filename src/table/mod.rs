//! Records in a fixed arena, reached through a table of words: a map by hash, or a list by index.
//!
//! One process writes at a time, which the caller sees to; any number read meanwhile, in place, and
//! neither waits for the other. What is there is what the slots' words say, and each change becomes
//! visible by one store to one of them. A writer that died in the middle leaves the version odd,
//! and whoever writes next makes everything else from the words ([`repair`](Writer::begin)).
//!
//! ```text
//! write     version odd | fill a span that no word names | note what is given up |
//!           the slot's word | version even
//! read      pin | the slot's word | the record | unpin
//! give back a noted span, when all who were pinned at the time have gone ([`pins`])
//! ```
//!
//! Whatever is read from the words is checked before it is followed: any bytes give a value, an
//! error or nothing.

#[cfg(all(test, not(gristmill_loom)))]
mod hostile_tests;
mod list;
#[cfg(all(test, gristmill_loom))]
mod look_model;
mod map;
#[cfg(all(test, gristmill_loom))]
mod model;
mod pins;
mod repair;
mod slot;
mod space;
#[cfg(all(test, not(gristmill_loom)))]
mod tests;
mod writer;

pub(crate) use pins::{Pin, Pins};
pub(crate) use slot::{MOST_UNITS, Slot, Span};
pub(crate) use writer::{Draft, Full, Kind, Writer};

use core::ptr::NonNull;

use crate::primitive::atomic::{AtomicU64, Ordering};

/// The unit in which the arena is handed out, and the alignment of a record.
pub(crate) const UNIT_BYTES: usize = 64;

/// How many records may have been given up while somebody may still read them.
pub(crate) const RETIRED: usize = 256;

/// What all slots have in common.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct TableHeader {
    /// Odd while somebody writes. Counts the changes, twice.
    version: AtomicU64,
    /// Odd while records change their slots. Counts, twice, how often they have.
    moves: AtomicU64,
    /// See [`pins`].
    epoch: AtomicU64,
    /// How many records there are. A hint while somebody writes.
    len: AtomicU64,
    /// How many slots of a map are passed by though nothing is there. A hint.
    graves: AtomicU64,
    /// Where the search for room begins. A hint.
    cursor: AtomicU64,
    /// How many records were given up and are not handed out again. A hint.
    retired: AtomicU64,
    unused: u64,
}

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<TableHeader>() == 64);

impl TableHeader {
    /// Of an empty table.
    pub(crate) fn new() -> Self {
        Self {
            version: AtomicU64::new(0),
            moves: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            len: AtomicU64::new(0),
            graves: AtomicU64::new(0),
            cursor: AtomicU64::new(0),
            retired: AtomicU64::new(0),
            unused: 0,
        }
    }
}

/// A table, by its parts. All of them are borrowed, and none knows where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table<'a> {
    header: &'a TableHeader,
    pins: &'a [Pins],
    slots: &'a [Slot],
    retired: &'a [Slot],
    space: &'a [AtomicU64],
    arena: NonNull<u8>,
    units: u32,
}

// SAFETY: the arena is shared memory that is reached by the rules of the room alone: what a word
// names is not written, and what is written no word names yet.
#[expect(unsafe_code, reason = "a pointer to shared memory")]
unsafe impl Send for Table<'_> {}
// SAFETY: as for `Send`.
#[expect(unsafe_code, reason = "a pointer to shared memory")]
unsafe impl Sync for Table<'_> {}

impl<'a> Table<'a> {
    /// A table of these parts: a power of two of slots, [`RETIRED`] more, one bit for each unit.
    ///
    /// # Safety
    /// `arena` is valid for reads and writes of `64 * units` bytes for `'a`, aligned to 64, and
    /// reached through tables alone.
    #[expect(unsafe_code, reason = "promises memory")]
    pub(crate) unsafe fn new(
        header: &'a TableHeader,
        pins: &'a [Pins],
        slots: &'a [Slot],
        retired: &'a [Slot],
        space: &'a [AtomicU64],
        (arena, units): (NonNull<u8>, u32),
    ) -> Self {
        debug_assert!(slots.is_empty() || slots.len().is_power_of_two());
        debug_assert!(space.len() * 64 >= units as usize);
        Self {
            header,
            pins,
            slots,
            retired,
            space,
            arena,
            units,
        }
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        // ORDERING: Acquire; whoever sees the count sees the words that make it up.
        self.header.len.load(Ordering::Acquire) as usize
    }

    /// The bytes of `span`, if it lies in the arena.
    ///
    /// # Safety
    /// For `'b` the span is named by a word, or was when this process pinned, and still is pinned;
    /// or the caller is the writer.
    #[expect(unsafe_code, reason = "hands out shared memory")]
    pub(crate) unsafe fn bytes<'b>(&self, span: Span) -> Option<&'b [u8]> {
        let (at, size) = self.locate(span)?;
        // SAFETY: inside the arena; by the caller's promise nobody writes there meanwhile.
        Some(unsafe { core::slice::from_raw_parts(at.as_ptr(), size) })
    }

    fn locate(&self, span: Span) -> Option<(NonNull<u8>, usize)> {
        let end = span.first().checked_add(span.units())?;
        if end > self.units || span.units() == 0 {
            return None;
        }
        // SAFETY: the first unit lies in the arena.
        #[expect(unsafe_code, reason = "a pointer into the arena")]
        let at = unsafe { self.arena.add(span.first() as usize * UNIT_BYTES) };
        Some((at, span.units() as usize * UNIT_BYTES))
    }

    /// A copy of all words at one moment, in the order of the slots; `None` if somebody writes.
    /// The caller has pinned before, and reads while it is.
    pub(crate) fn snapshot(&self) -> Option<Vec<Span>> {
        // ORDERING: Acquire; pairs with the writer's Release when it is done.
        let before = self.header.version.load(Ordering::Acquire);
        if !before.is_multiple_of(2) {
            return None;
        }
        let mut spans = Vec::with_capacity(self.len().min(self.slots.len()));
        spans.extend(self.slots.iter().filter_map(Slot::live));
        // ORDERING: Relaxed; the slots were loaded with Acquire. Whoever saw one of a later writer
        // sees that the version is odd or later.
        (self.header.version.load(Ordering::Relaxed) == before).then_some(spans)
    }

    /// When records last changed their slots; `None` if they just do.
    fn settled(&self) -> Option<u64> {
        // ORDERING: Acquire; pairs with the Release at the end of a move.
        let moves = self.header.moves.load(Ordering::Acquire);
        moves.is_multiple_of(2).then_some(moves)
    }

    /// Whether no record has changed its slot since. The slots were loaded with Acquire.
    fn has_not_moved(&self, since: Option<u64>) -> bool {
        // ORDERING: Relaxed; see `snapshot`.
        since.is_some_and(|since| self.header.moves.load(Ordering::Relaxed) == since)
    }
}

/// What a look at a table gives that may be disturbed by one who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Look {
    /// It is there.
    Found(Span),
    /// It is not.
    Absent,
    /// It may be: records changed their slots. Look again, or hold the lock to look.
    Disturbed,
}
