//! Mappings of the memory file: aligned for huge pages, protected and committed by ranges.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use libc::c_void;
use nix::errno::Errno;
use nix::sys::mman::{
    MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, mprotect, munmap,
};

use super::failure::SysError;

/// The size of a huge page, to which every mapping is aligned.
pub(crate) const HUGE_PAGE_BYTES: usize = 2 << 20;

/// `MADV_COLLAPSE` (6.1); neither nix nor every flavour of libc has it.
const MADV_COLLAPSE: i32 = 25;

/// What a process may do with a range of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// Loads only; a store is a SIGSEGV.
    Read,
    /// Loads and stores.
    ReadWrite,
}

impl Protection {
    fn flags(self) -> ProtFlags {
        match self {
            Self::Read => ProtFlags::PROT_READ,
            Self::ReadWrite => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        }
    }
}

/// A shared mapping of the first bytes of a file, unmapped on drop.
///
/// Invariant: `[base, base + bytes)` is mapped, by us alone, and `base` is a multiple of
/// [`HUGE_PAGE_BYTES`].
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread; the methods are system calls, which
// the kernel serialises.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`; no method hands out a reference to the bytes.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `bytes` of `file` at an address that is a multiple of 2 MiB, sparse, and
    /// left out of core dumps.
    ///
    /// Wants a positive multiple of the page size, not beyond the end of the file. Fails with
    /// `ENOMEM` when the address space (`ulimit -v`) does not suffice.
    pub(crate) fn shared(
        file: BorrowedFd<'_>,
        bytes: usize,
        protection: Protection,
    ) -> Result<Self, SysError> {
        const RESERVE: &str = "reserve address space (see `ulimit -v`)";
        let length = NonZeroUsize::new(bytes).ok_or(SysError::of(RESERVE)(Errno::EINVAL))?;
        let reserved = length
            .checked_add(HUGE_PAGE_BYTES)
            .ok_or(SysError::of(RESERVE)(Errno::ENOMEM))?;
        let sparse = MapFlags::MAP_NORESERVE;
        // SAFETY: without MAP_FIXED the kernel picks an unused range, so no memory is touched.
        let anywhere = unsafe {
            mmap_anonymous(
                None,
                reserved,
                ProtFlags::PROT_NONE,
                MapFlags::MAP_PRIVATE | sparse,
            )
        }
        .map_err(SysError::of(RESERVE))?;
        // From here on an early return unmaps the whole reservation.
        let reservation = Self {
            base: anywhere.cast(),
            bytes: reserved.get(),
        };
        let start = anywhere.addr().get();
        let head = start.next_multiple_of(HUGE_PAGE_BYTES) - start;
        let aligned = NonZeroUsize::new(start + head);
        // SAFETY: the range lies inside the reservation, which nobody else knows: head is less
        // than the HUGE_PAGE_BYTES that were reserved on top of `length`.
        let base = unsafe {
            let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED | sparse;
            mmap(aligned, length, protection.flags(), flags, file, 0)
        }
        .map_err(SysError::of("map the memory file"))?
        .cast();
        std::mem::forget(reservation);
        // A failure to trim leaves unusable address space behind, which harms nobody.
        let tail = HUGE_PAGE_BYTES - head;
        if head > 0 {
            // SAFETY: the head of our own reservation, into which nothing points.
            let _ = unsafe { munmap(anywhere, head) };
        }
        if tail > 0 {
            // SAFETY: `base + bytes` is inside our reservation, or one past its end.
            let end = unsafe { base.add(bytes) };
            // SAFETY: the tail of our own reservation, into which nothing points.
            let _ = unsafe { munmap(end.cast(), tail) };
        }
        let mapping = Self { base, bytes };
        // SAFETY: the advice changes no byte and no mapping.
        unsafe { madvise(base.cast(), bytes, MmapAdvise::MADV_DONTDUMP) }
            .map_err(SysError::of("keep the mapping out of core dumps"))?;
        Ok(mapping)
    }

    /// The first byte.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// How many bytes are mapped.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The start and length of `range`, or `EINVAL` if it is not a range of this mapping.
    fn locate(
        &self,
        range: Range<usize>,
        attempt: &'static str,
    ) -> Result<(NonNull<c_void>, usize), SysError> {
        if range.start > range.end || range.end > self.bytes {
            return Err(SysError::of(attempt)(Errno::EINVAL));
        }
        // SAFETY: start <= end <= bytes was just checked, so the result is in the mapping.
        let start = unsafe { self.base.add(range.start) };
        Ok((start.cast(), range.end - range.start))
    }

    /// Changes what this process may do with `range`, which wants page boundaries.
    ///
    /// Another process's mapping is not concerned. Fails with `ENOMEM` when the process has too
    /// many distinct mappings (`vm.max_map_count`).
    pub(crate) fn protect(
        &self,
        range: Range<usize>,
        protection: Protection,
    ) -> Result<(), SysError> {
        const ATTEMPT: &str = "change the protection of shared memory";
        let (start, bytes) = self.locate(range, ATTEMPT)?;
        // SAFETY: the range is ours. Access can become a fault, never undefined behaviour.
        unsafe { mprotect(start, bytes, protection.flags()) }.map_err(SysError::of(ATTEMPT))
    }

    /// Gives every page of `range` memory, as a store to each would, but with an error where the
    /// store would be a SIGBUS. Wants page boundaries and a writable range; keeps the contents.
    pub(crate) fn populate(&self, range: Range<usize>) -> Result<(), SysError> {
        const ATTEMPT: &str = "commit shared memory";
        let (start, bytes) = self.locate(range, ATTEMPT)?;
        loop {
            // SAFETY: the advice faults pages in and changes no byte.
            match unsafe { madvise(start, bytes, MmapAdvise::MADV_POPULATE_WRITE) } {
                Err(Errno::EINTR) => {}
                outcome => return outcome.map_err(SysError::of(ATTEMPT)),
            }
        }
    }

    /// Replaces the pages of `range` by huge ones. Wants 2 MiB boundaries and at least one page
    /// populated in each 2 MiB; keeps the contents. `EINVAL`: this kernel cannot do it.
    /// Any error leaves a part of the range collapsed.
    pub(crate) fn collapse(&self, range: Range<usize>) -> Result<(), SysError> {
        const ATTEMPT: &str = "collapse shared memory into huge pages";
        let (start, bytes) = self.locate(range, ATTEMPT)?;
        // SAFETY: the advice replaces pages by equal ones and changes no byte.
        match unsafe { libc::madvise(start.as_ptr(), bytes, MADV_COLLAPSE) } {
            0 => Ok(()),
            _ => Err(SysError::last(ATTEMPT)),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is ours by the invariant; who holds a pointer into it keeps us alive.
        let unmapped = unsafe { munmap(self.base.cast(), self.bytes) };
        debug_assert_eq!(unmapped, Ok(()), "the mapping was ours");
    }
}

