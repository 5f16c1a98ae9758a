//! A condition variable between processes.
//!
//! Its truth is a count of notices. Who waits has noted the count before it unlocked the mutex, and
//! has been notified once the count is another. So a notice cannot be swallowed by whoever dies or
//! gives up: everybody who waited before it and looks afterwards finds it. Waking one, instead of
//! all, is what the wait set does; a wake-up too many is what condition variables are known for.

#![expect(unsafe_code, reason = "vouches for words of shared memory")]

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytemuck::Pod;

use super::error::{LockError, LockResult};
use super::locking::Locking;
use super::mutex::{Mutex, MutexGuard};
use super::place::{Place, Words, words_of};
use crate::commons::{Kind, Object, Region, Ticket, WaitSet, deadline};
use crate::error::Result;
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::protocol::name::{Handle, Name};

/// What a condition variable is; see docs/protocol.md.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct CondvarWords {
    waiters: WaitSet,
    notices: AtomicU64,
    unused: [u64; 7],
}

const _: () = assert!(size_of::<CondvarWords>() == 192);

/// What the region must know of condition variables.
pub(crate) static CONDVAR: Kind = Kind {
    id: 11,
    recover: |seat, dead| {
        if let Some(words) = words_of::<CondvarWords>(seat) {
            seat.bury(&words.waiters, dead);
        }
    },
    blocks: |_, _| {},
};

// SAFETY: atomics only; aligned to 64.
unsafe impl Words for CondvarWords {
    const KIND: &'static Kind = &CONDVAR;

    fn new(_: u64) -> Self {
        Self {
            waiters: WaitSet::new(),
            notices: AtomicU64::new(0),
            unused: [0; 7],
        }
    }

    fn signature(&self) -> u64 {
        Place::<Self, ()>::signature()
    }
}

impl CondvarWords {
    fn count(&self) -> u64 {
        // ORDERING: Acquire; pairs with `notify`. Noted before the mutex is unlocked, so a notice
        // by somebody who locked it afterwards is a later one.
        self.notices.load(Ordering::Acquire)
    }
}

/// A condition variable in a [`Region`], for threads and tasks of any number of processes that
/// share a [`Mutex`].
///
/// Cloning it gives another handle to the same one, which lives as long as its last handle in any
/// process; [`handle`](Self::handle) names it for others.
///
/// Whoever waits gives its guard away and gets another one: the mutex is unlocked meanwhile, and
/// locked again before the wait is over, however it ends. There may be *wake-ups without a notice*,
/// as with [`std::sync::Condvar`]; the forms with `while` look at the data again.
///
/// # When a process dies
/// If it waited, whatever notice it got is not lost: all others that wait look again. What it held
/// is the mutex's business: who waits then gets it back as
/// [`LockError::Poisoned`], with the guard.
///
/// # Examples
///
/// ```
/// use gristmill::{Condvar, Mutex, Region};
///
/// let region = Region::new(2 << 20)?;
/// let (ready, changed) = (Mutex::new(&region, 0_u32)?, Condvar::new(&region)?);
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         *ready.lock_blocking().unwrap() = 1;
///         changed.notify_one().unwrap();
///     });
///     let guard = ready.lock_blocking().unwrap();
///     let guard = changed.wait_while_blocking(guard, |ready| *ready == 0).unwrap();
///     assert_eq!(*guard, 1);
/// });
/// # Ok::<(), gristmill::Error>(())
/// ```
#[derive(Clone)]
pub struct Condvar {
    place: Place<CondvarWords, ()>,
}

impl Condvar {
    /// A condition variable in this region. The mutex may lie in another one.
    ///
    /// # Errors
    /// What the region says if it has no room; [`Error::Forked`](crate::Error::Forked) in a process
    /// that was forked from one that has the region.
    pub fn new(region: &Region) -> Result<Self> {
        let place = Place::create(region, ())?;
        Ok(Self { place })
    }

    /// Its name, for a process that has the region.
    pub fn handle(&self) -> Handle<Self> {
        Handle::new(self.place.name())
    }

    /// Wakes one who waits, if anybody does. The mutex need not be locked.
    ///
    /// # Errors
    /// [`Error::Forked`](crate::Error::Forked) in a forked process.
    pub fn notify_one(&self) -> Result<()> {
        self.notify()?;
        self.place.seat().wake_one(&self.place.words().waiters);
        Ok(())
    }

    /// Wakes all who wait. The mutex need not be locked.
    ///
    /// # Errors
    /// [`Error::Forked`](crate::Error::Forked) in a forked process.
    pub fn notify_all(&self) -> Result<()> {
        self.notify()?;
        self.place.seat().wake_all(&self.place.words().waiters);
        Ok(())
    }

