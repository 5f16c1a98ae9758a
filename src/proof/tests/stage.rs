//! Shared memory in small: all that processes share, with few enough slots to look at each.

#![expect(unsafe_code, reason = "views the region, saves and restores its bytes")]

use core::time::Duration;
use std::ptr::NonNull;

use super::audit::View;
use crate::board::{Board, Chunk, ChunkRange, JobCounts, JobFront};
use crate::memory::region::{EXTENT_BYTES, Region};
use crate::primitive::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::primitive::line::Line;
use crate::protocol::freed::{ARENA_HEADER_SIZE, Freed};
use crate::protocol::range::Span;
use crate::protocol::reply::ReplyBlock;
use crate::protocol::task::TaskBody;
use crate::ring::{Cell, DoneBits, Ring, RingHeader, Slot};
use crate::sync::{Doorbell, Futex, ParkWord, Parking, SentryWord};

pub(super) const SLOTS: usize = 4;
pub(super) const CHUNKS: usize = 4;
pub(super) const WORKERS: usize = 3;
const JOBS: usize = 2;

/// The structures, and what the actors note for the audit.
#[repr(C)]
struct Words {
    doorbell: Doorbell,
    open: Line<AtomicU64>,
    spinning: [AtomicU64; 1],
    parked: [AtomicU64; 1],
    parks: [ParkWord; WORKERS],
    sentry: SentryWord,
    ring: RingHeader,
    cells: [Cell; 2 * SLOTS],
    slots: [Slot; SLOTS],
    tasks: [TaskBody; SLOTS],
    replies: [ReplyBlock; WORKERS * SLOTS],
    done: [AtomicU64; 1],
    fronts: [JobFront; JOBS],
    ranges: [ChunkRange; JOBS * CHUNKS],
    counts: [JobCounts; JOBS],
    chunks: [Chunk; JOBS * CHUNKS],
    asleep: [AtomicU64; WORKERS],
    notes: [AtomicU64; NOTES],
}

const NOTES: usize = 8;
const WORDS_BYTES: usize = 16 << 10;
const _: () = assert!(size_of::<Words>() <= WORDS_BYTES);

/// What the worker's arena is.
pub(super) const ARENA: Span = Span {
    offset: EXTENT_BYTES,
    size: EXTENT_BYTES,
};

/// The bytes that a path may change: the structures, the head of the freed stack, the
/// first blocks.
const CHANGING: [(u64, usize); 3] = [
    (0, WORDS_BYTES),
    (ARENA.offset, 64),
    (ARENA.offset + ARENA_HEADER_SIZE, 4 << 10),
];

/// The bytes at one moment.
#[derive(PartialEq, Eq)]
pub(super) struct Saved(Vec<Vec<u8>>);

#[derive(Debug)]
pub(super) struct Stage {
    region: Region,
}

impl Stage {
    pub(super) fn new() -> Self {
        let region = Region::create(2 * EXTENT_BYTES).expect("memory");
        let words = Words {
            doorbell: Doorbell::new(),
            open: Line(AtomicU64::new(0)),
            spinning: [AtomicU64::new(0)],
            parked: [AtomicU64::new(0)],
            parks: std::array::from_fn(|_| ParkWord::new()),
            sentry: SentryWord::new(),
            ring: RingHeader::new(),
            cells: std::array::from_fn(|_| Cell::new()),
            slots: std::array::from_fn(|_| Slot::new()),
            tasks: std::array::from_fn(|_| TaskBody::new()),
            replies: std::array::from_fn(|_| ReplyBlock::new()),
            done: [AtomicU64::new(0)],
            fronts: std::array::from_fn(|_| JobFront::new()),
            ranges: std::array::from_fn(|_| ChunkRange::new()),
            counts: std::array::from_fn(|_| JobCounts::new()),
            chunks: std::array::from_fn(|_| Chunk::new()),
            asleep: std::array::from_fn(|_| AtomicU64::new(0)),
            notes: std::array::from_fn(|_| AtomicU64::new(0)),
        };
        // SAFETY: in the mapping, aligned to an extent, and nobody else knows it yet.
        unsafe { region.base().cast::<Words>().write(words) };
        Self { region }
    }

