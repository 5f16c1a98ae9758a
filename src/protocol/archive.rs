//! Archives: structured values, written once into shared memory and read there in place.
//!
//! The only file, with those beside it, that names rkyv's serialisers and validators. An archive
//! starts at a multiple of 64 bytes and its exact length is kept beside it, because rkyv finds the
//! root from the end.

#![expect(
    unsafe_code,
    reason = "rkyv's traits write into and read from raw memory"
)]

use core::any::type_name;
use core::mem::MaybeUninit;
use core::num::NonZeroUsize;
use core::ptr::NonNull;

use rkyv::api::{access_with_context, deserialize_using};
use rkyv::bytecheck::CheckBytes;
use rkyv::de::Pool;
use rkyv::rancor::{self, Strategy};
use rkyv::ser::Serializer;
use rkyv::ser::sharing::Unshare;
use rkyv::validation::Validator;
use rkyv::validation::archive::ArchiveValidator;
use rkyv::validation::shared::SharedValidator;
use rkyv::{Archive, Deserialize, Portable, Serialize};

pub(crate) mod result_vec;
mod scratch;
mod sink;
#[cfg(test)]
mod tests;

use scratch::{INLINE_BYTES, Scratch};
use sink::Sink;

/// The alignment of every archive's first byte.
pub(crate) const ALIGN: usize = 64;

/// rkyv's relative pointers are 32 bits wide and signed; one that does not fit panics. Positions
/// are checked as bytes are written, pointers are computed for an object just before that: so an
/// object's own size, which lives on the stack meanwhile, is kept off the full 2 GiB.
pub(crate) const LIMIT: usize = (1 << 31) - (16 << 20);

/// How deep boxes and lists may nest when read: each level is some frames of a thread's stack.
const DEPTH: NonZeroUsize = NonZeroUsize::new(512).unwrap();

/// What a [`Payload`] is serialised with.
pub(crate) type Encoder = Strategy<Serializer<Sink, Scratch, Unshare>, rancor::Error>;

/// What a [`Payload`]'s archive is checked with.
pub(crate) type Checker<'a> =
    Strategy<Validator<ArchiveValidator<'a>, SharedValidator>, rancor::Error>;

/// What owned values are made again with.
pub(crate) type Restorer = Strategy<Pool, rancor::Error>;

/// An archive that an owned `T` can be made of again: all of those that derive rkyv's
/// `Deserialize`.
pub trait Restore<T>: Deserialize<T, Restorer> {}

impl<T, A: Deserialize<T, Restorer>> Restore<T> for A {}

/// A value that crosses between processes as an [rkyv](https://docs.rs/rkyv) archive.
///
/// Implemented for everything that derives rkyv's `Archive` and `Serialize`; the other side reads
/// `&T::Archived` in place, checked, without a copy:
///
/// ```
/// #[derive(rkyv::Archive, rkyv::Serialize)]
/// struct Job {
///     name: String,
///     weights: Vec<f64>,
/// }
/// ```
///
/// Things to know: a `usize` crosses as 32 bits, so use `u64` for what may grow; an `Rc` or `Arc`
/// shared within a value arrives as several; an archive holds a little less than 2 GiB. Bulk data
/// is better off in a shared slice, which does not move at all.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross to another process",
    label = "not an rkyv archive",
    note = "derive it: `#[derive(rkyv::Archive, rkyv::Serialize)]`, with `rkyv` 0.8 (feature \
            `bytecheck`, on by default) among your dependencies"
)]
pub trait Payload:
    Archive<Archived: Portable + for<'a> CheckBytes<Checker<'a>>> + Serialize<Encoder>
{
}

#[diagnostic::do_not_recommend]
impl<T> Payload for T where
    T: Archive<Archived: Portable + for<'a> CheckBytes<Checker<'a>>> + Serialize<Encoder>
{
}

