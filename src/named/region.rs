//! A region with a name, and the arrays in it.

#![expect(unsafe_code, reason = "finds words and arrays in the mapping")]

use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::{fs, process};

use bytemuck::Pod;

use super::array::{NamedSlice, NamedVec};
use super::format::{
    self, ALIGN, DATA_AT, DIRECTORY_AT, ENTRIES, Entry, HEADER_BYTES, LOCK_AT, MOST_KEY_BYTES,
    Record, State,
};
use super::place::{self, Held, foreign};
use crate::error::NameError;
use crate::memory::region::{AttachError, EXTENT_BYTES, Region};
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::sys::map::ForkMark;
use crate::sys::shm::Named;
use crate::sys::{clock, robust};

/// Shared memory that programs find by a name, with arrays in it that they find by a key.
///
/// ```
/// # fn main() -> Result<(), gristmill::Error> {
/// # let name = format!("doc-{}", std::process::id());
/// # let name = name.as_str();
/// use gristmill::NamedRegion;
///
/// let region = NamedRegion::create(name, 1 << 20)?;
/// let mut prices = region.alloc::<f64>("prices", 1000)?;
/// prices[0] = 9.99;
/// let prices = prices.publish()?;
///
/// let same = NamedRegion::open(name)?; // in another program
/// let seen = same.slice::<f64>("prices")?;
/// assert_eq!(seen[0], 9.99);
/// # Ok(())
/// # }
/// ```
///
/// An array is written by whoever allocates it, and seen by others when it is published: whole, and
/// from then on it never changes. So all read it where it lies, and nobody waits. An array whose
/// process dies before is given up.
///
/// **The name** stays for as long as any process has the region, by whichever of its names; whoever
/// drops it last takes it away. A process that is killed holds nothing any more, and what it was
/// the last to hold is removed by whoever makes or lists regions next, or by
/// [`clean`](Self::clean). A child that was forked keeps what its parent had in use, and removes
/// nothing. Programs that attach by other means, such as Python's
/// `multiprocessing.shared_memory.SharedMemory(name=region.file_name())`, are not counted.
///
/// **The memory** is reserved when the region is made, so that a full `/dev/shm` is an error then
/// and not a signal later. Only the process's own user may open it. Such a process may do anything
/// to it, also make the file shorter under the others, who then die of `SIGBUS`: a region without a
/// name is sealed against that, and one with a name cannot be.
#[derive(Clone, Debug)]
pub struct NamedRegion(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    memory: Region,
    held: Held,
    mark: ForkMark,
}

/// A region that was found; see [`NamedRegion::list`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamedInfo {
    /// What it is called.
    pub name: String,
    /// Its bytes.
    pub size: u64,
}

impl NamedRegion {
    /// Makes a region of at least `size` bytes and gives it a name that nobody uses. Blocks while
    /// memory is reserved.
    ///
    /// # Errors
    /// [`NameError::Exists`] if a process has a region of this name; [`NameError::NoRoom`] if there
    /// is not as much memory; [`NameError::BadName`], [`NameError::BadSize`].
    pub fn create(name: &str, size: u64) -> Result<Self, NameError> {
        let bad_size = NameError::BadSize {
            found: size,
            wanted: "at least 1, and no more than a file can have",
        };
        let Some(rounded) = size
            .checked_add(DATA_AT)
            .and_then(|size| size.checked_next_multiple_of(EXTENT_BYTES))
            .filter(|_| size > 0)
        else {
            return Err(bad_size);
        };
        let mut memory = None;
        let held = Held::create(name, rounded, |file| {
            memory = Some(prepare(file, rounded)?);
            Ok(())
        })?;
        let memory = memory.ok_or(bad_size)?;
        Self::new(memory, held)
    }

    /// Opens the region of this name.
    ///
    /// # Errors
    /// [`NameError::NotFound`]; [`NameError::Foreign`] if another program, or another version of
    /// this crate, has made it.
    pub fn open(name: &str) -> Result<Self, NameError> {
        let held = Held::open(name)?;
        let size = held.file().facts()?.size;
        let mut header = [0; HEADER_BYTES];
        let file = fs::File::from(held.file().file()?);
        file.read_exact_at(&mut header, 0)
            .map_err(|_| foreign(name, "it is too short"))?;
        format::check(&header, size).map_err(|reason| foreign(name, &reason))?;
        let memory = Region::attach_named(file.into()).map_err(|error| match error {
            AttachError::System(error) => NameError::System(error),
            error => foreign(name, &error.to_string()),
        })?;
        Self::new(memory, held)
    }

