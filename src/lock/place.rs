//! Where a lock lies: its words, and behind them what it guards.

#![expect(unsafe_code, reason = "finds words and values in shared memory")]

use core::marker::PhantomData;
use core::ptr::NonNull;

use bytemuck::Pod;

use crate::commons::{Kind, Region, Seat, signature};
use crate::error::{Error, RegionError};
use crate::memory::owner::Owner;
use crate::protocol::name::Name;

/// What stands in front of an object of a kind.
///
/// # Safety
/// Consists of atomics and of what is never written again, so that any bytes are one and shared
/// references to it may be had in any number of processes; aligned to 64.
pub(super) unsafe trait Words: Sized + 'static {
    /// The kind's number, and what the region does with its objects.
    const KIND: &'static Kind;

    /// New ones, around a value of this signature.
    fn new(signature: u64) -> Self;

    /// What tells it from one around another type.
    fn signature(&self) -> u64;
}

/// An object of words and a value, as this process has it.
pub(super) struct Place<W, T> {
    seat: Seat,
    words: NonNull<W>,
    value: NonNull<T>,
    guards: PhantomData<T>,
}

// SAFETY: what the pointers lead to lives as long as the seat and may be reached from any thread:
// words are atomics, and the value is reached as the lock allows, which is `Mutex`'s and its kin's
// to see to.
unsafe impl<W: Words, T: Send> Send for Place<W, T> {}
// SAFETY: as above.
unsafe impl<W: Words, T: Send> Sync for Place<W, T> {}

/// The words of an object, for whoever knows only that it is of their kind.
pub(super) fn words_of<W: Words>(seat: &Seat) -> Option<&W> {
    if seat.size() < size_of::<W>() as u64 {
        return None;
    }
    // SAFETY: the object is that large and aligned to 64, lives as long as the seat, and any bytes
    // are such words.
    Some(unsafe { seat.at(0).cast().as_ref() })
}

impl<W: Words, T: Pod> Place<W, T> {
    const SIZE: usize = size_of::<W>() + size_of::<T>();

    pub(super) fn signature() -> u64 {
        signature::<T>(size_of::<T>(), align_of::<T>())
    }

    pub(super) fn create(region: &Region, value: T) -> Result<Self, Error> {
        const {
            assert!(
                align_of::<T>() <= 64,
                "what a lock guards is aligned to at most 64"
            );
            assert!(align_of::<W>() == 64);
        }
        let seat = Seat::create(region, W::KIND, Self::SIZE as u64, |start| {
            // SAFETY: a new object of that size, aligned to 64, which nobody else knows yet.
            unsafe { start.cast::<W>().write(W::new(Self::signature())) };
            // SAFETY: as above; the words' size is a multiple of 64.
            let behind = unsafe { start.add(size_of::<W>()) };
            // SAFETY: as above.
            unsafe { behind.cast::<T>().write(value) };
        })?;
        Ok(Self::at(seat))
    }

    pub(super) fn open(name: Name) -> Result<Self, Error> {
        let seat = Seat::open(name, W::KIND)?;
        let fits = seat.size() >= Self::SIZE as u64
            && words_of::<W>(&seat).is_some_and(|words| words.signature() == Self::signature());
        if !fits {
            let found = "a lock around a value of another type".into();
            return Err(RegionError::Foreign { found }.into());
        }
        Ok(Self::at(seat))
    }

    fn at(seat: Seat) -> Self {
        Self {
            words: seat.at(0).cast(),
            value: seat.at(size_of::<W>() as u64).cast(),
            seat,
            guards: PhantomData,
        }
    }

    /// Where the value lies: initialised, aligned, and mapped as long as this.
    #[inline]
    pub(super) fn value(&self) -> NonNull<T> {
        self.value
    }
}

impl<W: Words, T> Place<W, T> {
    #[inline]
    pub(super) fn words(&self) -> &W {
        // SAFETY: see `words_of`, which has looked at the same object.
        unsafe { self.words.as_ref() }
    }
}

impl<W, T> Place<W, T> {
    #[inline]
    pub(super) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Who this process is there.
    #[inline]
    pub(super) fn me(&self) -> Result<Owner, Error> {
        self.seat.me()
    }

    pub(super) fn name(&self) -> Name {
        self.seat.name()
    }
}

impl<W, T> Clone for Place<W, T> {
    fn clone(&self) -> Self {
        Self {
            seat: self.seat.clone(),
            words: self.words,
            value: self.value,
            guards: PhantomData,
        }
    }
}