/// Why a value could not be archived, or an archive not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// More than rkyv's relative pointers can span.
    #[error(
        "the archive of a `{type_name}` is larger than {limit} bytes, the most that rkyv's 32-bit \
         relative pointers span; keep bulk data in a `SharedVec` and pass its slice instead"
    )]
    TooLarge {
        /// The value's type.
        type_name: &'static str,
        /// The largest archive, in bytes.
        limit: usize,
    },
    /// The value's own `Serialize` reported an error.
    #[error("a `{type_name}` could not be archived: {reason}")]
    Refused {
        /// The value's type.
        type_name: &'static str,
        /// What rkyv, or the type's own `Serialize`, had to say.
        reason: String,
    },
    /// A second pass over the value gave more bytes than the first.
    #[error(
        "the archive of a `{type_name}` was {measured} bytes when measured and {found} when \
         written; the value must not change meanwhile, nor serialise differently each time"
    )]
    Unstable {
        /// The value's type.
        type_name: &'static str,
        /// The size, in bytes, at the first pass.
        measured: usize,
        /// The size, in bytes, at the second.
        found: usize,
    },
    /// The bytes are no archive of the type.
    #[error(
        "{bytes} bytes were to hold the archive of a `{type_name}` and do not: {reason}; the \
         process that wrote them has overwritten its own memory, or nests values deeper than \
         {depth} levels",
        depth = DEPTH.get() - 1
    )]
    Invalid {
        /// The expected type.
        type_name: &'static str,
        /// The length, in bytes, of what was found.
        bytes: usize,
        /// The first thing wrong with it.
        reason: String,
    },
}

/// What became of an attempt to write into a place of given size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Fit {
    /// It is in place and exactly this long.
    Written(usize),
    /// It would not fit; this is how many bytes it takes. The place holds garbage.
    Needs(usize),
}

/// Archives the value straight into `destination`, in one pass, if it fits.
///
/// # Safety
///
/// `destination` is valid for writes of `capacity` bytes, and nobody else reads or writes there
/// meanwhile. (For the archive to be readable in place it must be aligned to [`ALIGN`].)
pub(crate) unsafe fn write<T: Payload>(
    value: &T,
    destination: NonNull<u8>,
    capacity: usize,
) -> Result<Fit, ArchiveError> {
    // SAFETY: the caller's promise.
    Ok(unsafe { serialize(value, destination, capacity, 0, false) }?.0)
}

/// As [`write`], or else behind what the value has in a block that was lent: then it comes to lie
/// in that block, from its start, and the block's ticket is told.
///
/// # Safety
///
/// As for [`write`].
pub(crate) unsafe fn write_or_move<T: Payload>(
    value: &T,
    destination: NonNull<u8>,
    capacity: usize,
) -> Result<(Fit, Option<u64>), ArchiveError> {
    // SAFETY: the caller's promise.
    unsafe { serialize(value, destination, capacity, 0, true) }
}

/// Archives the value into `place` behind the `position` bytes that are in use; what comes back
/// counts from the start of the place.
///
/// The archive is what lies between `position` and its end, in front of which may be padding.
pub(crate) fn append<T: Payload>(
    value: &T,
    place: &mut [u8],
    position: usize,
) -> Result<Fit, ArchiveError> {
    let capacity = place.len();
    // SAFETY: the place is borrowed for this call alone.
    Ok(unsafe {
        serialize(
            value,
            NonNull::from(place).cast(),
            capacity,
            position,
            false,
        )
    }?
    .0)
}

/// Whether the archive of a value is its bytes, so that no serialiser is needed.
pub(crate) const fn is_copy<T: Payload>() -> bool {
    T::COPY_OPTIMIZATION.is_enabled() && size_of::<T>() == size_of::<T::Archived>()
}

/// As [`append`], of a value that [is its archive](is_copy): some instructions. `None` when it is
/// not, or does not fit its format.
#[inline]
pub(crate) fn append_copy<T: Payload>(value: &T, place: &mut [u8], position: usize) -> Option<Fit> {
    if !is_copy::<T>() {
        return None;
    }
    let start = position.next_multiple_of(align_of::<T::Archived>());
    let end = start + size_of::<T>();
    if end > LIMIT {
        return None;
    }
    let Some(target) = place.get_mut(start..end) else {
        return Some(Fit::Needs(end));
    };
    let bytes = NonNull::from(value).cast::<u8>();
    // SAFETY: whoever says that a type is copied as it is promises that no byte of it is undefined;
    // the value is borrowed for as long as the slice.
    let bytes = unsafe { core::slice::from_raw_parts(bytes.as_ptr(), size_of::<T>()) };
    target.copy_from_slice(bytes);
    if position < start {
        place[position..start].fill(0);
    }
    Some(Fit::Written(end))
}

