//! The job board: chunks of range jobs, claimed one word at a time.
//!
//! A job is posted in one of a few places; each place has a fixed table of chunks. A chunk's word
//! is the truth about it ([`chunk`]); the job's cursor, its count of remaining chunks and the
//! bitmap of open jobs are hints ([`header`]). A worker joins an open job, claims chunks where the
//! cursor points, then sweeps the table once for any that are left, and remembers that it did.
//!
//! The steps, each one atomic operation; a process may die between any two:
//!
//! ```text
//! post      chunks, header | word OPEN | open bit
//! claim     cursor | word (linearises)
//! complete  write the output | remaining | word (linearises) | fence, remaining
//! take      cursor | word CANCELLED (linearises) | write the output | remaining | fence
//! recover   for each chunk of the dead: word | then the epoch
//! close     word CLOSED | open bit
//! ```

#[cfg(all(test, not(gristmill_loom)))]
mod broken;
#[cfg_attr(gristmill_loom, expect(dead_code, reason = "for the parent's audit"))]
mod check;
mod chunk;
mod header;
#[cfg(all(test, gristmill_loom))]
mod model;
mod take;
#[cfg(all(test, not(gristmill_loom)))]
mod tests;
#[cfg(all(test, not(gristmill_loom)))]
mod threads;

use crate::memory::owner::{Owner, Word};
use crate::primitive::atomic::{AtomicU64, Ordering, fence_after_rmw, full_fence};
use crate::primitive::prefetch;

pub(crate) use chunk::{Chunk, ChunkRange};
pub(crate) use header::{JobCounts, JobFront, Known};

use header::JobHeader;

/// How many jobs can be posted at a time: one bit each in the open bitmap.
pub(crate) const JOBS: usize = 64;

/// How many chunks a job can have in the product's layout.
pub(crate) const CHUNKS: usize = 1024;

/// How a chunk ended, as its worker tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// Its output is written.
    Done,
    /// The kernel failed; `detail` says more.
    Failed,
}

/// What to do with a chunk whose worker died.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Let another worker run it again.
    Retry,
    /// Give it up.
    Fail,
}

/// What a chunk's word says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum ChunkOutcome {
    /// Nobody has it.
    Unclaimed,
    /// This process works on it.
    Claimed(Owner),
    /// This process finished it.
    Done(Owner),
    /// This process failed, or died on it once too often.
    Failed(Owner),
    /// The parent took it back.
    Cancelled,
    /// The word speaks of no such chunk: the bytes were overwritten.
    Foreign(Word),
}

impl ChunkOutcome {
    /// Whether nothing more will happen to the chunk. Behind a word that was overwritten a worker
    /// may be at work.
    pub(crate) const fn is_settled(self) -> bool {
        matches!(self, Self::Done(_) | Self::Failed(_) | Self::Cancelled)
    }
}

/// What a worker learns when its chunk ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Completion {
    /// The chunk was taken from us: forget the output.
    Lost,
    /// Others are still at work, and the last of them will know.
    More,
    /// Perhaps the last chunk of the job: ring the parent.
    Last,
}

/// A posted job, as the parent remembers it: what it says beats what shared memory says.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Posted {
    job: u32,
    generation: u32,
    chunks: u32,
    /// All chunks before this one are settled.
    settled: u32,
}

impl Posted {
    /// The job's place on the board.
    pub(crate) fn job(&self) -> u32 {
        self.job
    }

    /// Which use of the place it is.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// How many chunks it has.
    pub(crate) fn chunks(&self) -> u32 {
        self.chunks
    }
}

/// An open job that a worker looks for chunks in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) struct Joined {
    /// The job's place on the board.
    pub(crate) job: u32,
    /// Which use of the place it is.
    pub(crate) generation: u32,
    /// The sweep epoch when we joined.
    epoch: u64,
}

/// What a worker remembers of each place: the epoch of its last sweep without a find.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Seen([u64; JOBS]);

impl Seen {
    /// Nothing yet. The first post has epoch 1.
    pub(crate) const fn new() -> Self {
        Self([0; JOBS])
    }
}

