//! A region as one process has it attached: the mapping, this member's name, and what is private
//! to the process.

#![expect(unsafe_code, reason = "finds structures in the mapping")]

use core::ptr::NonNull;
use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, RegionError, Result};
use crate::memory::owner::Owner;
use crate::memory::region::Region as Memory;
use crate::primitive::atomic::{AtomicU32, Ordering};
use crate::primitive::flag::Flag;
use crate::sync::mutex::Hold;
use crate::sync::waitset::{Door, MEMBERS, WaitSet};
use crate::sys::futex::{self, Wake};
use crate::sys::identity;
use crate::sys::map::ForkMark;
use crate::sys::pidfd::PidFd;

use super::layout::{Header, LAYOUT, MAGIC, MOST, Parts, READY};
use super::locals::Locals;
use super::member::{Member, Seen, Stand};
use super::object::Object;
use super::space::{Entry, Space};

/// How long the region's lock is waited for before its holder is looked after.
const LOOK_AFTER: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Inner {
    mark: ForkMark,
    memory: Memory,
    parts: Parts,
    pub(super) id: u64,
    pub(super) index: u16,
    me: Owner,
    pub(super) locals: Locals,
    /// How many handles this process has to each object.
    pub(super) handles: Mutex<HashMap<u32, u32>>,
    /// Whether this process is still a member. Held while it sweeps, so that it stays one.
    pub(super) membership: Mutex<bool>,
    /// Whether the listener and the watcher are there.
    pub(super) heard: Mutex<bool>,
    pub(super) is_heard: Flag,
    pub(super) stop: Flag,
}

impl Inner {
    /// Makes what lies in `memory` a region, unless it is one already.
    pub(super) fn format(memory: &Memory, id: u64) -> Result<()> {
        let parts = Parts::of(memory.size());
        memory.populate(0..parts.objects)?;
        // SAFETY: the mapping begins with a header, any bytes of which are one, and is writable.
        let header = unsafe { memory.base().cast::<Header>().as_ref() };
        // ORDERING: Acquire; pairs with the Release below.
        if header.ready.load(Ordering::Acquire) == READY {
            return Ok(());
        }
        // SAFETY: nobody looks at the header before it is ready, and the caller sees to it that
        // nobody else formats it.
        unsafe {
            memory
                .base()
                .cast::<Header>()
                .write(Header::new(memory.size(), id, parts))
        };
        let space = Space {
            header,
            entries: entries(memory, parts),
            parts,
            memory,
        };
        space.rebuild();
        // ORDERING: Release; everything above is seen by whoever sees READY.
        header.ready.store(READY, Ordering::Release);
        Ok(())
    }

    /// The number of the region in `memory`, if it is complete.
    pub(super) fn id_of(memory: &Memory) -> Result<u64> {
        let foreign = |found: String| Error::from(RegionError::Foreign { found });
        if memory.size() > MOST {
            return Err(foreign(format!("it has {} bytes", memory.size())));
        }
        memory.populate(0..Parts::of(memory.size()).objects)?;
        // SAFETY: as in `format`.
        let header = unsafe { memory.base().cast::<Header>().as_ref() };
        // ORDERING: Acquire; pairs with the Release in `format`.
        if header.ready.load(Ordering::Acquire) != READY {
            return Err(foreign("it was never completed".into()));
        }
        // ORDERING: Relaxed, all; see `ready`.
        let [magic, layout, size, id] = [&header.magic, &header.layout, &header.size, &header.id]
            .map(|word| word.load(Ordering::Relaxed));
        if (magic, layout, size) != (MAGIC, LAYOUT, memory.size()) {
            return Err(foreign(format!("its layout is {layout}, ours is {LAYOUT}")));
        }
        Ok(id)
    }

    /// Joins the region in `memory`.
    pub(super) fn join(memory: Memory) -> Result<Self> {
        let id = Self::id_of(&memory)?;
        let parts = Parts::of(memory.size());
        let mut inner = Self {
            mark: ForkMark::new()?,
            memory,
            parts,
            id,
            index: 0,
            me: Owner::NONE,
            locals: Locals::default(),
            handles: Mutex::default(),
            membership: Mutex::new(true),
            heard: Mutex::new(false),
            is_heard: Flag::new(),
            stop: Flag::new(),
        };
        (inner.index, inner.me) = inner.take_place()?;
        inner.announce();
        Ok(inner)
    }

    fn take_place(&self) -> Result<(u16, Owner)> {
        let pid = std::process::id().cast_signed();
        let started = identity::started(pid).unwrap_or(0);
        (0..)
            .zip(self.members())
            .find_map(|(index, member)| Some((index, member.claim(index, pid, started)?)))
            .ok_or_else(|| RegionError::TooManyMembers { limit: MEMBERS }.into())
    }

    /// Tells the other members that somebody has joined, for them to watch.
    fn announce(&self) {
        // ORDERING: Release; the rings order it.
        self.header().joins.fetch_add(1, Ordering::Release);
        self.ring_everybody();
    }

