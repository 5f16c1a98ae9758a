//! An object as this process has it: its bytes, its waiters, its blocks.

#![expect(
    unsafe_code,
    reason = "points into objects and finds wait sets in them"
)]

use core::ptr::NonNull;
use core::task::{Context, Poll};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use crate::commons::kind::Kind;
use crate::commons::layout::OBJECTS;
use crate::commons::object::{Entry, Facts, Grasp};
use crate::commons::region::{Core, Inner, Region};
use crate::commons::space::{BlockName, GRANULE, Refused};
use crate::commons::waiting::Ticket;
use crate::error::{Error, RegionError};
use crate::memory::owner::Owner;
use crate::protocol::inherited;
use crate::protocol::name::Name;
use crate::sync::waitset::WaitSet;
use crate::sys::cpu;
use crate::sys::map::ForkGlance;

#[cfg(test)]
impl Name {
    /// Its place and which use of it.
    pub(super) fn parts(self) -> (u32, u32) {
        (self.index, self.generation)
    }
}

/// This process's part in an object: as long as it lives, so does the object.
pub(super) struct Held {
    inner: Arc<Inner>,
    name: Name,
    facts: Facts,
}

/// An object in a region.
#[derive(Clone)]
pub struct Seat {
    held: Arc<Held>,
    /// What `me` answers from, kept here because every claim begins with it: the way over what is
    /// held is three loads, each of which waits for the one before.
    glance: ForkGlance,
    me: Owner,
}

/// Why a block is not to be had.
#[derive(Clone, Debug)]
pub struct NoRoom {
    pub(crate) wanted: u64,
    /// What there is in one piece.
    pub(crate) available: u64,
}

/// Bytes of a region that this process has taken, until they are handed over.
#[derive(Debug)]
pub struct Block {
    seat: Seat,
    name: BlockName,
    size: usize,
    handed_over: bool,
}

/// The place of no object.
const NO_INDEX: u32 = u32::MAX;

/// The regions of this process, by number, and those it was given and has not attached.
pub(super) static REGIONS: Mutex<Vec<(u64, Weak<Inner>)>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded is sound between any two steps.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Region {
    /// Makes it known by its number.
    pub(super) fn register(&self) {
        let mut regions = lock(&REGIONS);
        regions.retain(|(_, inner)| inner.strong_count() > 0);
        regions.push((self.0.core.id, Arc::downgrade(&self.0)));
    }

    /// The region in this file, as the process has it already, or from now on.
    pub(crate) fn adopt(file: OwnedFd) -> Result<Self, Error> {
        Self::attach(file)?.known()
    }

    /// The same region as the process had it before, if it did.
    pub(crate) fn known(self) -> Result<Self, Error> {
        // That one stands in front.
        Self::find(self.0.core.id)
    }

    fn find(id: u64) -> Result<Self, Error> {
        let known = || {
            let regions = lock(&REGIONS);
            let found = regions.iter().filter(|(number, _)| *number == id);
            let mut found = found.filter_map(|(_, inner)| inner.upgrade());
            found.find(|inner| inner.core.is_home()).map(Self)
        };
        if let Some(region) = known() {
            return Ok(region);
        }
        // What a forked child finds here is its parent's, but leads to the same memory.
        let inherited = {
            let regions = lock(&REGIONS);
            let found = regions.iter().filter(|(number, _)| *number == id);
            let found = found.filter_map(|(_, inner)| inner.upgrade());
            let files =
                found.filter_map(|inner| inner.core.memory().fd().try_clone_to_owned().ok());
            files.collect::<Vec<_>>()
        };
        let given = inherited::given().into_iter().chain(inherited);
        for file in given {
            let region = Self::attach_given(file)?;
            if region.0.core.id == id {
                // For as long as the process lives: what is named may come and go.
                core::mem::forget(region.clone());
                return Ok(region);
            }
        }
        Err(RegionError::Unknown { id }.into())
    }
}

impl Seat {
    /// Makes an object of `size` bytes, which `write` fills.
    pub(crate) fn create(
        region: &Region,
        kind: &Kind,
        size: u64,
        write: impl FnOnce(NonNull<u8>),
    ) -> Result<Self, Error> {
        let core = &region.0.core;
        core.check()?;
        let entries = &core.tables().objects;
        let begin = |(index, entry): (usize, &Entry)| Some((index, entry.begin(core.me)?));
        let Some((index, generation)) = entries.iter().enumerate().find_map(begin) else {
            return Err(RegionError::Full(OBJECTS).into());
        };
        let entry = &entries[index];
        let block = core.allocate(size).and_then(|block| {
            let start = core.space().bytes(block, size as usize);
            start.map(|start| (block, start)).ok_or(Refused::Room(0))
        });
        let (block, start) = match block {
            Ok(found) => found,
            Err(refused) => {
                entry.abandon(core.me, generation);
                return Err(refused.into_error(size));
            }
        };
        write(start);
        let facts = Facts {
            at: block.offset(),
            size,
            kind: kind.id,
        };
        entry.note(facts);
        entry.finish(core.me, generation);
        // From here on it is the object's; a member that died just before is taken care of.
        core.space().hand_over(block, None);
        let name = Name {
            region: core.id,
            index: index as u32,
            generation,
        };
        Ok(Self::new(&region.0, name, facts))
    }

