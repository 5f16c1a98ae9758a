//! The region: the memory file as one process maps it. An address, between processes, is an offset.

#![expect(unsafe_code, reason = "turns offsets into pointers of the mapping")]

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::thread;

use nix::errno::Errno;

use crate::primitive::atomic::{AtomicU32, Ordering};
use crate::sys::cpu;
use crate::sys::failure::SysError;
use crate::sys::map::{HUGE_PAGE_BYTES, Mapping, Protection};
use crate::sys::memfd;

/// The unit of commitment: one huge page.
pub(crate) const EXTENT_BYTES: u64 = HUGE_PAGE_BYTES as u64;

/// The granularity of protection. On aarch64 a kernel may have larger pages than 4 KiB: there it is
/// the largest that one may have.
pub(crate) const PAGE_BYTES: u64 = if cfg!(target_arch = "aarch64") {
    65536
} else {
    4096
};

/// What a thread of its own is worth when memory is committed: some ten milliseconds.
const SHARE_BYTES: u64 = 64 << 20;
/// More threads wait for each other in the kernel.
const MOST_THREADS: u64 = 4;

/// Whether [`Region::commit`] still tries huge pages.
const COLLAPSE: u32 = 0;
const NO_COLLAPSE: u32 = 1;

/// A sealed memory file and this process's mapping of all of it.
///
/// The parent maps it for reading and writing, a worker read-only until [`Region::unprotect`].
/// A `fork` of the parent inherits the mapping (so that a child of the user's can read buffers);
/// what must not happen there is freeing, which is the business of [`Block`](super::block::Block).
#[derive(Debug)]
pub(crate) struct Region {
    mapping: Mapping,
    file: OwnedFd,
    collapse: AtomicU32,
}

/// Why a descriptor is not a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AttachError {
    /// The descriptor cannot be used at all.
    #[error(transparent)]
    System(#[from] SysError),
    /// Somebody could truncate the file under us.
    #[error("the memory file is not sealed against a change of its size; was it made by a pool?")]
    Unsealed,
    /// Regions consist of whole extents, and have at least one.
    #[error("the memory file has {found} bytes, not a multiple of 2 MiB; was it made by a pool?")]
    Size {
        /// The size of the file.
        found: u64,
    },
}

impl Region {
    /// A new region of `bytes`, rounded up to extents, writable, taking no memory yet.
    pub(crate) fn create(bytes: u64) -> Result<Self, SysError> {
        const ATTEMPT: &str = "create a shared memory region";
        let bytes = bytes
            .max(1)
            .checked_next_multiple_of(EXTENT_BYTES)
            .ok_or(SysError::of(ATTEMPT)(Errno::EFBIG))?;
        let length = usize::try_from(bytes).map_err(|_| SysError::of(ATTEMPT)(Errno::EFBIG))?;
        let file = memfd::create(bytes)?;
        let mapping = Mapping::shared(file.as_fd(), length, Protection::ReadWrite)?;
        Ok(Self::new(mapping, file))
    }

    /// Maps a region that another process created, all of it read-only.
    pub(crate) fn attach(file: OwnedFd) -> Result<Self, AttachError> {
        if !memfd::is_sealed(file.as_fd())? {
            return Err(AttachError::Unsealed);
        }
        let found = memfd::size(file.as_fd())?;
        let length = match usize::try_from(found) {
            Ok(length) if found > 0 && found.is_multiple_of(EXTENT_BYTES) => length,
            _ => return Err(AttachError::Size { found }),
        };
        let mapping = Mapping::shared(file.as_fd(), length, Protection::Read)?;
        Ok(Self::new(mapping, file))
    }

    /// Maps a file that has a name, all of it writable. No seal keeps others of the same user from
    /// making it shorter.
    #[cfg(feature = "named")]
    pub(crate) fn attach_named(file: OwnedFd) -> Result<Self, AttachError> {
        let found = memfd::size(file.as_fd())?;
        let length = match usize::try_from(found) {
            Ok(length) if found > 0 && found.is_multiple_of(EXTENT_BYTES) => length,
            _ => return Err(AttachError::Size { found }),
        };
        let mapping = Mapping::shared(file.as_fd(), length, Protection::ReadWrite)?;
        Ok(Self::new(mapping, file))
    }

    fn new(mapping: Mapping, file: OwnedFd) -> Self {
        Self {
            mapping,
            file,
            collapse: AtomicU32::new(COLLAPSE),
        }
    }

