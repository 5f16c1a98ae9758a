//! The parent's look at the whole board, and how to make it what the books say.
//!
//! The open bits and the front of each header are written by the parent alone, under the lock of
//! its books, and are compared to the letter. A chunk's word is legal in each state that the chunk
//! may be in at that moment. The count of a job is never above the number of its chunks that were
//! seen unsettled *before* the count is read: a worker counts a chunk off before it ends it. A job
//! of one chunk has no count that anybody would go by; its chunk is all there is to look at.

use crate::primitive::atomic::Ordering;

use super::{Board, ChunkOutcome, Known, Posted};

impl Board<'_> {
    /// What stands in the header of a place instead of what the parent wrote, if anything does.
    pub(crate) fn fault(&self, job: u32, known: Known) -> Option<u64> {
        self.header(job).fault(known)
    }

    /// Whether the first chunk that is not known to be settled never will be.
    pub(crate) fn is_stuck(&self, posted: &Posted) -> bool {
        posted.settled < posted.chunks
            && matches!(
                self.outcome(posted, posted.settled),
                ChunkOutcome::Foreign(_)
            )
    }

    /// Puts the count of a job right, beside live workers: `unsettled` of its chunks were seen to
    /// be left before this call.
    pub(crate) fn mend(&self, posted: &Posted, unsettled: u32) {
        self.header(posted.job).mend(unsettled);
    }

    /// Makes the open bits what the parent knows, beside live workers: one that saw another job's
    /// bit found its word CLOSED, and one that missed a bit finds it at its next look.
    pub(crate) fn mend_open(&self, open: u64) {
        // Relaxed: a guess that saves an exchange; only the parent writes it.
        if self.open.load(Ordering::Relaxed) != open {
            // ORDERING: B6, Release; as in `post`.
            self.open.swap(open, Ordering::Release);
        }
    }

    /// Writes the header of a place anew, when no worker lives. Of a job that goes on, the chunks
    /// that are unclaimed are handed out again.
    pub(crate) fn renew(&self, job: u32, known: Known, unsettled: u32) {
        self.header(job).renew(known, unsettled);
    }

    /// How many chunks have not ended.
    pub(crate) fn unsettled(&self, posted: &Posted) -> u32 {
        (0..posted.chunks)
            .filter(|&chunk| !self.outcome(posted, chunk).is_settled())
            .count() as u32
    }
}

#[cfg(test)]
impl<'a> Board<'a> {
    /// Begins a job in a closed place, giving its generation: for callers that keep no books.
    pub(crate) fn begin(&self, job: u32) -> u32 {
        self.header(job).next_generation()
    }

    /// Opens all of a job.
    pub(crate) fn post(&self, job: u32, generation: u32, chunks: u32) -> Posted {
        self.post_from(job, generation, chunks, 0)
    }

    /// All the words that a worker may write, but for those of chunks from `chunks` on, for those
    /// that run wild.
    pub(crate) fn words(&self, chunks: usize) -> Vec<&'a crate::primitive::atomic::AtomicU64> {
        let places = 0..self.fronts.len() as u32;
        let headers = places.flat_map(|job| self.header(job).words());
        let tables = self.chunks.chunks(self.chunks.len() / self.fronts.len());
        let words = tables.flat_map(|table| table.iter().take(chunks).map(super::Chunk::word));
        [self.open]
            .into_iter()
            .chain(headers)
            .chain(words)
            .collect()
    }
}