    fn words(&self) -> &Words {
        // SAFETY: written in `new`, all atomics, mapped as long as the region.
        unsafe { self.region.base().cast::<Words>().as_ref() }
    }

    pub(super) fn region(&self) -> &Region {
        &self.region
    }

    pub(super) fn view(&self) -> View<'_> {
        let words = self.words();
        View {
            ring: Ring::new(&words.ring, &words.cells, &words.slots),
            tasks: &words.tasks,
            replies: &words.replies,
            slots: SLOTS as u32,
            done: DoneBits(&words.done),
            board: Board::new(
                &words.open.0,
                &words.fronts,
                &words.ranges,
                &words.counts,
                &words.chunks,
            ),
            chunks: CHUNKS as u32,
            parking: Parking::new(&words.parks, &words.spinning, &words.parked, &words.sentry),
        }
    }

    pub(super) fn doorbell(&self) -> &Doorbell {
        &self.words().doorbell
    }

    pub(super) fn freed(&self) -> Freed<'_> {
        Freed::of(&self.region, ARENA).expect("an arena in the region")
    }

    /// The kernel's wait queues, as the actors of this stage see them.
    pub(super) fn kernel(&self) -> Sleepers<'_> {
        let words = self.words();
        Sleepers {
            first: words.parks.as_ptr().addr(),
            asleep: &words.asleep,
        }
    }

    /// Leaves a number for the audit.
    pub(super) fn note(&self, index: usize, value: u64) {
        self.words().notes[index].store(value, Ordering::Relaxed);
    }

    pub(super) fn noted(&self, index: usize) -> u64 {
        self.words().notes[index].load(Ordering::Relaxed)
    }

    fn at(&self, offset: u64, size: usize) -> NonNull<u8> {
        self.region.pointer(offset, size).expect("in the region")
    }

    /// The bytes as they are; every process that writes them is stopped.
    pub(super) fn save(&self) -> Saved {
        let copy = |(offset, size)| {
            let from = self.at(offset, size);
            let mut bytes = vec![0; size];
            // SAFETY: both are that large, apart, and nobody writes meanwhile.
            unsafe { from.copy_to_nonoverlapping(NonNull::from(&mut bytes[..]).cast(), size) };
            bytes
        };
        Saved(CHANGING.map(copy).into())
    }

    pub(super) fn restore(&self, saved: &Saved) {
        for ((offset, size), bytes) in CHANGING.into_iter().zip(&saved.0) {
            let to = self.at(offset, size);
            // SAFETY: both are that large, apart, and nobody reads or writes meanwhile.
            unsafe { to.copy_from_nonoverlapping(NonNull::from(&bytes[..]).cast(), size) };
        }
    }
}

/// Wait queues that can be looked into: a flag says that this worker sleeps in the kernel. It
/// stays asleep, whatever its word says, until somebody wakes it: as in the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sleepers<'a> {
    first: usize,
    asleep: &'a [AtomicU64],
}

impl Sleepers<'_> {
    fn flag(&self, word: &AtomicU32) -> &AtomicU64 {
        let distance = std::ptr::from_ref(word).addr() - self.first;
        &self.asleep[distance / size_of::<ParkWord>()]
    }

    pub(super) fn is_asleep(&self, worker: u16) -> bool {
        self.asleep[worker as usize].load(Ordering::Relaxed) != 0
    }
}

impl Futex for Sleepers<'_> {
    fn wait(&self, word: &AtomicU32, expected: u32, _: Option<Duration>) {
        // The kernel looks and falls asleep in one step; here a wake-up in between takes the flag
        // back.
        self.flag(word).store(1, Ordering::Relaxed);
        if word.load(Ordering::Relaxed) != expected {
            self.flag(word).store(0, Ordering::Relaxed);
        }
    }

    fn wake(&self, word: &AtomicU32, _: u32) {
        self.flag(word).store(0, Ordering::Relaxed);
    }
}
