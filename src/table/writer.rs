//! The one process that writes.

use core::fmt;
use core::ptr::NonNull;

use super::slot::{Slot, Span, step};
use super::{RETIRED, Table, UNIT_BYTES};
use crate::primitive::atomic::Ordering;

/// What is missing for one more record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// There are as many records as there may be.
    Records,
    /// There is no free piece of this size.
    Bytes,
    /// What was given up is still read.
    Readers,
}

/// The right to write. While it exists nobody else has it; dropped, all that was begun is done.
pub(crate) struct Writer<'a> {
    pub(super) table: Table<'a>,
    kind: Kind,
}

impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("kind", &self.kind).finish()
    }
}

/// By what a table's records are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Map,
    List,
}

/// Room for a record that no word names yet.
#[derive(Debug)]
#[must_use]
pub(crate) struct Draft {
    pub(super) span: Span,
    at: NonNull<u8>,
    bytes: usize,
}

impl Draft {
    /// Where to write. Nobody else does, until the draft is given back or becomes a record.
    pub(crate) fn place(&self) -> (NonNull<u8>, usize) {
        (self.at, self.bytes)
    }
}

impl<'a> Writer<'a> {
    /// Begins to write, and repairs what one that died has left.
    ///
    /// The caller holds the table's lock for as long as the writer lives. (That two write at once
    /// would spoil the table, and not memory outside of the arena.)
    pub(crate) fn begin(table: Table<'a>, kind: Kind) -> Self {
        // ORDERING: Relaxed; the lock has brought the last writer's stores.
        let version = table.header.version.load(Ordering::Relaxed);
        let writer = Self { table, kind };
        if version.is_multiple_of(2) {
            // ORDERING: Relaxed; published by the Release of each word that is stored.
            table
                .header
                .version
                .store(version.wrapping_add(1), Ordering::Relaxed);
        } else {
            writer.repair();
        }
        writer
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Room for a record of `bytes` bytes.
    pub(crate) fn draft(&self, bytes: usize) -> Result<Draft, Full> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).map_err(|_| Full::Bytes)?;
        if self.retired() > RETIRED / 2 {
            self.reclaim();
        }
        let found = self.table.reserve(units.max(1));
        let found = found.or_else(|| {
            self.reclaim();
            self.table.reserve(units.max(1))
        });
        let span = match found {
            Some(span) => span,
            None if self.retired() > 0 && units <= self.table.units => return Err(Full::Readers),
            None => return Err(Full::Bytes),
        };
        let Some((at, bytes)) = self.table.locate(span) else {
            return Err(Full::Bytes);
        };
        Ok(Draft { span, at, bytes })
    }

    /// Gives a draft back.
    pub(crate) fn discard(&self, draft: Draft) {
        self.table.mark(draft.span, false);
    }

    /// A place to note what is given up; the note says when.
    pub(super) fn grave_for(&self) -> Result<&'a Slot, Full> {
        let free = |slot: &&Slot| slot.live().is_none();
        if let Some(slot) = self.table.retired.iter().find(free) {
            return Ok(slot);
        }
        self.reclaim();
        let mut all = self.table.retired.iter();
        all.find(free).ok_or(Full::Readers)
    }

    /// Notes that `span` is about to be given up.
    pub(super) fn retire(&self, place: &Slot, span: Span) {
        place.set(span, self.table.epoch());
        self.count_retired(self.retired().saturating_add(1));
    }

    /// Hands out again what nobody can be reading any more.
    pub(super) fn reclaim(&self) {
        if self.retired() == 0 {
            return;
        }
        // Twice: then what was given up just now is free, where nobody reads.
        if self.table.advance() {
            self.table.advance();
        }
        let epoch = self.table.epoch();
        let mut left = 0;
        for slot in self.table.retired {
            match slot.live() {
                Some(span) if epoch.wrapping_sub(slot.note()) >= 2 => {
                    slot.clear();
                    // One that lies nowhere was never handed out.
                    if self.table.locate(span).is_some() {
                        self.table.mark(span, false);
                    }
                }
                Some(_) => left += 1,
                None => {}
            }
        }
        self.count_retired(left);
    }

    fn retired(&self) -> usize {
        // ORDERING: Relaxed, as below; only the writer reads and writes it.
        self.table.header.retired.load(Ordering::Relaxed) as usize
    }

    pub(super) fn count_retired(&self, count: usize) {
        let count = count as u64;
        self.table.header.retired.store(count, Ordering::Relaxed);
    }

    /// Records change their slots from here on.
    pub(super) fn begin_moves(&self) {
        step();
        // ORDERING: Relaxed; only the writer stores it, and words publish it.
        let moves = self.table.header.moves.load(Ordering::Relaxed);
        self.table.header.moves.store(moves | 1, Ordering::Relaxed);
    }

    /// Records are where they belong.
    pub(super) fn end_moves(&self) {
        step();
        // ORDERING: Relaxed; as above.
        let moves = self.table.header.moves.load(Ordering::Relaxed) | 1;
        // ORDERING: Release; publishes where records are now.
        self.table
            .header
            .moves
            .store(moves.wrapping_add(1), Ordering::Release);
    }

    pub(super) fn set_len(&self, len: usize) {
        step();
        // ORDERING: Release; pairs with the Acquire in `Table::len`.
        self.table.header.len.store(len as u64, Ordering::Release);
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        #[cfg(all(test, not(gristmill_loom)))]
        if super::tests::death::is_dead() {
            return;
        }
        // ORDERING: Relaxed; only the writer stores it.
        let version = self.table.header.version.load(Ordering::Relaxed);
        // ORDERING: Release; whoever sees the version even sees all that was written.
        self.table
            .header
            .version
            .store((version | 1).wrapping_add(1), Ordering::Release);
    }
}

impl Writer<'_> {
    /// All records, in the order of the slots.
    pub(crate) fn all(&self) -> Vec<Span> {
        self.table.slots.iter().filter_map(Slot::live).collect()
    }
}