    /// Opens the region of this name, or makes one of at least `size` bytes.
    pub fn open_or_create(name: &str, size: u64) -> Result<Self, NameError> {
        loop {
            match Self::open(name) {
                Err(NameError::NotFound { .. }) => {}
                outcome => return outcome,
            }
            // Somebody else may be faster, and may be gone again.
            match Self::create(name, size) {
                Err(NameError::Exists { .. }) => {}
                outcome => return outcome,
            }
        }
    }

    fn new(memory: Region, held: Held) -> Result<Self, NameError> {
        let mark = ForkMark::new()?;
        Ok(Self(Arc::new(Inner { memory, held, mark })))
    }

    /// The regions of this user that some process has, in the order of their names.
    pub fn list() -> Result<Vec<NamedInfo>, NameError> {
        let found = place::list()?;
        let info = |place::Found { name, size }| NamedInfo { name, size };
        Ok(found.into_iter().map(info).collect())
    }

    /// Takes a name away; `false` if there is none. Whoever has the region keeps it.
    pub fn remove(name: &str) -> Result<bool, NameError> {
        place::remove(name)
    }

    /// Removes the names that dead processes of this user have left; says how many.
    pub fn clean() -> Result<usize, NameError> {
        place::clean()
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.held.name()
    }

    /// The name of its file in `/dev/shm`, by which programs find it that do not use this crate.
    #[must_use]
    pub fn file_name(&self) -> String {
        self.0.held.file_name()
    }

    /// Its bytes, those of the bookkeeping among them.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.memory.size()
    }

    /// The keys of the arrays that were published.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let ready = self
            .0
            .entries()
            .iter()
            .filter(|entry| entry.state() == State::Ready);
        let mut keys: Vec<_> = ready
            .filter_map(Entry::record)
            .map(|record| record.key)
            .collect();
        keys.sort();
        keys
    }

    /// An array of `len` zeros under a key that is not in use. Others see it when it is
    /// [published](NamedVec::publish). Blocks while another process allocates.
    ///
    /// # Errors
    /// [`NameError::KeyExists`], also while another process fills it; [`NameError::Full`];
    /// [`NameError::BadKey`]; [`NameError::BadSize`] if the array has no bytes.
    pub fn alloc<T: Pod>(&self, key: &str, len: usize) -> Result<NamedVec<T>, NameError> {
        const {
            assert!(
                align_of::<T>() <= ALIGN as usize,
                "an element is aligned to at most 64"
            );
        }
        if !self.0.mark.is_here() {
            return Err(NameError::Forked);
        }
        if key.is_empty() || key.len() > MOST_KEY_BYTES {
            return Err(NameError::BadKey { key: key.into() });
        }
        let bytes = len.checked_mul(size_of::<T>()).filter(|&bytes| bytes > 0);
        let Some(bytes) = bytes else {
            return Err(NameError::BadSize {
                found: len as u64,
                wanted: "an array with bytes in it",
            });
        };
        let (index, offset) = self.0.reserve::<T>(key, len, bytes as u64)?;
        let Some(at) = self.0.memory.pointer(offset, bytes) else {
            return Err(self.0.full(bytes as u64));
        };
        // SAFETY: the entry is this process's alone, and so are its bytes, which lie in the region.
        unsafe { at.write_bytes(0, bytes) };
        Ok(NamedVec::new(Arc::clone(&self.0), index, at.cast(), len))
    }

    /// The array that was published under a key.
    ///
    /// # Errors
    /// [`NameError::NoSuchKey`]; [`NameError::OtherType`] if its elements are of another type.
    pub fn slice<T: Pod>(&self, key: &str) -> Result<NamedSlice<T>, NameError> {
        const {
            assert!(
                align_of::<T>() <= ALIGN as usize,
                "an element is aligned to at most 64"
            );
        }
        let ready = self
            .0
            .entries()
            .iter()
            .filter(|entry| entry.state() == State::Ready);
        let found = ready
            .filter_map(Entry::record)
            .find(|record| record.key == key);
        let Some(record) = found else {
            return Err(NameError::NoSuchKey { key: key.into() });
        };
        if record.kind != format::kind::<T>() {
            return Err(NameError::OtherType { key: key.into() });
        }
        let broken = || foreign(self.name(), "its directory was overwritten");
        let len = usize::try_from(record.len).map_err(|_| broken())?;
        let bytes = len.checked_mul(size_of::<T>()).ok_or_else(broken)?;
        let is_placed = record.offset >= DATA_AT && record.offset.is_multiple_of(ALIGN);
        let at = self
            .0
            .memory
            .pointer(record.offset, bytes)
            .filter(|_| is_placed);
        let at = at.ok_or_else(broken)?;
        Ok(NamedSlice::new(Arc::clone(&self.0), at.cast(), len))
    }
}