/// Tells the process that made it from the children it forked, at the price of a load.
///
/// A page that the kernel wipes in a forked child (`MADV_WIPEONFORK`), with a mark on it.
#[derive(Debug)]
pub(crate) struct ForkMark(Mapping);

impl ForkMark {
    const MARK: u8 = 1;

    /// Marks this process. Fails when there is no memory for a page.
    pub(crate) fn new() -> Result<Self, SysError> {
        const ATTEMPT: &str = "map the page that tells a forked child from its parent";
        const PAGE: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: without MAP_FIXED the kernel picks an unused range, so no memory is touched.
        let page = unsafe { mmap_anonymous(None, PAGE, access, MapFlags::MAP_PRIVATE) }
            .map_err(SysError::of(ATTEMPT))?;
        let page = Mapping {
            base: page.cast(),
            bytes: PAGE.get(),
        };
        // SAFETY: the advice concerns our own page, and only in children.
        unsafe { madvise(page.base.cast(), page.bytes, MmapAdvise::MADV_WIPEONFORK) }
            .map_err(SysError::of(ATTEMPT))?;
        // SAFETY: the page is mapped for writing and nobody else knows it.
        unsafe { page.base.write(Self::MARK) };
        Ok(Self(page))
    }

    /// Whether this is still the process that called [`ForkMark::new`].
    pub(crate) fn is_here(&self) -> bool {
        // SAFETY: the mark is there.
        unsafe { self.glance().is_here() }
    }

    /// The same for whoever asks often, without a look at the mark's own place.
    pub(crate) fn glance(&self) -> ForkGlance {
        ForkGlance(self.0.base)
    }
}

