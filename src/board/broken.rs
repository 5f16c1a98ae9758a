//! The board's steps in wrong orders, for the tests that must catch them.

use super::{Board, Joined};

impl Board<'_> {
    /// Gives a job up, but counts the chunks only after their words have moved.
    pub(crate) fn give_up_count_last(&self, joined: Joined) {
        let header = self.header(joined.job);
        let chunks = (header.chunks() as usize).min(self.table(joined.job).len());
        let table = &self.table(joined.job)[..chunks];
        let cancelled = table
            .iter()
            .filter(|chunk| chunk.cancel(joined.generation))
            .count() as u32;
        header.count_down(cancelled);
    }
}
