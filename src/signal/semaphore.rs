//! `Semaphore` and `BoundedSemaphore`.

use core::fmt;
use core::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::acquiring::{Acquiring, Permit};
use super::error::{AcquireError, ReleaseError};
use super::permits::{Core, Shared};
use crate::commons::{Object, Region};
use crate::error::{Error, Result};
use crate::gate::{MOST, PermitHead};
use crate::protocol::name::{Handle, Name};

/// So many permits for all processes together, and a way to wait for some of them.
///
/// What is acquired is a [`Permit`], which releases when it is dropped, wherever that is. Cloning
/// gives another handle to the same semaphore; it lives as long as its last handle or permit in any
/// process.
///
/// Acquiring is a future that also [`wait`](Acquiring::wait)s; `try_acquire` never waits. All of
/// them may be mixed, in any process, and several permits may be acquired at once.
///
/// # Permits without a guard
/// Python's `acquire()` is `semaphore.acquire()….forget()`, and its `release()` is
/// [`release(1)`](Self::release), anywhere: permits then count what there is of something, rather
/// than who has it. A permit that was forgotten is nobody's, and does not come back when whoever
/// acquired it dies.
///
/// # Order
/// Whoever finds too few permits may be *first in line*: until it has what it wants, or gives up,
/// nobody else gets any, however few they want. So who wants many is not overtaken for ever by
/// those who want few. Those behind are called one by one in about the order in which they came,
/// threads before tasks; but one that comes when the first has just been served may get ahead of
/// those that are being called. `try_acquire` finds nothing while somebody is first in line.
///
/// # When a process dies
/// The permits that it had are free at once: when another process that has the region sees it end.
/// Its place in line is the next one's, and a wake-up that it had swallowed is given again.
///
/// # Costs
/// Acquiring and releasing take three exchanges each, and no system call while nobody sleeps. A
/// semaphore takes 4.6 KiB of its region.
///
/// # Examples
///
/// ```
/// use gristmill::{Pool, Region, Semaphore};
///
/// let region = Region::new(2 << 20)?;
/// let licences = Semaphore::new(&region, 2)?;
/// let pool = Pool::builder().workers(3).region(&region).build()?;
/// let input = pool.alloc_from_fn(100, |i| i as f64)?.freeze();
/// let output = pool.par_map_with(licences.handle(), &input, |licences, x| {
///     let licences = licences.open().unwrap();
///     let _permit = licences.acquire_blocking().unwrap(); // two at a time
///     x.sqrt()
/// });
/// assert_eq!(output.wait()?[81], 9.0);
/// assert_eq!(licences.available(), 2);
/// # Ok::<(), gristmill::Error>(())
/// ```
#[derive(Clone)]
pub struct Semaphore {
    core: Shared,
}

impl Semaphore {
    /// How many permits there can be: 16,777,215.
    pub const MAX_PERMITS: u32 = MOST;

    /// A semaphore of so many permits, in this region; none is allowed, for what is released later.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than [`MAX_PERMITS`](Self::MAX_PERMITS); what the region
    /// says if it has no room.
    pub fn new(region: &Region, permits: u32) -> Result<Self> {
        Self::create(region, permits, MOST, false)
    }

    fn create(region: &Region, permits: u32, limit: u32, bounded: bool) -> Result<Self> {
        if permits > MOST {
            return Err(refused(permits, "at most 16777215"));
        }
        let head = PermitHead::new(permits, limit);
        let core = Arc::new(Core::create(region, bounded, head)?);
        Ok(Self { core })
    }

    fn open(name: Name, bounded: bool) -> Result<Self> {
        let core = Arc::new(Core::open(name, bounded)?);
        Ok(Self { core })
    }

    /// Its name, for a process that has the region.
    pub fn handle(&self) -> Handle<Self> {
        Handle::new(self.core.seat.name())
    }

