//! The control area: everything that parent and workers share besides the buffers.
//!
//! It lies at offset 0 of the region and is mapped writable by all. Drawn in `docs/protocol.md`:
//!
//! ```text
//! 0            4 KiB                                                        CONTROL_SIZE
//! | Identity   | Switches | ParkWords | WorkerRecords | ring | done | jobs | chunks | inline |
//! ```
//!
//! # Invariants
//! - Every field is an atomic, so `&Control` may be held by any number of processes.
//! - The parent believes nothing it reads here: states are matched exhaustively, offsets and
//!   lengths are checked against its private allocator before use.

#![expect(
    unsafe_code,
    reason = "views a checked range of the region as the control structure"
)]

use core::mem::{offset_of, size_of};
use core::ptr::NonNull;

use crate::board::{Board, CHUNKS, Chunk, JOBS, JobHeader};
use crate::memory::region::Region;
use crate::primitive::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::primitive::line::Line;
use crate::protocol::image::ImageId;
use crate::protocol::life::LifePage;
use crate::protocol::range::JobBody;
use crate::protocol::settings::{Setting, SettingsPage};
use crate::ring::{Cell, DoneBits, Ring, RingHeader, Slot};
use crate::sync::{Doorbell, ParkWord, Parking};

/// The most workers that a pool may have.
pub(crate) const WORKERS: usize = 1024;
/// Tasks that may be in the ring at once; more wait in the parent's backlog.
pub(crate) const SLOTS: usize = 4096;
/// Cells of the ring: twice the slots, so that stale hints never fill it.
pub(crate) const CELLS: usize = 2 * SLOTS;
/// Bytes beside each slot for arguments and results that fit.
pub(crate) const INLINE_SIZE: usize = 128;

const MAGIC: u64 = u64::from_le_bytes(*b"gristml\x01");

/// What both sides must agree on before anything else is believed.
#[repr(C, align(4096))]
struct Identity {
    magic: AtomicU64,
    layout: AtomicU64,
    region_size: AtomicU64,
    image: [AtomicU64; 4],
}

/// One worker's public face: 64 bytes, written by the worker unless said otherwise.
///
/// ```text
/// 0        8            16         24           32          36 .. 64
/// | status | arena      | arena    | report     | order (O) | load, reserved
/// |        | offset (P) | size (P) | offset     |           |
/// ```
/// `(P)`: written by the parent before the worker starts. `(O)`: by the parent at any time.
#[repr(C, align(64))]
pub(crate) struct WorkerRecord {
    pub(crate) status: AtomicU64,
    pub(crate) arena_offset: AtomicU64,
    pub(crate) arena_size: AtomicU64,
    /// Of the panic that ended its set-up.
    pub(crate) report: AtomicU64,
    /// An [`Order`].
    pub(crate) order: AtomicU32,
    /// Changes when the parent wants a future to be dropped.
    pub(crate) asked: AtomicU32,
    /// How many futures it polls, or all ones when it takes no task: a hint. Such by the parent
    /// too, when there is no worker.
    pub(crate) load: AtomicU32,
    reserved: [AtomicU32; 5],
}

const _: () = assert!(size_of::<WorkerRecord>() == 64);

/// What the parent wants of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Order {
    /// To take work.
    Serve,
    /// To wait, ready, until it is told to serve.
    Wait,
    /// To finish what it is at, take no more, and end.
    Retire,
}

impl WorkerRecord {
    /// What the parent wants; nonsense is an order to serve.
    pub(crate) fn order(&self) -> Order {
        // ORDERING: Acquire; pairs with the Release in `give_order`. Nothing hangs on it but that
        // a worker does not serve before the parent has done with the one before it.
        match self.order.load(Ordering::Acquire) {
            1 => Order::Wait,
            2 => Order::Retire,
            _ => Order::Serve,
        }
    }

    /// Tells the worker what it is to do, by the parent, who then wakes it.
    pub(crate) fn give_order(&self, order: Order) {
        // ORDERING: Release; pairs with the Acquire in `order`. A read-modify-write, so that a
        // fence may follow.
        self.order.swap(order as u32, Ordering::Release);
    }
}

/// Where a worker is in its life, with the incarnation it speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Not heard from yet.
    Starting,
    /// Attached, verified, taking work.
    Ready,
    /// As ready, and close to the last task that it may take: a successor should be there soon.
    Waning,
    /// As ready, and larger than it may be: to be told to retire when a successor is there.
    Overgrown,
    /// It takes no more work; futures that it has begun go on.
    Spent,
    /// It has nothing left, and is about to end.
    Ending,
    /// It refused the handshake, with the reason.
    Refused(Refusal),
    /// It could not apply a setting; the kernel's reason, or 0 and a report.
    Unsettled(Setting, u16),
}

