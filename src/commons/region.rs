//! The region as its users see it.

use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::error::{Error, RegionError, Result};
use crate::memory::region::{AttachError, Region as Memory};

use super::inner::Inner;
use super::layout::Parts;
use super::{inherited, registry};

/// Shared memory for objects that several processes use: [`Mutex`](crate::Mutex) and its kin.
///
/// It has no name, so nothing is left behind by any crash. A process that is started gets it by
/// [`Builder::region`](crate::Builder::region), as a pool's worker, or by
/// [`ProcessBuilder::region`](crate::ProcessBuilder::region). It is `Clone`, and is attached to
/// this process once, however many clones there are; each object in it keeps it attached.
///
/// Processes of one PID namespace can share one, up to 256 at a time. The first call that waits in
/// the kernel starts two threads that sleep until they are needed: one wakes this process's tasks,
/// one sees other processes die. A process that was forked from one that has attached a region has
/// not: what it does there is [`Error::Forked`], and dropping something there does nothing.
///
/// # Examples
///
/// ```
/// use gristmill::{Handle, Mutex, Process, Region};
///
/// let region = Region::new(1 << 20)?;
/// let total = Mutex::new(&region, 0_u64)?;
/// let process = Process::builder().region(&region).spawn(total.handle(), |total| {
///     *total.open().unwrap().lock().unwrap() += 1;
/// })?;
/// process.wait()?;
/// assert_eq!(*total.lock().unwrap(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Region(pub(super) Arc<Attachment>);

/// This process's part in a region; the last one to go ends it.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) inner: Arc<Inner>,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.inner.close();
    }
}

impl Region {
    /// A new region with room for at least `size` bytes, 1 TiB at most. It takes memory as it is
    /// used.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a size of 0 or too large, [`Error::System`] if the kernel
    /// refuses.
    pub fn new(size: usize) -> Result<Self> {
        let bytes = u64::try_from(size).ok().filter(|&size| size > 0);
        let file_size = bytes.and_then(Parts::file_size);
        let file_size = file_size.ok_or_else(|| Error::InvalidArgument {
            what: "size of a region",
            found: size.to_string(),
            wanted: "1 byte to 1 TiB".into(),
        })?;
        let memory = Memory::create(file_size)?;
        let id = RandomState::new().hash_one(std::process::id()).max(1);
        Inner::format(&memory, id)?;
        Self::of(memory)
    }

    /// The region that `file` is the memory of: a descriptor that [`Region::as_fd`] gave in another
    /// process.
    ///
    /// # Errors
    /// [`RegionError::Foreign`] if it is something else, [`RegionError::TooManyMembers`].
    pub fn from_fd(file: OwnedFd) -> Result<Self> {
        let memory = Memory::attach(file).map_err(|error| match error {
            AttachError::System(error) => Error::System(error),
            other => RegionError::Foreign {
                found: other.to_string(),
            }
            .into(),
        })?;
        memory.unprotect(0..memory.size())?;
        Self::of(memory)
    }

    fn of(memory: Memory) -> Result<Self> {
        let id = Inner::id_of(&memory)?;
        registry::attach(id, || {
            Ok(Arc::new(Attachment {
                inner: Arc::new(Inner::join(memory)?),
            }))
        })
    }

    /// The regions that this process was started with.
    ///
    /// # Errors
    /// As [`Region::from_fd`].
    pub fn inherited() -> Result<Vec<Self>> {
        inherited::all()
    }

    /// How many bytes there are for objects.
    pub fn size(&self) -> u64 {
        self.0.inner.data_size()
    }

    /// How many bytes of memory it takes at this moment.
    ///
    /// # Errors
    /// [`Error::System`] if the kernel does not say.
    pub fn resident(&self) -> Result<u64> {
        Ok(self.0.inner.memory().resident()?)
    }
}

impl AsFd for Region {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.inner.memory().fd()
    }
}

/// Two are equal if they are the same memory.
impl PartialEq for Region {
    fn eq(&self, other: &Self) -> bool {
        self.0.inner.id == other.0.inner.id
    }
}

impl Eq for Region {}

impl core::fmt::Debug for Region {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Region")
            .field("id", &format_args!("{:016x}", self.0.inner.id))
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}
