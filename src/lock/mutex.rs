//! A mutex around plain data that processes share.

#![expect(unsafe_code, reason = "refers to data in shared memory under its lock")]

use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll};
use core::time::Duration;

use bytemuck::Pod;

use crate::commons::{Kind, Name, Region, Seat, Shared, Ticket, deadline};
use crate::error::Result;
use crate::lock::error::LockError;
use crate::sync::mutex::{Hold, RawMutex};
use crate::sync::waitset::Unused;

/// A mutex around data in a [`Region`], for threads and tasks of any number of processes.
///
/// A clone is another handle to the same mutex, and its [`handle`](Shared::handle) names it in
/// other processes. A guard can be sent to another thread or task of its process and dropped there.
///
/// A process that dies holding it leaves it poisoned: the next to lock it gets
/// [`LockError::Poisoned`] with the guard, at once if it waits, and within moments otherwise. A
/// *panic* with a guard unlocks it and poisons nothing: the process is there and was heard.
///
/// It is not fair: whoever comes just when it is free may overtake those that wait.
///
/// # Examples
///
/// ```
/// use gristmill::{Mutex, Region};
///
/// let region = Region::new(1 << 20)?;
/// let total = Mutex::new(&region, 0_u64)?;
/// *total.lock()? += 1;
/// assert_eq!(*total.lock()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Mutex<T> {
    seat: Seat,
    marker: PhantomData<T>,
}

// SAFETY: a seat can be anywhere; `T` is plain data, which is reached under the lock only.
unsafe impl<T: Send> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Clone for Mutex<T> {
    fn clone(&self) -> Self {
        Self {
            seat: self.seat.clone(),
            marker: PhantomData,
        }
    }
}

/// How a lock is had.
type Locked<'a, T> = Result<MutexGuard<'a, T>, LockError<MutexGuard<'a, T>>>;

/// Where the data begins.
const DATA: u64 = size_of::<RawMutex>() as u64;

const fn size_of_object<T>() -> u64 {
    DATA + size_of::<T>() as u64
}

impl<T: Pod + Send> Mutex<T> {
    /// A mutex in `region` around `value`.
    ///
    /// # Errors
    /// [`Error::Region`](crate::Error::Region) if there is no room,
    /// [`Error::Forked`](crate::Error::Forked) in a forked process.
    pub fn new(region: &Region, value: T) -> Result<Self> {
        const {
            assert!(
                align_of::<T>() <= 64,
                "shared data is aligned to at most 64"
            )
        };
        let seat = Seat::create(region, Kind::Mutex, size_of_object::<T>(), |start| {
            // SAFETY: the object is large enough for both, nobody else has seen it, and its start
            // is a multiple of 64.
            unsafe { start.cast::<RawMutex>().write(RawMutex::new()) };
            // SAFETY: as above; the data lies behind the mutex, at a multiple of 64.
            let data = unsafe { start.add(DATA as usize) };
            // SAFETY: as above.
            unsafe { data.cast::<T>().write(value) };
        })?;
        Ok(Self {
            seat,
            marker: PhantomData,
        })
    }

