//! What a writer that died has left in the middle, made whole from the words.
//!
//! Each record that a word names is kept, once; whatever no word names is free. So a change that
//! had become visible is finished, and any other has not happened. Doing it twice does no harm: who
//! repairs may die, too.

use super::slot::{Slot, Span};
use super::writer::{Kind, Writer};

impl Writer<'_> {
    /// Makes everything else from the slots' words. The version is odd, and stays so.
    pub(super) fn repair(&self) {
        self.begin_moves();
        self.table.free_all();
        let mut len = 0;
        for slot in self.table.slots {
            match slot.live() {
                // Named twice while it was moved, or not a record at all.
                Some(span) if !self.take(span) => match self.kind() {
                    Kind::Map => slot.bury(),
                    Kind::List => slot.clear(),
                },
                Some(_) => len += 1,
                None => {}
            }
        }
        self.count_retired(0);
        for slot in self.table.retired {
            match slot.live() {
                // It was noted, and not given up any more.
                Some(span) if !self.take(span) => slot.clear(),
                // Given up at some time before now.
                Some(span) => self.retire(slot, span),
                None => Slot::clear(slot),
            }
        }
        match self.kind() {
            Kind::Map => self.rehash(),
            Kind::List => self.close_gaps(),
        }
        self.set_len(len);
        self.end_moves();
    }

    /// Marks a record's units as in use; `false` if they are already, or are not in the arena.
    fn take(&self, span: Span) -> bool {
        let is_whole = self.table.locate(span).is_some() && !self.table.is_in_use(span);
        if is_whole {
            self.table.mark(span, true);
        }
        is_whole
    }
}
