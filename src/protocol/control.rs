//! The control area: everything that parent and workers share besides the buffers.
//!
//! It lies at offset 0 of the region, in two halves of an extent each: what the parent says, which
//! workers map read-only, and what they write themselves. Drawn in `docs/protocol.md`:
//!
//! ```text
//! 0          4 KiB                                                                  2 MiB
//! | Identity | doorbell, open jobs, … | settings | arenas | job fronts, bodies, ranges | tasks |
//! 2 MiB                                                                             CONTROL_SIZE
//! | idle bits | ParkWords | WorkerRecords | ring | done | job counts | chunks | lanes |
//! ```
//!
//! # Invariants
//! - Every field is an atomic or bytes reached by offset, so `&Control` may be held by any number
//!   of processes.
//! - The parent believes nothing that it reads in the second half: states are matched
//!   exhaustively, offsets and lengths are checked against its private allocator before use.

#![expect(
    unsafe_code,
    reason = "views a checked range of the region as the control structure"
)]

mod callers;
mod drawing;
mod making;

use core::mem::{offset_of, size_of};
use core::ops::Range;
use core::ptr::NonNull;

use self::callers::Callers;
use self::drawing::LAYOUT;
pub(crate) use self::making::FIRST_SLOTS;
use crate::board::{Board, CHUNKS, Chunk, ChunkRange, JOBS, JobCounts, JobFront};
use crate::memory::region::{EXTENT_BYTES, Region};
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::primitive::line::Line;
use crate::protocol::gauge::Gauge;
use crate::protocol::image::ImageId;
use crate::protocol::lanes::{LANES, Shape};
use crate::protocol::life::LifePage;
use crate::protocol::range::JobBody;
use crate::protocol::record::ArenaPlace;
pub use crate::protocol::record::Refusal;
pub(crate) use crate::protocol::record::{Order, Orders, Status, WorkerRecord};
use crate::protocol::settings::SettingsPage;
use crate::protocol::task::TaskBody;
use crate::ring::{Cell, DoneBits, Lane, LaneRing, Ring, RingHeader, Slot};
use crate::sync::{Doorbell, ParkWord, Parking, SentryWord};

/// The most workers that a pool may have.
pub(crate) const WORKERS: usize = 1024;
/// Tasks that may be in the ring at once; more wait in the parent's backlog.
pub(crate) const SLOTS: usize = 4096;
/// Cells of the ring: twice the slots, so that stale hints never fill it.
pub(crate) const CELLS: usize = 2 * SLOTS;

/// Beside the generation of a future that is to be dropped.
const ASKED: u64 = 1 << 32;

const MAGIC: u64 = u64::from_le_bytes(*b"gristml\x01");

/// What both sides must agree on before anything else is believed.
#[repr(C, align(4096))]
struct Identity {
    magic: AtomicU64,
    layout: AtomicU64,
    region_size: AtomicU64,
    image: [AtomicU64; 4],
}

/// The control area.
#[repr(C)]
pub(crate) struct Control {
    read_only: ReadOnly,
    writable: Writable,
}

/// What the parent says: read-only in workers.
#[repr(C, align(2097152))]
struct ReadOnly {
    identity: Identity,
    doorbell: Doorbell,
    open_jobs: Line<AtomicU64>,
    workers: Line<AtomicU64>,
    callers: Line<Callers>,
    settings: SettingsPage,
    arenas: [ArenaPlace; WORKERS],
    fronts: [JobFront; JOBS],
    bodies: [JobBody; JOBS],
    ranges: [ChunkRange; JOBS * CHUNKS],
    tasks: [TaskBody; SLOTS],
    queues: Line<Queues>,
    life: LifePage,
    orders: [Orders; WORKERS],
    cancels: [AtomicU64; SLOTS],
}

/// What workers write.
#[repr(C, align(2097152))]
struct Writable {
    spinning: [AtomicU64; WORKERS / 64],
    parked: [AtomicU64; WORKERS / 64],
    parks: [ParkWord; WORKERS],
    records: [WorkerRecord; WORKERS],
    ring: RingHeader,
    cells: [Cell; CELLS],
    slots: [Slot; SLOTS],
    done: [AtomicU64; SLOTS / 64],
    counts: [JobCounts; JOBS],
    chunks: [Chunk; JOBS * CHUNKS],
    gauges: [Gauge; WORKERS],
    sentry: SentryWord,
    lanes: [LaneRing; LANES],
}

