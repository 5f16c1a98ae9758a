//! What may be sent: plain values, archives, and bytes; how each is packed, written and read.

#![expect(
    unsafe_code,
    reason = "items are written to and read from shared memory"
)]

use core::any::type_name;
use core::fmt;
use core::ptr::NonNull;

use bytemuck::Pod;

use super::error::RecvError;
use super::received::Parcel;
use super::received::Received;
use crate::commons::{Block, NoRoom, Seat, signature};
use crate::protocol::archive::{self, ALIGN, ArchiveError, Fit, Payload};
use crate::protocol::context::Rkyv;

/// How many bytes an archive, or a run of bytes, may have to lie in the queue itself.
pub(super) const INLINE_BYTES: usize = 112;

/// What a queue or a pipe carries.
///
/// | `T` | given | by a sink | received |
/// |---|---|---|---|
/// | a plain value: any [`Pod`](bytemuck::Pod) | `T` | `T` | `T`: copied in and out |
/// | [`Rkyv<U>`](Rkyv), for any `U` of rkyv's | `&U` | `U` | [`Received`]: read in place |
/// | `[u8]` | `&[u8]` | `Vec<u8>` | [`Received`]: read in place |
///
/// An archive or run of bytes of up to 112 bytes lies in the queue itself; a larger one in a block
/// of the region, which is freed when it has been received and dropped.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent to another process",
    label = "neither plain data, nor `Rkyv<..>`, nor `[u8]`",
    note = "derive `bytemuck::Pod` if it is plain data",
    note = "or use `Rkyv<{Self}>`, if it derives `rkyv::Archive` and `rkyv::Serialize`"
)]
pub trait Item: Coded {
    /// What a sender gives.
    type Given<'a>: Copy + Send;

    /// What a sink is given.
    type Owned;

    /// What a receiver gets.
    type Taken;

    #[doc(hidden)]
    fn given(owned: &Self::Owned) -> Self::Given<'_>;

    #[doc(hidden)]
    fn pack(given: &Self::Given<'_>, seat: &Seat) -> Result<Self::Packed, PackError>;

    #[doc(hidden)]
    fn unpack(held: Held) -> Result<Self::Taken, RecvError>;
}

/// Whether its items are copied out, or kept in a hand and read there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[doc(hidden)]
pub enum Keep {
    Copied,
    InHand,
}

/// The part of [`Item`] that is nobody else's business.
#[doc(hidden)]
pub trait Coded {
    type Packed: Send;

    const KEEP: Keep;

    /// How many bytes each place has for it.
    const BODY_BYTES: usize;

    /// Tells queues of different items apart.
    fn signature() -> u64;

    /// Writes it, giving its note.
    ///
    /// # Safety
    /// `body` is valid for writes of `BODY_BYTES`, aligned to 16, and nobody else touches it.
    unsafe fn write(packed: &Self::Packed, body: NonNull<u8>) -> u64;

    /// It is in the queue now, and so is its block, if it has one.
    fn sent(packed: Self::Packed);
}

/// Why an item could not be packed.
#[derive(Debug)]
#[doc(hidden)]
pub enum PackError {
    Archive(ArchiveError),
    NoRoom(NoRoom),
}

/// A received item, before it is known to be one.
#[doc(hidden)]
pub enum Held {
    /// At its place, which is valid and does not change until the call is over.
    Copied(NonNull<u8>),
    InHand(Parcel),
}

impl<T: Pod + Send> Coded for T {
    type Packed = T;

    const KEEP: Keep = Keep::Copied;
    const BODY_BYTES: usize = {
        assert!(
            align_of::<T>() <= 16,
            "a plain value in a queue is aligned to at most 16"
        );
        size_of::<T>()
    };

    fn signature() -> u64 {
        signature::<T>(size_of::<T>(), align_of::<T>())
    }

    #[inline]
    unsafe fn write(packed: &T, body: NonNull<u8>) -> u64 {
        // SAFETY: valid for that many bytes and aligned, as the caller vouches.
        unsafe { body.cast::<T>().write(*packed) };
        0
    }

    fn sent(_: T) {}
}

#[diagnostic::do_not_recommend]
impl<T: Pod + Send> Item for T {
    type Given<'a> = T;
    type Owned = T;
    type Taken = T;

    #[inline]
    fn given(owned: &T) -> T {
        *owned
    }

    #[inline]
    fn pack(given: &T, _: &Seat) -> Result<T, PackError> {
        Ok(*given)
    }

    #[inline]
    fn unpack(held: Held) -> Result<T, RecvError> {
        match held {
            // SAFETY: a value that `write` left there, any bytes of which are some `T`.
            Held::Copied(body) => Ok(unsafe { body.cast::<T>().read() }),
            // Every queue of plain values has no hands.
            Held::InHand(_) => Err(RecvError::Empty),
        }
    }
}

/// An archive or run of bytes on its way in.
#[doc(hidden)]
pub enum Bytes {
    Inline { bytes: Inline, size: usize },
    Block { block: Block, size: usize },
}

#[derive(Clone)]
#[repr(align(64))]
#[doc(hidden)]
pub struct Inline([u8; INLINE_BYTES]);

const _: () = assert!(align_of::<Inline>() == ALIGN);

/// The highest bit of a note: the item is in a block, which the body names.
const IN_BLOCK: u64 = 1 << 63;

impl Bytes {
    const BODY_BYTES: usize = INLINE_BYTES;