    fn of(held: Arc<Held>) -> Self {
        Self {
            glance: held.inner.core.glance(),
            me: held.inner.core.me,
            held,
        }
    }

    fn new(inner: &Arc<Inner>, name: Name, facts: Facts) -> Self {
        let held = Arc::new(Held {
            inner: Arc::clone(inner),
            name,
            facts,
        });
        lock(&inner.held).insert(name.index, Arc::downgrade(&held));
        Self::of(held)
    }

    /// The object of this name.
    pub(crate) fn open(name: Name, kind: &Kind) -> Result<Self, Error> {
        let region = Region::find(name.region)?;
        region.0.core.check()?;
        Self::hold(&region.0, name)?.of_kind(kind)
    }

    /// The object in this place, in this use of it.
    pub(super) fn hold_at(inner: &Arc<Inner>, index: u32, generation: u32) -> Result<Self, Error> {
        let region = inner.core.id;
        let name = Name {
            region,
            index,
            generation,
        };
        Self::hold(inner, name)
    }

    fn hold(inner: &Arc<Inner>, name: Name) -> Result<Self, Error> {
        let entries = &inner.core.tables().objects;
        let entry = entries.get(name.index as usize).ok_or(RegionError::Gone)?;
        // Locked meanwhile, so that this process's part neither ends nor is there twice.
        let mut held = lock(&inner.held);
        let known = held.get(&name.index).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| known.name == name) {
            drop(held);
            return Ok(Self::of(known));
        }
        let facts = loop {
            match entry.hold(inner.core.me, name.generation) {
                Grasp::Held(facts) if inner.core.has(facts) => break facts,
                Grasp::Held(_) => {
                    let found = "an object that leads out of the region".into();
                    return Err(RegionError::Foreign { found }.into());
                }
                Grasp::Gone => return Err(RegionError::Gone.into()),
                Grasp::Undecided => cpu::yield_now(),
            }
        };
        let seat = Arc::new(Held {
            inner: Arc::clone(inner),
            name,
            facts,
        });
        held.insert(name.index, Arc::downgrade(&seat));
        Ok(Self::of(seat))
    }

    fn of_kind(self, kind: &Kind) -> Result<Self, Error> {
        let (found, wanted) = (self.held.facts.kind, kind.id);
        match found == wanted {
            true => Ok(self),
            false => Err(RegionError::OtherKind { found, wanted }.into()),
        }
    }

    /// An object that nobody holds, while it is being ended.
    pub(super) fn ending(inner: &Arc<Inner>, facts: Facts) -> Self {
        let name = Name {
            region: inner.core.id,
            index: NO_INDEX,
            generation: 0,
        };
        Self::of(Arc::new(Held {
            inner: Arc::clone(inner),
            name,
            facts,
        }))
    }

    /// Where its bytes begin in the region.
    pub(super) fn start(&self) -> u64 {
        self.held.facts.at
    }

    /// What kind of object it is.
    pub(super) fn kind(&self) -> u32 {
        self.held.facts.kind
    }

    #[inline]
    pub(super) fn core(&self) -> &Core {
        &self.held.inner.core
    }

    /// What other processes call it.
    pub(crate) fn name(&self) -> Name {
        self.held.name
    }

    /// Lets the region itself hold the object, for as long as there is a region.
    pub(crate) fn keep(&self) {
        let entries = &self.core().tables().objects;
        entries[self.held.name.index as usize % OBJECTS].keep();
    }

    /// How many bytes it has.
    pub(crate) fn size(&self) -> u64 {
        self.held.facts.size
    }

    /// Its byte of this number, which is below its size.
    #[inline]
    pub(crate) fn at(&self, offset: u64) -> NonNull<u8> {
        debug_assert!(offset <= self.held.facts.size);
        let place = (self.held.facts.at + offset) as usize;
        // SAFETY: the object's bytes lie in the mapping, which was checked when it was made or
        // opened.
        unsafe { self.core().memory().base().add(place) }
    }

    /// Who this process is in the region.
    #[inline]
    pub(crate) fn me(&self) -> Result<Owner, Error> {
        // SAFETY: the mark is the region's, which `held` keeps.
        match unsafe { self.glance.is_here() } {
            true => Ok(self.me),
            false => Err(Error::Forked),
        }
    }

    /// Takes a block for so many bytes.
    pub(crate) fn allocate(&self, size: usize) -> Result<Block, NoRoom> {
        let wanted = size as u64;
        let name = self.core().allocate(wanted).map_err(|refused| NoRoom {
            wanted,
            available: match refused {
                Refused::Room(available) => available,
                Refused::Memory(_) => 0,
            },
        })?;
        Ok(Block {
            seat: self.clone(),
            name,
            size,
            handed_over: false,
        })
    }

    /// The bytes of a block that stands in the object; `None` if there is no such one any more.
    pub(crate) fn bytes_of(&self, name: BlockName, size: usize) -> Option<NonNull<u8>> {
        self.core().space().bytes(name, size)
    }

    /// Gives a block of the object back. A name of an earlier use does nothing.
    pub(crate) fn free(&self, name: BlockName) {
        self.core().space().free(name);
    }

    /// Whether somebody seems to wait, after a fence of the caller's.
    #[inline]
    pub(crate) fn anybody(&self, set: &WaitSet) -> bool {
        set.has_waiters()
    }

    /// Wakes one waiter. The caller has just changed the object with a read-modify-write.
    #[inline]
    pub(crate) fn wake_one(&self, set: &WaitSet) {
        self.core().wake_one(set);
    }

    /// A dead member waits here no more, and all others look again.
    pub(crate) fn bury(&self, set: &WaitSet, dead: Owner) {
        set.forget(dead);
        self.core().wake_all(set);
    }

    /// Wakes all who wait.
    pub(crate) fn wake_all(&self, set: &WaitSet) {
        self.core().wake_all(set);
    }

    /// Blocks until `attempt` gives something, or until `limit`: `None`.
    pub(crate) fn block<R>(
        &self,
        set: &WaitSet,
        limit: Option<Instant>,
        attempt: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        self.core().block(set, limit, attempt)
    }

    /// Looks by `attempt`, and has the task woken if that gives nothing.
    pub(crate) fn listen<R>(
        &self,
        set: &WaitSet,
        ticket: &mut Ticket,
        context: &mut Context<'_>,
        attempt: impl FnMut() -> Option<R>,
    ) -> Poll<R> {
        self.core().listen(set, ticket, context, attempt)
    }
}