/// What workers must know of lanes.
#[derive(Debug)]
#[repr(C)]
struct Queues {
    count: AtomicU64,
    /// Not zero once a task may wait in a lane that is not the main one.
    lanes_in_use: AtomicU64,
    /// How many slots have memory: the first ones.
    slots: AtomicU64,
}

/// Bytes of the control area, a whole number of 2 MiB extents so that the buffers after it are
/// aligned to huge pages.
pub(crate) const CONTROL_SIZE: usize = size_of::<Control>();

/// What workers may write of it: an extent, so that no huge page is writable in part.
pub(crate) const WRITABLE: Range<u64> = EXTENT_BYTES..CONTROL_SIZE as u64;

impl Control {
    /// The control area of a region that [`Control::create`] has been called on.
    ///
    /// `None` when the region is too small to hold one.
    pub(crate) fn of(region: &Region) -> Option<&Control> {
        let start: NonNull<Control> = region.pointer(0, size_of::<Control>())?.cast();
        // SAFETY: the range lies in the mapping (checked), which the region keeps alive for the
        // lifetime of the borrow and which begins on a 2 MiB boundary; every bit pattern is a
        // valid `Control`, and all its fields are atomics or `UnsafeCell`s.
        Some(unsafe { start.as_ref() })
    }

    /// Checks that this area was laid out by the same build of the same program.
    pub(crate) fn verify(&self, region_size: u64, image: &ImageId) -> Result<(), Refusal> {
        // ORDERING: Relaxed; written before this process was created (see `create`).
        let get = |word: &AtomicU64| word.load(Ordering::Relaxed);
        if get(&self.read_only.identity.magic) != MAGIC {
            return Err(Refusal::Magic);
        }
        if get(&self.read_only.identity.layout) != LAYOUT
            || get(&self.read_only.identity.region_size) != region_size
        {
            return Err(Refusal::Layout);
        }
        let same = self.read_only.identity.image.iter().zip(image.to_words());
        if same.into_iter().any(|(word, value)| get(word) != value) {
            return Err(Refusal::Image);
        }
        Ok(())
    }

