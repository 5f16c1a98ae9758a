//! A table as a list: the records are in the first slots, in order.

use super::slot::Span;
use super::writer::{Draft, Full, Writer};
use super::{Look, Table};

impl Table<'_> {
    /// Looks for the record at `index`. The caller is pinned, or the writer.
    pub(crate) fn record_at(&self, index: usize) -> Look {
        let settled = self.settled();
        let found = self.slots.get(index).and_then(|slot| slot.live());
        if !self.has_not_moved(settled) {
            return Look::Disturbed;
        }
        found.map_or(Look::Absent, Look::Found)
    }
}

impl Writer<'_> {
    /// The record at `index`.
    pub(crate) fn at(&self, index: usize) -> Option<Span> {
        self.table.slots.get(index)?.live()
    }

    /// Puts the draft at `index`, at most the length, in front of what is there; there may be
    /// `most` records. An error gives the draft back to the arena.
    pub(crate) fn insert_at(&self, index: usize, most: usize, draft: Draft) -> Result<(), Full> {
        let slots = self.table.slots;
        let len = self.table.len().min(slots.len());
        if len >= most.min(slots.len()) {
            self.discard(draft);
            return Err(Full::Records);
        }
        debug_assert!(index <= len);
        let index = index.min(len);
        if index == len {
            slots[len].set(draft.span, 0);
            self.set_len(len + 1);
            return Ok(());
        }
        // From the end on, so that none is ever missing.
        self.begin_moves();
        for to in (index + 1..=len).rev() {
            if let Some(span) = slots[to - 1].live() {
                slots[to].set(span, 0);
            }
        }
        slots[index].set(draft.span, 0);
        self.set_len(len + 1);
        self.end_moves();
        Ok(())
    }

    /// Puts the draft in place of what is at `index`. `Ok(false)` if nothing is; an error or that
    /// gives the draft back to the arena.
    pub(crate) fn replace_at(&self, index: usize, draft: Draft) -> Result<bool, Full> {
        let Some(old) = self.at(index) else {
            self.discard(draft);
            return Ok(false);
        };
        let place = match self.grave_for() {
            Ok(place) => place,
            Err(full) => {
                self.discard(draft);
                return Err(full);
            }
        };
        self.retire(place, old);
        self.table.slots[index].set(draft.span, 0);
        Ok(true)
    }

    /// Removes what is at `index`; says where it was. Its bytes stay until the next change.
    pub(crate) fn remove_at(&self, index: usize) -> Result<Option<Span>, Full> {
        let slots = self.table.slots;
        let len = self.table.len().min(slots.len());
        let Some(span) = self.at(index).filter(|_| index < len) else {
            return Ok(None);
        };
        let place = self.grave_for()?;
        self.retire(place, span);
        let moves = index + 1 < len;
        if moves {
            self.begin_moves();
        }
        for at in index..len - 1 {
            if let Some(next) = slots[at + 1].live() {
                slots[at].set(next, 0);
            }
        }
        slots[len - 1].clear();
        self.set_len(len - 1);
        if moves {
            self.end_moves();
        }
        Ok(Some(span))
    }

    /// Puts the records into the first slots, in order.
    pub(super) fn close_gaps(&self) {
        let mut len = 0;
        for slot in self.table.slots {
            let Some(span) = slot.live() else { continue };
            let goal = &self.table.slots[len];
            if !core::ptr::eq(goal, slot) {
                goal.set(span, 0);
                slot.clear();
            }
            len += 1;
        }
    }
}