    pub(super) fn ring_everybody(&self) {
        for (index, member) in (0..).zip(self.members()) {
            if index != self.index && member.see().stand() != Stand::Free {
                member.ring_surely(self);
            }
        }
    }

    pub(super) fn header(&self) -> &Header {
        // SAFETY: the mapping begins with a header, lives as long as `self` and is writable; all of
        // it is atomics.
        unsafe { self.memory.base().cast::<Header>().as_ref() }
    }

    pub(super) fn members(&self) -> &[Member] {
        // SAFETY: the parts of a region lie in it, and all of a member is atomics.
        unsafe { part(&self.memory, self.parts.members, MEMBERS) }
    }

    pub(super) fn member(&self, index: u16) -> Option<&Member> {
        self.members().get(index as usize)
    }

    pub(super) fn objects(&self) -> &[Object] {
        // SAFETY: as for `members`.
        unsafe {
            part(
                &self.memory,
                self.parts.objects,
                self.parts.object_count as usize,
            )
        }
    }

    /// The entry of an object that was made once.
    pub(super) fn object(&self, index: u32) -> Option<&Object> {
        // ORDERING: Acquire; pairs with the AcqRel in `reach`.
        let used = self.header().objects_used.load(Ordering::Acquire);
        (index < used).then(|| self.objects().get(index as usize))?
    }

