//! A mutex around plain data that processes share.

#![expect(unsafe_code, reason = "refers to data in shared memory under its lock")]

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use std::thread;
use std::time::Duration;

use bytemuck::Pod;

use super::error::{LockResult, result};
use super::locking::{Locking, Way};
use super::place::{Place, Words, words_of};
use crate::commons::{Kind, Object, Region, Seat, WaitSet};
use crate::error::Result;
use crate::memory::owner::Owner;
use crate::protocol::name::{Handle, Name};
use crate::sync::lockword::{Hold, LockWord};

/// What lies in front of the data; see docs/protocol.md.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct MutexWords {
    waiters: WaitSet,
    word: LockWord,
    signature: u64,
    unused: [u64; 6],
}

const _: () = assert!(size_of::<MutexWords>() == 192);

/// What the region must know of mutexes.
pub(crate) static MUTEX: Kind = Kind {
    id: 10,
    recover: |seat, dead| {
        if let Some(words) = words_of::<MutexWords>(seat) {
            words.word.recover(dead);
            seat.bury(&words.waiters, dead);
        }
    },
    blocks: |_, _| {},
};

// SAFETY: atomics, but for the signature, which is never written again; aligned to 64.
unsafe impl Words for MutexWords {
    const KIND: &'static Kind = &MUTEX;

    fn new(signature: u64) -> Self {
        Self {
            waiters: WaitSet::new(),
            word: LockWord::new(),
            signature,
            unused: [0; 6],
        }
    }

    fn signature(&self) -> u64 {
        self.signature
    }
}

/// A mutex around data in a [`Region`], for threads and tasks of any number of processes.
///
/// Cloning it gives another handle to the same mutex, which lives as long as its last handle in any
/// process; [`handle`](Self::handle) names it for others. A guard may be sent to another thread or
/// task of its process and dropped there: lock here, unlock there.
///
/// Locking is a future that also [`wait`](Locking::wait)s, with a timeout or without; `try_lock`
/// never waits. All of them may be mixed. Nobody polls, no thread is taken for a call, and tasks
/// that wait keep no executor from running whoever is to unlock.
///
/// # When a process dies
/// The next to lock it, at once if it waits, gets [`LockError::Poisoned`](crate::LockError) with
/// the guard: access to make the data whole. It stays so until
/// [`clear_poison`](Self::clear_poison). A panic while it is locked poisons it, too, as
/// [`std::sync::Mutex`] does.
///
/// # Order
/// It is not fair: whoever comes just when it is free may overtake those that wait. One who holds
/// it and locks it again waits for ever; see [`ReentrantMutex`](crate::ReentrantMutex).
///
/// # Examples
///
/// ```
/// use gristmill::{Mutex, Region};
///
/// let region = Region::new(2 << 20)?;
/// let total = Mutex::new(&region, 0_u64)?;
/// let pool = gristmill::Pool::builder().workers(1).region(&region).build()?;
/// let task = pool.spawn(total.handle().words(), |name| {
///     let handle = gristmill::Handle::from_words([name[0].into(), name[1].into()]);
///     let total: Mutex<u64> = handle.open().unwrap();
///     *total.lock_blocking().unwrap() += 1;
/// })?;
/// task.wait()?;
/// assert_eq!(*total.lock_blocking().expect("nobody died"), 1);
/// # Ok::<(), gristmill::Error>(())
/// ```
///
/// To repair what a dead holder left:
///
/// ```
/// # use gristmill::{LockError, Mutex, Region};
/// # fn repair(pair: &Mutex<[u64; 2]>) -> Result<(), gristmill::Error> {
/// let guard = match pair.lock_blocking() {
///     Ok(guard) => guard,
///     Err(LockError::Poisoned(mut guard)) => {
///         guard[1] = guard[0];
///         pair.clear_poison();
///         guard
///     }
///     Err(LockError::Region(error)) => return Err(error),
///     Err(_) => unreachable!("it waits without a limit"),
/// };
/// # drop(guard);
/// # Ok(())
/// # }
/// # let region = Region::new(1).unwrap();
/// # repair(&Mutex::new(&region, [0; 2]).unwrap()).unwrap();
/// ```
pub struct Mutex<T: Pod + Send> {
    place: Place<MutexWords, T>,
}

impl<T: Pod + Send> Mutex<T> {
    /// A mutex in this region, around `value`.
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

    /// Locks it, once it is free: awaited, or waited for.
    pub fn lock(&self) -> Locking<&Self> {
        Locking::new(self)
    }

