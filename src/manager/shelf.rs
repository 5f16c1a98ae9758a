//! A table as an object of a region: where its parts are, who writes, and who reads.
//!
//! ```text
//!     0  records at most | slots | units | unused                                   64
//!    64  the latch                                                                 192
//!   256  the table's header                                                         64
//!   320  readers: 16 bytes for each of 256 members                                4096
//!  4416  records given up: 256 of 16 bytes                                        4096
//!  8512  slots of 16 bytes | a bit for each unit, in whole lines | units of 64 bytes
//! ```

#![expect(unsafe_code, reason = "finds the parts of an object")]

use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use std::sync::Arc;

use super::latch::{Latch, Latched, Patience};
use crate::commons::{BlockName, Kind, MEMBERS, Region, Seat};
use crate::error::{Error, RegionError, ShareError};
use crate::memory::owner::Owner;
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::protocol::name::Name;
use crate::table::{self, Full, Pin, Pins, RETIRED, Slot, Table, TableHeader, UNIT_BYTES, Writer};

const LATCH_AT: u64 = 64;
const HEADER_AT: u64 = 256;
const PINS_AT: u64 = 320;
const RETIRED_AT: u64 = PINS_AT + (MEMBERS * size_of::<Pins>()) as u64;
const SLOTS_AT: u64 = RETIRED_AT + (RETIRED * size_of::<Slot>()) as u64;

const _: () = assert!(LATCH_AT as usize + size_of::<Latch>() == HEADER_AT as usize);
const _: () = assert!(HEADER_AT as usize + size_of::<TableHeader>() == PINS_AT as usize);
const _: () = assert!(SLOTS_AT == 8512);

/// The most records of a table.
const MOST_RECORDS: usize = 1 << 24;

/// How large a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    records: u64,
    slots: u64,
    units: u64,
}

impl Plan {
    fn new(records: usize, bytes: usize, kind: table::Kind) -> Option<Self> {
        if records == 0 || records > MOST_RECORDS || bytes == 0 {
            return None;
        }
        // A map is searched: half of it is empty.
        let slots = match kind {
            table::Kind::Map => 2 * records,
            table::Kind::List => records,
        };
        // What a record has in front of it, and is rounded up to, is not the caller's to count.
        let units = bytes.div_ceil(UNIT_BYTES).checked_add(records)?;
        let plan = Self {
            records: records as u64,
            slots: slots.next_power_of_two() as u64,
            units: units as u64,
        };
        (units <= table::MOST_UNITS as usize).then_some(plan)
    }

    fn space_at(self) -> u64 {
        SLOTS_AT + self.slots * size_of::<Slot>() as u64
    }

    fn space_words(self) -> u64 {
        self.units.div_ceil(64)
    }

    fn arena_at(self) -> u64 {
        (self.space_at() + 8 * self.space_words()).next_multiple_of(UNIT_BYTES as u64)
    }

    fn size(self) -> u64 {
        self.arena_at() + self.units * UNIT_BYTES as u64
    }

    /// What an object says of itself, if that is so.
    fn read(seat: &Seat) -> Option<Self> {
        if seat.size() < SLOTS_AT {
            return None;
        }
        let words = words(seat, 0, 3);
        // ORDERING: Relaxed; written before anybody could open the object.
        let word = |index: usize| words[index].load(Ordering::Relaxed);
        let plan = Self {
            records: word(0),
            slots: word(1),
            units: word(2),
        };
        let is_sane = plan.slots.is_power_of_two()
            && plan.slots <= 2 * MOST_RECORDS as u64
            && plan.units <= table::MOST_UNITS.into();
        (is_sane && plan.size() == seat.size()).then_some(plan)
    }
}

/// A table in a region, as this process has it.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    seat: Seat,
    plan: Plan,
    kind: table::Kind,
}

fn words(seat: &Seat, at: u64, count: usize) -> &[AtomicU64] {
    // SAFETY: inside the object by the caller's plan; any bytes are atomics.
    unsafe { core::slice::from_raw_parts(seat.at(at).cast().as_ptr(), count) }
}

