//! A value that processes share.
//!
//! ```text
//! 0        64       256       320
//! [ len   ][ latch ][ header ][ two copies of the value, in whole words ]
//! ```

#![expect(unsafe_code, reason = "finds the parts of an object")]

use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use std::time::Duration;

use bytemuck::Pod;

use super::latch::{Latch, Latched, Patience};
use super::shelf;
use crate::cell::{Cell, CellHeader};
use crate::commons::{Kind, Region, Seat, deadline};
use crate::error::{Error, RegionError, ShareError};
use crate::memory::owner::Owner;
use crate::primitive::atomic::AtomicU64;
use crate::protocol::name::{Handle, Name};

pub(crate) static VALUE: Kind = Kind {
    id: 32,
    recover,
    blocks: shelf::no_blocks,
};

const LATCH_AT: u64 = 64;
const HEADER_AT: u64 = 256;
const WORDS_AT: u64 = 320;

/// A plain value in a [`Region`], for all processes that have that: what `multiprocessing`'s
/// `Value` is, of any size.
///
/// It changes as a whole: a reader sees it as one writer left it, and never waits. Writers take
/// turns. One that dies has changed the value or has not, and whoever writes next goes on; so there
/// is nothing to be repaired.
///
/// A handle: clones lead to the same value, which lives as long as its last handle in any process.
pub struct Value<T: Pod> {
    seat: Seat,
    types: PhantomData<fn() -> T>,
}

const fn words_of<T>() -> usize {
    size_of::<T>().div_ceil(8)
}

impl<T: Pod> Value<T> {
    /// Makes a value.
    pub fn new(region: &Region, value: T) -> Result<Self, ShareError> {
        let size = WORDS_AT + 16 * words_of::<T>() as u64;
        let seat = Seat::create(region, &VALUE, size, |start| {
            // SAFETY: a new object of that size, which nobody else has.
            unsafe { write(start, size_of::<T>() as u64, 2 * words_of::<T>()) }
        })?;
        let this = Self::over(seat);
        this.set(value)?;
        Ok(this)
    }

    pub(super) fn open(name: Name) -> Result<Self, ShareError> {
        let seat = Seat::open(name, &VALUE)?;
        let is_it = seat.size() == WORDS_AT + 16 * words_of::<T>() as u64 && {
            // SAFETY: the object's first word, which was written before anybody could open it.
            let bytes: u64 = unsafe { seat.at(0).cast().read() };
            bytes == size_of::<T>() as u64
        };
        if !is_it {
            let found = format!("a value that is no `{}`", core::any::type_name::<T>());
            return Err(Error::from(RegionError::Foreign { found }).into());
        }
        Ok(Self::over(seat))
    }

    fn over(seat: Seat) -> Self {
        Self {
            seat,
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

    fn cell(&self) -> Cell<'_> {
        // SAFETY: the object has its header there; any bytes are one.
        let header = unsafe { self.seat.at(HEADER_AT).cast::<CellHeader>().as_ref() };
        let words = self.seat.at(WORDS_AT).cast::<AtomicU64>();
        // SAFETY: the object has as many words, which was checked when it was opened.
        let words = unsafe { core::slice::from_raw_parts(words.as_ptr(), 2 * words_of::<T>()) };
        Cell::new(header, words)
    }

    fn latch(&self) -> &Latch {
        latch(&self.seat)
    }

    fn load(&self) -> T {
        let mut value = T::zeroed();
        with_words::<T, _>(|words| {
            self.cell().load(words);
            let bytes = bytemuck::cast_slice(words);
            bytemuck::bytes_of_mut(&mut value).copy_from_slice(&bytes[..size_of::<T>()]);
        });
        value
    }

    fn store(&self, value: &T) {
        with_words::<T, _>(|words| {
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(words);
            bytes[..size_of::<T>()].copy_from_slice(bytemuck::bytes_of(value));
            self.cell().store(words);
        });
    }

    /// What it is.
    ///
    /// # Errors
    /// In a child that was forked from the process that has it.
    pub fn get(&self) -> Result<T, ShareError> {
        self.seat.me()?;
        Ok(self.load())
    }

    /// Changes it. Blocks while others do.
    pub fn set(&self, value: T) -> Result<(), ShareError> {
        self.update(|place| *place = value)
    }

    /// Changes it by what it was, and gives back what `change` does. Blocks while others change it;
    /// they wait while `change` runs. If that panics, nothing has changed.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> Result<R, ShareError> {
        self.change(Patience::Until(None), change)
    }

    /// The same, or [`ShareError::Busy`] if somebody else changes it just now.
    pub fn try_update<R>(&self, change: impl FnOnce(&mut T) -> R) -> Result<R, ShareError> {
        self.change(Patience::None, change)
    }

    /// The same, waiting up to `timeout`: then [`ShareError::TimedOut`].
    pub fn update_timeout<R>(
        &self,
        timeout: Duration,
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<R, ShareError> {
        self.change(Patience::Until(deadline(timeout)), change)
    }

    /// The same for a task. Dropped before it is done, it has changed nothing.
    pub async fn update_async<R>(&self, change: impl FnOnce(&mut T) -> R) -> Result<R, ShareError> {
        let latched = self.latch().take_async(&self.seat).await?;
        Ok(self.apply(&latched, change))
    }

    fn change<R>(
        &self,
        patience: Patience,
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<R, ShareError> {
        let latched = self.latch().take(&self.seat, patience)?;
        Ok(self.apply(&latched, change))
    }

    fn apply<R>(&self, _latched: &Latched<'_>, change: impl FnOnce(&mut T) -> R) -> R {
        let mut value = self.load();
        let answer = change(&mut value);
        self.store(&value);
        answer
    }
}

/// Lends as many words as a `T` takes.
fn with_words<T, R>(use_them: impl FnOnce(&mut [u64]) -> R) -> R {
    const FEW: usize = 32;
    let count = words_of::<T>();
    if count <= FEW {
        use_them(&mut [0; FEW][..count])
    } else {
        use_them(&mut vec![0; count])
    }
}

fn latch(seat: &Seat) -> &Latch {
    // SAFETY: every object of this kind has a latch there; any bytes are one.
    unsafe { seat.at(LATCH_AT).cast().as_ref() }
}

/// # Safety
/// `start` is a new object with room for as many words, which nobody else has.
unsafe fn write(start: NonNull<u8>, bytes: u64, words: usize) {
    // SAFETY: inside the object.
    let at = |offset: u64| unsafe { start.add(offset as usize) };
    // SAFETY: the first 64 bytes.
    unsafe { at(0).cast().write([bytes, 0, 0, 0, 0, 0, 0, 0]) };
    // SAFETY: the latch's place.
    unsafe { at(LATCH_AT).cast().write(Latch::new()) };
    // SAFETY: the header's place.
    unsafe { at(HEADER_AT).cast().write(CellHeader::new()) };
    // SAFETY: room for as many.
    unsafe { shelf::fill(at(WORDS_AT), words, || AtomicU64::new(0)) };
}

fn recover(seat: &Seat, dead: Owner) {
    if seat.size() >= WORDS_AT {
        latch(seat).recover(seat, dead);
    }
}

impl<T: Pod> Clone for Value<T> {
    fn clone(&self) -> Self {
        Self::over(self.seat.clone())
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Value").field(&self.load()).finish()
    }
}
