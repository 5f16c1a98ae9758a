//! The board between real threads, with outputs that are no atomics: a missing edge between who
//! writes them and who reads them is a race, which ThreadSanitizer tells (`.ci/sanitize`).

#![expect(unsafe_code, reason = "outputs are shared as the board says")]

use core::cell::UnsafeCell;
use std::thread;

use super::*;

const JOBS_HERE: usize = 2;
const TABLE: usize = 16;
const WORKERS: u16 = 3;
const ROUNDS: u64 = 400;

/// A job's input and the part of its output that belongs to one chunk.
struct Part(UnsafeCell<[u64; 2]>);

// SAFETY: the parent touches parts of jobs that are not open; of those that are, who holds the
// chunk's claim.
unsafe impl Sync for Part {}

#[test]
fn inputs_and_outputs_are_handed_over_whole() {
    let open = AtomicU64::new(0);
    let fronts: Vec<_> = (0..JOBS_HERE).map(|_| JobFront::new()).collect();
    let counts: Vec<_> = (0..JOBS_HERE).map(|_| JobCounts::new()).collect();
    let ranges: Vec<_> = (0..JOBS_HERE * TABLE).map(|_| ChunkRange::new()).collect();
    let chunks: Vec<_> = (0..JOBS_HERE * TABLE).map(|_| Chunk::new()).collect();
    let parts: Vec<_> = (0..JOBS_HERE * TABLE)
        .map(|_| Part(UnsafeCell::new([0; 2])))
        .collect();
    let over = AtomicU64::new(0);
    let board = Board::new(&open, &fronts, &ranges, &counts, &chunks);
    let part = |job: u32, chunk: u32| &parts[job as usize * TABLE + chunk as usize];
    thread::scope(|scope| {
        let worker = |index| {
            let (over, part) = (&over, &part);
            scope.spawn(move || {
                let me = Owner::new(index, 0);
                let mut seen = Seen::new();
                // Relaxed: it ends a loop, nothing else.
                while over.load(Ordering::Relaxed) == 0 {
                    let Some(joined) = board.join(&seen) else {
                        thread::yield_now();
                        continue;
                    };
                    while let Some(chunk) = board.claim(&mut seen, joined, me) {
                        let (_, len) = board.range(joined.job, chunk);
                        let place = part(joined.job, chunk).0.get();
                        // SAFETY: this thread holds the chunk.
                        let [input, _] = unsafe { place.read() };
                        // SAFETY: and still does.
                        unsafe { place.write([input, input + len]) };
                        let _ = board.complete(joined, me, chunk, Outcome::Done);
                    }
                }
            })
        };
        let workers: Vec<_> = (0..WORKERS).map(worker).collect();
        for round in 0..ROUNDS {
            let mut posted: Vec<_> = (0..JOBS_HERE as u32)
                .map(|job| {
                    let generation = board.begin(job);
                    let count = 1 + (round as u32 + job) % TABLE as u32;
                    for chunk in 0..count {
                        board.set_chunk(job, chunk, 0, round);
                        // SAFETY: the job is not open.
                        unsafe { part(job, chunk).0.get().write([u64::from(chunk), 0]) };
                    }
                    board.post(job, generation, count)
                })
                .collect();
            for mut posted in posted.drain(..) {
                while !board.settled(&mut posted) {
                    thread::yield_now();
                }
                for chunk in 0..posted.chunks() {
                    assert!(matches!(
                        board.outcome(&posted, chunk),
                        ChunkOutcome::Done(_)
                    ));
                    let input = u64::from(chunk);
                    // SAFETY: the chunk has ended, and the next job is not posted yet.
                    let found = unsafe { part(posted.job(), chunk).0.get().read() };
                    assert_eq!(found, [input, input + round]);
                }
                board.close(posted);
            }
        }
        over.store(1, Ordering::Relaxed);
        // One by one: the end of a scope is nothing that ThreadSanitizer sees.
        workers
            .into_iter()
            .for_each(|worker| worker.join().expect("no assertion failed"));
    });
}
