//! The memory file: nameless, sparse, and sealed so that nobody can resize it under another.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::fstat;
use nix::unistd::{Whence, ftruncate, lseek};

use super::failure::SysError;

/// `MFD_NOEXEC_SEAL` (6.3): the file can never be made executable.
const MFD_NOEXEC_SEAL: u32 = 0x0008;

/// `fstat` counts blocks of this size whatever the page size.
const STAT_BLOCK_BYTES: u64 = 512;

/// The seals that make an offset below the size valid for the life of the file.
fn fixed_size() -> SealFlag {
    SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL
}

/// Creates a sparse file of exactly `bytes` whose size nobody can change any more.
///
/// Wants a multiple of the page size. Takes no memory yet. Fails when the process may not have a
/// file this large (`EFBIG`; asked first, because `ftruncate` would raise SIGXFSZ) or no more
/// descriptors.
pub(crate) fn create(bytes: u64) -> Result<OwnedFd, SysError> {
    const SIZE: &str = "give the memory file its size (see `ulimit -f`)";
    let (limit, _) =
        getrlimit(Resource::RLIMIT_FSIZE).map_err(SysError::of("read the limit on file sizes"))?;
    let length = i64::try_from(bytes).map_err(|_| SysError::of(SIZE)(Errno::EFBIG))?;
    if bytes > limit {
        return Err(SysError::of(SIZE)(Errno::EFBIG));
    }
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let file = memfd_create(
        c"gristmill",
        flags | MFdFlags::from_bits_retain(MFD_NOEXEC_SEAL),
    )
    .or_else(|errno| match errno {
        Errno::EINVAL => memfd_create(c"gristmill", flags),
        other => Err(other),
    })
    .map_err(SysError::of("create the memory file"))?;
    ftruncate(&file, length).map_err(SysError::of(SIZE))?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(fixed_size()))
        .map_err(SysError::of("seal the memory file"))?;
    Ok(file)
}

/// Whether the size of `file` is fixed for good. Fails on a descriptor that is no memory file.
pub(crate) fn is_sealed(file: BorrowedFd<'_>) -> Result<bool, SysError> {
    let seals = fcntl(file, FcntlArg::F_GET_SEALS)
        .map_err(SysError::of("read the seals of the memory file"))?;
    Ok(SealFlag::from_bits_retain(seals).contains(fixed_size()))
}

/// The size of `file` in bytes, by its end: a confined process may not ask for its status. Nobody
/// reads such a file by its position, which this moves.
pub(crate) fn size(file: BorrowedFd<'_>) -> Result<u64, SysError> {
    let end = lseek(file, 0, Whence::SeekEnd);
    let end = end.map_err(SysError::of("read the size of the memory file"))?;
    Ok(u64::try_from(end).unwrap_or(0))
}

/// The bytes that `file` really takes, in whichever process they were written.
pub(crate) fn resident(file: BorrowedFd<'_>) -> Result<u64, SysError> {
    let status = fstat(file).map_err(SysError::of("read what the memory file takes"))?;
    Ok(u64::try_from(status.st_blocks).unwrap_or(0) * STAT_BLOCK_BYTES)
}

/// Gives the bytes of `[offset, offset + bytes)` back to the kernel; they read as zero from now on
/// in every process. Whole pages only: the edges of a page partly covered are just zeroed.
pub(crate) fn punch(file: impl AsFd, offset: u64, bytes: u64) -> Result<(), SysError> {
    const ATTEMPT: &str = "give memory back to the kernel";
    let invalid = |_| SysError::of(ATTEMPT)(Errno::EINVAL);
    let offset = i64::try_from(offset).map_err(invalid)?;
    let bytes = i64::try_from(bytes).map_err(invalid)?;
    let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    loop {
        match fallocate(&file, hole, offset, bytes) {
            Err(Errno::EINTR) => {}
            outcome => return outcome.map_err(SysError::of(ATTEMPT)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_sealed_file_cannot_change() {
        let file = create(1 << 22).unwrap();
        assert!(is_sealed(file.as_fd()).unwrap());
        assert_eq!(size(file.as_fd()).unwrap(), 1 << 22);
        assert_eq!(ftruncate(&file, 0), Err(Errno::EPERM));
        assert_eq!(ftruncate(&file, 1 << 23), Err(Errno::EPERM));
        let more = FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE);
        assert_eq!(fcntl(&file, more), Err(Errno::EPERM));
        punch(&file, 0, 1 << 22).unwrap();
        assert_eq!(resident(file.as_fd()).unwrap(), 0);
    }

    #[test]
    fn a_file_that_is_not_sealed_is_told_apart() {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = memfd_create(c"unsealed", flags).unwrap();
        assert!(!is_sealed(file.as_fd()).unwrap());
        let device = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(is_sealed(device.as_fd()).unwrap_err().errno, Errno::EINVAL);
    }

    #[test]
    fn an_absurd_size_is_refused() {
        assert_eq!(create(u64::MAX).unwrap_err().errno, Errno::EFBIG);
    }
}