fn latch(seat: &Seat) -> &Latch {
    // SAFETY: every object of these kinds has a latch there; any bytes are one.
    unsafe { seat.at(LATCH_AT).cast().as_ref() }
}

impl Shelf {
    /// Makes a table of so many records, with so many bytes for them.
    pub(super) fn create(
        region: &Region,
        object: &Kind,
        kind: table::Kind,
        records: usize,
        bytes: usize,
    ) -> Result<Self, ShareError> {
        let plan = Plan::new(records, bytes, kind).ok_or_else(|| Error::InvalidArgument {
            what: "size of a shared map or list",
            found: format!("{records} records of {bytes} bytes in all"),
            wanted: "1 to 2^24 records, and at least 1 byte".into(),
        })?;
        let seat = Seat::create(region, object, plan.size(), |start| {
            // SAFETY: a new object of that size, which nobody else has; each part is inside.
            unsafe { write(start, plan) }
        })?;
        Ok(Self { seat, plan, kind })
    }

    /// The table of this name.
    pub(super) fn open(name: Name, object: &Kind, kind: table::Kind) -> Result<Self, ShareError> {
        let seat = Seat::open(name, object)?;
        let plan = Plan::read(&seat).ok_or_else(|| {
            let found = "a table whose parts are not where they were".into();
            Error::from(RegionError::Foreign { found })
        })?;
        Ok(Self { seat, plan, kind })
    }

    pub(super) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// How many records there may be.
    pub(super) fn records(&self) -> usize {
        self.plan.records as usize
    }

    pub(super) fn table(&self) -> Table<'_> {
        table_of(&self.seat, self.plan)
    }

    /// Writes, when the latch lets it: `act` must not call back.
    pub(super) fn write<R>(
        &self,
        patience: Patience,
        act: impl Fn(&Writer<'_>) -> Result<R, ShareError>,
    ) -> Result<R, ShareError> {
        let write = || {
            let latched = latch(&self.seat).take(&self.seat, patience)?;
            self.act(&latched, &act)
        };
        match write() {
            Err(error) if self.may_go_on_after(&error) => write(),
            outcome => outcome,
        }
    }

    /// The same, in a task: what is done is done within one poll.
    pub(super) async fn write_async<R>(
        &self,
        act: impl Fn(&Writer<'_>) -> Result<R, ShareError>,
    ) -> Result<R, ShareError> {
        let write = async || {
            let latched = latch(&self.seat).take_async(&self.seat).await?;
            self.act(&latched, &act)
        };
        match write().await {
            Err(error) if self.may_go_on_after(&error) => write().await,
            outcome => outcome,
        }
    }

    /// Whether readers kept room from a writer who have died, which nobody had seen yet.
    fn may_go_on_after(&self, error: &ShareError) -> bool {
        let lacks_room = matches!(error, ShareError::Held | ShareError::NoRoom { .. });
        lacks_room && self.seat.bury_the_dead()
    }

    fn act<R>(
        &self,
        _latched: &Latched<'_>,
        act: impl Fn(&Writer<'_>) -> Result<R, ShareError>,
    ) -> Result<R, ShareError> {
        let writer = Writer::begin(self.table(), self.kind);
        act(&writer)
    }

    /// Announces a reader.
    pub(super) fn pin(&self) -> Result<Arc<Pinned>, ShareError> {
        let me = self.seat.me()?;
        let member = usize::from(me.index());
        let pin = self.table().pin(member);
        let pin = pin.ok_or_else(super::latch::forked)?;
        // SAFETY: it borrows from the object's mapping, which the seat keeps; dropped before it.
        let pin = unsafe { core::mem::transmute::<Pin<'_>, Pin<'static>>(pin) };
        Ok(Arc::new(Pinned {
            pin: ManuallyDrop::new(pin),
            seat: self.seat.clone(),
        }))
    }
}

/// What is read stays as it is while this lives.
#[derive(Debug)]
pub(super) struct Pinned {
    pin: ManuallyDrop<Pin<'static>>,
    seat: Seat,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // A forked child was not counted.
        if self.seat.me().is_ok() {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.pin) };
        }
    }
}

