//! Random operations beside a stupid oracle, with deaths between any two steps, and hostile bytes.

use proptest::prelude::*;

use super::*;

const TABLE: usize = 8;

/// A board in plain memory.
struct Memory {
    open: AtomicU64,
    fronts: Vec<JobFront>,
    ranges: Vec<ChunkRange>,
    counts: Vec<JobCounts>,
    chunks: Vec<Chunk>,
}

impl Memory {
    fn new(jobs: usize) -> Self {
        Self {
            open: AtomicU64::new(0),
            fronts: (0..jobs).map(|_| JobFront::new()).collect(),
            ranges: (0..jobs * TABLE).map(|_| ChunkRange::new()).collect(),
            counts: (0..jobs).map(|_| JobCounts::new()).collect(),
            chunks: (0..jobs * TABLE).map(|_| Chunk::new()).collect(),
        }
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
}

/// How far a worker gets before it dies.
#[derive(Clone, Copy, Debug)]
enum DeathAfter {
    Cursor,
    Word,
    Count,
    Complete,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Post { job: u32, chunks: u32 },
    Work { worker: u16 },
    Complete { worker: u16 },
    Cancel { job: u32 },
    Die { worker: u16, death: DeathAfter },
    Close { job: u32 },
}

fn operation() -> impl Strategy<Value = Operation> {
    let job = 0..2_u32;
    let worker = 0..3_u16;
    let death = prop_oneof![
        Just(DeathAfter::Cursor),
        Just(DeathAfter::Word),
        Just(DeathAfter::Count),
        Just(DeathAfter::Complete),
    ];
    prop_oneof![
        2 => (job.clone(), 0..=TABLE as u32)
            .prop_map(|(job, chunks)| Operation::Post { job, chunks }),
        8 => worker.clone().prop_map(|worker| Operation::Work { worker }),
        8 => worker.clone().prop_map(|worker| Operation::Complete { worker }),
        1 => job.clone().prop_map(|job| Operation::Cancel { job }),
        2 => (worker, death).prop_map(|(worker, death)| Operation::Die { worker, death }),
        2 => job.prop_map(|job| Operation::Close { job }),
    ]
}

/// A worker: what it remembers, and the chunk that it holds.
struct Worker {
    incarnation: u16,
    seen: Seen,
    joined: Option<Joined>,
    held: Option<u32>,
}

impl Worker {
    fn new(incarnation: u16) -> Self {
        Self {
            incarnation,
            seen: Seen::new(),
            joined: None,
            held: None,
        }
    }
}

/// What is known of a posted job: its chunks, and who has them.
struct Known {
    posted: Posted,
    chunks: Vec<ChunkOutcome>,
}

struct Oracle<'a> {
    memory: &'a Memory,
    jobs: [Option<Known>; 2],
    workers: [Worker; 3],
}

