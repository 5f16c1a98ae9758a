//! A posted job: is it open, where to claim next, how much is left, who must sweep again.
//!
//! ```text
//! front, the parent's to write
//! byte   0 [ word ][ chunks ][ epoch ][ 40 bytes unused ]   word: OPEN(g) | CLOSED(g)
//!
//! counts, everybody's
//! byte   0 [ cursor             | 56 bytes unused       ]
//!       64 [ remaining          | 56 bytes unused       ]
//! ```
//!
//! * `epoch` counts posts and recoveries of this job's place, and never goes back. A worker that
//!   swept the job remembers the epoch it began with, and looks again when there is a newer one.
//! * A job of one chunk has neither: nobody moves its `cursor` or its `remaining`, for the word of
//!   its chunk says all there is. A worker knows from `chunks`, which its claim pins; a small call
//!   then moves one line to the worker and back instead of three.
//! * `cursor` is a hint: the next chunk to try. A late worker of an older job may move it on; the
//!   chunk it skips is found by the sweep.
//! * `remaining` is how many chunks are still to end, or *less*: never more. A worker counts down
//!   before its chunk's word becomes DONE, when the chunk still pins the job, so that it can
//!   never count down the next one. A chunk whose worker died in between is counted down twice.
//!   So whoever finds zero *or less* after its own chunk ended reports the last one: perhaps too
//!   often, never too seldom. The count is signed.

use crate::memory::owner::{Owner, Word};
use crate::primitive::atomic::{AtomicU64, Ordering, fence_after_rmw};
use crate::primitive::line::Line;

/// Counts below minus this are nobody's: each death lowers a count by one chunk at most.
const LOWEST: i64 = 1 << 40;

const CLOSED: u8 = 0;
const OPEN: u8 = 1;

/// What the parent says of a job; drawn above.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct JobFront {
    word: AtomicU64,
    chunks: AtomicU64,
    epoch: AtomicU64,
}

/// What everybody counts of a job; drawn above.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct JobCounts {
    cursor: Line<AtomicU64>,
    remaining: Line<AtomicU64>,
}

/// What the parent knows of a place without looking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    pub(crate) generation: u32,
    pub(crate) epoch: u64,
    /// How many chunks the job there has; none without a job.
    pub(crate) chunks: Option<u32>,
}

#[cfg(not(gristmill_loom))]
const _: () = {
    assert!(size_of::<JobFront>() == 64);
    assert!(size_of::<JobCounts>() == 128);
};

/// Both parts of a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobHeader<'a> {
    pub(super) front: &'a JobFront,
    pub(super) counts: &'a JobCounts,
}

impl JobFront {
    /// That of a place without a job, to be written in place.
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU64::new(Word::new(CLOSED, Owner::NONE, 0).to_bits()),
            chunks: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
        }
    }
}

impl JobCounts {
    /// Those of a place without a job, to be written in place.
    pub(crate) fn new() -> Self {
        Self {
            cursor: Line(AtomicU64::new(0)),
            remaining: Line(AtomicU64::new(0)),
        }
    }

    /// About how many chunks are still to end.
    pub(super) fn remaining(&self) -> i64 {
        // Relaxed: a hint.
        self.remaining.0.load(Ordering::Relaxed).cast_signed()
    }
}