fn table_of(seat: &Seat, plan: Plan) -> Table<'_> {
    // SAFETY: the header's place; any bytes are one.
    let header = unsafe { seat.at(HEADER_AT).cast().as_ref() };
    // SAFETY: the parts lie in the object, by its plan; any bytes are such parts, whose fields are
    // atomics.
    let pins = unsafe { slice(seat.at(PINS_AT), MEMBERS) };
    // SAFETY: as above.
    let slots = unsafe { slice(seat.at(SLOTS_AT), plan.slots as usize) };
    // SAFETY: as above.
    let retired = unsafe { slice(seat.at(RETIRED_AT), RETIRED) };
    // SAFETY: as above.
    let space = unsafe { slice(seat.at(plan.space_at()), plan.space_words() as usize) };
    let arena = (seat.at(plan.arena_at()), plan.units as u32);
    // SAFETY: the arena lies in the object, too, and is reached through tables alone.
    unsafe { Table::new(header, pins, slots, retired, space, arena) }
}

/// # Safety
/// At `at` are `count` values for `'a`.
unsafe fn slice<'a, T>(at: NonNull<u8>, count: usize) -> &'a [T] {
    // SAFETY: the caller's promise.
    unsafe { core::slice::from_raw_parts(at.cast().as_ptr(), count) }
}

/// # Safety
/// `start` is a new object of the plan's size, which nobody else has.
unsafe fn write(start: NonNull<u8>, plan: Plan) {
    // SAFETY: inside the object, by the plan.
    let at = |offset: u64| unsafe { start.add(offset as usize) };
    // SAFETY: the first 64 bytes.
    unsafe {
        at(0)
            .cast()
            .write([plan.records, plan.slots, plan.units, 0, 0, 0, 0, 0])
    };
    // SAFETY: the latch's place, aligned to 64.
    unsafe { at(LATCH_AT).cast().write(Latch::new()) };
    // SAFETY: the header's place, aligned to 64.
    unsafe { at(HEADER_AT).cast().write(TableHeader::new()) };
    // SAFETY: as many of each as the plan has room for.
    unsafe { fill(at(PINS_AT), MEMBERS, Pins::new) };
    // SAFETY: as above.
    unsafe { fill(at(RETIRED_AT), RETIRED, Slot::new) };
    // SAFETY: as above.
    unsafe { fill(at(SLOTS_AT), plan.slots as usize, Slot::new) };
    let words = plan.space_words() as usize;
    // SAFETY: as above.
    unsafe { fill(at(plan.space_at()), words, || AtomicU64::new(0)) };
}

/// # Safety
/// From `start` on there is room for `count` values, aligned, that nobody else has.
pub(super) unsafe fn fill<T>(start: NonNull<u8>, count: usize, make: impl Fn() -> T) {
    for index in 0..count {
        // SAFETY: one of so many.
        let place = unsafe { start.cast::<T>().add(index) };
        // SAFETY: as above.
        unsafe { place.write(make()) };
    }
}

/// Takes back what a dead member had in a table.
pub(super) fn recover(seat: &Seat, dead: Owner) {
    let Some(plan) = Plan::read(seat) else {
        return;
    };
    table_of(seat, plan).forget(usize::from(dead.index()));
    latch(seat).recover(seat, dead);
}

/// A table has all its bytes in itself.
pub(super) fn no_blocks(_: &Seat, _: &mut dyn FnMut(BlockName)) {}

/// What the caller is told of a table that is full.
pub(super) fn full(full: Full, limit: usize, wanted: usize) -> ShareError {
    match full {
        Full::Records => ShareError::Full { limit },
        Full::Bytes => ShareError::NoRoom { wanted },
        Full::Readers => ShareError::Held,
    }
}
