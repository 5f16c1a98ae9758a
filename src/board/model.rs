//! Loom models of the board: every interleaving, of a few steps, of a few threads.
//!
//! The payload is a loom cell a chunk, standing for its part of the output: an access that is not
//! ordered after the last one fails the model.

#![expect(unsafe_code, reason = "loom's cells hand out raw pointers")]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::primitive::atomic::fence;
use crate::primitive::model::{explore, explore_bounded, others_first};

/// A board on the heap: one place, a few chunks, with payloads.
struct Memory {
    open: AtomicU64,
    fronts: Vec<JobFront>,
    ranges: Vec<ChunkRange>,
    counts: Vec<JobCounts>,
    chunks: Vec<Chunk>,
    payloads: Vec<UnsafeCell<u32>>,
}

impl Memory {
    fn new(chunks: usize) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicU64::new(0),
            fronts: vec![JobFront::new()],
            ranges: (0..chunks).map(|_| ChunkRange::new()).collect(),
            counts: vec![JobCounts::new()],
            chunks: (0..chunks).map(|_| Chunk::new()).collect(),
            payloads: (0..chunks).map(|_| UnsafeCell::new(0)).collect(),
        })
    }

    fn board(&self) -> Board<'_> {
        Board::new(
            &self.open,
            &self.fronts,
            &self.ranges,
            &self.counts,
            &self.chunks,
        )
    }

    fn write(&self, chunk: u32, value: u32) {
        self.payloads[chunk as usize].with_mut(|payload| {
            // SAFETY: loom has checked that no other access is concurrent.
            unsafe { *payload = value }
        });
    }

    fn read(&self, chunk: u32) -> u32 {
        self.payloads[chunk as usize].with(|payload| {
            // SAFETY: loom has checked that no write is concurrent.
            unsafe { *payload }
        })
    }

    fn post(&self, chunks: u32) -> Posted {
        let generation = self.board().begin(0);
        for chunk in 0..chunks {
            self.board()
                .set_chunk(0, chunk, u64::from(10 * chunk), u64::from(generation));
            self.write(chunk, 1);
        }
        self.board().post(0, generation, chunks)
    }

    /// A worker's day while there is work: the chunks it ended.
    fn work(&self, me: Owner, seen: &mut Seen) -> Vec<u32> {
        let mut ended = Vec::new();
        while let Some(joined) = self.board().join(seen) {
            while let Some(chunk) = self.board().claim(seen, joined, me) {
                self.write(chunk, 2);
                let _ = self.board().complete(joined, me, chunk, Outcome::Done);
                ended.push(chunk);
            }
        }
        ended
    }
}

const fn worker(index: u16) -> Owner {
    Owner::new(index, 0)
}

#[test]
fn a_joined_job_is_whole() {
    explore(|| {
        let memory = Memory::new(1);
        let parent = Arc::clone(&memory);
        let parent = thread::spawn(move || {
            parent.write(0, 1);
            let generation = parent.board().begin(0);
            parent.board().set_chunk(0, 0, 10, 20);
            parent.board().post(0, generation, 1);
        });
        others_first();
        // Past the bitmap, which orders by itself.
        if let Some(generation) = memory.board().header(0).generation() {
            let joined = Joined {
                job: 0,
                generation,
                epoch: 1,
            };
            let chunk = memory.board().claim(&mut Seen::new(), joined, worker(0));
            assert_eq!(chunk, Some(0), "the chunk is there before the job is open");
            assert_eq!(memory.board().range(0, 0), (10, 20));
            assert_eq!(memory.read(0), 1);
        }
        parent.join().unwrap();
    });
}

#[test]
fn an_open_bit_means_an_open_job() {
    explore(|| {
        let memory = Memory::new(1);
        let parent = Arc::clone(&memory);
        let parent = thread::spawn(move || {
            parent.post(1);
        });
        // A thread of its own, for loom hides what was seen before a yield.
        let worker = Arc::clone(&memory);
        let worker = thread::spawn(move || {
            let open = worker.open.load(Ordering::Relaxed) != 0;
            // A worker that sees the bit and nothing behind it would go to sleep.
            assert!(worker.board().join(&Seen::new()).is_some() || !open);
        });
        parent.join().unwrap();
        worker.join().unwrap();
    });
}

#[test]
fn a_chunk_is_claimed_once() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(2);
        let mut posted = memory.post(2);
        let workers = [0, 1].map(|index| {
            let memory = Arc::clone(&memory);
            thread::spawn(move || memory.work(worker(index), &mut Seen::new()))
        });
        let mut ended = workers.map(|worker| worker.join().unwrap()).concat();
        ended.sort_unstable();
        assert_eq!(ended, [0, 1]);
        assert!(memory.board().settled(&mut posted));
        assert_eq!(memory.board().progress(&posted), 0);
    });
}