/// What became of it, and the block that was lent in which it lies, if it may and does lie in one.
///
/// The sink is made here, in its place: moved, it would be read before the processor has written
/// it, which takes as long as the rest of a small value.
///
/// # Safety
///
/// As for [`Sink::new`].
unsafe fn serialize<T: Payload>(
    value: &T,
    destination: NonNull<u8>,
    capacity: usize,
    position: usize,
    may_move: bool,
) -> Result<(Fit, Option<u64>), ArchiveError> {
    const {
        assert!(
            align_of::<T::Archived>() <= ALIGN,
            "an archived type is aligned to at most 64"
        );
    }
    let mut inline = [MaybeUninit::uninit(); INLINE_BYTES];
    // SAFETY: `inline` lives to the end of this call and is named nowhere else in it.
    let scratch = unsafe { Scratch::new(&mut inline) };
    // SAFETY: the caller's promise.
    let sink = unsafe { Sink::new(destination, capacity, position, may_move) };
    let mut serializer = Serializer::new(sink, scratch, Unshare);
    match rkyv::api::serialize_using::<_, rancor::Error>(value, &mut serializer) {
        Ok(_) => {
            let bytes = rkyv::ser::Positional::pos(&serializer.writer);
            let fit = match serializer.writer.fits() {
                true => Fit::Written(bytes),
                false => Fit::Needs(bytes),
            };
            Ok((fit, serializer.writer.moved()))
        }
        Err(error) => Err(refusal::<T>(&serializer.writer, &error)),
    }
}

#[cold]
fn refusal<T>(sink: &Sink, error: &rancor::Error) -> ArchiveError {
    let type_name = type_name::<T>();
    if sink.overran_limit() {
        ArchiveError::TooLarge {
            type_name,
            limit: LIMIT,
        }
    } else {
        ArchiveError::Refused {
            type_name,
            reason: error.to_string(),
        }
    }
}

/// The archived value inside `bytes`, which are exactly those that [`write`] produced; checked.
pub(crate) fn access<T: Payload>(bytes: &[u8]) -> Result<&T::Archived, ArchiveError> {
    check::<T>(bytes).map_err(|error| ArchiveError::Invalid {
        type_name: type_name::<T>(),
        bytes: bytes.len(),
        reason: error.to_string(),
    })
}

/// As [`access`], for those who do not tell why there is none: what this gives fits a register, and
/// the check of a number comes to a comparison or two.
#[inline]
pub(crate) fn find<T: Payload>(bytes: &[u8]) -> Option<&T::Archived> {
    check::<T>(bytes).ok()
}

#[inline]
fn check<T: Payload>(bytes: &[u8]) -> Result<&T::Archived, rancor::Error> {
    let mut validator = Validator::new(
        ArchiveValidator::with_max_depth(bytes, Some(DEPTH)),
        SharedValidator::new(),
    );
    if is_copy::<T>()
        && let Some(root) = root_of::<T::Archived>(bytes)
    {
        // Nothing in it points elsewhere, so that the books on who has which bytes are not needed.
        let checker = Strategy::wrap(&mut validator);
        // SAFETY: `root` is aligned and in bounds.
        unsafe { T::Archived::check_bytes(root, checker) }?;
        // SAFETY: as above; the check found it valid, and the bytes are borrowed.
        return Ok(unsafe { &*root });
    }
    access_with_context::<T::Archived, _, rancor::Error>(bytes, &mut validator)
}

/// Where the value lies that ends with the bytes, if there is room and it is aligned.
#[inline]
fn root_of<A>(bytes: &[u8]) -> Option<*const A> {
    let at = bytes.len().checked_sub(size_of::<A>())?;
    let root = bytes[at..].as_ptr().cast::<A>();
    root.is_aligned().then_some(root)
}

/// An owned value from its archive.
pub(crate) fn to_owned<T>(archived: &T::Archived) -> Result<T, ArchiveError>
where
    T: Payload<Archived: Deserialize<T, Restorer>>,
{
    deserialize_using::<T, _, rancor::Error>(archived, &mut Pool::new()).map_err(|error| {
        ArchiveError::Refused {
            type_name: type_name::<T>(),
            reason: error.to_string(),
        }
    })
}
