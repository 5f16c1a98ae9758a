//! What a closure may take along: values written once per job and read in place by every worker.
//!
//! A block is the parts one after another, each at its own alignment, counted from a start that is
//! a multiple of [`ALIGN`]:
//!
//! ```text
//! plain value   the value's bytes
//! slice         offset in the region: u64 | length in elements: u64
//! Rkyv          length of the archive: u64 | padding to 64 | the archive
//! tuple         its members, in order
//! ```
//!
//! There are no tags: a job carries the function that reads the block, and both were compiled from
//! one source, which the handshake made sure of. Lengths and offsets are checked all the same.

#![expect(
    unsafe_code,
    reason = "parts are written into and resolved in mapped memory"
)]

use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;
use core::slice;

use bytemuck::Pod;

use super::archive::{self, ArchiveError, Fit, Payload};
use crate::shared::SharedSlice;

/// The alignment of a block's first byte.
pub(crate) const ALIGN: usize = archive::ALIGN;

/// What a closure may take along to the workers as an explicit argument.
///
/// | given | seen by the closure |
/// |---|---|
/// | a plain value: any [`Pod`](bytemuck::Pod), such as `f64` or a struct that derives it | `&T` |
/// | a [`SharedSlice<T>`](crate::SharedSlice), which does not move | `&[T]` |
/// | [`Rkyv(value)`](Rkyv), any value that derives rkyv's traits | `&Archived<T>` |
/// | a tuple of up to six of these, or of such tuples | the tuple of what its members become |
///
/// `M` is only there to keep these cases apart; it is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be taken along to the workers",
    label = "neither plain data, nor a `SharedSlice`, nor `Rkyv(..)`, nor a tuple of those",
    note = "derive `bytemuck::Pod` if it is plain data",
    note = "or wrap it, `Rkyv(value)`, if it derives `rkyv::Archive` and `rkyv::Serialize`",
    note = "or, for a `Vec<T>` of plain data, copy it into a `SharedVec` and freeze that"
)]
pub trait Context<M> {
    /// What the closure sees.
    type View<'a>: Copy;

    #[doc(hidden)]
    fn write(&self, writer: &mut ContextWriter) -> Result<(), ContextError>;

    #[doc(hidden)]
    fn view<'a>(reader: &mut ContextReader<'a>) -> Result<Self::View<'a>, ContextError>;
}

/// Marks a plain value.
#[derive(Debug)]
pub enum ByValue {}

/// Marks a slice in shared memory.
#[derive(Debug)]
pub enum BySlice {}

/// Marks an archive.
#[derive(Debug)]
pub enum ByArchive {}

// Not recommended, so that a type which is none of the four gets the sentence above rather than
// "`Pod` is not implemented".
#[diagnostic::do_not_recommend]
impl<T: Pod + Send> Context<ByValue> for T {
    type View<'a> = &'a T;

    fn write(&self, writer: &mut ContextWriter) -> Result<(), ContextError> {
        const {
            assert!(
                align_of::<T>() <= ALIGN,
                "a plain value is aligned to at most 64"
            )
        };
        writer.align(align_of::<T>());
        writer.put(bytemuck::bytes_of(self));
        Ok(())
    }

    fn view<'a>(reader: &mut ContextReader<'a>) -> Result<&'a T, ContextError> {
        reader.take_value()
    }
}

impl<T: Pod + Send> Context<BySlice> for SharedSlice<T> {
    type View<'a> = &'a [T];

    fn write(&self, writer: &mut ContextWriter) -> Result<(), ContextError> {
        writer.put_slice(self)
    }

    fn view<'a>(reader: &mut ContextReader<'a>) -> Result<&'a [T], ContextError> {
        reader.take_slice()
    }
}

impl<T: Payload + 'static> Context<ByArchive> for Rkyv<T> {
    type View<'a> = &'a T::Archived;

    fn write(&self, writer: &mut ContextWriter) -> Result<(), ContextError> {
        writer.put_archive(&self.0)
    }

    fn view<'a>(reader: &mut ContextReader<'a>) -> Result<&'a T::Archived, ContextError> {
        reader.take_archive::<T>()
    }
}

