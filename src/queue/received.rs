//! A received item, read where it lies.

#![expect(unsafe_code, reason = "reads items in shared memory")]

use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;
use core::slice;
use std::sync::Arc;

use super::channel::Channel;
use super::error::RecvError;
use super::item::Item;
use crate::fifo::Grip;
use crate::protocol::archive::{self, Payload, Restore};
use crate::protocol::context::Rkyv;

/// An item in this process's hand; finished with when it is dropped.
#[derive(Debug)]
#[doc(hidden)]
pub struct Parcel {
    channel: Arc<Channel>,
    grip: Grip,
}

impl Parcel {
    pub(super) fn new(channel: Arc<Channel>, grip: Grip) -> Self {
        Self { channel, grip }
    }

    fn bytes(&self) -> &[u8] {
        match self.channel.held_bytes(self.grip) {
            // SAFETY: inside the region, which the channel keeps mapped. The hand and the block are
            // this process's until the parcel is dropped, and nobody honest writes there.
            Some((start, size)) => unsafe { slice::from_raw_parts(start.as_ptr(), size) },
            None => &[],
        }
    }

    fn give_back(self) {
        let this = core::mem::ManuallyDrop::new(self);
        this.channel.give_back(this.grip);
        // SAFETY: read once, and the original is never dropped.
        drop(unsafe { core::ptr::read(&this.channel) });
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        self.channel.finish(self.grip);
    }
}

/// A received item.
///
/// Dereferences to the archived value, or to the bytes, where they lie in the region: nothing is
/// copied but what is smaller than a few cache lines. Dropping it says that the item is done with,
/// and frees its memory.
///
/// While it is held its receiver answers for it. If that process dies, the item is received by
/// somebody else, or counted as [lost](crate::Queue::lost), as the queue's
/// [`on_death`](crate::QueueBuilder::on_death) says. It can be given back alive, too, by
/// [`give_back`](Self::give_back).
pub struct Received<T: Item + ?Sized> {
    parcel: Parcel,
    /// # Invariants
    /// Points at the checked archive in the parcel's bytes, or at the first of them.
    root: NonNull<u8>,
    item: PhantomData<T>,
}

// SAFETY: it owns the item, which nobody writes, and gives out shared references to it only.
unsafe impl<T: Item + ?Sized> Send for Received<T> {}
// SAFETY: as above; archives have no interior mutability.
unsafe impl<T: Item + ?Sized> Sync for Received<T> {}

impl<T: Item + ?Sized> Received<T> {
    /// Puts the item back, for whoever receives next: before anything that waits in the queue.
    pub fn give_back(self) {
        self.parcel.give_back();
    }
}

impl<T: Payload + Sync + 'static> Received<Rkyv<T>> {
    pub(super) fn of_archive(parcel: Parcel) -> Result<Self, RecvError> {
        let root = NonNull::from(archive::access::<T>(parcel.bytes())?).cast();
        Ok(Self {
            parcel,
            root,
            item: PhantomData,
        })
    }

    /// An owned value, deserialised from the archive.
    ///
    /// # Errors
    /// [`RecvError::Archive`] when the type's own `Deserialize` refuses.
    pub fn to_owned(&self) -> Result<T, RecvError>
    where
        T::Archived: Restore<T>,
    {
        Ok(archive::to_owned::<T>(self)?)
    }

    /// The archive's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.parcel.bytes()
    }
}

impl Received<[u8]> {
    pub(super) fn of_bytes(parcel: Parcel) -> Self {
        let root = NonNull::from(parcel.bytes()).cast();
        Self {
            parcel,
            root,
            item: PhantomData,
        }
    }
}

impl<T: Payload + Sync + 'static> Deref for Received<Rkyv<T>> {
    type Target = T::Archived;

    fn deref(&self) -> &T::Archived {
        // SAFETY: a checked archive, by the invariant; it does not move with the parcel.
        unsafe { self.root.cast().as_ref() }
    }
}

impl Deref for Received<[u8]> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.parcel.bytes()
    }
}

impl AsRef<[u8]> for Received<[u8]> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl<T: Item + ?Sized> fmt::Debug for Received<T>
where
    Self: Deref<Target: fmt::Debug>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