    /// Sees to it that object `index` has memory, and counts as used.
    pub(super) fn reach(&self, index: u32) -> Result<()> {
        let header = self.header();
        // ORDERING: Acquire; as in `object`.
        if index >= header.objects_used.load(Ordering::Acquire) {
            let start = self.parts.objects + u64::from(index) * size_of::<Object>() as u64;
            self.memory
                .populate(start..start + size_of::<Object>() as u64)?;
            // ORDERING: AcqRel; who sees the number may read the entries below it.
            header.objects_used.fetch_max(index + 1, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Where `[offset, offset + size)` of the data is mapped.
    pub(super) fn pointer(&self, offset: u64, size: u64) -> Option<NonNull<u8>> {
        (offset >= self.parts.data)
            .then(|| self.memory.pointer(offset, usize::try_from(size).ok()?))?
    }

    pub(super) fn offset_of(&self, address: *const u8) -> u64 {
        (address.addr() - self.memory.base().addr().get()) as u64
    }

    pub(super) fn set_at(&self, offset: u64) -> &WaitSet {
        let place = self.memory.pointer(offset, size_of::<WaitSet>());
        let place = place.expect("a wait set of ours lies in the region");
        // SAFETY: tasks wait in it, so their seat keeps it there; all of it is atomics.
        unsafe { place.cast::<WaitSet>().as_ref() }
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn data_size(&self) -> u64 {
        self.parts.end - self.parts.data
    }

    /// This process's name; an error in one that was forked from it.
    #[inline]
    pub(super) fn me(&self) -> Result<Owner> {
        match self.mark.is_here() {
            true => Ok(self.me),
            false => Err(Error::Forked),
        }
    }

    pub(super) fn is_here(&self) -> bool {
        self.mark.is_here()
    }

    /// Ceases to be a member: no handle is left in this process.
    pub(super) fn leave(&self) {
        let mut here = self.lock_membership();
        if core::mem::replace(&mut *here, false) {
            self.members()[self.index as usize].leave(self.index, self.me);
        }
    }

    pub(super) fn lock_membership(&self) -> MutexGuard<'_, bool> {
        self.membership
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock_handles(&self) -> MutexGuard<'_, HashMap<u32, u32>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the process of that name is gone: its place has another, or its descriptor says so.
    pub(super) fn is_dead(&self, name: Owner) -> bool {
        let Some(member) = self.member(name.index()) else {
            return true;
        };
        let seen = member.see();
        match seen.stand() {
            _ if seen.name(name.index()) != name => true,
            Stand::Free | Stand::Swept { .. } => true,
            Stand::Live { pid } => matches!(watch(member, seen, pid), Watch::Dead),
        }
    }

    fn space(&self) -> Space<'_> {
        Space {
            header: self.header(),
            entries: entries(&self.memory, self.parts),
            parts: self.parts,
            memory: &self.memory,
        }
    }

    /// Where that block lies, if it is still the same.
    pub(super) fn find_block(&self, entry: u32, generation: u32) -> Option<(u64, u64)> {
        self.space().find(entry, generation)
    }

    /// Gives a block that is ours to an object.
    pub(super) fn hand_over(&self, entry: u32, generation: u32, me: Owner, object: u32) {
        self.space().hand_over(entry, generation, me, object);
    }

    /// Runs `f` with the region's lock, after making the lists anew if its last holder died.
    pub(super) fn with_space<R>(&self, f: impl FnOnce(&Space<'_>) -> R) -> Result<R> {
        let me = self.me()?;
        let space = self.space();
        let lock = &self.header().lock;
        let attempt = || lock.try_lock(me);
        let mut hold = spin(attempt).unwrap_or_else(|| {
            loop {
                // Its holder may be dead, and whoever would find out may be this thread.
                let mut once = Some(LOOK_AFTER);
                let left = || Some(once.take().unwrap_or_default());
                let unused = crate::sync::waitset::Unused::Dropped;
                if let Some(hold) = lock.waiters.block(self, unused, left, attempt) {
                    return hold;
                }
                if let Some(holder) = lock.holder().filter(|&holder| self.is_dead(holder)) {
                    lock.recover(holder);
                }
            }
        });
        if hold.spoilt {
            space.rebuild();
            lock.heal(&mut hold);
        }
        /// Unlocks also if `f` panics, which it does between its steps only.
        struct Guard<'a>(&'a Inner, Hold);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                self.0.header().lock.unlock(self.1, self.0);
            }
        }
        let guard = Guard(self, hold);
        let outcome = f(&space);
        drop(guard);
        Ok(outcome)
    }
}

impl Header {
    fn new(size: u64, id: u64, parts: Parts) -> Self {
        use crate::primitive::atomic::AtomicU64;
        Self {
            magic: AtomicU64::new(MAGIC),
            layout: AtomicU64::new(LAYOUT),
            size: AtomicU64::new(size),
            id: AtomicU64::new(id),
            ready: AtomicU64::new(0),
            joins: AtomicU32::new(0),
            object_hint: AtomicU32::new(0),
            objects_used: AtomicU32::new(0),
            reserved: [0; 3],
            lock: crate::sync::mutex::RawMutex::new(),
            entries_used: AtomicU32::new(0),
            spare: AtomicU32::new(0),
            committed: AtomicU64::new(parts.data),
            entries_committed: AtomicU64::new(parts.entries),
            filled: core::array::from_fn(|_| AtomicU64::new(0)),
            buckets: core::array::from_fn(|_| AtomicU32::new(0)),
        }
    }
}

fn entries(memory: &Memory, parts: Parts) -> &[Entry] {
    // SAFETY: the parts of a region lie in it, and all of an entry is atomics.
    unsafe { part(memory, parts.entries, parts.entry_count as usize) }
}

/// # Safety
///
/// A region of that size has `count` values of `T` at `offset`, of which any bytes are one, and
/// which change through atomics only.
unsafe fn part<T>(memory: &Memory, offset: u64, count: usize) -> &[T] {
    let start = memory.pointer(offset, count * size_of::<T>());
    let start = start.expect("the parts of a region lie in it").cast::<T>();
    assert!(start.is_aligned());
    // SAFETY: inside of the mapping and aligned; the rest is the caller's promise.
    unsafe { core::slice::from_raw_parts(start.as_ptr(), count) }
}

/// Tries for a bounded time: a holder that is awake is done sooner than a sleeper is woken.
#[inline]
pub(super) fn spin<R>(mut attempt: impl FnMut() -> Option<R>) -> Option<R> {
    /// About 5 µs, then some for a holder that has lost its processor.
    const ROUNDS: u32 = 64;
    const YIELDS: u32 = 3;
    if let Some(got) = attempt() {
        return Some(got);
    }
    for _ in 0..ROUNDS {
        for _ in 0..4 {
            core::hint::spin_loop();
        }
        if let Some(got) = attempt() {
            return Some(got);
        }
    }
    for _ in 0..YIELDS {
        std::thread::yield_now();
        if let Some(got) = attempt() {
            return Some(got);
        }
    }
    None
}

/// What became of the process of a place.
#[derive(Debug)]
pub(super) enum Watch {
    Dead,
    Lives(PidFd),
    /// There is no descriptor left to find out with.
    Unknown,
}

/// Whether the process that `seen` names lives.
pub(super) fn watch(member: &Member, seen: Seen, pid: i32) -> Watch {
    const ESRCH: i32 = 3;
    let began = member.started();
    let process = match PidFd::open(pid) {
        Ok(process) => process,
        Err(error) if error.raw_os_error() == ESRCH => return Watch::Dead,
        Err(_) => return Watch::Unknown,
    };
    // The number may be another's by now; what `started` was asked about may not be ours any more.
    let now = identity::started(pid);
    let is_other = began != 0 && now.is_some_and(|now| now != began);
    match process.is_dead(false) {
        _ if member.see() != seen => Watch::Unknown,
        _ if is_other => Watch::Dead,
        Ok(true) => Watch::Dead,
        Ok(false) => Watch::Lives(process),
        Err(_) => Watch::Unknown,
    }
}

impl Door for Inner {
    fn wait(&self, word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> bool {
        futex::wait(word, expected, timeout) == Wake::Woken
    }

    fn wake(&self, word: &AtomicU32, count: u32) -> u32 {
        futex::wake(word, count)
    }

    fn ring(&self, member: u16) {
        if let Some(member) = self.member(member) {
            member.ring(self);
        }
    }
}