/// Why a worker refused to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The shared memory does not begin with our magic number.
    #[error("the shared memory it was given is no pool's")]
    Magic,
    /// The control area is laid out differently: another version of the crate.
    #[error("it lays out shared memory differently")]
    Layout,
    /// The parent runs another executable.
    #[error("it runs another executable")]
    Image,
}

/// Beside the generation of a future that is to be dropped.
const ASKED: u64 = 1 << 32;

/// Codes of settings begin here.
const UNSETTLED: u64 = 16;

impl Status {
    pub(crate) const fn to_bits(self, incarnation: u16) -> u64 {
        let code = match self {
            Self::Starting => 0,
            Self::Ready => 1,
            Self::Refused(Refusal::Magic) => 2,
            Self::Refused(Refusal::Layout) => 3,
            Self::Refused(Refusal::Image) => 4,
            Self::Waning => 5,
            Self::Overgrown => 6,
            Self::Spent => 7,
            Self::Ending => 8,
            Self::Unsettled(setting, errno) => (UNSETTLED + setting as u64) | (errno as u64) << 16,
        };
        code << 16 | incarnation as u64
    }

    /// Whether a worker that says so has begun its service.
    pub(crate) const fn has_begun(self) -> bool {
        matches!(
            self,
            Self::Ready | Self::Waning | Self::Overgrown | Self::Spent | Self::Ending
        )
    }

    /// What the bits say of this incarnation; bits of another one, or nonsense, say nothing yet.
    pub(crate) fn from_bits(bits: u64, incarnation: u16) -> Self {
        if bits as u16 != incarnation {
            return Self::Starting;
        }
        match bits >> 16 {
            1 => Self::Ready,
            2 => Self::Refused(Refusal::Magic),
            3 => Self::Refused(Refusal::Layout),
            4 => Self::Refused(Refusal::Image),
            5 => Self::Waning,
            6 => Self::Overgrown,
            7 => Self::Spent,
            8 => Self::Ending,
            other => {
                let setting = (other & 0xffff).wrapping_sub(UNSETTLED) as usize;
                match (Setting::ALL.get(setting), other >> 16) {
                    (Some(&setting), errno @ 0..=0xffff) => Self::Unsettled(setting, errno as u16),
                    _ => Self::Starting,
                }
            }
        }
    }
}

/// The control area.
#[repr(C, align(4096))]
pub(crate) struct Control {
    identity: Identity,
    doorbell: Doorbell,
    open_jobs: Line<AtomicU64>,
    workers: Line<AtomicU64>,
    spinning: [AtomicU64; WORKERS / 64],
    parked: [AtomicU64; WORKERS / 64],
    parks: [ParkWord; WORKERS],
    records: [WorkerRecord; WORKERS],
    ring: RingHeader,
    cells: [Cell; CELLS],
    slots: [Slot; SLOTS],
    done: [AtomicU64; SLOTS / 64],
    jobs: [JobHeader; JOBS],
    bodies: [JobBody; JOBS],
    chunks: [Chunk; JOBS * CHUNKS],
    inline: [InlineBlock; SLOTS],
    settings: SettingsPage,
    waiter: Line<AtomicU64>,
    life: LifePage,
    cancels: [AtomicU64; SLOTS],
}

/// Bytes beside a slot; reached by offset only, never through a reference.
#[repr(C, align(64))]
struct InlineBlock(core::cell::UnsafeCell<[u8; INLINE_SIZE]>);

/// Bytes of the control area, a whole number of 2 MiB extents so that the buffers after it are
/// aligned to huge pages.
pub(crate) const CONTROL_SIZE: usize = size_of::<Control>().next_multiple_of(2 << 20);

