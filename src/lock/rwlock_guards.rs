//! What holds a readers-writer lock, and how a writer comes to.

#![expect(unsafe_code, reason = "refers to data in shared memory under its lock")]

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::thread;
use std::time::{Duration, Instant};

use bytemuck::Pod;

use super::error::{LockError, LockResult, result};
use super::rwlock::{RwLock, RwLockWords};
use crate::commons::{Ticket, deadline};
use crate::memory::owner::Owner;
use crate::sync::lockword::Hold;

/// Access to what an [`RwLock`] guards, to read it; dropped in whichever thread or task of its
/// process.
#[must_use = "it is unlocked when the guard is dropped"]
pub struct RwLockReadGuard<'a, T: Pod + Send + Sync> {
    lock: &'a RwLock<T>,
    me: Owner,
}

impl<'a, T: Pod + Send + Sync> RwLockReadGuard<'a, T> {
    pub(super) fn new(lock: &'a RwLock<T>, me: Owner) -> Self {
        Self { lock, me }
    }
}

impl<T: Pod + Send + Sync> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: initialised, and any bytes are a `T`; while it is counted nobody writes.
        unsafe { self.lock.place.value().as_ref() }
    }
}

impl<T: Pod + Send + Sync> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let place = &self.lock.place;
        // A forked child does not hold what its parent holds.
        if place.me().is_ok() {
            let words = place.words();
            if words.readers.leave(&words.word, self.me) {
                place.seat().wake_one(&words.next);
            }
        }
    }
}

impl<T: Pod + Send + Sync + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Access to what an [`RwLock`] guards, to write it; dropped in whichever thread or task of its
/// process.
#[must_use = "it is unlocked when the guard is dropped"]
pub struct RwLockWriteGuard<'a, T: Pod + Send + Sync> {
    lock: &'a RwLock<T>,
    hold: Hold,
    was_panicking: bool,
    data: PhantomData<&'a mut T>,
}

impl<T: Pod + Send + Sync> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: initialised, and any bytes are a `T`; whoever has the guard holds the lock.
        unsafe { self.lock.place.value().as_ref() }
    }
}

impl<T: Pod + Send + Sync> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, nobody reads, and the guard is borrowed mutably.
        unsafe { self.lock.place.value().as_mut() }
    }
}

impl<T: Pod + Send + Sync> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        let poisons = !self.was_panicking && thread::panicking();
        give_back(self.lock, self.hold, poisons);
    }
}

impl<T: Pod + Send + Sync + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Unlocks, or takes a claim back.
fn give_back<T: Pod + Send + Sync>(lock: &RwLock<T>, hold: Hold, poisons: bool) {
    // A forked child does not hold what its parent holds.
    if lock.place.me().is_ok() {
        let words = lock.place.words();
        if words.word.unlock(hold, poisons) {
            words.wake(lock.place.seat());
        }
    }
}

/// An [`RwLock`] that is to be locked for writing: await it, or [`wait`](Self::wait). Nothing
/// happens before.
///
/// # Cancel safety
/// Dropped before it is ready, it has not locked, and keeps readers out no more.
#[must_use = "nothing is locked unless it is awaited or waited for"]
pub struct Writing<'a, T: Pod + Send + Sync> {
    lock: &'a RwLock<T>,
    /// As long as readers are in.
    claim: Option<Hold>,
    tickets: [Ticket; 2],
}

impl<'a, T: Pod + Send + Sync> Writing<'a, T> {
    pub(super) fn new(lock: &'a RwLock<T>) -> Self {
        Self {
            lock,
            claim: None,
            tickets: [Ticket::new(), Ticket::new()],
        }
    }

    fn words(&self) -> &'a RwLockWords {
        self.lock.place.words()
    }

    fn guard(&mut self, claim: Hold) -> LockResult<RwLockWriteGuard<'a, T>> {
        self.words().word.confirm(claim);
        self.claim = None;
        let guard = RwLockWriteGuard {
            lock: self.lock,
            hold: claim,
            was_panicking: thread::panicking(),
            data: PhantomData,
        };
        result(guard, claim.poisoned)
    }

    pub(super) fn try_now(mut self) -> LockResult<RwLockWriteGuard<'a, T>> {
        let me = self.lock.place.me().map_err(LockError::Region)?;
        let words = self.words();
        if let Some(claim) = words.word.try_claim(me) {
            self.claim = Some(claim);
            if words.readers.are_gone() {
                return self.guard(claim);
            }
        }
        Err(LockError::WouldBlock)
    }

    fn until(mut self, until: Option<Instant>) -> LockResult<RwLockWriteGuard<'a, T>> {
        let me = self.lock.place.me().map_err(LockError::Region)?;
        let (words, seat) = (self.words(), self.lock.place.seat());
        let claim = words
            .word
            .try_claim(me)
            .or_else(|| seat.block(&words.writers, until, || words.word.try_claim(me)))
            .ok_or(LockError::TimedOut)?;
        self.claim = Some(claim);
        let are_gone = || words.readers.are_gone().then_some(());
        are_gone()
            .or_else(|| seat.block(&words.next, until, are_gone))
            .ok_or(LockError::TimedOut)?;
        self.guard(claim)
    }

    /// Blocks until it is locked.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn wait(self) -> LockResult<RwLockWriteGuard<'a, T>> {
        self.until(None)
    }

    /// Blocks until it is locked, or the timeout has passed: then nothing was locked.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn wait_timeout(self, timeout: Duration) -> LockResult<RwLockWriteGuard<'a, T>> {
        self.until(deadline(timeout))
    }
}

impl<T: Pod + Send + Sync> Unpin for Writing<'_, T> {}

impl<'a, T: Pod + Send + Sync> Future for Writing<'a, T> {
    type Output = LockResult<RwLockWriteGuard<'a, T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let me = match this.lock.place.me() {
            Ok(me) => me,
            Err(error) => return Poll::Ready(Err(LockError::Region(error))),
        };
        let (words, seat) = (this.words(), this.lock.place.seat());
        let [claiming, draining] = &mut this.tickets;
        let claim = match this.claim {
            Some(claim) => claim,
            None => {
                let attempt = || words.word.try_claim(me);
                ready!(seat.listen(&words.writers, claiming, context, attempt))
            }
        };
        this.claim = Some(claim);
        let are_gone = || words.readers.are_gone().then_some(());
        ready!(seat.listen(&words.next, draining, context, are_gone));
        Poll::Ready(this.guard(claim))
    }
}

impl<T: Pod + Send + Sync> Drop for Writing<'_, T> {
    fn drop(&mut self) {
        let (words, seat) = (self.words(), self.lock.place.seat());
        let [claiming, draining] = &mut self.tickets;
        claiming.leave(seat, &words.writers);
        draining.leave(seat, &words.next);
        if let Some(claim) = self.claim.take() {
            give_back(self.lock, claim, false);
        }
    }
}

impl<T: Pod + Send + Sync> fmt::Debug for Writing<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing").finish_non_exhaustive()
    }
}
