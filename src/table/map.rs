//! A table as a map: a record is in the first slot that was free from its hash on.

use super::slot::Span;
use super::writer::{Draft, Full, Writer};
use super::{Look, Table};
use crate::primitive::atomic::Ordering;

impl Table<'_> {
    /// Looks for the record with `hash` for which `is_it`. The caller is pinned, or the writer.
    pub(crate) fn find_record(&self, hash: u64, is_it: impl Fn(Span) -> bool) -> Look {
        let settled = self.settled();
        match self.search(hash, is_it) {
            Some((_, span)) => Look::Found(span),
            None if self.has_not_moved(settled) => Look::Absent,
            None => Look::Disturbed,
        }
    }

    /// The slots that a search for `hash` passes, in its order.
    pub(super) fn path(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len() - 1;
        let start = hash as usize & mask;
        (0..self.slots.len()).map(move |step| (start + step) & mask)
    }

    fn search(&self, hash: u64, is_it: impl Fn(Span) -> bool) -> Option<(usize, Span)> {
        for index in self.path(hash) {
            let slot = &self.slots[index];
            match slot.live() {
                Some(span) if slot.note() == hash && is_it(span) => return Some((index, span)),
                Some(_) => {}
                None if slot.is_empty() => return None,
                None => {}
            }
        }
        None
    }
}

impl Writer<'_> {
    /// The record with `hash` for which `is_it`.
    pub(crate) fn get(&self, hash: u64, is_it: impl Fn(Span) -> bool) -> Option<Span> {
        Some(self.table.search(hash, is_it)?.1)
    }

    /// Makes the draft a record, in place of the one with `hash` for which `is_it`, if there is
    /// one; of others there may be `most`. Says whether there was one. An error gives the draft
    /// back to the arena.
    pub(crate) fn insert(
        &self,
        hash: u64,
        is_it: impl Fn(Span) -> bool,
        most: usize,
        draft: Draft,
    ) -> Result<bool, Full> {
        if let Some((index, old)) = self.table.search(hash, is_it) {
            let place = match self.grave_for() {
                Ok(place) => place,
                Err(full) => {
                    self.discard(draft);
                    return Err(full);
                }
            };
            self.retire(place, old);
            self.table.slots[index].set(draft.span, hash);
            return Ok(true);
        }
        let len = self.table.len();
        let mut path = self.table.path(hash);
        let free = path.find(|&index| self.table.slots[index].live().is_none());
        let Some(index) = free.filter(|_| len < most) else {
            self.discard(draft);
            return Err(Full::Records);
        };
        if self.table.slots[index].is_grave() {
            self.count_graves(-1);
        }
        self.table.slots[index].set(draft.span, hash);
        self.set_len(len + 1);
        Ok(false)
    }

    /// Removes the record with `hash` for which `is_it`; says where it was. Its bytes stay until
    /// the next change.
    pub(crate) fn remove(
        &self,
        hash: u64,
        is_it: impl Fn(Span) -> bool,
    ) -> Result<Option<Span>, Full> {
        let Some((index, span)) = self.table.search(hash, is_it) else {
            return Ok(None);
        };
        let place = self.grave_for()?;
        self.retire(place, span);
        self.give_up(index);
        self.set_len(self.table.len().saturating_sub(1));
        if self.graves() > self.table.slots.len() / 4 {
            self.begin_moves();
            self.rehash();
            self.end_moves();
        }
        Ok(Some(span))
    }

    /// Empties a slot. Where no search goes on behind it, there need be no grave, nor in front.
    fn give_up(&self, index: usize) {
        let mask = self.table.slots.len() - 1;
        if !self.table.slots[(index + 1) & mask].is_empty() {
            self.table.slots[index].bury();
            self.count_graves(1);
            return;
        }
        self.table.slots[index].clear();
        let mut before = index.wrapping_sub(1) & mask;
        while before != index && self.table.slots[before].is_grave() {
            self.table.slots[before].clear();
            self.count_graves(-1);
            before = before.wrapping_sub(1) & mask;
        }
    }

    fn graves(&self) -> usize {
        // ORDERING: Relaxed, as below; only the writer reads and writes it.
        self.table.header.graves.load(Ordering::Relaxed) as usize
    }

    fn count_graves(&self, change: i64) {
        let graves = (self.graves() as u64).saturating_add_signed(change);
        self.table.header.graves.store(graves, Ordering::Relaxed);
    }

    /// Puts every record into the first slot that is free from its hash on. Each is in one slot at
    /// least at any moment, in two for an instant.
    pub(super) fn rehash(&self) {
        for slot in self.table.slots {
            if slot.is_grave() {
                slot.clear();
            }
        }
        self.table.header.graves.store(0, Ordering::Relaxed);
        // Each move brings a record nearer to its hash, so there is an end.
        loop {
            let mut moved = false;
            for (index, slot) in self.table.slots.iter().enumerate() {
                let Some(span) = slot.live() else { continue };
                let hash = slot.note();
                let mut path = self.table.path(hash);
                let goal = path.find(|&at| at == index || self.table.slots[at].live().is_none());
                if let Some(goal) = goal.filter(|&goal| goal != index) {
                    self.table.slots[goal].set(span, hash);
                    slot.clear();
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
    }
}