    /// The first byte, on a 2 MiB boundary.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.mapping.base()
    }

    /// The size in bytes, a multiple of 2 MiB.
    pub(crate) fn size(&self) -> u64 {
        self.mapping.bytes() as u64
    }

    /// The memory file.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The bytes of memory that the region takes at this moment, whoever wrote them.
    pub(crate) fn resident(&self) -> Result<u64, SysError> {
        memfd::resident(self.fd())
    }

    /// Where `[offset, offset + size)` is mapped, if it is inside the region. The pointer is valid
    /// as long as the region; whether its bytes may be written, protection says.
    pub(crate) fn pointer(&self, offset: u64, size: usize) -> Option<NonNull<u8>> {
        let end = offset.checked_add(size as u64)?;
        if end > self.size() {
            return None;
        }
        // SAFETY: offset <= end <= size, so the result is in the mapping or one past its end; the
        // size fits a usize because it was mapped.
        Some(unsafe { self.base().add(offset as usize) })
    }

    /// Lets this process write to the pages that `range` touches.
    pub(crate) fn unprotect(&self, range: Range<u64>) -> Result<(), SysError> {
        self.mapping
            .protect(to_usize(pages_of(range)), Protection::ReadWrite)
    }

    /// Takes back, from this process, the right to write to the pages that `range` touches.
    pub(crate) fn protect(&self, range: Range<u64>) -> Result<(), SysError> {
        self.mapping
            .protect(to_usize(pages_of(range)), Protection::Read)
    }

    /// Gives every page of `range` (whole extents, writable here) memory, in huge pages where the
    /// kernel can; says how many bytes became huge. What was there stays. A full machine is an
    /// error here and a SIGBUS for whoever writes without asking.
    ///
    /// A large range is shared out among some threads that live as long as this call: the kernel
    /// clears the pages, one thread at a time each, and two are twice as fast.
    pub(crate) fn commit(&self, range: Range<u64>) -> Result<u64, SysError> {
        debug_assert!(range.start.is_multiple_of(EXTENT_BYTES));
        debug_assert!(range.end.is_multiple_of(EXTENT_BYTES));
        let size = range.end.saturating_sub(range.start);
        let most = size / SHARE_BYTES;
        if most < 2 {
            return self.commit_alone(range);
        }
        let threads = most.min(cpu::available() as u64).min(MOST_THREADS);
        let share = size.div_ceil(threads).next_multiple_of(EXTENT_BYTES);
        let shares = (range.start..range.end).step_by(share as usize);
        let shares = shares.map(|start| start..(start + share).min(range.end));
        thread::scope(|scope| {
            let mut begun = Vec::new();
            let mut huge = Ok(0);
            let add = |sum: Result<u64, SysError>, more: Result<u64, SysError>| Ok(sum? + more?);
            for part in shares.skip(1) {
                let own = part.clone();
                let helper = thread::Builder::new().name("gristmill-commit".into());
                match helper.spawn_scoped(scope, || self.commit_alone(own)) {
                    Ok(handle) => begun.push(handle),
                    // No thread to be had: this one does it.
                    Err(_) => huge = add(huge, self.commit_alone(part)),
                }
            }
            huge = add(huge, self.commit_alone(range.start..range.start + share));
            begun.into_iter().fold(huge, |huge, handle| {
                add(huge, handle.join().expect("committing does not panic"))
            })
        })
    }

    fn commit_alone(&self, range: Range<u64>) -> Result<u64, SysError> {
        // Collapsing is for speed and may fail; populating is what counts, and costs next to
        // nothing (0.1 ms/GiB) once the range is huge.
        let huge = self.collapse(range.clone())?;
        self.mapping.populate(to_usize(range))?;
        Ok(huge)
    }

    /// Gives the pages that `range` touches (writable here) memory in small pages.
    pub(crate) fn populate(&self, range: Range<u64>) -> Result<(), SysError> {
        let start = range.start / PAGE_BYTES * PAGE_BYTES;
        let end = range.end.next_multiple_of(PAGE_BYTES);
        self.mapping.populate(to_usize(start..end))
    }

    /// The addresses of the mapping in this process.
    pub(crate) fn addresses(&self) -> Range<*const u8> {
        let start = self.base().as_ptr().cast_const();
        start..start.wrapping_add(self.mapping.bytes())
    }

    fn collapse(&self, range: Range<u64>) -> Result<u64, SysError> {
        // ORDERING: Relaxed; a memory of what the kernel cannot do, which publishes nothing.
        if self.collapse.load(Ordering::Relaxed) == NO_COLLAPSE {
            return Ok(0);
        }
        let extents = || range.clone().step_by(HUGE_PAGE_BYTES);
        for extent in extents() {
            // A page in each extent is what makes the kernel look at it at all.
            self.mapping
                .populate(to_usize(extent..extent + PAGE_BYTES))?;
        }
        if self.mapping.collapse(to_usize(range.clone())).is_ok() {
            return Ok(range.end - range.start);
        }
        let mut huge = 0;
        for extent in extents() {
            match self
                .mapping
                .collapse(to_usize(extent..extent + EXTENT_BYTES))
            {
                Ok(()) => huge += EXTENT_BYTES,
                Err(SysError {
                    errno: Errno::EINVAL,
                    ..
                }) => {
                    self.disable_huge_pages();
                    break;
                }
                // No huge page to be had just now; small ones will do.
                Err(_) => {}
            }
        }
        Ok(huge)
    }

    /// Commits in small pages from now on, as on a kernel that cannot collapse.
    pub(crate) fn disable_huge_pages(&self) {
        // ORDERING: Relaxed; see `collapse`.
        self.collapse.store(NO_COLLAPSE, Ordering::Relaxed);
    }

    /// Gives the memory of `range` (whole extents) back; it reads as zero until written again, in
    /// every process.
    pub(crate) fn punch(&self, range: Range<u64>) -> Result<(), SysError> {
        memfd::punch(self.fd(), range.start, range.end - range.start)
    }
}