/// Writes what a new region begins with, READY last, and maps it.
fn prepare(file: &Named, size: u64) -> Result<Region, NameError> {
    let memory = Region::attach_named(file.file()?).map_err(|error| match error {
        AttachError::System(error) => NameError::System(error),
        _ => NameError::BadSize {
            found: size,
            wanted: "whole extents",
        },
    })?;
    let fault = |_| NameError::BadSize {
        found: size,
        wanted: "room for the bookkeeping",
    };
    let lock = memory
        .pointer(LOCK_AT, robust::BYTES)
        .ok_or(())
        .map_err(fault)?;
    // SAFETY: nobody else has the region yet, and the place is aligned to 64.
    unsafe { robust::init(lock) }?;
    let start = memory.pointer(0, HEADER_BYTES).ok_or(()).map_err(fault)?;
    // SAFETY: nobody else has the region yet.
    unsafe { start.cast().write(format::header(size)) };
    // SAFETY: inside the header.
    let ready = unsafe { start.add(format::READY_AT) }.cast::<AtomicU64>();
    // SAFETY: as above, and aligned; from here on it is an atomic.
    let ready = unsafe { ready.as_ref() };
    // ORDERING: Release; whoever sees it sees a region that is complete.
    ready.store(format::READY_MARK, Ordering::Release);
    Ok(memory)
}

impl Inner {
    fn entries(&self) -> &[Entry] {
        let bytes = ENTRIES * size_of::<Entry>();
        let Some(at) = self.memory.pointer(DIRECTORY_AT, bytes) else {
            return &[];
        };
        // SAFETY: in the mapping for as long as it lives; atomics, so that any bits will do and
        // anybody may change them.
        unsafe { std::slice::from_raw_parts(at.cast().as_ptr(), ENTRIES) }
    }

    pub(super) fn entry(&self, index: usize) -> Option<&Entry> {
        self.entries().get(index)
    }

    /// Whether this is still the process that opened the region.
    pub(super) fn is_here(&self) -> bool {
        self.mark.is_here()
    }

    /// Where `at`, which lies in the region, is from its start on.
    pub(super) fn offset_of(&self, at: NonNull<u8>) -> u64 {
        at.addr()
            .get()
            .wrapping_sub(self.memory.base().addr().get()) as u64
    }

    fn full(&self, wanted: u64) -> NameError {
        NameError::Full {
            name: self.held.name().into(),
            wanted,
        }
    }

    /// Takes an entry and room for an array; the lock is held meanwhile. One that died over it has
    /// left nothing that has to be undone: until its word says so, an entry is free.
    fn reserve<T: Pod>(
        &self,
        key: &str,
        len: usize,
        bytes: u64,
    ) -> Result<(usize, u64), NameError> {
        let lock = self.memory.pointer(LOCK_AT, robust::BYTES);
        let lock = lock.ok_or_else(|| self.full(bytes))?;
        // SAFETY: whoever made the region made the lock there, and the mapping outlives this call.
        let _held = unsafe { robust::lock(lock) }?;
        let mut spans = Vec::new();
        for entry in self.entries() {
            let state = entry.state();
            let Some(record) = entry.record().filter(|_| state != State::Free) else {
                continue;
            };
            if state == State::Filling && is_dead(record.owner) {
                entry.give_up();
                continue;
            }
            if record.key == key {
                return Err(NameError::KeyExists { key: key.into() });
            }
            let size = record.len.saturating_mul(record.kind & u64::from(u32::MAX));
            spans.push((record.offset, record.offset.saturating_add(size)));
        }
        spans.sort_unstable();
        let mut start = DATA_AT;
        for (first, end) in spans {
            if first.saturating_sub(start) >= bytes {
                break;
            }
            start = start
                .max(end)
                .checked_next_multiple_of(ALIGN)
                .unwrap_or(u64::MAX);
        }
        let fits = start
            .checked_add(bytes)
            .is_some_and(|end| end <= self.memory.size());
        let mut entries = self.entries().iter();
        let free = entries.position(|entry| entry.state() == State::Free);
        let Some(index) = free.filter(|_| fits) else {
            return Err(self.full(bytes));
        };
        self.entries()[index].fill(&Record {
            owner: own_process(),
            offset: start,
            len: len as u64,
            kind: format::kind::<T>(),
            key: key.into(),
        });
        Ok((index, start))
    }
}

/// This process: its number, with the space in front in which it has that, and when it began.
fn own_process() -> (u64, u64) {
    let pid = process::id();
    let space = clock::pid_namespace() << 32;
    (space | u64::from(pid), clock::started(pid).unwrap_or(0))
}

/// Whether a process is gone: its number is free, or another's. One of another space may be alive.
fn is_dead((number, started): (u64, u64)) -> bool {
    let is_near = number >> 32 == own_process().0 >> 32;
    is_near && clock::started(number as u32) != Some(started)
}