impl Oracle<'_> {
    fn owner(&self, worker: u16) -> Owner {
        Owner::new(worker, self.workers[worker as usize].incarnation)
    }

    fn run(&mut self, operation: Operation) {
        let board = self.memory.board();
        match operation {
            Operation::Post { job, chunks } => {
                if self.jobs[job as usize].is_none() {
                    let generation = board.begin(job);
                    for chunk in 0..chunks {
                        board.set_chunk(job, chunk, u64::from(chunk) * 3, 3);
                    }
                    let posted = board.post(job, generation, chunks);
                    let chunks = vec![ChunkOutcome::Unclaimed; chunks as usize];
                    self.jobs[job as usize] = Some(Known { posted, chunks });
                }
            }
            Operation::Work { worker } => self.work(worker),
            Operation::Complete { worker } => self.complete(worker),
            Operation::Cancel { job } => {
                if let Some(known) = &mut self.jobs[job as usize] {
                    let mut expected = 0;
                    for chunk in &mut known.chunks {
                        if *chunk == ChunkOutcome::Unclaimed {
                            *chunk = ChunkOutcome::Cancelled;
                            expected += 1;
                        }
                    }
                    assert_eq!(board.cancel(&known.posted), expected);
                }
            }
            Operation::Die { worker, death } => self.die(worker, death),
            Operation::Close { job } => {
                let known = &mut self.jobs[job as usize];
                if known
                    .as_mut()
                    .is_some_and(|known| board.settled(&mut known.posted))
                {
                    board.close(known.take().expect("just seen").posted);
                }
            }
        }
        self.check();
    }

    /// Everybody's view of every chunk is the oracle's.
    fn check(&mut self) {
        let board = self.memory.board();
        for known in self.jobs.iter_mut().flatten() {
            for (index, &chunk) in (0..).zip(&known.chunks) {
                assert_eq!(board.outcome(&known.posted, index), chunk);
            }
            let left = known
                .chunks
                .iter()
                .filter(|chunk| !chunk.is_settled())
                .count();
            assert_eq!(board.settled(&mut known.posted), left == 0);
            let remaining = board.header(known.posted.job).remaining();
            // A job of one chunk has no count.
            let is_counted = known.chunks.len() != 1;
            assert!(
                !is_counted || remaining <= left as i64,
                "the count is never too high"
            );
            assert!(
                left > 0 || board.progress(&known.posted) == 0,
                "an ended job seems ended"
            );
        }
    }

    fn work(&mut self, worker: u16) {
        let me = self.owner(worker);
        let state = &mut self.workers[worker as usize];
        if state.held.is_some() {
            return;
        }
        let board = self.memory.board();
        // Joins once and keeps at it, so that it may come late to a job that is closed.
        if state.joined.is_none() {
            state.joined = board.join(&state.seen);
        }
        let Some(joined) = state.joined else {
            let unclaimed = self.jobs.iter().flatten().flat_map(|known| &known.chunks);
            assert!(
                unclaimed
                    .clone()
                    .all(|chunk| *chunk != ChunkOutcome::Unclaimed),
                "an unclaimed chunk is found"
            );
            return;
        };
        state.held = board.claim(&mut state.seen, joined, me);
        match state.held {
            None => state.joined = None,
            Some(chunk) => {
                let known = self.jobs[joined.job as usize]
                    .as_mut()
                    .expect("a claim pins the job");
                assert_eq!(known.posted.generation, joined.generation);
                assert_eq!(known.chunks[chunk as usize], ChunkOutcome::Unclaimed);
                assert_eq!(board.range(joined.job, chunk), (u64::from(chunk) * 3, 3));
                known.chunks[chunk as usize] = ChunkOutcome::Claimed(me);
            }
        }
    }

    fn complete(&mut self, worker: u16) {
        let me = self.owner(worker);
        let state = &mut self.workers[worker as usize];
        let (Some(joined), Some(chunk)) = (state.joined, state.held.take()) else {
            return;
        };
        let completion = self
            .memory
            .board()
            .complete(joined, me, chunk, Outcome::Done);
        let known = self.jobs[joined.job as usize]
            .as_mut()
            .expect("a claim pins the job");
        known.chunks[chunk as usize] = ChunkOutcome::Done(me);
        assert_ne!(completion, Completion::Lost);
        if known.chunks.iter().all(|chunk| chunk.is_settled()) {
            assert_eq!(completion, Completion::Last, "the last one says so");
        }
    }

    fn die(&mut self, worker: u16, death: DeathAfter) {
        let board = self.memory.board();
        let me = self.owner(worker);
        match death {
            DeathAfter::Cursor => {
                let open = self.workers[worker as usize].joined;
                if let Some(joined) = open {
                    let header = board.header(joined.job);
                    let _ = header.advance_cursor(header.chunks().min(TABLE as u64) as u32);
                }
            }
            DeathAfter::Word => self.work(worker),
            DeathAfter::Count => {
                self.work(worker);
                let state = &self.workers[worker as usize];
                if let (Some(joined), Some(_)) = (state.joined, state.held)
                    && !board.header(joined.job).is_single()
                {
                    board.header(joined.job).count_down(1);
                }
            }
            DeathAfter::Complete => self.complete(worker),
        }
        for known in self.jobs.iter_mut().flatten() {
            let chunks = &mut known.chunks;
            board.recover(&known.posted, me, |chunk| {
                assert_eq!(chunks[chunk as usize], ChunkOutcome::Claimed(me));
                let retry = chunk % 3 != 0;
                chunks[chunk as usize] = if retry {
                    ChunkOutcome::Unclaimed
                } else {
                    ChunkOutcome::Failed(me)
                };
                if retry { Verdict::Retry } else { Verdict::Fail }
            });
        }
        self.workers[worker as usize] = Worker::new(me.incarnation() + 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_chunk_ends_once(operations in prop::collection::vec(operation(), 0..300)) {
        let memory = Memory::new(2);
        let mut oracle = Oracle {
            memory: &memory,
            jobs: [None, None],
            workers: [0, 1, 2].map(|_| Worker::new(0)),
        };
        for operation in operations {
            oracle.run(operation);
        }
        // The end of the day: the workers finish what is there, and every job can be closed.
        for _ in 0..4 * TABLE {
            for worker in 0..3 {
                oracle.run(Operation::Complete { worker });
                oracle.run(Operation::Work { worker });
            }
        }
        for job in 0..2 {
            oracle.run(Operation::Close { job });
            prop_assert!(oracle.jobs[job as usize].is_none());
        }
        prop_assert_eq!(memory.open.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn wild_bytes_stop_nobody(seed in any::<u64>()) {
        let memory = Memory::new(3);
        let board = memory.board();
        let mut state = seed;
        let mut random = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            state.rotate_left(23) >> (state >> 58)
        };
        let me = Owner::new(1, 1);
        let mut seen = Seen::new();
        for round in 0..20 {
            let job = round % 3;
            let generation = board.begin(job);
            let mut posted = board.post(job, generation, TABLE as u32);
            memory.open.store(random(), Ordering::Relaxed);
            for header in (0..memory.fronts.len() as u32).map(|job| memory.board().header(job)) {
                header.scribble(&mut random);
            }
            for chunk in &memory.chunks {
                if random() % 2 == 0 {
                    chunk.scribble(random());
                }
            }
            prop_assert!(board.progress(&posted) <= TABLE as u32);
            if let Some(joined) = board.join(&seen)
                && let Some(chunk) = board.claim(&mut seen, joined, me)
            {
                prop_assert!((chunk as usize) < TABLE);
                let _ = board.complete(joined, me, chunk, Outcome::Failed);
            }
            board.recover(&posted, me, |_| Verdict::Retry);
            board.cancel(&posted);
            let _ = board.settled(&mut posted);
            for chunk in 0..TABLE as u32 {
                let _ = board.outcome(&posted, chunk);
            }
            board.close(posted);
        }
    }
}