/// The bytes of all pages that `range` touches.
fn pages_of(range: Range<u64>) -> Range<u64> {
    let start = range.start / PAGE_BYTES * PAGE_BYTES;
    start
        ..range
            .end
            .checked_next_multiple_of(PAGE_BYTES)
            .unwrap_or(u64::MAX)
}

/// Offsets in a mapping fit an address; a range that does not is refused by the mapping.
fn to_usize(range: Range<u64>) -> Range<usize> {
    let fit = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
    fit(range.start)..fit(range.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_mapping_of_the_file_sees_the_bytes() {
        let region = Region::create(2 * EXTENT_BYTES).unwrap();
        let other = Region::attach(region.fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(other.size(), region.size());
        assert_ne!(other.base(), region.base());
        let last = region.size() - 1;
        // SAFETY: a byte of a writable mapping to which nobody refers.
        unsafe { region.pointer(last, 1).unwrap().write(9) };
        // SAFETY: a byte of a readable mapping.
        assert_eq!(unsafe { other.pointer(last, 1).unwrap().read() }, 9);
    }

    #[test]
    fn a_pointer_never_leaves_the_region() {
        let region = Region::create(1).unwrap();
        assert_eq!(region.size(), EXTENT_BYTES);
        assert!(region.pointer(0, EXTENT_BYTES as usize).is_some());
        assert!(region.pointer(EXTENT_BYTES, 0).is_some());
        for (offset, size) in [
            (0, EXTENT_BYTES as usize + 1),
            (EXTENT_BYTES, 1),
            (u64::MAX, 1),
            (u64::MAX, usize::MAX),
            (1, usize::MAX),
        ] {
            assert!(region.pointer(offset, size).is_none(), "{offset} {size}");
        }
    }

    #[test]
    fn committing_keeps_what_is_there_and_punching_does_not() {
        let region = Region::create(4 * EXTENT_BYTES).unwrap();
        let at = region.pointer(EXTENT_BYTES + 5, 1).unwrap();
        // SAFETY: a byte of a writable mapping to which nobody refers.
        unsafe { at.write(3) };
        let huge = region.commit(0..3 * EXTENT_BYTES).unwrap();
        assert!(huge <= 3 * EXTENT_BYTES);
        assert_eq!(region.resident().unwrap(), 3 * EXTENT_BYTES);
        // SAFETY: as above.
        assert_eq!(unsafe { at.read() }, 3);
        region.disable_huge_pages();
        assert_eq!(
            region.commit(3 * EXTENT_BYTES..4 * EXTENT_BYTES).unwrap(),
            0
        );
        assert_eq!(region.resident().unwrap(), 4 * EXTENT_BYTES);
        region.punch(0..4 * EXTENT_BYTES).unwrap();
        assert_eq!(region.resident().unwrap(), 0);
        // SAFETY: as above.
        assert_eq!(unsafe { at.read() }, 0);
    }

    #[test]
    fn a_large_range_is_committed_by_several_threads() {
        let size = 2 * SHARE_BYTES + EXTENT_BYTES;
        let region = Region::create(size).unwrap();
        let huge = region.commit(0..size).unwrap();
        assert!(huge <= size);
        assert_eq!(region.resident().unwrap(), size);
    }

    #[test]
    fn protection_covers_whole_pages_and_only_the_region() {
        let region = Region::create(EXTENT_BYTES).unwrap();
        let other = Region::attach(region.fd().try_clone_to_owned().unwrap()).unwrap();
        other.unprotect(PAGE_BYTES + 1..PAGE_BYTES + 2).unwrap();
        let at = other.pointer(PAGE_BYTES, 1).unwrap();
        // SAFETY: a byte of a page that was just made writable and to which nobody refers.
        unsafe { at.write(1) };
        other.protect(0..EXTENT_BYTES).unwrap();
        assert!(other.unprotect(0..EXTENT_BYTES + 1).is_err());
        assert!(other.unprotect(0..u64::MAX).is_err());
        assert!(other.unprotect(u64::MAX - 1..u64::MAX).is_err());
    }

    #[test]
    fn what_is_no_region_is_refused() {
        let odd = memfd::create(EXTENT_BYTES + 4096).unwrap();
        let refusal = Region::attach(odd).unwrap_err();
        assert_eq!(
            refusal,
            AttachError::Size {
                found: EXTENT_BYTES + 4096
            }
        );
        let empty = memfd::create(0).unwrap();
        assert_eq!(
            Region::attach(empty).unwrap_err(),
            AttachError::Size { found: 0 }
        );
        let device = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(
            Region::attach(device.into()),
            Err(AttachError::System(_))
        ));
    }
}
