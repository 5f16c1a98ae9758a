//! A mutex that its owner may lock again.

#![expect(unsafe_code, reason = "copies data in shared memory under its lock")]

use core::fmt;
use core::hint::spin_loop;
use std::thread;
use std::time::Duration;

use bytemuck::Pod;

use super::error::{LockError, LockResult, result};
use super::locking::{Locking, Way};
use super::place::{Place, Words, words_of};
use crate::commons::{Kind, Object, Region, Seat, WaitSet};
use crate::error::Result;
use crate::primitive::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::protocol::name::{Handle, Name};
use crate::sync::lockword::Hold;
use crate::sync::reentrant::ReentrantWords;

/// What lies in front of the data; see docs/protocol.md.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct ReentrantFront {
    waiters: WaitSet,
    words: ReentrantWords,
    signature: u64,
    /// 1 while a guard copies the data: the owner may have several, in several threads.
    copying: AtomicU32,
    unused: [u32; 7],
}

const _: () = assert!(size_of::<ReentrantFront>() == 192);

/// What the region must know of reentrant mutexes.
pub(crate) static REENTRANT: Kind = Kind {
    id: 13,
    recover: |seat, dead| {
        if let Some(front) = words_of::<ReentrantFront>(seat) {
            if front.words.word.hold_of(dead).is_some() {
                // ORDERING: Relaxed; whoever locks it next sees it by the word.
                front.copying.store(0, Ordering::Relaxed);
            }
            front.words.word.recover(dead);
            seat.bury(&front.waiters, dead);
        }
    },
    blocks: |_, _| {},
};

// SAFETY: atomics, but for the signature, which is never written again; aligned to 64.
unsafe impl Words for ReentrantFront {
    const KIND: &'static Kind = &REENTRANT;

    fn new(signature: u64) -> Self {
        Self {
            waiters: WaitSet::new(),
            words: ReentrantWords::new(),
            signature,
            copying: AtomicU32::new(0),
            unused: [0; 7],
        }
    }

    fn signature(&self) -> u64 {
        self.signature
    }
}

/// The number of the task that runs, or of this thread if none does. Never 0.
fn current() -> u64 {
    #[cfg(feature = "tokio")]
    if let Some(task) = task::current() {
        return task << 1;
    }
    /// How many threads have asked.
    static THREADS: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        // Relaxed: only that no two are the same.
        static THREAD: u64 = THREADS.fetch_add(1, Ordering::Relaxed);
    }
    // A thread that ends has nobody to tell apart from any more.
    THREAD
        .try_with(|number| *number << 1 | 1)
        .unwrap_or(u64::MAX)
}

#[cfg(feature = "tokio")]
mod task {
    use core::hash::{Hash, Hasher};

    /// A task's number, which it tells to hashers only.
    #[derive(Default)]
    struct Told(u64);

    impl Hasher for Told {
        fn finish(&self) -> u64 {
            self.0
        }

        fn write(&mut self, bytes: &[u8]) {
            for &byte in bytes {
                self.0 = self.0.rotate_left(8) ^ u64::from(byte);
            }
        }

        fn write_u64(&mut self, number: u64) {
            self.0 = number;
        }
    }

    pub(super) fn current() -> Option<u64> {
        let id = tokio::task::try_id()?;
        let mut told = Told::default();
        id.hash(&mut told);
        Some(told.finish())
    }
}

/// A mutex around data in a [`Region`] that whoever holds it may lock again: it is unlocked with
/// the last of the guards.
///
/// Its owner is a *task* of a process, where tokio runs one, and else a thread. So two tasks of one
/// process exclude each other, whichever threads they run on; futures that one task polls, as in
/// `join!`, are one owner.
///
/// As an owner may have several guards, a guard gives the data by value: [`get`], [`set`] and
/// [`update`](ReentrantMutexGuard::update). Everything else is as with [`Mutex`](crate::Mutex):
/// handles, forms of waiting, what happens when a process dies, and that a guard may be dropped in
/// another thread or task.
///
/// [`get`]: ReentrantMutexGuard::get
/// [`set`]: ReentrantMutexGuard::set
///
/// # Examples
///
/// ```
/// use gristmill::{ReentrantMutex, Region};
///
/// fn add(total: &ReentrantMutex<u64>, n: u64) {
///     total.lock_blocking().unwrap().update(|total| *total += n);
/// }
///
/// let region = Region::new(2 << 20)?;
/// let total = ReentrantMutex::new(&region, 0)?;
/// let both = total.lock_blocking().unwrap();
/// add(&total, 1);
/// add(&total, 2);
/// assert_eq!(both.get(), 3);
/// # Ok::<(), gristmill::Error>(())
/// ```
pub struct ReentrantMutex<T: Pod + Send> {
    place: Place<ReentrantFront, T>,
}

impl<T: Pod + Send> ReentrantMutex<T> {
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

    /// Locks it, once it is free or this task's: awaited, or waited for.
    ///
    /// The owner is the task that polls, or the thread that waits.
    pub fn lock(&self) -> Locking<&Self> {
        Locking::new(self)
    }

