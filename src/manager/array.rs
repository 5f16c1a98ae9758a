//! An array that processes share and change in place.
//!
//! ```text
//! 0        64       256
//! [ len   ][ latch ][ the elements ]
//! ```

#![expect(unsafe_code, reason = "lends the elements of an object")]

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use std::time::Duration;

use bytemuck::Pod;

use super::latch::{Latch, Latched, Patience};
use super::shelf;
use crate::commons::{Kind, Region, Seat, deadline};
use crate::error::{Error, RegionError, ShareError};
use crate::memory::owner::Owner;
use crate::protocol::name::{Handle, Name};

pub(crate) static ARRAY: Kind = Kind {
    id: 33,
    recover,
    blocks: shelf::no_blocks,
};

const LATCH_AT: u64 = 64;
const DATA_AT: u64 = 256;

/// Plain elements in a [`Region`], for all processes that have that: what `multiprocessing`'s
/// `Array` is. Its length is fixed.
///
/// Whoever [locks](Self::lock) it has all of it to itself, where it lies. A process that dies with
/// the lock lets go of it, and the next one finds the array as that left it, and
/// [`is_poisoned`](ArrayGuard::is_poisoned).
///
/// For elements that are written once and then read by many without a lock, use a
/// [`SharedVec`](crate::SharedVec).
///
/// A handle: clones lead to the same array, which lives as long as its last handle in any process.
pub struct Array<T: Pod> {
    seat: Seat,
    len: usize,
    types: PhantomData<fn() -> T>,
}

/// The array, until it is dropped: on whichever thread that is.
pub struct ArrayGuard<'a, T: Pod> {
    array: &'a Array<T>,
    latched: Latched<'a>,
}

impl<T: Pod> Array<T> {
    /// Makes an array of these elements.
    ///
    /// # Errors
    /// [`ShareError::Region`] if the region has no room, or there is no element.
    pub fn new(region: &Region, elements: &[T]) -> Result<Self, ShareError> {
        const {
            assert!(align_of::<T>() <= 64, "an element is aligned to at most 64");
        }
        if size_of_val(elements) == 0 {
            let refused = Error::InvalidArgument {
                what: "length of an array",
                found: format!("{} elements of {} bytes", elements.len(), size_of::<T>()),
                wanted: "at least 1 byte".into(),
            };
            return Err(refused.into());
        }
        let size = DATA_AT + size_of_val(elements) as u64;
        let seat = Seat::create(region, &ARRAY, size, |start| {
            let head = [
                elements.len() as u64,
                size_of::<T>() as u64,
                0,
                0,
                0,
                0,
                0,
                0,
            ];
            // SAFETY: a new object of that size: its first 64 bytes.
            unsafe { start.cast().write(head) };
            // SAFETY: as above: the latch's place.
            let at = unsafe { start.add(LATCH_AT as usize) };
            // SAFETY: as above.
            unsafe { at.cast().write(Latch::new()) };
            // SAFETY: as above: room for the elements.
            let at = unsafe { start.add(DATA_AT as usize) }.cast::<T>();
            let from = core::ptr::NonNull::from(elements).cast();
            // SAFETY: as above, and the slice is not in the region's free memory.
            unsafe { at.copy_from_nonoverlapping(from, elements.len()) };
        })?;
        Ok(Self::over(seat, elements.len()))
    }

    pub(super) fn open(name: Name) -> Result<Self, ShareError> {
        let seat = Seat::open(name, &ARRAY)?;
        let bytes = seat.size().saturating_sub(DATA_AT) as usize;
        let len = bytes.checked_div(size_of::<T>()).unwrap_or(0);
        let is_it = len > 0 && {
            // SAFETY: the object is larger; it was written before anybody could open it.
            let head: [u64; 2] = unsafe { seat.at(0).cast().read() };
            head == [len as u64, size_of::<T>() as u64]
        };
        if !is_it {
            let found = format!("an array that is not of `{}`", core::any::type_name::<T>());
            return Err(Error::from(RegionError::Foreign { found }).into());
        }
        Ok(Self::over(seat, len))
    }

