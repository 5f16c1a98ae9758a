//! Which units of the arena are in use: a bit each. A hint, made again from the words by a repair;
//! only the writer touches it.

use super::Table;
use super::slot::{MOST_UNITS, Span};
use crate::primitive::atomic::{AtomicU64, Ordering};

impl Table<'_> {
    /// Finds room for `units` in one piece and marks it as in use.
    pub(super) fn reserve(&self, units: u32) -> Option<Span> {
        if units == 0 || units > MOST_UNITS.min(self.units) {
            return None;
        }
        // ORDERING: Relaxed, as all here; only the writer reads and writes, under its lock.
        let start = self.header.cursor.load(Ordering::Relaxed) as u32;
        let start = if start < self.units { start } else { 0 };
        let first = self
            .find(start, self.units, units)
            .or_else(|| self.find(0, start.saturating_add(units - 1).min(self.units), units))?;
        let span = Span::new(first, units);
        self.mark(span, true);
        self.header
            .cursor
            .store(u64::from(first + units), Ordering::Relaxed);
        Some(span)
    }

    /// The first run of `units` free ones from `at` on that ends before `end`.
    fn find(&self, mut at: u32, end: u32, units: u32) -> Option<u32> {
        let mut run = 0;
        while at < end {
            let word = self.space[at as usize / 64].load(Ordering::Relaxed);
            let rest = word >> (at % 64);
            // Whole words at a time, where they are all one thing.
            let in_word = (64 - at % 64).min(end - at);
            let free = rest.trailing_zeros().min(in_word);
            run += free;
            if run >= units {
                return Some(at + free - run);
            }
            if free < in_word {
                run = 0;
                at += free + (rest >> free).trailing_ones().min(in_word - free);
            } else {
                at += free;
            }
        }
        None
    }

    /// Marks `span`, which lies in the arena, as in use or free.
    pub(super) fn mark(&self, span: Span, in_use: bool) {
        let mut at = span.first();
        let end = at + span.units();
        while at < end {
            let bits = (64 - at % 64).min(end - at);
            let mask = (u64::MAX >> (64 - bits)) << (at % 64);
            let word: &AtomicU64 = &self.space[at as usize / 64];
            let found = word.load(Ordering::Relaxed);
            let marked = if in_use { found | mask } else { found & !mask };
            word.store(marked, Ordering::Relaxed);
            at += bits;
        }
    }

    /// Whether any unit of `span` is in use.
    pub(super) fn is_in_use(&self, span: Span) -> bool {
        let units = span.first()..span.first() + span.units();
        let is_set = |unit: u32| {
            let word = self.space[unit as usize / 64].load(Ordering::Relaxed);
            word >> (unit % 64) & 1 == 1
        };
        units.into_iter().any(is_set)
    }

    /// Marks all units as free.
    pub(super) fn free_all(&self) {
        for word in self.space {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// How many units are free.
    #[cfg(all(test, not(gristmill_loom)))]
    pub(crate) fn free_units(&self) -> u32 {
        let in_use = |word: &AtomicU64| word.load(Ordering::Relaxed).count_ones();
        self.units - self.space.iter().map(in_use).sum::<u32>().min(self.units)
    }
}