    /// The task ring.
    pub(crate) fn ring(&self) -> Ring<'_> {
        let Writable {
            ring, cells, slots, ..
        } = &self.writable;
        Ring::new(ring, cells, slots).with_used(&self.read_only.queues.0.slots)
    }

    /// One lane of the task ring; the main one, if there is none of that number.
    pub(crate) fn lane(&self, lane: Lane) -> Ring<'_> {
        let extra = lane.index().checked_sub(1);
        match extra.and_then(|extra| self.writable.lanes.get(extra)) {
            Some(ring) => self.ring().beside(lane, ring),
            None => self.ring(),
        }
    }

    /// Whether a task may wait in another lane than the main one.
    pub(crate) fn lanes_in_use(&self) -> bool {
        // ORDERING: Relaxed; a worker that goes to sleep looks after its fence, and the parent
        // writes before the task's hint, which comes before its own fence (`sync/parking.rs`).
        self.read_only.queues.0.lanes_in_use.load(Ordering::Relaxed) != 0
    }

    /// By the parent, before it leaves a hint in another lane than the main one.
    pub(crate) fn use_lanes(&self) {
        if !self.lanes_in_use() {
            // ORDERING: Relaxed; see `lanes_in_use`.
            self.read_only
                .queues
                .0
                .lanes_in_use
                .store(1, Ordering::Relaxed);
        }
    }

    /// How many workers and queues there are, as a worker sees it.
    pub(crate) fn shape(&self) -> Shape {
        // ORDERING: Relaxed; set before any worker was created.
        let queues = self.read_only.queues.0.count.load(Ordering::Relaxed);
        Shape::new(self.places(), queues as usize)
    }

    /// The hints to finished tasks.
    pub(crate) fn done(&self) -> DoneBits<'_> {
        DoneBits(&self.writable.done)
    }

    /// The board of range jobs.
    pub(crate) fn board(&self) -> Board<'_> {
        let (said, counted) = (&self.read_only, &self.writable);
        Board::new(
            &said.open_jobs.0,
            &said.fronts,
            &said.ranges,
            &counted.counts,
            &counted.chunks,
        )
    }

    /// Whether there seems to be a job: a hint.
    pub(crate) fn has_jobs(&self) -> bool {
        // ORDERING: Relaxed; a hint.
        self.read_only.open_jobs.0.load(Ordering::Relaxed) != 0
    }

    /// The parameters of a posted job; `None` for a number out of range.
    pub(crate) fn job_body(&self, job: u32) -> Option<&JobBody> {
        self.read_only.bodies.get(job as usize)
    }

    /// The workers' parking places, as a worker sees them.
    pub(crate) fn parking(&self) -> Parking<'_> {
        self.parking_of(self.places())
    }

    /// So many parking places: the parent knows how many, whatever is written here.
    pub(crate) fn parking_of(&self, places: usize) -> Parking<'_> {
        let places = places.min(WORKERS);
        let bits = places.div_ceil(64);
        Parking::new(
            &self.writable.parks[..places],
            &self.writable.spinning[..bits],
            &self.writable.parked[..bits],
            &self.writable.sentry,
        )
    }

    /// Where the parent's threads are that call workers.
    pub(crate) fn callers(&self) -> &Callers {
        &self.read_only.callers.0
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        // ORDERING: Relaxed; set before any worker was created.
        (self.read_only.workers.0.load(Ordering::Relaxed) as u32 as usize).min(WORKERS)
    }

    /// How many places for workers there are.
    fn places(&self) -> usize {
        // ORDERING: Relaxed; set before any worker was created.
        (self.read_only.workers.0.load(Ordering::Relaxed) >> 32) as usize
    }

    /// By the parent, before it starts a worker: how many serve at a time, and how many places
    /// there are, for those that wait to succeed them as well.
    fn set_workers(&self, workers: usize, places: usize) {
        // ORDERING: Relaxed; the workers that read this are created afterwards.
        let bits = workers as u64 | (places as u64) << 32;
        self.read_only.workers.0.store(bits, Ordering::Relaxed);
    }

    /// The parent's doorbell.
    pub(crate) fn doorbell(&self) -> &Doorbell {
        &self.read_only.doorbell
    }

    /// A worker's record; `None` for an index out of range.
    pub(crate) fn record(&self, worker: u16) -> Option<&WorkerRecord> {
        self.writable.records.get(worker as usize)
    }

    /// A worker's gauge; `None` for an index out of range.
    pub(crate) fn gauge(&self, worker: u16) -> Option<&Gauge> {
        self.writable.gauges.get(worker as usize)
    }

    /// What a worker does to itself at its start.
    pub(crate) fn settings(&self) -> &SettingsPage {
        &self.read_only.settings
    }

    /// What a worker is told while it lives; `None` for an index out of range.
    pub(crate) fn orders(&self, worker: u16) -> Option<&Orders> {
        self.read_only.orders.get(worker as usize)
    }

    /// Asks for the future in a slot to be dropped, by the parent, who then pokes its worker.
    pub(crate) fn ask_to_cancel(&self, slot: u32, generation: u32) {
        if let Some(word) = self.read_only.cancels.get(slot as usize) {
            // ORDERING: Relaxed; the worker looks after it was poked.
            word.store(ASKED | u64::from(generation), Ordering::Relaxed);
        }
    }

    /// Whether the future in a slot is to be dropped.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_asked_to_cancel(&self, slot: u32, generation: u32) -> bool {
        let word = self.read_only.cancels.get(slot as usize);
        // ORDERING: Relaxed; acquired with the word of the worker's orders.
        word.is_some_and(|word| word.load(Ordering::Relaxed) == ASKED | u64::from(generation))
    }

    /// How a worker's life begins and ends.
    pub(crate) fn life(&self) -> &LifePage {
        &self.read_only.life
    }

    /// Where a worker's arena is; `None` for an index out of range.
    pub(crate) fn arena(&self, worker: u16) -> Option<&ArenaPlace> {
        self.read_only.arenas.get(worker as usize)
    }

    /// What the task in a slot is.
    pub(crate) fn task(&self, slot: u32) -> &TaskBody {
        &self.read_only.tasks[slot as usize % SLOTS]
    }

    /// Offset in the region of the bytes in a slot's task for arguments of this size, which fits.
    pub(crate) const fn arguments_offset(slot: u32, size: usize) -> u64 {
        let index = slot as usize % SLOTS;
        let tasks = offset_of!(Self, read_only.tasks);
        (tasks + index * size_of::<TaskBody>() + TaskBody::arguments_offset(size)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::task::INLINE_SIZE;

    #[test]
    fn arguments_lie_where_workers_cannot_write() {
        for slot in [0, 1, SLOTS as u32 - 1, u32::MAX] {
            for (size, align) in [(1, 16), (16, 16), (17, 64), (INLINE_SIZE, 64)] {
                let offset = Control::arguments_offset(slot, size);
                assert_eq!(offset % align, 0);
                assert!(offset + size as u64 <= WRITABLE.start);
            }
        }
    }
}
