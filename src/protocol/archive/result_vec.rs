//! A list of numbers that a worker writes where its result will lie.

#![expect(
    unsafe_code,
    reason = "views lent bytes as elements; rkyv's traits read from raw memory"
)]

use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};
use core::slice;

use bytemuck::Pod;
use rkyv::bytecheck::{CheckBytes, Verify};
use rkyv::primitive::{ArchivedUsize, FixedUsize};
use rkyv::rancor::{self, Fallible, Source};
use rkyv::ser::{Positional, Writer, WriterExt};
use rkyv::validation::{ArchiveContext, ArchiveContextExt};
use rkyv::{Archive, Deserialize, Place, Portable, RelPtr, Serialize, munge::munge};

use super::{ALIGN, Encoder, LIMIT, Restorer};
use crate::protocol::freed::SEALED_BYTES;
use crate::protocol::loan;

/// Room behind the elements for what else belongs to the result.
const SLACK: usize = 4096;

/// Elements that a task fills in the very memory where its caller will read them.
///
/// A `Vec` that a task returns lies in the worker's own memory first, on pages that are new each
/// time, and is then written once more into shared memory. This one lies there from the start: a
/// task that returns it, alone or first in a struct, a tuple or a `Result`, makes no copy. The
/// caller reads it as a slice of `T`, through a [`TaskOutput`](crate::TaskOutput).
///
/// That holds for the first one in a result, of 16 KiB and more (on aarch64 64 KiB), made while the
/// task runs by [`Pool::spawn`](crate::Pool::spawn) and its kin. Anywhere else (in a map's items,
/// in futures, in the program itself, when the worker's arena is full) it is memory of the process
/// as a `Vec`'s is, and is copied as that is. It can be kept beyond its task, in the worker's state
/// for example, and is then copied whenever it is part of a result.
///
/// A result, and so this, holds a little less than 2 GiB. What is larger, or written by several
/// workers at once, is the output of a job: [`Pool::par_map_into`](crate::Pool::par_map_into).
///
/// # Examples
///
/// ```
/// use gristmill::{Pool, ResultVec};
///
/// let pool = Pool::builder().workers(1).build()?;
/// let ramp = pool.spawn(100_000_u64, |len| {
///     let mut ramp = ResultVec::<f32>::uninit(len.to_native() as usize);
///     for (index, value) in ramp.iter_mut().enumerate() {
///         *value = index as f32;
///     }
///     ramp
/// })?;
/// let ramp = ramp.wait()?;
/// assert_eq!((ramp.len(), ramp[4321]), (100_000, 4321.0));
/// # Ok::<(), gristmill::Error>(())
/// ```
pub struct ResultVec<T>(Home<T>);

/// Whose memory it is.
enum Home<T> {
    /// The process's.
    Own(Vec<T>),
    /// The worker's arena's.
    Lent {
        ticket: u64,
        /// # Invariants
        /// Aligned to 64, and valid for `size` bytes until the loan ends, of which the first are
        /// `len` elements; nobody else has it.
        block: NonNull<T>,
        len: usize,
        size: usize,
    },
}

// SAFETY: it owns its elements, as a `Vec` does; a loan may end in any thread.
unsafe impl<T: Send> Send for ResultVec<T> {}
// SAFETY: as above; shared, it gives out shared references only.
unsafe impl<T: Sync> Sync for ResultVec<T> {}

impl<T: Pod> ResultVec<T> {
    /// So many elements with whatever the memory held before: for those that will be overwritten,
    /// without the cost of clearing them.
    ///
    /// Every bit pattern is a valid `T`, so reading it is safe, only meaningless. The bytes are
    /// zeros or what results of this pool held earlier; never another program's.
    ///
    /// # Panics
    /// When so many exceed the address space or memory has run out, as with `Vec`.
    pub fn uninit(len: usize) -> Self {
        const {
            assert!(
                align_of::<T>() <= ALIGN && size_of::<T>() > 0,
                "elements of a `ResultVec` have bytes, and are aligned to at most 64"
            );
        }
        let size = len.saturating_mul(size_of::<T>());
        let is_large = SEALED_BYTES as usize <= size && size <= LIMIT;
        match is_large.then(|| loan::take(size + SLACK)).flatten() {
            Some(loan) => Self(Home::Lent {
                ticket: loan.ticket,
                block: loan.block.cast(),
                len,
                size: loan.size,
            }),
            None => Self(Home::Own(vec![T::zeroed(); len])),
        }
    }

    /// So many elements, all of them zero.
    ///
    /// # Panics
    /// As [`ResultVec::uninit`].
    pub fn zeroed(len: usize) -> Self {
        let mut made = Self::uninit(len);
        if let Home::Lent { .. } = made.0 {
            made.fill(T::zeroed());
        }
        made
    }