    /// Locks it if it is free. Never blocks.
    ///
    /// # Errors
    /// [`LockError::WouldBlock`] if it is held, and [`LockError::Poisoned`].
    pub fn try_lock(&self) -> Locked<'_, T> {
        let me = self.seat.me()?;
        match self.raw().try_lock(me) {
            Some(hold) => self.guard(hold),
            None => {
                self.seat.look_after();
                Err(LockError::WouldBlock)
            }
        }
    }

    /// Locks it. Blocks while somebody else holds it; one who holds it already waits for ever.
    ///
    /// # Errors
    /// [`LockError::Poisoned`], with the guard.
    pub fn lock(&self) -> Locked<'_, T> {
        self.lock_until(None)
    }

    /// Locks it, if that can be done within `timeout`. Blocks.
    ///
    /// # Errors
    /// [`LockError::TimedOut`] and [`LockError::Poisoned`].
    pub fn lock_timeout(&self, timeout: Duration) -> Locked<'_, T> {
        self.lock_until(deadline(timeout))
    }

    /// Locks it when it is free. Cancel-safe: who drops the future before it is ready has not
    /// locked, and a wake-up that was meant for it goes to the next.
    pub fn lock_async(&self) -> LockFuture<'_, T> {
        LockFuture {
            mutex: self,
            ticket: Ticket::new(),
        }
    }

    fn lock_until(&self, until: Option<std::time::Instant>) -> Locked<'_, T> {
        let me = self.seat.me()?;
        let raw = self.raw();
        if let Some(hold) = raw.try_lock(me) {
            return self.guard(hold);
        }
        let hold = self.seat.block(&raw.waiters, until, || raw.try_lock(me));
        self.guard(hold.ok_or(LockError::TimedOut)?)
    }

    /// Whether a process died while it held the lock, and nobody has repaired the data since.
    pub fn is_poisoned(&self) -> bool {
        self.raw().is_spoilt()
    }

    fn raw(&self) -> &RawMutex {
        // SAFETY: an object of this kind begins with a mutex, all of whose words are atomics, and
        // the seat keeps it there.
        unsafe { self.seat.at(0).cast().as_ref() }
    }

    fn data(&self) -> NonNull<T> {
        self.seat.at(DATA).cast()
    }

    #[inline]
    fn guard(&self, hold: Hold) -> Locked<'_, T> {
        let spoilt = hold.spoilt;
        let guard = MutexGuard { mutex: self, hold };
        match spoilt {
            false => Ok(guard),
            true => Err(LockError::Poisoned(guard)),
        }
    }
}

impl<T: Pod + Send> Shared for Mutex<T> {
    fn words(&self) -> [u64; 2] {
        self.seat.name().to_words()
    }

    fn from_words(words: [u64; 2]) -> Result<Self> {
        let fits = |size| size == size_of_object::<T>();
        let seat = Seat::open(
            Name::from_words(words),
            Kind::Mutex,
            "`Mutex` of that type",
            fits,
        )?;
        Ok(Self {
            seat,
            marker: PhantomData,
        })
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

/// Access to what a [`Mutex`] guards; unlocks it when dropped.
pub struct MutexGuard<'a, T: Pod + Send> {
    mutex: &'a Mutex<T>,
    hold: Hold,
}

impl<T: Pod + Send> MutexGuard<'_, T> {
    /// Says that the data is whole again, after [`LockError::Poisoned`].
    pub fn clear_poison(&mut self) {
        self.mutex.raw().heal(&mut self.hold);
    }

    /// Whether the data may be half-written by a process that died.
    pub fn is_poisoned(&self) -> bool {
        self.hold.spoilt
    }
}

impl<T: Pod + Send> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the data is initialised and any bytes are a `T`; whoever has the guard holds the
        // lock, so nobody writes.
        unsafe { self.mutex.data().as_ref() }
    }
}

impl<T: Pod + Send> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard is borrowed mutably.
        unsafe { self.mutex.data().as_mut() }
    }
}

impl<T: Pod + Send> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // A forked child does not hold what its parent holds.
        if self.mutex.seat.me().is_ok() {
            self.mutex.raw().unlock(self.hold, self.mutex.seat.door());
        }
    }
}

impl<T: Pod + Send + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A [`Mutex`] that is being locked; see [`Mutex::lock_async`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct LockFuture<'a, T: Pod + Send> {
    mutex: &'a Mutex<T>,
    ticket: Ticket,
}

impl<'a, T: Pod + Send> Future for LockFuture<'a, T> {
    type Output = Locked<'a, T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { mutex, ticket } = self.get_mut();
        let mutex: &'a Mutex<T> = mutex;
        let me = match mutex.seat.me() {
            Ok(me) => me,
            Err(error) => return Poll::Ready(Err(error.into())),
        };
        let raw = mutex.raw();
        let attempt = || raw.try_lock(me);
        let hold = mutex.seat.listen(&raw.waiters, ticket, cx, attempt);
        hold.map(|hold| mutex.guard(hold))
    }
}

impl<T: Pod + Send> Drop for LockFuture<'_, T> {
    fn drop(&mut self) {
        let waiters = &self.mutex.raw().waiters;
        self.mutex
            .seat
            .leave(waiters, &mut self.ticket, Unused::Dropped);
    }
}