    /// Locks it if it is free now.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`](crate::LockError::WouldBlock) if somebody holds it; see
    /// [`LockError`](crate::LockError).
    #[inline]
    pub fn try_lock(&self) -> LockResult<MutexGuard<'_, T>> {
        Locking::once(&self)
    }

    /// Locks it; blocks until it is free.
    ///
    /// # Errors
    /// See [`LockError`](crate::LockError).
    #[inline]
    pub fn lock_blocking(&self) -> LockResult<MutexGuard<'_, T>> {
        Locking::blocking(self)
    }

    /// Locks it, if it becomes free in time; blocks until then.
    ///
    /// # Errors
    /// [`LockError::TimedOut`](crate::LockError::TimedOut) if it did not; see
    /// [`LockError`](crate::LockError).
    pub fn lock_timeout(&self, timeout: Duration) -> LockResult<MutexGuard<'_, T>> {
        self.lock().wait_timeout(timeout)
    }

    /// Takes the parts of a guard rather than the guard, and is called rather than inlined: then a
    /// guard lives in registers. One that is written part by part, moved as a whole and read again
    /// costs as much as an exchange, because the processor waits until the parts have left its
    /// store buffer.
    #[inline(never)]
    fn unlock(&self, owner: Owner, generation: u32, was_panicking: bool) {
        // A forked child does not hold what its parent holds.
        if self.place.me().is_ok() {
            let words = self.place.words();
            let poisons = !was_panicking && thread::panicking();
            if words
                .word
                .unlock(Hold::of_parts((owner, generation)), poisons)
            {
                self.place.seat().wake_one(&words.waiters);
            }
        }
    }

    /// Whether a process died or a thread panicked while it held the lock, and nobody has said
    /// since that the data is whole.
    pub fn is_poisoned(&self) -> bool {
        self.place.words().word.is_poisoned()
    }

    /// Says that the data is whole again; best while it is locked.
    pub fn clear_poison(&self) {
        if self.place.me().is_ok() {
            self.place.words().word.clear_poison();
        }
    }
}

impl<'a, T: Pod + Send> Way for &'a Mutex<T> {
    type Guard = MutexGuard<'a, T>;

    #[inline]
    fn attempt(&self) -> Option<LockResult<Self::Guard>> {
        let mutex: &'a Mutex<T> = self;
        let me = match mutex.place.me() {
            Ok(me) => me,
            Err(error) => return Some(Err(super::LockError::Region(error))),
        };
        let hold = mutex.place.words().word.try_lock(me)?;
        let guard = MutexGuard {
            mutex,
            hold,
            was_panicking: thread::panicking(),
            data: PhantomData,
        };
        Some(result(guard, hold.poisoned))
    }

    fn seat(&self) -> &Seat {
        self.place.seat()
    }

    fn waiters(&self) -> &WaitSet {
        &self.place.words().waiters
    }
}

impl<T: Pod + Send> Clone for Mutex<T> {
    fn clone(&self) -> Self {
        let place = self.place.clone();
        Self { place }
    }
}

impl<T: Pod + Send> Object for Mutex<T> {
    fn name(&self) -> Name {
        self.place.name()
    }

    fn find(name: Name) -> Result<Self> {
        let place = Place::open(name)?;
        Ok(Self { place })
    }
}

impl<T: Pod + Send> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex")
            .field("poisoned", &self.is_poisoned())
            .finish_non_exhaustive()
    }
}

/// Access to what a [`Mutex`] guards; unlocks it when dropped, in whichever thread or task of its
/// process.
#[must_use = "it is unlocked when the guard is dropped"]
pub struct MutexGuard<'a, T: Pod + Send> {
    mutex: &'a Mutex<T>,
    hold: Hold,
    was_panicking: bool,
    data: PhantomData<&'a mut T>,
}

impl<'a, T: Pod + Send> MutexGuard<'a, T> {
    /// The mutex that it holds: `MutexGuard::mutex(&guard)`.
    pub fn mutex(guard: &Self) -> &'a Mutex<T> {
        guard.mutex
    }
}

impl<T: Pod + Send> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: initialised, and any bytes are a `T`; whoever has the guard holds the lock, so
        // nobody else refers to it.
        unsafe { self.mutex.place.value().as_ref() }
    }
}

impl<T: Pod + Send> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard is borrowed mutably.
        unsafe { self.mutex.place.value().as_mut() }
    }
}

impl<T: Pod + Send> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let (owner, generation) = self.hold.parts();
        self.mutex.unlock(owner, generation, self.was_panicking);
    }
}

impl<T: Pod + Send + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
