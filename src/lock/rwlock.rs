//! A readers-writer lock around plain data that processes share.

#![expect(unsafe_code, reason = "vouches for words of shared memory")]

use core::fmt;
use std::time::Duration;

use bytemuck::Pod;

use super::error::{LockError, LockResult, result};
use super::locking::{Locking, Way};
use super::place::{Place, Words, words_of};
use super::rwlock_guards::{RwLockReadGuard, RwLockWriteGuard, Writing};
use crate::commons::{Kind, Object, Region, Seat, WaitSet};
use crate::error::Result;
use crate::protocol::name::{Handle, Name};
use crate::sync::lockword::LockWord;
use crate::sync::rwlock::{self, Readers};

/// What lies in front of the data; see docs/protocol.md.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct RwLockWords {
    /// Those who want to read.
    pub(super) shut_out: WaitSet,
    /// Those who want to write, but for the next.
    pub(super) writers: WaitSet,
    /// The next to write, who waits for the last reader.
    pub(super) next: WaitSet,
    pub(super) word: LockWord,
    signature: u64,
    unused: [u64; 6],
    pub(super) readers: Readers,
}

const _: () = assert!(size_of::<RwLockWords>() == 1472);

/// What the region must know of readers-writer locks.
pub(crate) static RWLOCK: Kind = Kind {
    id: 12,
    recover: |seat, dead| {
        if let Some(words) = words_of::<RwLockWords>(seat) {
            words.word.recover(dead);
            words.readers.forget(dead);
            for waiters in [&words.shut_out, &words.writers, &words.next] {
                seat.bury(waiters, dead);
            }
        }
    },
    blocks: |_, _| {},
};

// SAFETY: atomics, but for the signature, which is never written again; aligned to 64.
unsafe impl Words for RwLockWords {
    const KIND: &'static Kind = &RWLOCK;

    fn new(signature: u64) -> Self {
        Self {
            shut_out: WaitSet::new(),
            writers: WaitSet::new(),
            next: WaitSet::new(),
            word: LockWord::new(),
            signature,
            unused: [0; 6],
            readers: Readers::new(),
        }
    }

    fn signature(&self) -> u64 {
        self.signature
    }
}

impl RwLockWords {
    /// The word is free again: all who read may, and one who writes.
    pub(super) fn wake(&self, seat: &Seat) {
        seat.wake_all(&self.shut_out);
        seat.wake_one(&self.writers);
    }
}

/// A readers-writer lock around data in a [`Region`]: any number of readers, or one writer, among
/// the threads and tasks of any number of processes.
///
/// Cloning it gives another handle to the same lock, which lives as long as its last handle in any
/// process; [`handle`](Self::handle) names it for others. Guards may be sent to another thread or
/// task of their process and dropped there.
///
/// To read and to write are futures that also wait, with a timeout or without; `try_read` and
/// `try_write` never wait. A reader that finds nobody writing takes no system call, and changes
/// words of its own process's only.
///
/// # When a process dies
/// A dead reader is not waited for, and poisons nothing. A dead writer leaves it poisoned, for
/// readers and writers, as does a writer's panic, until [`clear_poison`](Self::clear_poison).
///
/// # Order
/// Whoever wants to write keeps new readers out, so that it waits only for those that read already.
/// One who reads and wants to read or write, too, may wait for ever.
///
/// # Examples
///
/// ```
/// use gristmill::{Region, RwLock};
///
/// let region = Region::new(2 << 20)?;
/// let limits = RwLock::new(&region, [0.0_f64, 1.0])?;
/// limits.write_blocking().expect("nobody died")[1] = 2.0;
/// let one = limits.read_blocking().expect("nobody died");
/// let another = limits.read_blocking().expect("nobody died");
/// assert_eq!(*one, *another);
/// assert!(limits.try_write().is_err());
/// # Ok::<(), gristmill::Error>(())
/// ```
pub struct RwLock<T: Pod + Send + Sync> {
    pub(super) place: Place<RwLockWords, T>,
}