    /// Locks it if it is free or this task's now.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`] if another holds it; see [`LockError`].
    pub fn try_lock(&self) -> LockResult<ReentrantMutexGuard<'_, T>> {
        Locking::once(&self)
    }

    /// Locks it; blocks until it is free or this task's.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn lock_blocking(&self) -> LockResult<ReentrantMutexGuard<'_, T>> {
        Locking::blocking(self)
    }

    /// Locks it, if it becomes free in time or is this task's; blocks until then.
    ///
    /// # Errors
    /// [`LockError::TimedOut`] if it did not; see [`LockError`].
    pub fn lock_timeout(&self, timeout: Duration) -> LockResult<ReentrantMutexGuard<'_, T>> {
        self.lock().wait_timeout(timeout)
    }

    /// Whether a process died or a thread panicked while it held the lock, and nobody has said
    /// since that the data is whole.
    pub fn is_poisoned(&self) -> bool {
        self.place.words().words.word.is_poisoned()
    }

    /// Says that the data is whole again; best while it is locked.
    pub fn clear_poison(&self) {
        if self.place.me().is_ok() {
            self.place.words().words.word.clear_poison();
        }
    }
}

impl<'a, T: Pod + Send> Way for &'a ReentrantMutex<T> {
    type Guard = ReentrantMutexGuard<'a, T>;

    fn attempt(&self) -> Option<LockResult<Self::Guard>> {
        let mutex: &'a ReentrantMutex<T> = self;
        let me = match mutex.place.me() {
            Ok(me) => me,
            Err(error) => return Some(Err(LockError::Region(error))),
        };
        let hold = mutex.place.words().words.try_lock(me, current())?;
        let guard = ReentrantMutexGuard {
            mutex,
            hold,
            was_panicking: thread::panicking(),
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

impl<T: Pod + Send> Clone for ReentrantMutex<T> {
    fn clone(&self) -> Self {
        let place = self.place.clone();
        Self { place }
    }
}

impl<T: Pod + Send> Object for ReentrantMutex<T> {
    fn name(&self) -> Name {
        self.place.name()
    }

    fn find(name: Name) -> Result<Self> {
        let place = Place::open(name)?;
        Ok(Self { place })
    }
}

impl<T: Pod + Send> fmt::Debug for ReentrantMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReentrantMutex")
            .field("poisoned", &self.is_poisoned())
            .finish_non_exhaustive()
    }
}

/// Access to what a [`ReentrantMutex`] guards; one of those that its owner may have.
#[must_use = "it is unlocked when the last guard is dropped"]
pub struct ReentrantMutexGuard<'a, T: Pod + Send> {
    mutex: &'a ReentrantMutex<T>,
    hold: Hold,
    was_panicking: bool,
}

/// The right to copy, of one guard at a time.
struct Copying<'a>(&'a AtomicU32);

impl<'a> Copying<'a> {
    fn begin(flag: &'a AtomicU32) -> Self {
        let mut looks = 0_u32;
        // ORDERING: Acquire; pairs with the drop of whoever copied before.
        while flag
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            looks += 1;
            match looks.is_multiple_of(64) {
                true => thread::yield_now(),
                false => spin_loop(),
            }
        }
        Self(flag)
    }
}

impl Drop for Copying<'_> {
    fn drop(&mut self) {
        // ORDERING: Release; pairs with `begin`.
        self.0.store(0, Ordering::Release);
    }
}

impl<T: Pod + Send> ReentrantMutexGuard<'_, T> {
    fn copying(&self) -> Copying<'_> {
        Copying::begin(&self.mutex.place.words().copying)
    }

    /// The value.
    pub fn get(&self) -> T {
        let copying = self.copying();
        // SAFETY: initialised, aligned, and any bytes are a `T`; all other guards are the same
        // owner's, and none copies meanwhile.
        let value = unsafe { self.mutex.place.value().read() };
        drop(copying);
        value
    }

    /// Puts another value there. In a forked child it does nothing.
    pub fn set(&self, value: T) {
        if self.mutex.place.me().is_err() {
            return;
        }
        let copying = self.copying();
        // SAFETY: as in `get`.
        unsafe { self.mutex.place.value().write(value) };
        drop(copying);
    }

    /// Puts there what `change` makes of the value. The lock may be had again in `change`; what is
    /// set meanwhile is overwritten.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut value = self.get();
        let outcome = change(&mut value);
        self.set(value);
        outcome
    }
}

impl<T: Pod + Send> Drop for ReentrantMutexGuard<'_, T> {
    fn drop(&mut self) {
        let place = &self.mutex.place;
        // A forked child does not hold what its parent holds.
        if place.me().is_ok() {
            let front = place.words();
            let poisons = !self.was_panicking && thread::panicking();
            if front.words.unlock(self.hold, poisons) {
                place.seat().wake_one(&front.waiters);
            }
        }
    }
}

impl<T: Pod + Send + fmt::Debug> fmt::Debug for ReentrantMutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