    fn notify(&self) -> Result<()> {
        self.place.me()?;
        // ORDERING: Release; who finds it sees what was done before, even without the mutex.
        self.place.words().notices.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Unlocks the mutex until it is notified: awaited, or waited for.
    pub fn wait<'a, T: Pod + Send>(&'a self, guard: MutexGuard<'a, T>) -> Noticing<'a, T> {
        Noticing::new(self, guard)
    }

    /// Unlocks the mutex until it is notified; blocks until then.
    ///
    /// # Errors
    /// [`LockError::Poisoned`] if the mutex is; see [`LockError`].
    pub fn wait_blocking<'a, T: Pod + Send>(
        &'a self,
        guard: MutexGuard<'a, T>,
    ) -> LockResult<MutexGuard<'a, T>> {
        self.wait(guard).wait()
    }

    /// Unlocks the mutex until it is notified, or the timeout has passed; blocks until then, and
    /// until the mutex is free. True beside the guard: it was notified.
    ///
    /// # Errors
    /// [`LockError::Poisoned`] if the mutex is, never [`LockError::TimedOut`]; see [`LockError`].
    pub fn wait_timeout<'a, T: Pod + Send>(
        &'a self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        self.wait(guard).until(deadline(timeout))
    }

    /// Waits as long as `condition` holds of the data; a task that is awaited.
    ///
    /// # Errors
    /// [`LockError::Poisoned`] as soon as the mutex is; see [`LockError`].
    ///
    /// # Cancel safety
    /// As [`wait`](Self::wait): dropped before it is ready, the mutex is unlocked, or will be.
    pub async fn wait_while<'a, T: Pod + Send>(
        &'a self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        while condition(&mut guard) {
            guard = self.wait(guard).await?;
        }
        Ok(guard)
    }

    /// Waits as long as `condition` holds of the data; blocks until it does not.
    ///
    /// # Errors
    /// [`LockError::Poisoned`] as soon as the mutex is; see [`LockError`].
    pub fn wait_while_blocking<'a, T: Pod + Send>(
        &'a self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        while condition(&mut guard) {
            guard = self.wait(guard).wait()?;
        }
        Ok(guard)
    }

    /// Waits as long as `condition` holds of the data, or until the timeout has passed; blocks
    /// until then. True beside the guard: the condition does not hold any more.
    ///
    /// # Errors
    /// [`LockError::Poisoned`] as soon as the mutex is; see [`LockError`].
    pub fn wait_while_timeout<'a, T: Pod + Send>(
        &'a self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        let until = deadline(timeout);
        let mut in_time = true;
        while condition(&mut guard) {
            if !in_time {
                return Ok((guard, false));
            }
            (guard, in_time) = self.wait(guard).until(until)?;
        }
        Ok((guard, true))
    }
}

impl Object for Condvar {
    fn name(&self) -> Name {
        self.place.name()
    }

    fn find(name: Name) -> Result<Self> {
        let place = Place::open(name)?;
        Ok(Self { place })
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}

/// A notice that is waited for, and then the mutex: await it, or [`wait`](Self::wait).
///
/// The mutex is unlocked when this is first polled or waited on, or is dropped.
///
/// # Cancel safety
/// Dropped before it is ready, it leaves the mutex unlocked; a notice that was meant for it goes to
/// the next.
#[must_use = "nothing is waited for unless it is awaited or waited for"]
pub struct Noticing<'a, T: Pod + Send> {
    condvar: &'a Condvar,
    mutex: &'a Mutex<T>,
    guard: Option<MutexGuard<'a, T>>,
    /// How many notices there had been.
    noted: u64,
    ticket: Ticket,
    locking: Option<Locking<&'a Mutex<T>>>,
}

impl<'a, T: Pod + Send> Noticing<'a, T> {
    fn new(condvar: &'a Condvar, guard: MutexGuard<'a, T>) -> Self {
        Self {
            condvar,
            mutex: MutexGuard::mutex(&guard),
            guard: Some(guard),
            noted: condvar.place.words().count(),
            ticket: Ticket::new(),
            locking: None,
        }
    }

    fn until(mut self, until: Option<Instant>) -> LockResult<(MutexGuard<'a, T>, bool)> {
        let place = &self.condvar.place;
        place.me().map_err(LockError::Region)?;
        self.guard = None;
        let (words, noted) = (place.words(), self.noted);
        let attempt = || (words.count() != noted).then_some(());
        let noticed = place.seat().block(&words.waiters, until, attempt).is_some();
        match self.mutex.lock().wait() {
            Ok(guard) => Ok((guard, noticed)),
            Err(error) => Err(error.map(|guard| (guard, noticed))),
        }
    }

    /// Blocks until it is notified, and the mutex is locked.
    ///
    /// # Errors
    /// [`LockError::Poisoned`] if the mutex is; see [`LockError`].
    pub fn wait(self) -> LockResult<MutexGuard<'a, T>> {
        match self.until(None) {
            Ok((guard, _)) => Ok(guard),
            Err(error) => Err(error.map(|(guard, _)| guard)),
        }
    }
}

impl<T: Pod + Send> Unpin for Noticing<'_, T> {}

impl<'a, T: Pod + Send> Future for Noticing<'a, T> {
    type Output = LockResult<MutexGuard<'a, T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let place = &this.condvar.place;
        if let Err(error) = place.me() {
            return Poll::Ready(Err(LockError::Region(error)));
        }
        if this.locking.is_none() {
            let (words, noted) = (place.words(), this.noted);
            let guard = &mut this.guard;
            // Unlocked once this task stands in the list.
            let attempt = || {
                guard.take();
                (words.count() != noted).then_some(())
            };
            let seat = place.seat();
            ready!(seat.listen(&words.waiters, &mut this.ticket, context, attempt));
        }
        let mutex = this.mutex;
        let locking = this.locking.get_or_insert_with(|| mutex.lock());
        Pin::new(locking).poll(context)
    }
}

impl<T: Pod + Send> Drop for Noticing<'_, T> {
    fn drop(&mut self) {
        let place = &self.condvar.place;
        self.ticket.leave(place.seat(), &place.words().waiters);
    }
}

impl<T: Pod + Send> fmt::Debug for Noticing<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Noticing").finish_non_exhaustive()
    }
}