    /// Acquires a permit, once there is one: awaited, or waited for.
    pub fn acquire(&self) -> Acquiring<'_> {
        self.acquire_many(1)
    }

    /// Acquires so many permits at once, all or none: awaited, or waited for.
    pub fn acquire_many(&self, count: u32) -> Acquiring<'_> {
        Acquiring::new(&self.core, count)
    }

    /// Acquires a permit if there is one now, and nobody is first in line.
    ///
    /// # Errors
    /// [`AcquireError::NoPermits`] if there is none; see [`AcquireError`].
    pub fn try_acquire(&self) -> Result<Permit, AcquireError> {
        self.try_acquire_many(1)
    }

    /// Acquires so many permits if there are as many now, and nobody is first in line.
    ///
    /// # Errors
    /// As for [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_many(&self, count: u32) -> Result<Permit, AcquireError> {
        self.core.try_take(count)?;
        Ok(Permit::new(&self.core, count))
    }

    /// Acquires a permit; blocks until there is one.
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub fn acquire_blocking(&self) -> Result<Permit, AcquireError> {
        self.acquire().wait()
    }

    /// Acquires so many permits at once; blocks until there are as many.
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub fn acquire_many_blocking(&self, count: u32) -> Result<Permit, AcquireError> {
        self.acquire_many(count).wait()
    }

    /// Acquires a permit, if there is one in time; blocks until then.
    ///
    /// # Errors
    /// [`AcquireError::TimedOut`] if there was none; see [`AcquireError`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit, AcquireError> {
        self.acquire().wait_timeout(timeout)
    }

    /// Acquires so many permits at once, if there are as many in time; blocks until then.
    ///
    /// # Errors
    /// As for [`acquire_timeout`](Self::acquire_timeout).
    pub fn acquire_many_timeout(
        &self,
        count: u32,
        timeout: Duration,
    ) -> Result<Permit, AcquireError> {
        self.acquire_many(count).wait_timeout(timeout)
    }

    /// Adds so many permits: those that were acquired and forgotten, or new ones. Those that a
    /// [`Permit`] holds are not meant.
    ///
    /// # Errors
    /// [`ReleaseError::TooMany`] if there would be more than there may be, and then none is added.
    pub fn release(&self, count: u32) -> Result<(), ReleaseError> {
        self.core.add(count)
    }

    /// How many are free, as far as a look tells while others acquire and release.
    pub fn available(&self) -> u32 {
        self.core.permits().free()
    }
}

fn refused(found: u32, wanted: &str) -> Error {
    Error::InvalidArgument {
        what: "number of permits",
        found: found.to_string(),
        wanted: wanted.into(),
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available", &self.available())
            .finish_non_exhaustive()
    }
}

impl Object for Semaphore {
    fn find(name: Name) -> Result<Self> {
        Self::open(name, false)
    }

    fn name(&self) -> Name {
        self.core.seat.name()
    }
}

/// A [`Semaphore`] that never has more permits than it was made with.
///
/// It dereferences to the semaphore. [`release`](Semaphore::release) once too often is
/// [`ReleaseError::TooMany`]: only what was acquired and [forgotten](Permit::forget) can be
/// released so, for guards release what they hold. And to acquire more at once than there will ever
/// be is [`AcquireError::TooMany`] instead of a wait without end.
#[derive(Clone)]
pub struct BoundedSemaphore(Semaphore);

impl BoundedSemaphore {
    /// A semaphore of so many permits, in this region.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for none, or for more than
    /// [`MAX_PERMITS`](Semaphore::MAX_PERMITS); what the region says if it has no room.
    pub fn new(region: &Region, permits: u32) -> Result<Self> {
        match permits {
            0 => Err(refused(permits, "at least 1, for there will never be more")),
            _ => Semaphore::create(region, permits, permits, true).map(Self),
        }
    }

    /// Its name, for a process that has the region.
    pub fn handle(&self) -> Handle<Self> {
        Handle::new(self.0.core.seat.name())
    }

    /// How many permits it was made with.
    pub fn limit(&self) -> u32 {
        self.0.core.permits().limit()
    }
}

impl Deref for BoundedSemaphore {
    type Target = Semaphore;

    fn deref(&self) -> &Semaphore {
        &self.0
    }
}

impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedSemaphore")
            .field("available", &self.available())
            .field("limit", &self.limit())
            .finish_non_exhaustive()
    }
}

impl Object for BoundedSemaphore {
    fn find(name: Name) -> Result<Self> {
        Semaphore::open(name, true).map(Self)
    }

    fn name(&self) -> Name {
        self.0.core.seat.name()
    }
}
