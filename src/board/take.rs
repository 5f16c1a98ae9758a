//! Chunks that the parent runs itself.

use super::{Board, Posted};
use crate::primitive::atomic::fence_after_rmw;

impl Board<'_> {
    /// Takes a chunk that nobody has begun, to run it in the parent: its word says CANCELLED from
    /// now on, and what becomes of it stands in the parent's books. `None`: the cursor has passed
    /// all of them. A chunk that a dead worker left lies behind the cursor, and is not the parent's
    /// to try.
    pub(crate) fn take(&self, posted: &Posted) -> Option<u32> {
        let header = self.header(posted.job);
        let table = &self.table(posted.job)[..posted.chunks as usize];
        table.iter().find_map(|_| {
            let chunk = header.advance_cursor(posted.chunks)?;
            table[chunk as usize]
                .cancel(posted.generation)
                .then_some(chunk)
        })
    }

    /// Counts off a chunk that was taken, when it is done. Ask `settled` afterwards.
    pub(crate) fn count_taken(&self, posted: &Posted) {
        self.header(posted.job).count_down(1);
        // ORDERING: B5, SeqCst; as in `cancel`. Model: a_job_that_the_parent_helps_with_settles.
        fence_after_rmw();
    }
}
