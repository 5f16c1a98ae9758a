//! A task's result, read where its worker wrote it.

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, Range};

use crate::error::TaskError;
use crate::pool::reply::{ReplyBytes, TinyPart};
use crate::protocol::archive::{self, Payload};
use crate::protocol::remote;

/// The archived result of a task.
///
/// Dereferences to `R::Archived` in shared memory, without a copy, where its worker cannot change
/// it any more (results below 16 KiB, on aarch64 64 KiB, were copied out of its reach). The block
/// is the worker's again when this is dropped; it stays valid when the worker dies and when the
/// pool is dropped.
///
/// A large result need not be written twice: see [`ResultVec`](crate::ResultVec).
///
/// # Examples
///
/// ```
/// let pool = gristmill::Pool::new()?;
/// let words = pool.spawn(String::from("to be or not"), |text| {
///     text.split(' ').map(str::to_owned).collect::<Vec<String>>()
/// })?;
/// let words = words.wait()?;
/// assert_eq!(words.len(), 4);
/// assert_eq!(words[1], "be");
/// # Ok::<(), gristmill::Error>(())
/// ```
pub struct TaskOutput<R: Payload> {
    bytes: ReplyBytes,
    /// # Invariants
    /// As far into `bytes` there is a checked archive.
    root: usize,
    result: PhantomData<R>,
}

// SAFETY: it owns its bytes, which nobody writes any more, and gives out shared references to the
// archive in them only.
unsafe impl<R: Payload> Send for TaskOutput<R> where R::Archived: Sync {}
// SAFETY: as above; there is no interior mutability besides the archive's own.
unsafe impl<R: Payload> Sync for TaskOutput<R> where R::Archived: Sync {}

impl<R: Payload> TaskOutput<R> {
    /// Checks the archive once, here.
    pub(crate) fn new(bytes: ReplyBytes) -> Result<Self, TaskError> {
        let bytes = bytes.aligned_to(align_of::<R::Archived>());
        let root = offset_in(&bytes, archive::access::<R>(bytes.bytes())?);
        Ok(Self {
            bytes,
            root,
            result: PhantomData,
        })
    }

    /// Of the archive of a `Result<R, Thrown>`: the value, or an error of what was thrown.
    pub(super) fn of_result(bytes: ReplyBytes) -> Result<Self, TaskError> {
        let bytes = bytes.aligned_to(archive::ALIGN);
        let root = match remote::read::<R>(bytes.bytes())? {
            Ok(value) => offset_in(&bytes, value),
            Err(thrown) => return Err(TaskError::Failed(Box::new(thrown.into()))),
        };
        Ok(Self {
            bytes,
            root,
            result: PhantomData,
        })
    }

    /// An owned value, deserialised from the archive.
    ///
    /// # Errors
    /// [`TaskError::Archive`] when the type's own `Deserialize` refuses.
    pub fn to_owned(&self) -> Result<R, TaskError>
    where
        R::Archived: archive::Restore<R>,
    {
        Ok(archive::to_owned::<R>(self)?)
    }

    /// The archive's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.bytes()
    }
}

/// Where a tiny result in a block lies, which has been checked.
#[derive(Clone, Copy)]
pub(super) struct TinyOutput<'a, R> {
    part: TinyPart<'a>,
    /// # Invariants
    /// As far into the part there is a checked archive.
    root: usize,
    result: PhantomData<R>,
}

impl<'a, R: Payload> TinyOutput<'a, R> {
    /// A tiny one of several in a block, if it is an archive.
    #[inline]
    pub(super) fn find(block: &'a [u8], range: &Range<usize>) -> Option<Self> {
        let source = block.get(range.clone())?;
        let archived = core::ptr::from_ref(archive::find::<R>(source)?);
        let root = archived.addr().wrapping_sub(source.as_ptr().addr());
        let part = ReplyBytes::tiny_part(block, range)?;
        (align_of::<R::Archived>() <= ReplyBytes::TINY_ALIGN).then_some(Self {
            part,
            root,
            result: PhantomData,
        })
    }
}

impl<R: Payload> From<TinyOutput<'_, R>> for TaskOutput<R> {
    #[inline]
    fn from(found: TinyOutput<'_, R>) -> Self {
        Self {
            bytes: found.part.into(),
            root: found.root,
            result: PhantomData,
        }
    }
}

impl<R: Payload> Deref for TaskOutput<R> {
    type Target = R::Archived;

    fn deref(&self) -> &R::Archived {
        let bytes = self.bytes.bytes().as_ptr();
        let root = bytes.wrapping_add(self.root).cast::<R::Archived>();
        // SAFETY: points at an archive that was checked, in bytes that live as long as `self`, and
        // where they are, or move, as aligned as it needs (`ReplyBytes::aligned_to`).
        unsafe { &*root }
    }
}

/// How far from the start of the bytes a part of them is.
fn offset_in<T>(bytes: &ReplyBytes, part: &T) -> usize {
    let start = bytes.bytes().as_ptr().addr();
    core::ptr::from_ref(part).addr().wrapping_sub(start)
}

impl<R: Payload> fmt::Debug for TaskOutput<R>
where
    R::Archived: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<R: Payload> fmt::Display for TaskOutput<R>
where
    R::Archived: fmt::Display,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}