macro_rules! tuple {
    ($($part:ident $marker:ident $index:tt),+) => {
        impl<$($part: Context<$marker>, $marker),+> Context<($($marker,)+)> for ($($part,)+) {
            type View<'a> = ($($part::View<'a>,)+);

            fn write(&self, writer: &mut ContextWriter) -> Result<(), ContextError> {
                $(self.$index.write(writer)?;)+
                Ok(())
            }

            fn view<'a>(reader: &mut ContextReader<'a>) -> Result<Self::View<'a>, ContextError> {
                Ok(($($part::view(reader)?,)+))
            }
        }
    };
}

tuple!(A MA 0);
tuple!(A MA 0, B MB 1);
tuple!(A MA 0, B MB 1, C MC 2);
tuple!(A MA 0, B MB 1, C MC 2, D MD 3);
tuple!(A MA 0, B MB 1, C MC 2, D MD 3, E ME 4);
tuple!(A MA 0, B MB 1, C MC 2, D MD 3, E ME 4, F MF 5);

/// Takes a value along as an [rkyv](https://docs.rs/rkyv) archive: written once, read in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rkyv<T>(pub T);

/// Why a context could not be handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// A value behind [`Rkyv`] did not become an archive, or its archive could not be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A slice belongs to another pool, whose memory these workers do not have.
    #[error(
        "a slice of {elements} elements in the context is not in this pool's memory; allocate it \
         from the pool that the job runs on"
    )]
    ForeignSlice {
        /// The slice's length.
        elements: usize,
    },
    /// The block does not hold what its reader expects.
    #[error(
        "the context of a job holds {available} bytes where {wanted} at {position} were to be \
         read; something has overwritten shared memory"
    )]
    Damaged {
        /// Where in the block, or in the region for a slice.
        position: u64,
        /// How many bytes were to be there.
        wanted: u64,
        /// How many bytes the block, or the region, has in all.
        available: u64,
    },
}

/// Writes a context's block straight into `destination`, if it fits; `region` is the memory that
/// slices have to lie in.
///
/// # Safety
///
/// `destination` is valid for writes of `capacity` bytes, and nobody else reads or writes there
/// meanwhile. (To be readable it must be aligned to [`ALIGN`].)
pub(crate) unsafe fn write<C: Context<M>, M>(
    context: &C,
    region: Range<*const u8>,
    destination: NonNull<u8>,
    capacity: usize,
) -> Result<Fit, ContextError> {
    let mut writer = ContextWriter {
        destination,
        capacity,
        position: 0,
        region,
    };
    context.write(&mut writer)?;
    let bytes = writer.position;
    Ok(if bytes <= capacity {
        Fit::Written(bytes)
    } else {
        Fit::Needs(bytes)
    })
}

/// The length of a context's block, without writing it.
pub(crate) fn measure<C: Context<M>, M>(
    context: &C,
    region: Range<*const u8>,
) -> Result<usize, ContextError> {
    // SAFETY: no byte is ever written to a destination of no capacity.
    let fit = unsafe { write(context, region, NonNull::dangling(), 0) };
    match fit? {
        Fit::Written(bytes) | Fit::Needs(bytes) => Ok(bytes),
    }
}

/// Where a block is written. It counts on when it is full, so that one pass is enough.
pub struct ContextWriter {
    /// # Invariants
    ///
    /// Valid for writes of `capacity` bytes.
    destination: NonNull<u8>,
    capacity: usize,
    position: usize,
    region: Range<*const u8>,
}

