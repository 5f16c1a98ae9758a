//! A lock that is to be had: awaited, or waited for.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::error::{LockError, LockResult};
use crate::commons::{Seat, Ticket, WaitSet, deadline};

/// One way to have one lock.
pub trait Way {
    /// What holds it.
    #[doc(hidden)]
    type Guard;

    /// One attempt; `None` if somebody else holds it.
    #[doc(hidden)]
    fn attempt(&self) -> Option<LockResult<Self::Guard>>;

    /// Where it lies.
    #[doc(hidden)]
    fn seat(&self) -> &Seat;

    /// Where one waits for it.
    #[doc(hidden)]
    fn waiters(&self) -> &WaitSet;
}

/// A lock that is to be had: await it, or [`wait`](Self::wait). Nothing happens before.
///
/// # Cancel safety
/// Dropped before it is ready, it has not locked, and a wake-up that was meant for it goes to the
/// next.
#[must_use = "nothing is locked unless it is awaited or waited for"]
pub struct Locking<W: Way> {
    way: W,
    ticket: Ticket,
}

impl<W: Way> Locking<W> {
    pub(super) fn new(way: W) -> Self {
        Self {
            way,
            ticket: Ticket::new(),
        }
    }

    /// One attempt.
    #[inline]
    pub(super) fn once(way: &W) -> LockResult<W::Guard> {
        way.attempt().unwrap_or(Err(LockError::WouldBlock))
    }

    /// One attempt, made where it is called, so that a lock which is free costs nothing but that;
    /// then blocks until it is locked.
    #[inline]
    pub(super) fn blocking(way: W) -> LockResult<W::Guard> {
        match way.attempt() {
            Some(outcome) => outcome,
            None => Self::new(way).blocked(None),
        }
    }

    #[inline]
    fn until(self, until: impl FnOnce() -> Option<Instant>) -> LockResult<W::Guard> {
        match self.way.attempt() {
            Some(outcome) => outcome,
            None => self.blocked(until()),
        }
    }

    #[cold]
    fn blocked(self, until: Option<Instant>) -> LockResult<W::Guard> {
        let attempt = || self.way.attempt();
        let (seat, waiters) = (self.way.seat(), self.way.waiters());
        let outcome = seat.block(waiters, until, attempt);
        outcome.unwrap_or(Err(LockError::TimedOut))
    }

    /// Blocks until it is locked.
    ///
    /// # Errors
    /// See [`LockError`].
    #[inline]
    pub fn wait(self) -> LockResult<W::Guard> {
        self.until(|| None)
    }

    /// Blocks until it is locked, or the timeout has passed: then nothing was locked.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn wait_timeout(self, timeout: Duration) -> LockResult<W::Guard> {
        self.until(|| deadline(timeout))
    }
}

impl<W: Way> Unpin for Locking<W> {}

impl<W: Way> Future for Locking<W> {
    type Output = LockResult<W::Guard>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { way, ticket } = &mut *self;
        if ticket.is_new()
            && let Some(outcome) = way.attempt()
        {
            return Poll::Ready(outcome);
        }
        let attempt = || way.attempt();
        way.seat().listen(way.waiters(), ticket, context, attempt)
    }
}

impl<W: Way> Drop for Locking<W> {
    fn drop(&mut self) {
        self.ticket.leave(self.way.seat(), self.way.waiters());
    }
}

impl<W: Way> fmt::Debug for Locking<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locking").finish_non_exhaustive()
    }
}