// What `docs/protocol.md` draws.
const _: () = {
    assert!(size_of::<Identity>() == 4096);
    assert!(offset_of!(Identity, layout) == 8);
    assert!(offset_of!(Identity, region_size) == 16);
    assert!(offset_of!(Identity, image) == 24);
    assert!(offset_of!(Control, doorbell) == 0x1000);
    assert!(offset_of!(Control, open_jobs) == 0x1040);
    assert!(offset_of!(Control, workers) == 0x1080);
    assert!(offset_of!(Control, spinning) == 0x10c0);
    assert!(offset_of!(Control, parked) == 0x1140);
    assert!(offset_of!(Control, parks) == 0x11c0);
    assert!(offset_of!(Control, records) == 0x111c0);
    assert!(offset_of!(Control, ring) == 0x211c0);
    assert!(offset_of!(Control, cells) == 0x21280);
    assert!(offset_of!(Control, slots) == 0x31280);
    assert!(offset_of!(Control, done) == 0x71280);
    assert!(offset_of!(Control, jobs) == 0x71480);
    assert!(offset_of!(Control, bodies) == 0x74480);
    assert!(offset_of!(Control, chunks) == 0x76480);
    assert!(offset_of!(Control, inline) == 0x276480);
    assert!(offset_of!(Control, inline) + size_of::<[InlineBlock; SLOTS]>() == 0x2f6480);
    assert!(offset_of!(Control, settings) == 0x2f6480);
    assert!(offset_of!(Control, waiter) == 0x2f6580);
    assert!(offset_of!(Control, life) == 0x2f65c0);
    assert!(offset_of!(Control, cancels) == 0x2f6640);
    assert!(CONTROL_SIZE == 4 << 20);
};

