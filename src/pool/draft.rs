//! Small arguments on their way into a slot.

#![expect(
    unsafe_code,
    reason = "serialises into bytes of its own, and moves them"
)]

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use crate::protocol::archive::{self, ArchiveError, Fit, Payload};
use crate::protocol::task::INLINE_SIZE;

/// Small arguments, serialised before there is a slot for them: so the hub is locked once, and
/// never while the caller's code runs.
#[repr(C, align(64))]
pub(super) struct Draft {
    bytes: [MaybeUninit<u8>; INLINE_SIZE],
    pub(super) size: usize,
}

impl Draft {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [MaybeUninit::uninit(); INLINE_SIZE],
            size: 0,
        }
    }

    /// Serialises arguments into it, if they fit.
    pub(super) fn write<A: Payload>(&mut self, arguments: &A) -> Result<Fit, ArchiveError> {
        let place = NonNull::from(&mut self.bytes).cast();
        // SAFETY: the draft is borrowed for this call alone, and that large.
        let fit = unsafe { archive::write(arguments, place, INLINE_SIZE) }?;
        if let Fit::Written(size) = fit {
            self.size = size;
        }
        Ok(fit)
    }

    /// Copies what was written to a place that is at least as large and nobody else's.
    pub(super) fn copy_to(&self, place: NonNull<u8>) {
        let bytes = &self.bytes[..self.size];
        let from = NonNull::from(bytes).cast::<u8>();
        // SAFETY: both are valid for so many bytes, and the draft lies on our stack; bytes that
        // may be uninitialised are moved as such.
        unsafe { place.copy_from_nonoverlapping(from, bytes.len()) }
    }
}