impl<T: Pod + Send + Sync> RwLock<T> {
    /// A lock in this region, around `value`.
    ///
    /// # Errors
    /// What the region says if it has no room; [`Error::Forked`](crate::Error::Forked) in a process
    /// that was forked from one that has the region.
    pub fn new(region: &Region, value: T) -> Result<Self> {
        let place = Place::create(region, value)?;
        Ok(Self { place })
    }

    /// Its name, for a process that has the region.
    pub fn handle(&self) -> Handle<Self> {
        Handle::new(self.place.name())
    }

    /// Locks it for reading, once nobody writes or is about to: awaited, or waited for.
    pub fn read(&self) -> Locking<Read<'_, T>> {
        Locking::new(Read { lock: self })
    }

    /// Locks it for reading if nobody writes or is about to.
    ///
    /// # Errors
    /// See [`LockError`].
    #[inline]
    pub fn try_read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        Locking::once(&Read { lock: self })
    }

    /// Locks it for reading; blocks until it can.
    ///
    /// # Errors
    /// See [`LockError`].
    #[inline]
    pub fn read_blocking(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        Locking::blocking(Read { lock: self })
    }

    /// Locks it for reading if it can in time; blocks until then.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn read_timeout(&self, timeout: Duration) -> LockResult<RwLockReadGuard<'_, T>> {
        self.read().wait_timeout(timeout)
    }

    /// Locks it for writing, once nobody else has it: awaited, or waited for.
    pub fn write(&self) -> Writing<'_, T> {
        Writing::new(self)
    }

    /// Locks it for writing if nobody has it.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn try_write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.write().try_now()
    }

    /// Locks it for writing; blocks until it can.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn write_blocking(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.write().wait()
    }

    /// Locks it for writing if it can in time; blocks until then.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn write_timeout(&self, timeout: Duration) -> LockResult<RwLockWriteGuard<'_, T>> {
        self.write().wait_timeout(timeout)
    }

    /// How many guards read it just now, in all processes.
    pub fn readers(&self) -> usize {
        self.place.words().readers.len()
    }

    /// Whether a process died or a thread panicked while it wrote, and nobody has said since that
    /// the data is whole.
    pub fn is_poisoned(&self) -> bool {
        self.place.words().word.is_poisoned()
    }

    /// Says that the data is whole again; best while it is locked for writing.
    pub fn clear_poison(&self) {
        if self.place.me().is_ok() {
            self.place.words().word.clear_poison();
        }
    }
}

/// The way to read what an [`RwLock`] guards.
pub struct Read<'a, T: Pod + Send + Sync> {
    lock: &'a RwLock<T>,
}

impl<'a, T: Pod + Send + Sync> Way for Read<'a, T> {
    type Guard = RwLockReadGuard<'a, T>;

    #[inline]
    fn attempt(&self) -> Option<LockResult<Self::Guard>> {
        let place = &self.lock.place;
        let me = match place.me() {
            Ok(me) => me,
            Err(error) => return Some(Err(LockError::Region(error))),
        };
        let words = place.words();
        match words.readers.enter(&words.word, me) {
            rwlock::Read::Entered { poisoned } => {
                Some(result(RwLockReadGuard::new(self.lock, me), poisoned))
            }
            rwlock::Read::Shut => None,
            rwlock::Read::Left => {
                place.seat().wake_one(&words.next);
                None
            }
        }
    }

    fn seat(&self) -> &Seat {
        self.lock.place.seat()
    }

    fn waiters(&self) -> &WaitSet {
        &self.lock.place.words().shut_out
    }
}

impl<T: Pod + Send + Sync> fmt::Debug for Read<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Read").finish_non_exhaustive()
    }
}

impl<T: Pod + Send + Sync> Clone for RwLock<T> {
    fn clone(&self) -> Self {
        let place = self.place.clone();
        Self { place }
    }
}

impl<T: Pod + Send + Sync> Object for RwLock<T> {
    fn name(&self) -> Name {
        self.place.name()
    }

    fn find(name: Name) -> Result<Self> {
        let place = Place::open(name)?;
        Ok(Self { place })
    }
}

impl<T: Pod + Send + Sync> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock")
            .field("readers", &self.readers())
            .field("poisoned", &self.is_poisoned())
            .finish_non_exhaustive()
    }
}
