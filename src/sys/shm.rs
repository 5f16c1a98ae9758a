//! Files of shared memory that have a name, in the directory where the C library keeps them.

use std::fs::{File, TryLockError};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{OFlag, RenameFlags, open, posix_fallocate, renameat2};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use shared_memory::{ShmemConf, ShmemError};

use super::failure::SysError;
use super::process::refused;

/// Where names are.
pub(crate) const DIRECTORY: &str = "/dev/shm";

/// A file under a name, or that was, and this process's lock on it. The lock is the open file's, so
/// a forked child shares it, and it goes when both have closed it. While it lives the kernel knows
/// that the file is in use; it forgets that by itself when the last process that has this
/// descriptor is gone.
#[derive(Debug)]
pub(crate) struct Named(File);

/// What the kernel says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Device and number: no two files have the same at a time.
    pub(crate) file: (u64, u64),
    /// Its owner.
    pub(crate) uid: u32,
    /// Its bytes.
    pub(crate) size: u64,
    /// Whether it has a name.
    pub(crate) is_named: bool,
    /// Whether it is a file of bytes.
    pub(crate) is_regular: bool,
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(DIRECTORY).join(name)
}

/// Makes a file of `size` bytes that only this user may open, and none of whose bytes has memory.
///
/// Fails with `EEXIST` if the name is taken.
pub(crate) fn create(name: &str, size: usize) -> Result<Named, SysError> {
    let attempt = SysError::of("create named shared memory");
    let made = ShmemConf::new()
        .os_id(format!("/{name}"))
        .size(size)
        .create();
    let mut made = match made {
        Ok(made) => made,
        Err(ShmemError::MappingIdExists) => return Err(attempt(Errno::EEXIST)),
        Err(
            ShmemError::MapCreateFailed(errno)
            | ShmemError::MapOpenFailed(errno)
            | ShmemError::UnknownOsError(errno),
        ) => return Err(attempt(Errno::from_raw(errno.cast_signed()))),
        Err(_) => return Err(attempt(Errno::EINVAL)),
    };
    // It would remove the name when it is dropped, also in a forked child; and its mapping is at
    // any page, where a region's is where huge pages can be.
    made.set_owner(false);
    drop(made);
    match open_and_hold(name, Hold::Shared)? {
        Some(file) => Ok(file),
        None => Err(attempt(Errno::EAGAIN)),
    }
}

/// How a file is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// With others: it is in use.
    Shared,
    /// Alone: nobody uses it.
    Alone,
}

/// Opens a file and holds it; `None` if somebody else holds it so that this cannot be now.
///
/// Fails with `ENOENT` if there is none, `EACCES` if it is another user's, `ELOOP` if it is a link.
pub(crate) fn open_and_hold(name: &str, hold: Hold) -> Result<Option<Named>, SysError> {
    // Whatever else has the name, a pipe or a device, must not make the call wait.
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = open(&path(name), flags, Mode::empty())
        .map_err(SysError::of("open named shared memory"))?;
    let file = File::from(file);
    let held = match hold {
        Hold::Shared => file.try_lock_shared(),
        Hold::Alone => file.try_lock(),
    };
    Ok(is_held(held)?.then_some(Named(file)))
}

/// Whether a lock was got; not if somebody else's is in the way.
fn is_held(outcome: Result<(), TryLockError>) -> Result<bool, SysError> {
    match outcome {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(refused("hold named shared memory")(error)),
    }
}

impl Named {
    /// Gives every byte memory. Fails with `ENOSPC` if there is not enough.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), SysError> {
        const WHAT: &str = "reserve named shared memory";
        let bytes = i64::try_from(bytes).map_err(|_| SysError::of(WHAT)(Errno::EFBIG))?;
        loop {
            match posix_fallocate(&self.0, 0, bytes) {
                Err(Errno::EINTR) => {}
                outcome => return outcome.map_err(SysError::of(WHAT)),
            }
        }
    }

    /// What the kernel says of it.
    pub(crate) fn facts(&self) -> Result<Facts, SysError> {
        let found = nix::sys::stat::fstat(&self.0)
            .map_err(SysError::of("ask about named shared memory"))?;
        Ok(Facts {
            file: (found.st_dev, found.st_ino),
            uid: found.st_uid,
            size: u64::try_from(found.st_size).unwrap_or(0),
            is_named: found.st_nlink > 0,
            is_regular: found.st_mode & libc::S_IFMT == libc::S_IFREG,
        })
    }

    /// Holds it alone from now on; `false` if others use it. Then it is not held at all any more.
    pub(crate) fn hold_alone(&self) -> Result<bool, SysError> {
        is_held(self.0.try_lock())
    }

    /// The file, for mapping it. The copy keeps it in use, too.
    pub(crate) fn file(&self) -> Result<OwnedFd, SysError> {
        let copy = self.0.try_clone().map(OwnedFd::from);
        copy.map_err(refused("duplicate a descriptor"))
    }
}

/// Whether `name` is this very file.
pub(crate) fn is_called(facts: &Facts, name: &str) -> bool {
    let found = path(name).symlink_metadata();
    found.is_ok_and(|found| (found.dev(), found.ino()) == facts.file)
}

/// The size and the owner of what has this name, if anything has.
pub(crate) fn look(name: &str) -> Option<(u64, u32)> {
    let found = path(name).symlink_metadata().ok()?;
    Some((found.len(), found.uid()))
}

/// Gives a file another name, in one step. Fails with `EEXIST` if that is taken.
pub(crate) fn rename(from: &str, to: &str) -> Result<(), SysError> {
    let here = nix::fcntl::AT_FDCWD;
    renameat2(
        here,
        &path(from),
        here,
        &path(to),
        RenameFlags::RENAME_NOREPLACE,
    )
    .map_err(SysError::of("give shared memory its name"))
}

/// Removes a name; whoever has the file keeps it.
pub(crate) fn unlink(name: &str) -> Result<(), SysError> {
    unlinkat(
        nix::fcntl::AT_FDCWD,
        &path(name),
        UnlinkatFlags::NoRemoveDir,
    )
    .map_err(SysError::of("remove the name of shared memory"))
}

/// All names there are.
pub(crate) fn names() -> Result<Vec<String>, SysError> {
    let found = std::fs::read_dir(DIRECTORY).map_err(refused("list named shared memory"))?;
    let name =
        |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    Ok(found.filter_map(name).collect())
}
