//! A record that is read where it lies.

#![expect(unsafe_code, reason = "lends archives that were checked")]

use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;
use std::sync::Arc;

use super::record;
use super::shelf::{Pinned, Shelf};
use crate::error::ShareError;
use crate::protocol::archive::{self, ArchiveError, Payload, Restore};
use crate::table::Span;

/// A value that is read in place: `Deref` gives its archive. While the guard lives, the bytes stay
/// as they are, also if the value is replaced or removed meanwhile; writers do not wait for it, but
/// what was removed takes its room until then.
pub struct SharedRef<V: Payload> {
    /// Invariant: in the object that the pin keeps, checked, and not written while that lives.
    value: NonNull<V::Archived>,
    pinned: Arc<Pinned>,
    payload: PhantomData<V>,
}

// SAFETY: reads only, of memory that the pin keeps from being written, whichever thread does.
unsafe impl<V: Payload<Archived: Sync>> Send for SharedRef<V> {}
// SAFETY: as for `Send`.
unsafe impl<V: Payload<Archived: Sync>> Sync for SharedRef<V> {}

impl<V: Payload> SharedRef<V> {
    /// The value in `bytes`.
    ///
    /// # Safety
    /// `bytes` stay as they are while `pinned` lives.
    unsafe fn new(bytes: &[u8], pinned: &Arc<Pinned>) -> Result<Self, ArchiveError> {
        let value = archive::access::<V>(bytes)?;
        Ok(Self {
            value: NonNull::from(value),
            pinned: Arc::clone(pinned),
            payload: PhantomData,
        })
    }

    /// An owned value, made of the archive.
    pub fn to_owned(&self) -> Result<V, ShareError>
    where
        V::Archived: Restore<V>,
    {
        Ok(archive::to_owned::<V>(&**self)?)
    }
}

impl<V: Payload> Clone for SharedRef<V> {
    fn clone(&self) -> Self {
        Self {
            value: self.value,
            pinned: Arc::clone(&self.pinned),
            payload: PhantomData,
        }
    }
}

impl<V: Payload> Deref for SharedRef<V> {
    type Target = V::Archived;

    fn deref(&self) -> &V::Archived {
        // SAFETY: by the invariant.
        unsafe { self.value.as_ref() }
    }
}

impl<V: Payload<Archived: fmt::Debug>> fmt::Debug for SharedRef<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Shelf {
    /// The value of a record that was found under this pin.
    pub(super) fn value<V: Payload>(
        &self,
        span: Span,
        pinned: &Arc<Pinned>,
    ) -> Result<SharedRef<V>, ShareError> {
        // SAFETY: the guard keeps the pin.
        let parts = unsafe { record::parts(&self.table(), span) };
        let (_, value) = parts.unwrap_or_default();
        // SAFETY: as above.
        Ok(unsafe { SharedRef::new(value, pinned) }?)
    }

    /// The key of a record that was found under this pin.
    pub(super) fn key<K: Payload>(
        &self,
        span: Span,
        pinned: &Arc<Pinned>,
    ) -> Result<SharedRef<K>, ShareError> {
        // SAFETY: the guard keeps the pin.
        let parts = unsafe { record::parts(&self.table(), span) };
        let (key, _) = parts.unwrap_or_default();
        // SAFETY: as above.
        Ok(unsafe { SharedRef::new(key, pinned) }?)
    }

    /// Whether a record has this key. The caller is pinned, or writes.
    pub(super) fn has_key(&self, span: Span, key: &[u8]) -> bool {
        // SAFETY: the caller's promise, for as long as this call.
        let parts = unsafe { record::parts(&self.table(), span) };
        parts.is_some_and(|(found, _)| found == key)
    }

    /// Whether a record has this value. The caller writes.
    pub(super) fn has_value(&self, span: Span, value: &[u8]) -> bool {
        // SAFETY: the caller's promise, for as long as this call.
        let parts = unsafe { record::parts(&self.table(), span) };
        parts.is_some_and(|(_, found)| found == value)
    }

    /// All records at one moment, with what keeps them.
    pub(super) fn snapshot(&self) -> Result<(Arc<Pinned>, Vec<Span>), ShareError> {
        use super::latch::Patience;
        const TRIES: u32 = 8;
        for _ in 0..TRIES {
            let pinned = self.pin()?;
            if let Some(spans) = self.table().snapshot() {
                return Ok((pinned, spans));
            }
        }
        // Writers are faster: wait for one to be done, and pin while nobody writes.
        self.write(Patience::Until(None), |writer| {
            let pinned = self.pin()?;
            Ok((pinned, writer.all()))
        })
    }
}