#[test]
fn a_settled_job_has_its_output() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(1);
        let mut posted = memory.post(1);
        let hand = Arc::clone(&memory);
        let hand = thread::spawn(move || hand.work(worker(0), &mut Seen::new()));
        others_first();
        if memory.board().settled(&mut posted) {
            assert_eq!(memory.read(0), 2);
        }
        hand.join().unwrap();
        assert!(memory.board().settled(&mut posted));
    });
}

#[test]
fn a_recovered_chunk_is_handed_over() {
    explore(|| {
        let memory = Memory::new(1);
        let posted = memory.post(1);
        let joined = memory.board().join(&Seen::new()).unwrap();
        assert!(memory.chunks[0].claim(worker(0), joined.generation));
        let parent = Arc::clone(&memory);
        let parent = thread::spawn(move || {
            parent.board().recover(&posted, worker(0), |chunk| {
                parent.write(chunk, 5);
                Verdict::Retry
            });
        });
        others_first();
        if memory.chunks[0].claim(worker(1), joined.generation) {
            assert_eq!(memory.read(0), 5);
        }
        parent.join().unwrap();
    });
}

#[test]
fn a_recovered_chunk_is_swept_again() {
    explore(|| {
        let memory = Memory::new(1);
        let posted = memory.post(1);
        let mut seen = Seen::new();
        let joined = memory.board().join(&seen).unwrap();
        assert_eq!(
            memory.board().claim(&mut Seen::new(), joined, worker(0)),
            Some(0)
        );
        let parent = Arc::clone(&memory);
        let parent = thread::spawn(move || {
            parent
                .board()
                .recover(&posted, worker(0), |_| Verdict::Retry);
        });
        // A thread of its own, for loom hides what was seen before a yield.
        let sweeper = Arc::clone(&memory);
        let sweeper = thread::spawn(move || {
            let early = sweeper.work(worker(1), &mut seen);
            (early, seen)
        });
        parent.join().unwrap();
        let (early, mut seen) = sweeper.join().unwrap();
        let late = memory.work(worker(1), &mut seen);
        assert_eq!([early, late].concat(), [0]);
    });
}

#[test]
fn a_late_joiner_sees_the_next_post() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(1);
        let mut first = memory.post(1);
        let worked = memory.work(worker(0), &mut Seen::new());
        assert_eq!(worked, [0]);
        assert!(memory.board().settled(&mut first));
        let late = Arc::clone(&memory);
        let late = thread::spawn(move || {
            let mut seen = Seen::new();
            let ended = late.work(worker(1), &mut seen);
            (seen, ended)
        });
        memory.board().close(first);
        let mut second = memory.post(1);
        let (mut seen, early) = late.join().unwrap();
        let rest = memory.work(worker(1), &mut seen);
        assert_eq!([early, rest].concat(), [0]);
        assert!(memory.board().settled(&mut second));
    });
}

#[test]
fn a_job_over_one_that_was_not_closed_is_found() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(1);
        let mut first = memory.post(1);
        let worked = memory.work(worker(0), &mut Seen::new());
        assert_eq!(worked, [0]);
        assert!(memory.board().settled(&mut first));
        let late = Arc::clone(&memory);
        let late = thread::spawn(move || {
            let mut seen = Seen::new();
            let ended = late.work(worker(1), &mut seen);
            (seen, ended)
        });
        let mut second = memory.post(1);
        let (mut seen, early) = late.join().unwrap();
        let rest = memory.work(worker(1), &mut seen);
        assert_eq!([early, rest].concat(), [0]);
        assert!(memory.board().settled(&mut second));
    });
}

#[test]
fn a_late_worker_counts_down_its_own_job() {
    explore_bounded(Some(2), || {
        let memory = Memory::new(2);
        let mut first = memory.post(2);
        let late = Arc::clone(&memory);
        let late = thread::spawn(move || late.work(worker(0), &mut Seen::new()));
        while !memory.board().settled(&mut first) {
            thread::yield_now();
        }
        memory.board().close(first);
        let second = memory.post(2);
        let mine = memory.work(worker(1), &mut Seen::new());
        if mine.len() < 2 {
            late.join().unwrap();
        } else {
            assert_eq!(
                memory.board().header(0).remaining(),
                0,
                "neither too high nor too low"
            );
            late.join().unwrap();
        }
        drop(second);
    });
}

