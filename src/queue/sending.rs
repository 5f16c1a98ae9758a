//! An item on its way into a queue: awaited, or waited for.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::channel::Channel;
use super::error::SendError;
use super::item::{Item, PackError};
use super::moving::Sent;
use crate::commons::{NoRoom, Ticket, deadline};

/// An item that is to be sent: await it, or [`wait`](Self::wait). Nothing happens before.
///
/// # Cancel safety
/// Dropped before it is ready, it has put nothing, and a wake-up that was meant for it goes to the
/// next sender. The item can be had back by [`cancel`](Self::cancel).
#[must_use = "nothing is sent unless it is awaited or waited for"]
pub struct Sending<'a, T: Item + ?Sized> {
    channel: &'a Arc<Channel>,
    given: T::Given<'a>,
    packed: Option<T::Packed>,
    ticket: Ticket,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Given,
    Packed,
    Over,
}

/// Whether an attempt has settled it.
type Outcome<'a, T> = Option<Result<(), SendError<<T as Item>::Given<'a>>>>;

/// Why this item was not even packed.
pub(super) fn refused<G>(error: PackError, item: G) -> SendError<G> {
    match error {
        PackError::Archive(error) => SendError::Archive(error),
        PackError::NoRoom(NoRoom { wanted, available }) => SendError::TooLarge {
            item,
            wanted,
            available,
        },
    }
}

impl<'a, T: Item + ?Sized> Sending<'a, T> {
    pub(super) fn new(channel: &'a Arc<Channel>, given: T::Given<'a>) -> Self {
        Self {
            channel,
            given,
            packed: None,
            ticket: Ticket::new(),
            state: State::Given,
        }
    }

    /// One attempt; `None` if there is no room.
    fn attempt(&mut self) -> Outcome<'a, T> {
        if self.state == State::Given {
            match T::pack(&self.given, &self.channel.seat) {
                Ok(packed) => self.packed = Some(packed),
                Err(error) => return Some(Err(refused(error, self.given))),
            }
            self.state = State::Packed;
        }
        let outcome = match self.channel.put::<T>(&mut self.packed) {
            Sent::Done => Ok(()),
            Sent::Full => return None,
            Sent::Closed => Err(SendError::Closed(self.given)),
            Sent::Failed(error) => Err(SendError::Region(error)),
        };
        self.state = State::Over;
        self.packed = None;
        Some(outcome)
    }

    pub(super) fn try_now(mut self) -> Result<(), SendError<T::Given<'a>>> {
        self.attempt().unwrap_or(Err(SendError::Full(self.given)))
    }

    fn until(mut self, until: Option<Instant>) -> Result<(), SendError<T::Given<'a>>> {
        if let Some(outcome) = self.attempt() {
            return outcome;
        }
        let channel = self.channel;
        let senders = &channel.front().senders;
        channel
            .seat
            .block(senders, until, || self.attempt())
            .unwrap_or(Err(SendError::TimedOut(self.given)))
    }

    /// Blocks until the item is in the queue.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn wait(self) -> Result<(), SendError<T::Given<'a>>> {
        self.until(None)
    }

    /// Blocks until the item is in the queue, or the timeout has passed: then nothing was put.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn wait_timeout(self, timeout: Duration) -> Result<(), SendError<T::Given<'a>>> {
        self.until(deadline(timeout))
    }

    /// Sends nothing, and gives the item back; `None` if it had been sent before.
    pub fn cancel(self) -> Option<T::Given<'a>> {
        (self.state != State::Over).then_some(self.given)
    }
}

impl<'a, T: Item + ?Sized> Unpin for Sending<'a, T> {}

impl<'a, T: Item + ?Sized> Future for Sending<'a, T> {
    type Output = Result<(), SendError<T::Given<'a>>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.state == State::Over {
            return Poll::Ready(Ok(()));
        }
        if let Some(outcome) = this.attempt() {
            this.ticket
                .done(&this.channel.seat, &this.channel.front().senders);
            return Poll::Ready(outcome);
        }
        let channel = this.channel;
        let mut ticket = core::mem::take(&mut this.ticket);
        let polled = channel
            .seat
            .listen(&channel.front().senders, &mut ticket, context, || {
                this.attempt()
            });
        this.ticket = ticket;
        polled
    }
}

impl<T: Item + ?Sized> Drop for Sending<'_, T> {
    fn drop(&mut self) {
        self.ticket
            .leave(&self.channel.seat, &self.channel.front().senders);
    }
}

impl<T: Item + ?Sized> fmt::Debug for Sending<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}