impl JobHeader<'_> {
    /// The generation of the next job here.
    #[cfg(test)]
    pub(super) fn next_generation(&self) -> u32 {
        // Relaxed: only the parent writes it.
        let last = Word::from_bits(self.front.word.load(Ordering::Relaxed));
        last.generation().wrapping_add(1)
    }

    /// CLOSED, or OPEN of a job that has ended -> OPEN(g), its chunks from `first` on being
    /// UNCLAIMED(g).
    pub(super) fn open(&self, generation: u32, chunks: u32, first: u32) {
        // Relaxed: published by the word below; a late worker of an older job that reads them
        // early clamps what it reads and claims nothing.
        self.front.chunks.store(chunks.into(), Ordering::Relaxed);
        self.counts.cursor.0.store(first.into(), Ordering::Relaxed);
        let left = u64::from(chunks - first);
        self.counts.remaining.0.store(left, Ordering::Relaxed);
        // ORDERING: B1, Release; publishes the chunks and what the job works on (`generation`).
        // Model: a_joined_job_is_whole.
        self.front.word.store(
            Word::new(OPEN, Owner::NONE, generation).to_bits(),
            Ordering::Release,
        );
        // Last. The place may say OPEN of a job that has ended: with the new epoch and the old
        // generation a worker would find nothing, and pass the new job over for good.
        self.bump_epoch();
    }

    pub(super) fn close(&self, generation: u32) {
        // Relaxed: it only stops workers from looking; all chunks have ended.
        self.front.word.store(
            Word::new(CLOSED, Owner::NONE, generation).to_bits(),
            Ordering::Relaxed,
        );
    }

    /// The generation of the open job, if one is open.
    pub(super) fn generation(&self) -> Option<u32> {
        // ORDERING: B1, Acquire; sees the chunks of the job (`open`).
        // Model: a_joined_job_is_whole.
        let word = Word::from_bits(self.front.word.load(Ordering::Acquire));
        (word.state() == OPEN).then(|| word.generation())
    }

    pub(super) fn epoch(&self) -> u64 {
        // ORDERING: B3, Acquire; whoever sees this epoch sees the previous job closed and all
        // chunks recovered before it (`bump_epoch`).
        // Model: a_recovered_chunk_is_swept_again, a_late_joiner_sees_the_next_post.
        self.front.epoch.load(Ordering::Acquire)
    }

    /// What stands there instead of what the parent wrote, if anything does. Without a job the
    /// number of chunks is nobody's concern.
    pub(super) fn fault(&self, state: Known) -> Option<u64> {
        let Known {
            generation,
            epoch,
            chunks,
        } = state;
        let state = if chunks.is_some() { OPEN } else { CLOSED };
        let word = Word::new(state, Owner::NONE, generation).to_bits();
        let JobFront {
            word: its_word,
            chunks: its_chunks,
            epoch: its_epoch,
        } = self.front;
        let wanted = [
            (its_word, Some(word)),
            (its_epoch, Some(epoch)),
            (its_chunks, chunks.map(u64::from)),
        ];
        wanted.into_iter().find_map(|(place, wanted)| {
            // Relaxed: only the parent writes them, and it looks under its own lock.
            let found = place.load(Ordering::Relaxed);
            wanted
                .is_some_and(|wanted| wanted != found)
                .then_some(found)
        })
    }

    /// Writes what the parent knows, when no worker lives; `left` chunks are still to end.
    pub(super) fn renew(&self, state: Known, left: u32) {
        self.front.epoch.store(state.epoch, Ordering::Relaxed);
        self.counts.cursor.0.store(0, Ordering::Relaxed);
        self.counts
            .remaining
            .0
            .store(left.into(), Ordering::Relaxed);
        let Some(chunks) = state.chunks else {
            return self.close(state.generation);
        };
        self.front.chunks.store(chunks.into(), Ordering::Relaxed);
        let word = Word::new(OPEN, Owner::NONE, state.generation);
        // ORDERING: B1, Release; as in `open`.
        self.front.word.store(word.to_bits(), Ordering::Release);
    }

    /// Puts a count right that nobody honest can have left, beside live workers: `most` chunks
    /// are still to end, seen before this call.
    ///
    /// Zero is right whatever they do meanwhile, for the count may be too low, and no worker makes
    /// it too high: it may have counted its chunk off before, and is part of `most` nevertheless.
    pub(super) fn mend(&self, most: u32) {
        // Relaxed: a hint, and what was seen settled was counted off before it.
        let found = self.counts.remaining.0.load(Ordering::Relaxed);
        let legal = -LOWEST..=i64::from(most);
        if !legal.contains(&found.cast_signed()) {
            // Relaxed: a hint. One that was counted down since is looked at again next time.
            let _ = self.counts.remaining.0.compare_exchange(
                found,
                0,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }

    /// Calls back the workers that swept.
    pub(super) fn bump_epoch(&self) {
        // Relaxed: only the parent writes it, under the lock of its books. So this need not be one
        // step, which would wait until every store before it has reached the other cores.
        let epoch = self.front.epoch.load(Ordering::Relaxed).wrapping_add(1);
        // ORDERING: B3, Release; what made chunks UNCLAIMED comes first (`epoch`).
        // Model: a_recovered_chunk_is_swept_again, a_late_joiner_sees_the_next_post.
        self.front.epoch.store(epoch, Ordering::Release);
    }

    /// Whether the job has one chunk, and so no counts.
    pub(super) fn is_single(&self) -> bool {
        self.chunks() == 1
    }

    /// How many chunks the header speaks of; any number.
    pub(super) fn chunks(&self) -> u64 {
        // Relaxed: seen with the open word (B1).
        self.front.chunks.load(Ordering::Relaxed)
    }

    /// The next chunk to try; any number.
    pub(super) fn cursor(&self) -> u64 {
        // Relaxed: a hint.
        self.counts.cursor.0.load(Ordering::Relaxed)
    }

    /// The next chunk to try, below `chunks`.
    pub(super) fn advance_cursor(&self, chunks: u32) -> Option<u32> {
        // Relaxed, both: a hint. The load keeps the cursor from running far past the end.
        if self.counts.cursor.0.load(Ordering::Relaxed) >= chunks.into() {
            return None;
        }
        let next = self.counts.cursor.0.fetch_add(1, Ordering::Relaxed);
        u32::try_from(next).ok().filter(|&next| next < chunks)
    }

    /// Counts chunks off; their words must end after it, or be ended by the parent.
    pub(super) fn count_down(&self, chunks: u32) {
        // Relaxed: `is_exhausted` fences.
        self.counts
            .remaining
            .0
            .fetch_sub(chunks.into(), Ordering::Relaxed);
    }

    /// Takes back the count of a chunk that was not ended after all; our own still pins the job.
    pub(super) fn count_up(&self) {
        // Relaxed: `is_exhausted` fences.
        self.counts.remaining.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether every chunk was counted off, asked right after an exchange that ended one.
    ///
    /// The fence is one half of the promise that the end of a job is noticed. Of all workers that
    /// end a chunk let X be the one whose fence comes last: all counts came before the fences of
    /// their workers, so X sees zero or less. The other half is the parent's: it fences after it
    /// armed its doorbell, and either its look at the chunks comes after the fence of X, or X
    /// sees the doorbell armed.
    pub(super) fn is_exhausted(&self) -> bool {
        // ORDERING: B5, SeqCst; its partner is the same fence in all other workers, and the one in
        // the parent's doorbell. Model: the_end_of_a_job_is_noticed.
        fence_after_rmw();
        self.remaining() <= 0
    }

    /// About how many chunks are still to end.
    pub(super) fn remaining(&self) -> i64 {
        self.counts.remaining()
    }
}

#[cfg(test)]
impl<'a> JobHeader<'a> {
    /// All words, for those that run wild.
    pub(super) fn words(self) -> [&'a AtomicU64; 5] {
        let JobFront {
            word,
            chunks,
            epoch,
        } = self.front;
        let JobCounts { cursor, remaining } = self.counts;
        [word, chunks, epoch, &cursor.0, &remaining.0]
    }

    /// Whatever a wild store may leave behind.
    pub(super) fn scribble(&self, mut bits: impl FnMut() -> u64) {
        for word in self.words() {
            word.store(bits(), Ordering::Relaxed);
        }
    }
}