impl Ticket {
    /// The task has what it waited for, by an attempt of its own: a wake-up that came meanwhile is
    /// another's.
    pub(crate) fn done(&mut self, seat: &Seat, set: &WaitSet) {
        // In a forked child the task that waits is the parent's.
        if seat.core().is_home() {
            seat.core().forget(set, self);
        }
    }

    /// The task waits no more: a wake-up that it had is another's.
    pub(crate) fn leave(&mut self, seat: &Seat, set: &WaitSet) {
        if !self.is_new() && seat.core().is_home() {
            seat.core().forget(set, self);
        }
    }
}

impl Block {
    pub(crate) fn start(&self) -> NonNull<u8> {
        let bytes = self.seat.bytes_of(self.name, self.size);
        bytes.expect("a block that this process holds is in use")
    }

    pub(crate) fn name(&self) -> BlockName {
        self.name
    }

    /// It stands in the object now, which frees it.
    pub(crate) fn hand_over(mut self) {
        self.handed_over = true;
        self.seat.core().space().hand_over(self.name, None);
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if !self.handed_over && self.seat.core().is_home() {
            self.seat.free(self.name);
        }
    }
}

impl Core {
    /// Refuses to serve a process that was forked from a member.
    #[inline]
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.is_home() {
            true => Ok(()),
            false => Err(Error::Forked),
        }
    }

    /// Whether an object lies in the region.
    fn has(&self, facts: Facts) -> bool {
        let size = usize::try_from(facts.size).unwrap_or(usize::MAX);
        let is_aligned = facts.at.is_multiple_of(GRANULE);
        is_aligned && self.memory().pointer(facts.at, size).is_some()
    }

    /// A block in this member's name. Blocks while another member is at it.
    pub(super) fn allocate(&self, size: u64) -> Result<BlockName, Refused> {
        if size >= self.memory().size() {
            return Err(Refused::Room(self.memory().size() - GRANULE));
        }
        let allocators = &self.tables().front.allocators;
        self.block(allocators, None, || {
            self.space().try_lock(self.me).then_some(())
        });
        let outcome = self.space().allocate(self.me, size);
        self.space().unlock(self.me);
        self.wake_one(allocators);
        outcome
    }
}

impl Refused {
    fn into_error(self, wanted: u64) -> Error {
        match self {
            Self::Room(available) => RegionError::NoRoom { wanted, available }.into(),
            Self::Memory(error) => error.into(),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let core = &self.inner.core;
        if !core.is_home() || self.name.index == NO_INDEX {
            return;
        }
        let mut held = lock(&self.inner.held);
        let ours = held.get(&self.name.index);
        // Nobody of this process has opened it anew.
        if ours.is_some_and(|ours| ours.as_ptr() != core::ptr::from_ref(self)) {
            return;
        }
        held.remove(&self.name.index);
        let entry = &core.tables().objects[self.name.index as usize % OBJECTS];
        if let Some(generation) = entry.release(core.me, core.me) {
            core.end_object(entry, core.me, generation);
        }
    }
}

impl core::fmt::Debug for Seat {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Seat")
            .field("name", &self.held.name)
            .finish_non_exhaustive()
    }
}