    /// # Safety
    /// As for [`Coded::write`].
    unsafe fn write(&self, body: NonNull<u8>) -> u64 {
        match self {
            Self::Inline { bytes, size } => {
                // SAFETY: valid for `BODY_BYTES`, of which these are the first.
                unsafe { body.copy_from_nonoverlapping(NonNull::from(&bytes.0).cast(), *size) };
                *size as u64
            }
            Self::Block { block, size } => {
                // SAFETY: valid for `BODY_BYTES` and aligned to 16.
                unsafe { body.cast().write(block.name()) };
                *size as u64 | IN_BLOCK
            }
        }
    }

    fn sent(self) {
        if let Self::Block { block, .. } = self {
            block.hand_over();
        }
    }
}

/// How long the item is, and whether it is in a block.
pub(super) fn read_note(note: u64) -> (usize, bool) {
    ((note & !IN_BLOCK) as usize, note & IN_BLOCK != 0)
}

macro_rules! coded_as_bytes {
    () => {
        type Packed = Bytes;

        const KEEP: Keep = Keep::InHand;
        const BODY_BYTES: usize = Bytes::BODY_BYTES;

        unsafe fn write(packed: &Bytes, body: NonNull<u8>) -> u64 {
            // SAFETY: as the caller vouches.
            unsafe { packed.write(body) }
        }

        fn sent(packed: Bytes) {
            packed.sent();
        }
    };
}

impl<T: Payload> Coded for Rkyv<T> {
    coded_as_bytes!();

    fn signature() -> u64 {
        signature::<T::Archived>(size_of::<T::Archived>(), align_of::<T::Archived>())
    }
}

impl<T: Payload + Sync + 'static> Item for Rkyv<T> {
    type Given<'a> = &'a T;
    type Owned = T;
    type Taken = Received<Self>;

    fn given(owned: &T) -> &T {
        owned
    }

    fn pack(given: &&T, seat: &Seat) -> Result<Bytes, PackError> {
        let mut bytes = Inline([0; INLINE_BYTES]);
        // SAFETY: our own, and that large.
        let fit =
            unsafe { archive::write::<T>(given, NonNull::from(&mut bytes.0).cast(), INLINE_BYTES) };
        let wanted = match fit.map_err(PackError::Archive)? {
            Fit::Written(size) => return Ok(Bytes::Inline { bytes, size }),
            Fit::Needs(wanted) => wanted,
        };
        let block = seat.allocate(wanted).map_err(PackError::NoRoom)?;
        // SAFETY: a block of ours that has so many bytes.
        let fit = unsafe { archive::write::<T>(given, block.start(), wanted) };
        match fit.map_err(PackError::Archive)? {
            Fit::Written(size) => Ok(Bytes::Block { block, size }),
            Fit::Needs(found) => Err(PackError::Archive(ArchiveError::Unstable {
                type_name: type_name::<T>(),
                measured: wanted,
                found,
            })),
        }
    }

    fn unpack(held: Held) -> Result<Received<Self>, RecvError> {
        match held {
            Held::InHand(parcel) => Received::of_archive(parcel),
            Held::Copied(_) => Err(RecvError::Empty),
        }
    }
}

impl Coded for [u8] {
    coded_as_bytes!();

    fn signature() -> u64 {
        signature::<[u8]>(1, 1)
    }
}

impl Item for [u8] {
    type Given<'a> = &'a [u8];
    type Owned = Vec<u8>;
    type Taken = Received<[u8]>;

    fn given(owned: &Vec<u8>) -> &[u8] {
        owned
    }

    fn pack(given: &&[u8], seat: &Seat) -> Result<Bytes, PackError> {
        let size = given.len();
        if size <= INLINE_BYTES {
            let mut bytes = Inline([0; INLINE_BYTES]);
            bytes.0[..size].copy_from_slice(given);
            return Ok(Bytes::Inline { bytes, size });
        }
        let block = seat.allocate(size).map_err(PackError::NoRoom)?;
        // SAFETY: a block of ours that has so many bytes, and lies elsewhere.
        unsafe {
            block
                .start()
                .copy_from_nonoverlapping(NonNull::from(*given).cast(), size);
        };
        Ok(Bytes::Block { block, size })
    }

    fn unpack(held: Held) -> Result<Received<[u8]>, RecvError> {
        match held {
            Held::InHand(parcel) => Ok(Received::of_bytes(parcel)),
            Held::Copied(_) => Err(RecvError::Empty),
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Inline { size, .. } | Self::Block { size, .. }) = self;
        write!(f, "Bytes({size})")
    }
}

impl fmt::Debug for Inline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inline(..)")
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held(..)")
    }
}
