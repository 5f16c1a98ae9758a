//! A seat: what a room that makes a kind of object sees of its object and of the region.

#![expect(unsafe_code, reason = "finds objects and blocks in the mapping")]

use core::ptr::NonNull;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use crate::error::{RegionError, Result};
use crate::memory::owner::Owner;
use crate::sync::waitset::{Unused, WaitSet};

use super::handle::Name;
use super::inner::{Inner, spin};
use super::kind::Kind;
use super::layout::UNIT;
use super::locals::Ticket;
use super::object::{Body, Object, Seen};
use super::region::Region;
use super::registry;
use super::space::{Found, Refused};

/// An object as this process has it open. Clones are cheap; the last one of the last process frees
/// the object.
#[derive(Clone, Debug)]
pub(crate) struct Seat(Arc<Held>);

#[derive(Debug)]
struct Held {
    region: Region,
    object: u32,
    generation: u32,
    /// # Invariants
    ///
    /// `size` bytes of the region's mapping, aligned to [`UNIT`].
    start: NonNull<u8>,
    size: u64,
}

// SAFETY: the mapping belongs to the process, and an object is what its room makes of it: rooms
// that give out references to what is no atomic see to it that those exclude each other.
unsafe impl Send for Held {}
// SAFETY: as above.
unsafe impl Sync for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        // In a forked child, which has no handles, nothing happens. A lock that cannot be had there
        // is the one other error.
        let _ = self.region.0.inner.release(self.object);
    }
}

impl Seat {
    /// Makes an object of `size` bytes; `write` writes all of it, at a multiple of 64, before
    /// anybody else can see it.
    pub(crate) fn create(
        region: &Region,
        kind: Kind,
        size: u64,
        write: impl FnOnce(NonNull<u8>),
    ) -> Result<Self> {
        let inner = &region.0.inner;
        let me = inner.me()?;
        let found = allocate(inner, size, me).map_err(NoRoom::into_error)?;
        let block = Unclaimed(inner, found);
        let start = inner.pointer(found.offset, found.size);
        let start = start.ok_or(RegionError::NoRoom {
            wanted: size,
            available: 0,
        })?;
        write(start);
        let (index, object, made) = claim(inner, me)?;
        object.write_body(Body {
            kind: kind as u32,
            block: found.entry,
            offset: found.offset,
            size,
        });
        // From here on the block is the object's, whatever becomes of this process.
        inner.hand_over(found.entry, found.generation, me, index);
        core::mem::forget(block);
        // The first handle; nobody else knows the object yet.
        inner.lock_handles().insert(index, 1);
        object.hold(me.index());
        let live = object.publish(made);
        Ok(Self(Arc::new(Held {
            region: region.clone(),
            object: index,
            generation: live.map_or(0, Seen::generation),
            start,
            size,
        })))
    }

    /// The object of that name, if it is one of `kind` with at least `size` bytes.
    pub(crate) fn open(
        name: Name,
        kind: Kind,
        what: &'static str,
        fits: impl FnOnce(u64) -> bool,
    ) -> Result<Self> {
        let region = registry::find(name.region)?;
        let inner = &region.0.inner;
        inner.acquire(name.object, Some(name.generation))?;
        let object = name.object;
        let body = inner.object(object).map(Object::body);
        let fitting = body.filter(|body| body.kind == kind as u32 && fits(body.size));
        let place = fitting.and_then(|body| {
            let start = inner.pointer(body.offset, body.size)?;
            let is_aligned = body.offset.is_multiple_of(UNIT);
            is_aligned.then_some((start, body.size))
        });
        let Some((start, size)) = place else {
            inner.release(object)?;
            let wanted = what;
            return Err(RegionError::WrongKind { object, wanted }.into());
        };
        Ok(Self(Arc::new(Held {
            region,
            object,
            generation: name.generation,
            start,
            size,
        })))
    }

    pub(crate) fn name(&self) -> Name {
        Name {
            region: self.0.region.0.inner.id,
            object: self.0.object,
            generation: self.0.generation,
        }
    }

    pub(crate) fn region(&self) -> &Region {
        &self.0.region
    }

    #[inline]
    fn inner(&self) -> &Arc<Inner> {
        &self.0.region.0.inner
    }

    /// This process's name for claims; an error in a process that was forked from it.
    #[inline]
    pub(crate) fn me(&self) -> Result<Owner> {
        self.inner().me()
    }

