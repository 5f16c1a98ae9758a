//! The kinds of objects, and what each does when a member dies.
//!
//! Whoever finds a death sweeps all objects that the dead process had handles to, also those of a
//! kind that this process never used: so what a recovery needs lies below this room, in the words'
//! own files.

#![expect(unsafe_code, reason = "reads an object as what its kind says it is")]

use core::ptr::NonNull;

use crate::memory::owner::Owner;
use crate::sync::mutex::RawMutex;
use crate::sync::waitset::Door;

/// What an object is. Its number stands in shared memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Kind {
    Mutex = 1,
}

/// Puts right what `dead` has left of an object of kind `number`: what it held is given back, and
/// all who wait look again. May be repeated, and run beside the living.
pub(super) fn recover(
    number: u32,
    (start, size): (NonNull<u8>, u64),
    dead: Owner,
    door: &impl Door,
) {
    if number == Kind::Mutex as u32 {
        // SAFETY: the object is held by this process and is a mutex, all of whose words are
        // atomics; `view` checks its size.
        if let Some(mutex) = unsafe { view::<RawMutex>(start, size) } {
            mutex.recover(dead);
            mutex.waiters.rouse(door);
        }
    }
}

/// The beginning of an object as a `T`, if it is that large.
///
/// # Safety
///
/// The object stays where it is for `'a`; any bytes are a `T`, which is changed through atomics
/// only.
unsafe fn view<'a, T>(start: NonNull<u8>, size: u64) -> Option<&'a T> {
    let start = start.cast::<T>();
    // SAFETY: large enough and aligned; the rest is the caller's promise.
    (size >= size_of::<T>() as u64 && start.is_aligned()).then(|| unsafe { start.as_ref() })
}