/// Where a [`ForkMark`] is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForkGlance(NonNull<u8>);

// SAFETY: the mark is read only, and any thread may.
unsafe impl Send for ForkGlance {}
// SAFETY: as above.
unsafe impl Sync for ForkGlance {}

impl ForkGlance {
    /// As [`ForkMark::is_here`].
    ///
    /// # Safety
    /// The mark has not been dropped.
    #[inline]
    pub(crate) unsafe fn is_here(self) -> bool {
        // SAFETY: mapped for as long as the mark, and never written again by anyone but the kernel,
        // in a child, before that child runs.
        unsafe { self.0.read_volatile() == ForkMark::MARK }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::sys::signal::Signal;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    use super::super::memfd;
    use super::*;

    /// What becomes of a forked child that runs `body`, which must not allocate.
    fn fate_of(body: impl FnOnce() -> i32) -> WaitStatus {
        // SAFETY: the child only runs `body` and leaves without unwinding or running destructors.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let none = libc::rlimit {
                    rlim_cur: 0,
                    rlim_max: 0,
                };
                // SAFETY: a plain system call with a valid pointer.
                unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
                let code = body();
                // SAFETY: ends the child without running the test harness's handlers.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => waitpid(child, None).unwrap(),
        }
    }

    #[test]
    fn a_mapping_is_aligned_and_shared() {
        let file = memfd::create(3 * HUGE_PAGE_BYTES as u64).unwrap();
        let bytes = 3 * HUGE_PAGE_BYTES;
        let one = Mapping::shared(file.as_fd(), bytes, Protection::ReadWrite).unwrap();
        let other = Mapping::shared(file.as_fd(), bytes, Protection::Read).unwrap();
        assert!(one.base().addr().get().is_multiple_of(HUGE_PAGE_BYTES));
        assert!(other.base().addr().get().is_multiple_of(HUGE_PAGE_BYTES));
        one.populate(0..bytes).unwrap();
        // SAFETY: the last byte is inside the mapping.
        let [last, same] = [&one, &other].map(|map| unsafe { map.base().add(bytes - 1) });
        // SAFETY: a byte of a writable mapping to which nobody refers.
        unsafe { last.write(7) };
        // SAFETY: a byte of a readable mapping.
        assert_eq!(unsafe { same.read() }, 7);
    }

    #[test]
    fn a_store_through_a_read_only_mapping_is_a_fault() {
        let file = memfd::create(HUGE_PAGE_BYTES as u64).unwrap();
        let map = Mapping::shared(file.as_fd(), HUGE_PAGE_BYTES, Protection::Read).unwrap();
        let store = || {
            // SAFETY: the mapping is there; the store faults or lands, which is what we ask.
            unsafe { map.base().write_volatile(1) };
            0
        };
        assert!(matches!(
            fate_of(store),
            WaitStatus::Signaled(_, Signal::SIGSEGV, _)
        ));
        map.protect(0..4096, Protection::ReadWrite).unwrap();
        assert!(matches!(fate_of(store), WaitStatus::Exited(_, 0)));
        map.protect(0..4096, Protection::Read).unwrap();
        assert!(matches!(
            fate_of(store),
            WaitStatus::Signaled(_, Signal::SIGSEGV, _)
        ));
    }

    #[test]
    fn a_range_beyond_the_mapping_is_refused() {
        let file = memfd::create(HUGE_PAGE_BYTES as u64).unwrap();
        let map = Mapping::shared(file.as_fd(), HUGE_PAGE_BYTES, Protection::Read).unwrap();
        let beyond = 0..HUGE_PAGE_BYTES + 4096;
        let refused = map
            .protect(beyond.clone(), Protection::ReadWrite)
            .unwrap_err();
        assert_eq!(refused.errno, Errno::EINVAL);
        assert_eq!(map.populate(beyond).unwrap_err().errno, Errno::EINVAL);
    }

    #[test]
    fn a_forked_child_is_told_from_its_parent() {
        let mark = ForkMark::new().unwrap();
        assert!(mark.is_here());
        assert!(matches!(
            fate_of(|| i32::from(mark.is_here())),
            WaitStatus::Exited(_, 0)
        ));
        assert!(mark.is_here());
    }
}