/// The parent's half of the promise: arm, look, sleep if there is nothing. True: it would sleep.
fn parent_sleeps(memory: &Memory, posted: &mut Posted, armed: &AtomicU64) -> bool {
    armed.store(1, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    !memory.board().settled(posted)
}

#[test]
fn the_end_of_a_job_is_noticed() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(2);
        let mut posted = memory.post(2);
        let generation = posted.generation();
        let armed = Arc::new(AtomicU64::new(0));
        let workers = [0, 1].map(|index| {
            let memory = Arc::clone(&memory);
            let armed = Arc::clone(&armed);
            thread::spawn(move || {
                let me = worker(index);
                let joined = Joined {
                    job: 0,
                    generation,
                    epoch: 1,
                };
                let chunk = u32::from(index);
                assert!(memory.chunks[chunk as usize].claim(me, generation));
                let completion = memory.board().complete(joined, me, chunk, Outcome::Done);
                completion == Completion::Last && armed.load(Ordering::Relaxed) == 1
            })
        });
        others_first();
        let sleeps = parent_sleeps(&memory, &mut posted, &armed);
        let rung = workers.map(|worker| worker.join().unwrap());
        assert!(!sleeps || rung.contains(&true), "asleep for ever");
    });
}

#[test]
fn the_end_of_a_single_chunk_is_noticed() {
    explore(|| {
        let memory = Memory::new(1);
        let mut posted = memory.post(1);
        let armed = Arc::new(AtomicU64::new(0));
        let hand = Arc::clone(&memory);
        let bell = Arc::clone(&armed);
        let hand = thread::spawn(move || {
            let mut seen = Seen::new();
            let joined = hand.board().join(&seen).unwrap();
            let chunk = hand.board().claim(&mut seen, joined, worker(0)).unwrap();
            let completion = hand
                .board()
                .complete(joined, worker(0), chunk, Outcome::Done);
            completion == Completion::Last && bell.load(Ordering::Relaxed) == 1
        });
        others_first();
        let sleeps = parent_sleeps(&memory, &mut posted, &armed);
        let rung = hand.join().unwrap();
        assert!(!sleeps || rung, "asleep for ever");
    });
}

/// A worker's share in the job that is open: how many chunks it ended, and whether it rang.
fn works_and_rings(memory: &Memory, armed: &AtomicU64) -> (u32, bool) {
    let (mut ended, mut rung) = (0, false);
    let mut seen = Seen::new();
    let Some(joined) = memory.board().join(&seen) else {
        return (ended, rung);
    };
    while let Some(chunk) = memory.board().claim(&mut seen, joined, worker(0)) {
        memory.write(chunk, 2);
        let completion = memory
            .board()
            .complete(joined, worker(0), chunk, Outcome::Done);
        rung |= completion == Completion::Last && armed.load(Ordering::Relaxed) == 1;
        ended += 1;
    }
    (ended, rung)
}

#[test]
fn a_cancelled_job_settles() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(2);
        let mut posted = memory.post(2);
        let armed = Arc::new(AtomicU64::new(0));
        let (hand, bell) = (Arc::clone(&memory), Arc::clone(&armed));
        let hand = thread::spawn(move || works_and_rings(&hand, &bell));
        others_first();
        let cancelled = memory.board().cancel(&posted);
        let sleeps = parent_sleeps(&memory, &mut posted, &armed);
        let (ended, rung) = hand.join().unwrap();
        assert_eq!(ended + cancelled, 2, "each chunk ends once");
        assert!(!sleeps || rung, "asleep for ever");
        assert!(memory.board().settled(&mut posted));
    });
}

#[test]
fn a_job_that_the_parent_helps_with_settles() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(2);
        let mut posted = memory.post(2);
        let armed = Arc::new(AtomicU64::new(0));
        let (hand, bell) = (Arc::clone(&memory), Arc::clone(&armed));
        let hand = thread::spawn(move || works_and_rings(&hand, &bell));
        others_first();
        let mut own = 0;
        while let Some(chunk) = memory.board().take(&posted) {
            memory.write(chunk, 2);
            memory.board().count_taken(&posted);
            own += 1;
        }
        let sleeps = parent_sleeps(&memory, &mut posted, &armed);
        let (ended, rung) = hand.join().unwrap();
        assert_eq!(ended + own, 2, "each chunk ends once");
        assert!(!sleeps || rung, "asleep for ever");
        assert!(memory.board().settled(&mut posted));
        assert_eq!(memory.read(0) + memory.read(1), 4);
    });
}