/// Changes with anything that would make two builds read each other's bytes wrongly.
const LAYOUT: u64 = {
    let facts = [
        size_of::<Control>(),
        offset_of!(Control, ring),
        offset_of!(Control, slots),
        offset_of!(Control, jobs),
        offset_of!(Control, bodies),
        offset_of!(Control, chunks),
        offset_of!(Control, inline),
        size_of::<usize>(),
        INLINE_SIZE,
    ];
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut index = 0;
    while index < facts.len() {
        hash = (hash ^ facts[index] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        index += 1;
    }
    hash
};

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

    /// Brings the control area of a fresh region into being; `None` when the region is too small.
    ///
    /// Called once by the parent, before any worker exists, on committed memory. Every shared word
    /// is born through its own constructor; that some of them happen to be zero, as fresh memory
    /// is, is their business.
    pub(crate) fn create<'a>(
        region: &'a Region,
        workers: usize,
        image: &ImageId,
    ) -> Option<&'a Self> {
        Self::fill::<Doorbell>(region, offset_of!(Self, doorbell), 1, Doorbell::new)?;
        Self::fill::<ParkWord>(region, offset_of!(Self, parks), WORKERS, ParkWord::new)?;
        Self::fill::<RingHeader>(region, offset_of!(Self, ring), 1, RingHeader::new)?;
        Self::fill::<Cell>(region, offset_of!(Self, cells), CELLS, Cell::new)?;
        Self::fill::<Slot>(region, offset_of!(Self, slots), SLOTS, Slot::new)?;
        Self::fill::<JobHeader>(region, offset_of!(Self, jobs), JOBS, JobHeader::new)?;
        Self::fill::<Chunk>(region, offset_of!(Self, chunks), JOBS * CHUNKS, Chunk::new)?;
        let control = Self::of(region)?;
        // ORDERING: Relaxed throughout; the workers that read this are created afterwards, and
        // creating a process orders everything before it.
        let set = |word: &AtomicU64, value| word.store(value, Ordering::Relaxed);
        control.set_workers(workers, workers);
        set(&control.identity.layout, LAYOUT);
        set(&control.identity.region_size, region.size());
        for (word, value) in control.identity.image.iter().zip(image.to_words()) {
            set(word, value);
        }
        set(&control.identity.magic, MAGIC);
        Some(control)
    }

    /// Writes `count` fresh values from `offset` on.
    fn fill<T>(region: &Region, offset: usize, count: usize, new: fn() -> T) -> Option<()> {
        let first = region
            .pointer(offset as u64, count * size_of::<T>())?
            .cast::<T>();
        for index in 0..count {
            // SAFETY: `index < count`, and that many fit the range (checked above).
            let place = unsafe { first.add(index) };
            // SAFETY: in the mapping, aligned because the region begins on a 2 MiB boundary and
            // the offset is that of a field, writable in the process that created the region, and
            // nobody else knows it yet.
            unsafe { place.write(new()) };
        }
        Some(())
    }

    /// Checks that this area was laid out by the same build of the same program.
    pub(crate) fn verify(&self, region_size: u64, image: &ImageId) -> Result<(), Refusal> {
        // ORDERING: Relaxed; written before this process was created (see `create`).
        let get = |word: &AtomicU64| word.load(Ordering::Relaxed);
        if get(&self.identity.magic) != MAGIC {
            return Err(Refusal::Magic);
        }
        if get(&self.identity.layout) != LAYOUT || get(&self.identity.region_size) != region_size {
            return Err(Refusal::Layout);
        }
        let same = self.identity.image.iter().zip(image.to_words());
        if same.into_iter().any(|(word, value)| get(word) != value) {
            return Err(Refusal::Image);
        }
        Ok(())
    }

    /// The task ring.
    pub(crate) fn ring(&self) -> Ring<'_> {
        Ring::new(&self.ring, &self.cells, &self.slots)
    }

    /// The hints to finished tasks.
    pub(crate) fn done(&self) -> DoneBits<'_> {
        DoneBits(&self.done)
    }

    /// The board of range jobs.
    pub(crate) fn board(&self) -> Board<'_> {
        Board::new(&self.open_jobs.0, &self.jobs, &self.chunks)
    }

    /// The parameters of a posted job; `None` for a number out of range.
    pub(crate) fn job_body(&self, job: u32) -> Option<&JobBody> {
        self.bodies.get(job as usize)
    }

    /// The workers' parking places, as a worker sees them.
    pub(crate) fn parking(&self) -> Parking<'_> {
        // ORDERING: Relaxed; set before any worker was created.
        self.parking_of((self.workers.0.load(Ordering::Relaxed) >> 32) as usize)
    }

    /// So many parking places: the parent knows how many, whatever is written here.
    pub(crate) fn parking_of(&self, places: usize) -> Parking<'_> {
        let places = places.min(WORKERS);
        let bits = places.div_ceil(64);
        Parking::new(
            &self.parks[..places],
            &self.spinning[..bits],
            &self.parked[..bits],
        )
    }

    /// By the parent: a thread spins on this core for an outcome, or none does.
    pub(crate) fn note_waiter(&self, core: Option<u32>) {
        let bits = core.map_or(0, |core| u64::from(core) + 1);
        // ORDERING: Relaxed; a hint.
        self.waiter.0.store(bits, Ordering::Relaxed);
    }

    /// Whether a thread of the parent spins on this core for an outcome: a hint.
    pub(crate) fn waiter_spins_on(&self, core: u32) -> bool {
        // ORDERING: Relaxed; a hint.
        self.waiter.0.load(Ordering::Relaxed) == u64::from(core) + 1
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        // ORDERING: Relaxed; set before any worker was created.
        (self.workers.0.load(Ordering::Relaxed) as u32 as usize).min(WORKERS)
    }

    /// By the parent, before it starts a worker: how many serve at a time, and how many places
    /// there are, for those that wait to succeed them as well.
    pub(crate) fn set_workers(&self, workers: usize, places: usize) {
        // ORDERING: Relaxed; the workers that read this are created afterwards.
        let bits = workers as u64 | (places as u64) << 32;
        self.workers.0.store(bits, Ordering::Relaxed);
    }

    /// The parent's doorbell.
    pub(crate) fn doorbell(&self) -> &Doorbell {
        &self.doorbell
    }

    /// A worker's record; `None` for an index out of range.
    pub(crate) fn record(&self, worker: u16) -> Option<&WorkerRecord> {
        self.records.get(worker as usize)
    }

    /// What a worker does to itself at its start.
    pub(crate) fn settings(&self) -> &SettingsPage {
        &self.settings
    }

    /// Asks for the future in a slot to be dropped, by the parent, who then pokes its worker.
    pub(crate) fn ask_to_cancel(&self, slot: u32, generation: u32) {
        if let Some(word) = self.cancels.get(slot as usize) {
            // ORDERING: Relaxed; the worker looks after it was poked.
            word.store(ASKED | u64::from(generation), Ordering::Relaxed);
        }
    }

    /// Whether the future in a slot is to be dropped.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_asked_to_cancel(&self, slot: u32, generation: u32) -> bool {
        let word = self.cancels.get(slot as usize);
        // ORDERING: Relaxed; acquired with the record's word.
        word.is_some_and(|word| word.load(Ordering::Relaxed) == ASKED | u64::from(generation))
    }

    /// How a worker's life begins and ends.
    pub(crate) fn life(&self) -> &LifePage {
        &self.life
    }

    /// Offset in the region of the block beside a slot.
    pub(crate) const fn inline_offset(slot: u32) -> u64 {
        let index = slot as usize % SLOTS;
        (offset_of!(Control, inline) + index * INLINE_SIZE) as u64
    }
}

#[cfg(test)]
mod tests;