    /// The size of the object in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.0.size
    }

    /// Where the object's byte `offset` is mapped.
    ///
    /// # Panics
    /// Beyond its end.
    #[inline]
    pub(crate) fn at(&self, offset: u64) -> NonNull<u8> {
        assert!(offset <= self.0.size);
        // SAFETY: inside of the object, or one past its end.
        unsafe { self.0.start.add(offset as usize) }
    }

    /// A block of `size` bytes at a multiple of 64, with memory; freed when it is dropped, or when
    /// this process dies, unless it is handed over.
    pub(crate) fn allocate(&self, size: usize) -> Result<Block, NoRoom> {
        let no_room = |_| NoRoom {
            wanted: size as u64,
            available: 0,
            system: None,
        };
        let me = self.me().map_err(no_room)?;
        let found = allocate(self.inner(), size as u64, me)?;
        let start = self.inner().pointer(found.offset, found.size);
        let start = start.ok_or_else(|| no_room(crate::error::Error::Forked))?;
        Ok(Block {
            seat: self.clone(),
            found,
            size: size as u64,
            start,
            me,
        })
    }

    /// Where the block of that name lies, if it is still that one and has `size` bytes.
    pub(crate) fn bytes_of(&self, name: BlockName, size: usize) -> Option<NonNull<u8>> {
        let inner = self.inner();
        let (offset, there) = inner.find_block(name.entry, name.generation)?;
        (size as u64 <= there).then(|| inner.pointer(offset, size as u64))?
    }

    /// Frees a block that was handed over. One that is free already stays so.
    pub(crate) fn free(&self, name: BlockName) {
        // A forked child frees nothing.
        let freed = self
            .inner()
            .with_space(|space| space.free(name.entry, name.generation));
        let _ = freed;
    }

    /// Whether anybody may wait in `set`; after a change of the truth and a fence.
    #[inline]
    pub(crate) fn anybody(&self, set: &WaitSet) -> bool {
        set.anybody()
    }

    /// Wakes one waiter, if there is any. After a read-modify-write that changed the truth.
    #[inline]
    pub(crate) fn wake_one(&self, set: &WaitSet) {
        set.wake(1, &**self.inner());
    }

    /// Wakes up to `count`.
    #[inline]
    pub(crate) fn wake(&self, set: &WaitSet, count: u32) {
        set.wake(count, &**self.inner());
    }

    /// Wakes all.
    #[inline]
    pub(crate) fn wake_all(&self, set: &WaitSet) {
        set.wake_all(&**self.inner());
    }

    /// What algorithms of the floor below wake through.
    #[inline]
    pub(crate) fn door(&self) -> &impl crate::sync::waitset::Door {
        &**self.inner()
    }

    /// What was found taken may be held by a process that is dead: sees to it that somebody finds
    /// out. For `try_` forms that fail.
    pub(crate) fn look_after(&self) {
        self.inner().be_heard();
    }

    /// Blocks until `attempt` gives something, or until that time; `attempt` spins at first.
    pub(crate) fn block<R>(
        &self,
        set: &WaitSet,
        until: Option<Instant>,
        attempt: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        self.block_with(set, Unused::Dropped, until, attempt)
    }

    /// The same, for waits where not every waiter can use every wake-up.
    pub(crate) fn block_with<R>(
        &self,
        set: &WaitSet,
        unused: Unused,
        until: Option<Instant>,
        mut attempt: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        if let Some(got) = spin(&mut attempt) {
            return Some(got);
        }
        let watched = self.inner().be_heard();
        let left = || {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            match watched {
                true => left,
                // Nobody sees deaths for us: the threads could not be started. Look ourselves.
                false => {
                    self.inner().survey(|_, _| false);
                    Some(left.map_or(UNWATCHED, |left| left.min(UNWATCHED)))
                }
            }
        };
        set.block(&**self.inner(), unused, left, attempt)
    }

    /// Polls `attempt`; while it gives nothing the task waits, under `ticket`.
    pub(crate) fn listen<R>(
        &self,
        set: &WaitSet,
        ticket: &mut Ticket,
        cx: &mut Context<'_>,
        attempt: impl FnMut() -> Option<R>,
    ) -> Poll<R> {
        self.listen_with(set, Unused::Dropped, ticket, cx, attempt)
    }

    /// The same, for waits where not every waiter can use every wake-up.
    pub(crate) fn listen_with<R>(
        &self,
        set: &WaitSet,
        unused: Unused,
        ticket: &mut Ticket,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut() -> Option<R>,
    ) -> Poll<R> {
        let inner = self.inner();
        let place = (inner.offset_of(core::ptr::from_ref(set).cast()), set);
        let was_called = ticket.is_some() && !inner.locals.waits(place.0, ticket);
        if let Some(got) = attempt() {
            self.withdraw(place, ticket, unused, was_called);
            return Poll::Ready(got);
        }
        if was_called && unused == Unused::PassedOn && set.tide().is_of_same_flood(ticket.since()) {
            set.rouse(&**inner);
        }
        if !inner.be_heard() {
            // Nobody could wake this task: it asks again, as long as that is so.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        inner.locals.enrol(place, inner.index, ticket, cx.waker());
        match attempt() {
            Some(got) => {
                self.withdraw(place, ticket, unused, false);
                Poll::Ready(got)
            }
            None => Poll::Pending,
        }
    }

    /// A waiter that got what it wanted goes; `used`: by the wake-up that it had.
    fn withdraw(&self, place: (u64, &WaitSet), ticket: &mut Ticket, unused: Unused, used: bool) {
        let inner = self.inner();
        let was_there = ticket.is_some();
        let out = inner.locals.withdraw(place, inner.index, ticket);
        if out.unheard || (was_there && out.called && !used) {
            self.pass_on(place.1, unused);
        }
    }

    fn pass_on(&self, set: &WaitSet, unused: Unused) {
        match unused {
            Unused::Dropped => self.wake_one(set),
            Unused::PassedOn => set.rouse(&**self.inner()),
        }
    }

    /// A waiter goes without what it waited for; a wake-up that it had is passed on.
    pub(crate) fn leave(&self, set: &WaitSet, ticket: &mut Ticket, unused: Unused) {
        if ticket.is_some() && self.inner().is_here() {
            let place = self.inner().offset_of(core::ptr::from_ref(set).cast());
            self.withdraw((place, set), ticket, unused, false);
        }
    }
}