    fn over(seat: Seat, len: usize) -> Self {
        Self {
            seat,
            len,
            types: PhantomData,
        }
    }

    /// Its name, for other processes that have the region.
    #[must_use]
    pub fn handle(&self) -> Handle<Self> {
        Handle::new(self.seat.name())
    }

    pub(super) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// How many elements it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: an array has elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes all of it; blocks while somebody else has it.
    pub fn lock(&self) -> Result<ArrayGuard<'_, T>, ShareError> {
        self.take(Patience::Until(None))
    }

    /// The same, or [`ShareError::Busy`] if somebody else has it.
    pub fn try_lock(&self) -> Result<ArrayGuard<'_, T>, ShareError> {
        self.take(Patience::None)
    }

    /// The same, waiting up to `timeout`: then [`ShareError::TimedOut`].
    pub fn lock_timeout(&self, timeout: Duration) -> Result<ArrayGuard<'_, T>, ShareError> {
        self.take(Patience::Until(deadline(timeout)))
    }

    /// The same for a task. Dropped while it waits, it has nothing.
    pub async fn lock_async(&self) -> Result<ArrayGuard<'_, T>, ShareError> {
        let latched = latch(&self.seat).take_async(&self.seat).await?;
        Ok(ArrayGuard {
            array: self,
            latched,
        })
    }

    /// One element. Blocks while somebody has the array.
    ///
    /// # Errors
    /// [`ShareError::OutOfBounds`].
    pub fn get(&self, index: usize) -> Result<T, ShareError> {
        let guard = self.lock()?;
        guard.get(index).copied().ok_or_else(|| self.beyond(index))
    }

    /// Changes one element. Blocks while somebody has the array.
    ///
    /// # Errors
    /// [`ShareError::OutOfBounds`].
    pub fn set(&self, index: usize, value: T) -> Result<(), ShareError> {
        let mut guard = self.lock()?;
        let place = guard.get_mut(index).ok_or_else(|| self.beyond(index))?;
        *place = value;
        Ok(())
    }

    fn beyond(&self, index: usize) -> ShareError {
        let len = self.len;
        ShareError::OutOfBounds { index, len }
    }

    fn take(&self, patience: Patience) -> Result<ArrayGuard<'_, T>, ShareError> {
        let latched = latch(&self.seat).take(&self.seat, patience)?;
        Ok(ArrayGuard {
            array: self,
            latched,
        })
    }
}

impl<T: Pod> ArrayGuard<'_, T> {
    /// Whether a process has died with the lock, and may have left elements half changed, since
    /// that was last cleared.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        latch(&self.array.seat).has_died()
    }

    /// Says that the elements are as they should be.
    pub fn clear_poison(&mut self) {
        latch(&self.array.seat).clear(&self.latched);
    }
}

impl<T: Pod> Deref for ArrayGuard<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let data = self.array.seat.at(DATA_AT).cast::<T>();
        // SAFETY: the object has as many elements, plain data, aligned to 64; whoever has the latch
        // has them.
        unsafe { core::slice::from_raw_parts(data.as_ptr(), self.array.len) }
    }
}

impl<T: Pod> DerefMut for ArrayGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let data = self.array.seat.at(DATA_AT).cast::<T>();
        // SAFETY: as in `deref`, and the guard is borrowed alone.
        unsafe { core::slice::from_raw_parts_mut(data.as_ptr(), self.array.len) }
    }
}

fn latch(seat: &Seat) -> &Latch {
    // SAFETY: every object of this kind has a latch there; any bytes are one.
    unsafe { seat.at(LATCH_AT).cast().as_ref() }
}

fn recover(seat: &Seat, dead: Owner) {
    if seat.size() > DATA_AT {
        latch(seat).recover(seat, dead);
    }
}

impl<T: Pod> Clone for Array<T> {
    fn clone(&self) -> Self {
        Self::over(self.seat.clone(), self.len)
    }
}

impl<T: Pod> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Array")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for ArrayGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