impl ContextWriter {
    fn align(&mut self, align: usize) {
        self.position = self.position.next_multiple_of(align);
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.position + bytes.len();
        if end <= self.capacity {
            // SAFETY: `position <= end <= capacity`, for which `destination` is valid.
            let target = unsafe { self.destination.add(self.position) };
            // SAFETY: `target` is valid for `end - position` bytes, and `bytes` lies elsewhere:
            // nobody else may read or write the destination meanwhile.
            unsafe { target.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        }
        self.position = end;
    }

    fn put_slice<T: Pod>(&mut self, elements: &[T]) -> Result<(), ContextError> {
        let Range { start, end } = elements.as_ptr_range();
        let offset = if elements.is_empty() {
            0
        } else if start.addr() >= self.region.start.addr() && end.addr() <= self.region.end.addr() {
            start.addr() - self.region.start.addr()
        } else {
            return Err(ContextError::ForeignSlice {
                elements: elements.len(),
            });
        };
        self.align(align_of::<u64>());
        self.put(bytemuck::bytes_of(&[offset as u64, elements.len() as u64]));
        Ok(())
    }

    fn put_archive<T: Payload>(&mut self, value: &T) -> Result<(), ContextError> {
        self.align(align_of::<u64>());
        let header = self.position;
        self.position = (header + size_of::<u64>()).next_multiple_of(ALIGN);
        let start = self.position;
        let (place, capacity) = if start <= self.capacity {
            // SAFETY: `start <= capacity`, for which `destination` is valid.
            (
                unsafe { self.destination.add(start) },
                self.capacity - start,
            )
        } else {
            (NonNull::dangling(), 0)
        };
        // SAFETY: `place` is valid for the rest of the destination, or for no byte at all.
        match unsafe { archive::write(value, place, capacity) }? {
            Fit::Needs(bytes) => self.position = start + bytes,
            Fit::Written(bytes) => {
                self.position = header;
                self.put(bytemuck::bytes_of(&(bytes as u64)));
                self.position = start + bytes;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ContextWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextWriter")
            .field("position", &self.position)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// Where a block is read, in place.
#[derive(Clone, Copy)]
pub struct ContextReader<'a> {
    block: &'a [u8],
    position: usize,
    /// # Invariants
    ///
    /// Valid for reads of `region_bytes` bytes for `'a`; what the block's slices cover of them does
    /// not change meanwhile.
    region: NonNull<u8>,
    region_bytes: u64,
}

impl<'a> ContextReader<'a> {
    /// # Safety
    ///
    /// - `region` is mapped readable for `region_bytes` bytes for `'a`.
    /// - Nobody writes, during `'a`, to the buffers of slices that the block names.
    pub(crate) unsafe fn new(block: &'a [u8], region: NonNull<u8>, region_bytes: u64) -> Self {
        Self {
            block,
            position: 0,
            region,
            region_bytes,
        }
    }

    fn damaged(&self, wanted: usize) -> ContextError {
        ContextError::Damaged {
            position: self.position as u64,
            wanted: wanted as u64,
            available: self.block.len() as u64,
        }
    }

    fn take(&mut self, bytes: usize, align: usize) -> Result<&'a [u8], ContextError> {
        let start = self.position.next_multiple_of(align);
        let end = start
            .checked_add(bytes)
            .ok_or_else(|| self.damaged(bytes))?;
        let part = self
            .block
            .get(start..end)
            .ok_or_else(|| self.damaged(bytes))?;
        self.position = end;
        Ok(part)
    }

    fn take_value<T: Pod>(&mut self) -> Result<&'a T, ContextError> {
        let part = self.take(size_of::<T>(), align_of::<T>())?;
        bytemuck::try_from_bytes(part).map_err(|_| self.damaged(size_of::<T>()))
    }

    fn take_slice<T: Pod>(&mut self) -> Result<&'a [T], ContextError> {
        let &[offset, length] = self.take_value::<[u64; 2]>()?;
        let damaged = || ContextError::Damaged {
            position: offset,
            wanted: length.saturating_mul(size_of::<T>() as u64),
            available: self.region_bytes,
        };
        let bytes = length
            .checked_mul(size_of::<T>() as u64)
            .ok_or_else(damaged)?;
        let end = offset.checked_add(bytes).ok_or_else(damaged)?;
        if end > self.region_bytes {
            return Err(damaged());
        }
        // SAFETY: `offset <= end <= region_bytes`, for which `region` is valid.
        let first = unsafe { self.region.add(offset as usize) }.cast::<T>();
        if !first.is_aligned() {
            return Err(damaged());
        }
        // SAFETY: aligned; `length` elements from `first` end within the region, which is readable
        // for `'a` and unchanging there by the invariant; any bytes are a `T`, which is `Pod`.
        Ok(unsafe { slice::from_raw_parts(first.as_ptr(), length as usize) })
    }

    fn take_archive<T: Payload>(&mut self) -> Result<&'a T::Archived, ContextError> {
        let &bytes = self.take_value::<u64>()?;
        let bytes = usize::try_from(bytes).map_err(|_| self.damaged(usize::MAX))?;
        Ok(archive::access::<T>(self.take(bytes, ALIGN)?)?)
    }
}

impl fmt::Debug for ContextReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextReader")
            .field("position", &self.position)
            .field("bytes", &self.block.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
