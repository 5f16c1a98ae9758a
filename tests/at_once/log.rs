//! What each process did, when it began, and when it had ended: in memory that all of them share.

#![expect(unsafe_code, reason = "views an array's elements as atomics")]

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gristmill::{Array, Handle, Region};

pub(crate) const PROCESSES: usize = 3;
/// The most calls of one process.
pub(crate) const MOST: usize = 12;

/// Far more than any of this takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One call, of which nothing is 0 that has happened.
#[repr(C)]
struct Note {
    begun: AtomicU64,
    mark: AtomicU64,
    seen: AtomicU64,
    answer: AtomicU64,
    ended: AtomicU64,
}

#[repr(C)]
pub(crate) struct Log {
    clock: AtomicU64,
    arrived: AtomicU64,
    notes: [[Note; MOST]; PROCESSES],
}

/// Each access is ordered with all others: the stamps are about what comes before what.
const ORDER: Ordering = Ordering::SeqCst;

/// What was done, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<A> {
    pub(crate) act: A,
    pub(crate) begun: u64,
    /// When something happened in between that the act speaks of; or 0.
    pub(crate) mark: u64,
    /// Something that the act speaks of.
    pub(crate) seen: u64,
    /// `None`: the process died before it said so.
    pub(crate) answer: Option<u64>,
    /// `u64::MAX`: it has not.
    pub(crate) ended: u64,
}

impl<A> Call<A> {
    pub(crate) fn has_ended(&self) -> bool {
        self.answer.is_some()
    }

    /// Whether it went on when the other did.
    pub(crate) fn overlaps<B>(&self, other: &Call<B>) -> bool {
        self.begun < other.ended && other.begun < self.ended
    }
}

/// Where a call says more than its answer.
pub(crate) struct Aside<'a> {
    log: &'a Log,
    note: &'a Note,
}

impl Aside<'_> {
    /// It has come to what matters.
    pub(crate) fn mark(&self) {
        self.note.mark.store(self.log.tick(), ORDER);
    }

    pub(crate) fn saw(&self, what: u64) {
        self.note.seen.store(what, ORDER);
    }
}

impl Log {
    /// A moment, after all before.
    pub(crate) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, ORDER) + 1
    }

    /// The moment of the last thing that happened.
    pub(crate) fn now(&self) -> u64 {
        self.clock.load(ORDER)
    }

    /// Until all processes are here, so that they begin together; not for ever, if one has died.
    fn meet(&self) {
        let began = Instant::now();
        self.arrived.fetch_add(1, ORDER);
        while self.arrived.load(ORDER) < PROCESSES as u64 {
            assert!(began.elapsed() < PATIENCE, "another does not come");
            std::thread::yield_now();
        }
    }

    /// Plays what it is to do, by their places in `table`.
    pub(crate) fn run<A: Copy>(
        &self,
        who: usize,
        table: &[A],
        acts: &[u8],
        mut act: impl FnMut(A, u64, &Aside<'_>) -> u64,
    ) {
        self.meet();
        for ((index, &one), note) in acts.iter().enumerate().zip(&self.notes[who]) {
            note.begun.store(self.tick(), ORDER);
            let aside = Aside { log: self, note };
            let answer = act(table[one as usize], value(who, index), &aside);
            note.answer.store(answer, ORDER);
            note.ended.store(self.tick(), ORDER);
        }
    }

    /// The calls that a process has begun, each with the value that is its own.
    pub(crate) fn calls<A: Copy>(
        &self,
        who: usize,
        table: &[A],
        acts: &[u8],
    ) -> Vec<Call<(A, u64)>> {
        let all = acts.iter().enumerate().zip(&self.notes[who]);
        let call = |((index, &act), note): ((usize, &u8), &Note)| {
            // The end first: what comes before it is there if it is.
            let ended = note.ended.load(ORDER);
            Call {
                act: (table[act as usize], value(who, index)),
                begun: note.begun.load(ORDER),
                mark: note.mark.load(ORDER),
                seen: note.seen.load(ORDER),
                answer: (ended > 0).then(|| note.answer.load(ORDER)),
                ended: if ended > 0 { ended } else { u64::MAX },
            }
        };
        all.map(call).take_while(|call| call.begun > 0).collect()
    }

    /// A call of the test's own, which nobody else acts beside.
    pub(crate) fn own<A>(&self, act: A, call: impl FnOnce() -> u64) -> Call<(A, u64)> {
        let begun = self.tick();
        let answer = call();
        Call {
            act: (act, 0),
            begun,
            mark: 0,
            seen: 0,
            answer: Some(answer),
            ended: self.tick(),
        }
    }
}

/// Every call has a value of its own.
fn value(who: usize, index: usize) -> u64 {
    (who * MOST + index + 1) as u64
}

/// The log, as one process has it.
pub(crate) struct Shared {
    array: Array<u64>,
    log: NonNull<Log>,
}

impl Shared {
    pub(crate) fn new(region: &Region) -> Self {
        const { assert!(size_of::<Log>().is_multiple_of(8)) };
        Self::over(Array::new(region, &[0; size_of::<Log>() / 8]).unwrap())
    }

    pub(crate) fn open(name: [u64; 2]) -> Self {
        Self::over(crate::open(name))
    }

    fn over(array: Array<u64>) -> Self {
        assert_eq!(array.len() * 8, size_of::<Log>());
        let log = NonNull::from(&mut array.lock().unwrap()[..]).cast();
        Self { array, log }
    }

    pub(crate) fn handle(&self) -> Handle<Array<u64>> {
        self.array.handle()
    }
}

impl Deref for Shared {
    type Target = Log;

    fn deref(&self) -> &Log {
        // SAFETY: as large, aligned to 64, mapped as long as the array, and whoever has it looks at
        // it as a log, whose all-zero bytes are valid.
        unsafe { self.log.as_ref() }
    }
}