/// How long a thread sleeps at most where nobody could be made to watch.
const UNWATCHED: Duration = Duration::from_millis(20);

/// When a wait of that length is over; never, if it is that long.
pub(crate) fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// Why there is no block.
#[derive(Debug)]
pub(crate) struct NoRoom {
    pub(crate) wanted: u64,
    pub(crate) available: u64,
    /// What the machine said, if it was not the region that is full.
    pub(crate) system: Option<crate::sys::failure::SysError>,
}

impl NoRoom {
    pub(crate) fn into_error(self) -> crate::error::Error {
        match self.system {
            Some(error) => error.into(),
            None => RegionError::NoRoom {
                wanted: self.wanted,
                available: self.available,
            }
            .into(),
        }
    }
}

fn allocate(inner: &Inner, size: u64, me: Owner) -> Result<Found, NoRoom> {
    let refuse = |available, system| NoRoom {
        wanted: size,
        available,
        system,
    };
    let whole = size.max(1).checked_next_multiple_of(UNIT);
    let whole = whole.filter(|&whole| whole <= inner.data_size());
    let whole = whole.ok_or_else(|| refuse(inner.data_size(), None))?;
    let outcome = inner
        .with_space(|space| space.allocate(whole, me))
        .map_err(|_| refuse(0, None))?;
    outcome.map_err(|refused| match refused {
        Refused::Full { largest } => refuse(largest, None),
        Refused::System(error) => refuse(0, Some(error)),
    })
}

/// A free entry for an object, which is now ours.
fn claim(inner: &Inner, me: Owner) -> Result<(u32, &Object, Seen)> {
    use crate::primitive::atomic::Ordering;
    let count = inner.objects().len() as u32;
    // ORDERING: Relaxed, both; a hint.
    let first = inner.header().object_hint.load(Ordering::Relaxed) % count;
    for index in (first..count).chain(0..first) {
        inner.reach(index)?;
        let object = &inner.objects()[index as usize];
        if let Some(made) = object.claim(me) {
            inner
                .header()
                .object_hint
                .store(index + 1, Ordering::Relaxed);
            return Ok((index, object, made));
        }
    }
    Err(RegionError::TooManyObjects { limit: count }.into())
}

/// A block whose object did not come about.
struct Unclaimed<'a>(&'a Inner, Found);

impl Drop for Unclaimed<'_> {
    fn drop(&mut self) {
        let Found {
            entry, generation, ..
        } = self.1;
        let _ = self.0.with_space(|space| space.free(entry, generation));
    }
}

/// A block, as it stands in shared memory. 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct BlockName {
    entry: u32,
    generation: u32,
    pub(crate) size: u64,
}

/// A block that is this process's until it is handed over to its object.
#[derive(Debug)]
pub(crate) struct Block {
    seat: Seat,
    found: Found,
    size: u64,
    /// # Invariants
    ///
    /// Valid for writes of `size` bytes as long as the block is allocated.
    start: NonNull<u8>,
    me: Owner,
}

// SAFETY: the bytes are this block's alone until it is handed over.
unsafe impl Send for Block {}
// SAFETY: a shared block gives out no reference to its bytes.
unsafe impl Sync for Block {}

impl Block {
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn name(&self) -> BlockName {
        BlockName {
            entry: self.found.entry,
            generation: self.found.generation,
            size: self.size,
        }
    }

    /// From now on it is the object's and goes with it at the latest. Before this its name stands
    /// where a recovery of the object finds it; after it somebody may read there.
    pub(crate) fn hand_over(self) {
        let Found {
            entry, generation, ..
        } = self.found;
        let object = self.seat.0.object;
        self.seat
            .inner()
            .hand_over(entry, generation, self.me, object);
        // All but the block itself goes.
        let mut this = core::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is not used again.
        unsafe { core::ptr::drop_in_place(&raw mut this.seat) };
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.seat.free(self.name());
    }
}