/// The board over its borrowed memory. Workers write to `counts` and `chunks` only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Board<'a> {
    open: &'a AtomicU64,
    fronts: &'a [JobFront],
    ranges: &'a [ChunkRange],
    counts: &'a [JobCounts],
    chunks: &'a [Chunk],
}

impl<'a> Board<'a> {
    /// A view of a board that lies in the five; the chunks are divided evenly among the jobs.
    ///
    /// # Panics
    /// Unless there are 1 to [`JOBS`] jobs and as many chunks for each: the layout is the
    /// caller's own, never read from shared memory.
    pub(crate) fn new(
        open: &'a AtomicU64,
        fronts: &'a [JobFront],
        ranges: &'a [ChunkRange],
        counts: &'a [JobCounts],
        chunks: &'a [Chunk],
    ) -> Self {
        assert!((1..=JOBS).contains(&fronts.len()) && fronts.len() == counts.len());
        assert!(!chunks.is_empty() && chunks.len().is_multiple_of(fronts.len()));
        assert!(ranges.len() == chunks.len());
        Self {
            open,
            fronts,
            ranges,
            counts,
            chunks,
        }
    }

    /// The entry of a chunk, for its detail.
    pub(crate) fn chunk(&self, job: u32, chunk: u32) -> &'a Chunk {
        &self.table(job)[chunk as usize]
    }

    /// First element and number of elements of a chunk, for its owner or the parent.
    pub(crate) fn range(&self, job: u32, chunk: u32) -> (u64, u64) {
        self.place_of(job, chunk).get()
    }

    fn table(&self, job: u32) -> &'a [Chunk] {
        let size = self.chunks.len() / self.counts.len();
        &self.chunks[job as usize * size..][..size]
    }

    fn place_of(&self, job: u32, chunk: u32) -> &'a ChunkRange {
        let size = self.ranges.len() / self.fronts.len();
        &self.ranges[job as usize * size..][..size][chunk as usize]
    }

    fn header(&self, job: u32) -> JobHeader<'a> {
        JobHeader {
            front: &self.fronts[job as usize],
            counts: &self.counts[job as usize],
        }
    }

    /// Says what a chunk of a job not yet posted covers.
    pub(crate) fn set_chunk(&self, job: u32, chunk: u32, start: u64, len: u64) {
        self.place_of(job, chunk).set(start, len);
    }

    /// Opens the job to all workers.
    ///
    /// The last step is a read-modify-write or a fence, so that waking workers may follow without
    /// one. The place may be that of a job that is settled and was not closed.
    ///
    /// The chunks before `first` the parent has done itself.
    ///
    /// # Panics
    /// If the table is smaller than `chunks`, or `first` is not among them.
    pub(crate) fn post_from(&self, job: u32, generation: u32, chunks: u32, first: u32) -> Posted {
        let (done, open) = self.table(job)[..chunks as usize].split_at(first as usize);
        done.iter().for_each(|chunk| chunk.withhold(generation));
        open.iter().for_each(|chunk| chunk.reset(generation));
        self.header(job).open(generation, chunks, first);
        // Relaxed: only the parent writes it.
        if self.open.load(Ordering::Relaxed) & 1 << job != 0 {
            // The last job here was not closed. Workers look at the place anyway, and the line of
            // the open bits need not go there and back.
            // ORDERING: P1, SeqCst; what a read-modify-write would be for whoever wakes workers
            // next (`sync/parking.rs`).
            full_fence();
        } else {
            // ORDERING: B6, Release; the word is OPEN before its bit is seen (`join`).
            // Model: an_open_bit_means_an_open_job.
            self.open.fetch_or(1 << job, Ordering::Release);
        }
        Posted {
            job,
            generation,
            chunks,
            settled: 0,
        }
    }

    /// About how many chunks are still to end: a hint, too low after a death.
    pub(crate) fn progress(&self, posted: &Posted) -> u32 {
        if posted.chunks == 1 {
            return self.chunk(posted.job, 0).seems_pending().into();
        }
        let left = self.header(posted.job).remaining();
        left.clamp(0, posted.chunks.into()) as u32
    }

    /// Whether one of these jobs seems to have no chunk left: a hint, and cheap enough to spin on.
    pub(crate) fn any_exhausted(&self, mut open: u64) -> bool {
        while open != 0 {
            let job = open.trailing_zeros();
            open &= open - 1;
            if self.is_exhausted(job) {
                return true;
            }
        }
        false
    }

    /// The same of one job.
    pub(crate) fn is_exhausted(&self, job: u32) -> bool {
        if job as usize >= self.fronts.len() {
            return false;
        }
        match self.header(job).is_single() {
            true => !self.chunk(job, 0).seems_pending(),
            false => self.header(job).remaining() <= 0,
        }
    }

    /// Asks for the lines that a worker reads first in a job's only, or first, chunk: all at once,
    /// where one after the other would cost as many trips between two cores.
    pub(crate) fn prefetch(&self, joined: Joined) {
        prefetch::to_read(self.place_of(joined.job, 0));
        prefetch::to_write(self.chunk(joined.job, 0));
    }

    /// About how many chunks nobody has begun: a hint.
    pub(crate) fn unclaimed(&self, posted: &Posted) -> u32 {
        if posted.chunks == 1 {
            let chunk = self.chunk(posted.job, 0);
            return chunk.is_unclaimed(posted.generation).into();
        }
        let next = self.header(posted.job).cursor();
        u64::from(posted.chunks).saturating_sub(next) as u32
    }

    /// Whether every chunk has ended: the truth. Looks at each ended chunk once in a job's life.
    pub(crate) fn settled(&self, posted: &mut Posted) -> bool {
        while posted.settled < posted.chunks {
            if !self.outcome(posted, posted.settled).is_settled() {
                return false;
            }
            posted.settled += 1;
        }
        true
    }

    /// What a chunk's word says.
    pub(crate) fn outcome(&self, posted: &Posted, chunk: u32) -> ChunkOutcome {
        self.chunk(posted.job, chunk).outcome(posted.generation)
    }

    /// Takes back every chunk that nobody has claimed; how many. Ask `settled` afterwards.
    pub(crate) fn cancel(&self, posted: &Posted) -> u32 {
        let header = self.header(posted.job);
        let table = &self.table(posted.job)[..posted.chunks as usize];
        let cancelled = table
            .iter()
            .filter(|chunk| chunk.cancel(posted.generation))
            .count() as u32;
        header.count_down(cancelled);
        // ORDERING: B5, SeqCst; a worker whose chunk ends now sees the lower count, or we see its
        // chunk (`is_exhausted`). Model: a_cancelled_job_settles.
        fence_after_rmw();
        cancelled
    }

    /// Takes from a reaped process what it held: `decide` chooses for each of its CLAIMED chunks
    /// between UNCLAIMED and FAILED. Then wake all workers, and ask `settled`.
    pub(crate) fn recover(
        &self,
        posted: &Posted,
        dead: Owner,
        mut decide: impl FnMut(u32) -> Verdict,
    ) {
        let header = self.header(posted.job);
        let table = &self.table(posted.job)[..posted.chunks as usize];
        let mut failed = 0;
        for (index, chunk) in (0..).zip(table) {
            let verdict = chunk.recover(dead, posted.generation, || decide(index));
            failed += u32::from(verdict == Some(Verdict::Fail));
        }
        // The dead may have counted some of them down already: then the count is too low, which
        // is allowed.
        header.count_down(failed);
        // Also when no chunk came back, for the epoch costs one sweep a worker and a missed chunk
        // would cost the job. It follows the words: a worker that sees the new epoch sees them.
        header.bump_epoch();
        // ORDERING: B5, SeqCst; as in `cancel`.
        fence_after_rmw();
    }

    /// Closes a settled job; its place may be used again.
    pub(crate) fn close(&self, posted: Posted) {
        self.header(posted.job).close(posted.generation);
        // Relaxed: a hint; whoever still sees the bit finds the word CLOSED, or nothing to claim.
        // Only the parent writes it, so this need not be one step (`bump_epoch`).
        let open = self.open.load(Ordering::Relaxed) & !(1 << posted.job);
        self.open.store(open, Ordering::Relaxed);
    }

    /// An open job that this worker has not swept in vain, the lowest place first.
    pub(crate) fn join(&self, seen: &Seen) -> Option<Joined> {
        // ORDERING: B6, Acquire; sees the word of each open job (`post`).
        // Model: an_open_bit_means_an_open_job.
        let mut open = self.open.load(Ordering::Acquire);
        while open != 0 {
            let job = open.trailing_zeros();
            open &= open - 1;
            if job as usize >= self.fronts.len() {
                continue;
            }
            let header = self.header(job);
            // The epoch first. The other way round a late worker could take the generation of one
            // job and the epoch of the next, find nothing, and skip the next one for good.
            let epoch = header.epoch();
            if seen.0[job as usize] == epoch {
                continue;
            }
            if let Some(generation) = header.generation() {
                return Some(Joined {
                    job,
                    generation,
                    epoch,
                });
            }
        }
        None
    }

    /// Whether another job than this one is open.
    pub(crate) fn has_others(&self, joined: Joined) -> bool {
        // Relaxed: a hint; whoever asks has fenced (parking).
        self.open.load(Ordering::Relaxed) & !(1 << joined.job) != 0
    }

    /// Takes a chunk: where the cursor points, else any that is left. `None`: there is none, and
    /// `join` will pass the job over until a chunk comes back.
    pub(crate) fn claim(&self, seen: &mut Seen, joined: Joined, me: Owner) -> Option<u32> {
        let header = self.header(joined.job);
        let table = self.table(joined.job);
        let chunks = header.chunks().min(table.len() as u64) as u32;
        // One chunk needs no cursor.
        let tries = if chunks == 1 { 0 } else { chunks };
        for _ in 0..tries {
            let Some(chunk) = header.advance_cursor(chunks) else {
                break;
            };
            if table[chunk as usize].claim(me, joined.generation) {
                return Some(chunk);
            }
        }
        let found = (0..chunks).find(|&chunk| table[chunk as usize].claim(me, joined.generation));
        if found.is_none() {
            seen.0[joined.job as usize] = joined.epoch;
        }
        found
    }

    /// For a worker whose chunk has failed, before it says so: cancels what nobody has begun, for
    /// there is no use in it any more.
    ///
    /// Its own chunk pins the job meanwhile. Whoever dies half-way has cancelled some of the
    /// chunks; the others are run in vain.
    pub(crate) fn give_up(&self, joined: Joined) {
        let header = self.header(joined.job);
        let chunks = (header.chunks() as usize).min(self.table(joined.job).len());
        for chunk in &self.table(joined.job)[..chunks] {
            if !chunk.is_unclaimed(joined.generation) {
                continue;
            }
            // Before the word, as in `complete`: a death in between leaves the count too low,
            // which is allowed; only the parent's own chunk may leave it too high.
            header.count_down(1);
            if !chunk.cancel(joined.generation) {
                header.count_up();
            }
        }
        // The fence of this worker's `complete` follows (`is_exhausted`).
    }

    /// Whether this job has one chunk only; for whoever has claimed one.
    pub(crate) fn is_single(&self, joined: Joined) -> bool {
        self.header(joined.job).is_single()
    }

    /// About how many chunks have ended, and how many have not: hints.
    pub(crate) fn tally(&self, job: u32) -> (u32, u32) {
        let header = self.header(job);
        let chunks = header.chunks().min(self.table(job).len() as u64) as u32;
        if chunks == 1 {
            // Whoever asks has it.
            return (0, 1);
        }
        let left = header.remaining().clamp(0, chunks.into()) as u32;
        (chunks - left, left)
    }

    /// Ends a chunk that we claimed.
    pub(crate) fn complete(
        &self,
        joined: Joined,
        me: Owner,
        chunk: u32,
        outcome: Outcome,
    ) -> Completion {
        let header = self.header(joined.job);
        let is_single = header.is_single();
        // Before the word: until it moves, the chunk pins the job, and the count is this job's.
        if !is_single {
            header.count_down(1);
        }
        if !self
            .chunk(joined.job, chunk)
            .complete(me, joined.generation, outcome)
        {
            return Completion::Lost;
        }
        if is_single {
            // ORDERING: B5, SeqCst; as in `is_exhausted`, where there is nothing to count.
            fence_after_rmw();
            Completion::Last
        } else if header.is_exhausted() {
            Completion::Last
        } else {
            Completion::More
        }
    }
}