    /// So many elements, each made of its index.
    ///
    /// # Panics
    /// As [`ResultVec::uninit`], and when `f` does.
    pub fn from_fn(len: usize, mut f: impl FnMut(usize) -> T) -> Self {
        let mut made = Self::uninit(len);
        for (index, element) in made.iter_mut().enumerate() {
            *element = f(index);
        }
        made
    }
}

impl<T> Deref for ResultVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Home::Own(elements) => elements,
            // SAFETY: the field's invariant; any bytes are elements, as they were `Pod` when it
            // was made.
            Home::Lent { block, len, .. } => unsafe { slice::from_raw_parts(block.as_ptr(), *len) },
        }
    }
}

impl<T> DerefMut for ResultVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.0 {
            Home::Own(elements) => elements,
            // SAFETY: as in `deref`, and this is borrowed for writing.
            Home::Lent { block, len, .. } => unsafe {
                slice::from_raw_parts_mut(block.as_ptr(), *len)
            },
        }
    }
}

impl<T> Drop for ResultVec<T> {
    fn drop(&mut self) {
        if let Home::Lent { ticket, .. } = self.0 {
            loan::end(ticket);
        }
    }
}

/// A copy in memory of the process.
impl<T: Pod> Clone for ResultVec<T> {
    fn clone(&self) -> Self {
        Self(Home::Own(self.to_vec()))
    }
}

impl<T: PartialEq> PartialEq for ResultVec<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: fmt::Debug> fmt::Debug for ResultVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// What arrives of a [`ResultVec`]: a slice of its elements.
#[derive(Portable, CheckBytes)]
#[bytecheck(crate = rkyv::bytecheck, verify)]
#[rkyv(crate = rkyv)]
#[repr(C)]
pub struct ArchivedResultVec<T> {
    elements: RelPtr<T>,
    len: ArchivedUsize,
}

impl<T> Deref for ArchivedResultVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let len = self.len.to_native() as usize;
        // SAFETY: it was checked, as all archives are: so many elements lie there.
        unsafe { slice::from_raw_parts(self.elements.as_ptr_wrapping(), len) }
    }
}

impl<T: fmt::Debug> fmt::Debug for ArchivedResultVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

// SAFETY: so many elements lie where the pointer leads, within the archive and aligned; any bytes
// are elements.
unsafe impl<T: Pod, C> Verify<C> for ArchivedResultVec<T>
where
    C: Fallible<Error: Source> + ArchiveContext + ?Sized,
{
    fn verify(&self, context: &mut C) -> Result<(), C::Error> {
        let len = self.len.to_native() as usize;
        let elements = ptr::slice_from_raw_parts(self.elements.as_ptr_wrapping(), len);
        context.in_subtree(elements, |_| Ok(()))
    }
}

/// Where the elements lie in the archive.
#[derive(Clone, Copy, Debug)]
pub struct ResultVecResolver(usize);

impl<T: Pod> Archive for ResultVec<T> {
    type Archived = ArchivedResultVec<T>;
    type Resolver = ResultVecResolver;

    fn resolve(&self, resolver: Self::Resolver, out: Place<Self::Archived>) {
        munge!(let ArchivedResultVec { elements, len } = out);
        RelPtr::emplace(resolver.0, elements);
        // An archive is below 2 GiB, and each element has a byte at least.
        len.write(ArchivedUsize::from_native(self.len() as FixedUsize));
    }
}

impl<T: Pod> Serialize<Encoder> for ResultVec<T> {
    fn serialize(&self, encoder: &mut Encoder) -> Result<Self::Resolver, rancor::Error> {
        if let Home::Lent {
            ticket,
            block,
            size,
            ..
        } = self.0
        {
            // SAFETY: the loan is this one's. Behind its elements nobody reads or writes, and they
            // are part of the archive from now on: whoever writes that ends up with the block only
            // once this has gone.
            let moves = unsafe {
                let used = size_of_val(&**self);
                encoder.writer.move_to(ticket, block.cast(), size, used)
            };
            if moves {
                return Ok(ResultVecResolver(0));
            }
        }
        encoder.align_for::<T>()?;
        let position = encoder.pos();
        encoder.write(bytemuck::cast_slice(self))?;
        Ok(ResultVecResolver(position))
    }
}

impl<T: Pod> Deserialize<ResultVec<T>, Restorer> for ArchivedResultVec<T> {
    fn deserialize(&self, _: &mut Restorer) -> Result<ResultVec<T>, rancor::Error> {
        Ok(ResultVec(Home::Own(self.to_vec())))
    }
}
