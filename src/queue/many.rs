//! Several items at once: for each wait, and for each wake-up, as many as there are.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::channel::Channel;
use super::error::{RecvError, SendError};
use super::item::Item;
use super::moving::{Got, Next, Sent};
use super::sending::refused;
use crate::commons::{Ticket, WaitSet, deadline};

/// Items that are to be sent: await it, or [`wait`](Self::wait). Nothing happens before.
///
/// It is ready once the first of them are in the queue, with how many: as many as there was room
/// for. They lie together unless others send meanwhile.
///
/// # Cancel safety
/// Dropped before it is ready, it has put nothing.
#[must_use = "nothing is sent unless it is awaited or waited for"]
pub struct SendingMany<'a, T: Item + ?Sized> {
    channel: &'a Arc<Channel>,
    items: &'a [T::Given<'a>],
    ticket: Ticket,
}

type Outcome<'a, T> = Result<usize, SendError<<T as Item>::Given<'a>>>;

impl<'a, T: Item + ?Sized> SendingMany<'a, T> {
    pub(super) fn new(channel: &'a Arc<Channel>, items: &'a [T::Given<'a>]) -> Self {
        Self {
            channel,
            items,
            ticket: Ticket::new(),
        }
    }

    /// One attempt; `None` if there is no room.
    fn attempt(channel: &Channel, items: &[T::Given<'a>]) -> Option<Outcome<'a, T>> {
        let (count, next) = channel.put_many::<T>(items);
        let item = match items.get(count) {
            // What stands in the way of the next is said when that is tried.
            Some(&item) if count == 0 => item,
            _ => return Some(Ok(count)),
        };
        Some(Err(match next {
            Next::Sent(Sent::Done | Sent::Full) => return None,
            Next::Sent(Sent::Closed) => SendError::Closed(item),
            Next::Sent(Sent::Failed(error)) => SendError::Region(error),
            Next::NotPacked(error) => refused(error, item),
        }))
    }

    fn senders(&self) -> &'a WaitSet {
        &self.channel.front().senders
    }

    pub(super) fn try_now(self) -> Outcome<'a, T> {
        match (Self::attempt(self.channel, self.items), self.items.first()) {
            (Some(outcome), _) => outcome,
            (None, Some(&item)) => Err(SendError::Full(item)),
            (None, None) => Ok(0),
        }
    }

    fn until(self, until: Option<Instant>) -> Outcome<'a, T> {
        let (channel, items) = (self.channel, self.items);
        if let Some(outcome) = Self::attempt(channel, items) {
            return outcome;
        }
        let attempt = || Self::attempt(channel, items);
        let blocked = channel.seat.block(self.senders(), until, attempt);
        match (blocked, items.first()) {
            (Some(outcome), _) => outcome,
            (None, Some(&item)) => Err(SendError::TimedOut(item)),
            (None, None) => Ok(0),
        }
    }

    /// Blocks until some of the items are in the queue; how many.
    ///
    /// # Errors
    /// [`SendError`], with the first of them; none was put.
    pub fn wait(self) -> Outcome<'a, T> {
        self.until(None)
    }

    /// Blocks until some of the items are in the queue, or the timeout has passed.
    ///
    /// # Errors
    /// [`SendError`], with the first of them; none was put.
    pub fn wait_timeout(self, timeout: Duration) -> Outcome<'a, T> {
        self.until(deadline(timeout))
    }
}

impl<T: Item + ?Sized> Unpin for SendingMany<'_, T> {}

impl<'a, T: Item + ?Sized> Future for SendingMany<'a, T> {
    type Output = Outcome<'a, T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (channel, items) = (this.channel, this.items);
        let senders = this.senders();
        if let Some(outcome) = Self::attempt(channel, items) {
            this.ticket.done(&channel.seat, senders);
            return Poll::Ready(outcome);
        }
        let attempt = || Self::attempt(channel, items);
        channel
            .seat
            .listen(senders, &mut this.ticket, context, attempt)
    }
}

impl<T: Item + ?Sized> Drop for SendingMany<'_, T> {
    fn drop(&mut self) {
        let senders = self.senders();
        self.ticket.leave(&self.channel.seat, senders);
    }
}

impl<T: Item + ?Sized> fmt::Debug for SendingMany<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendingMany").finish_non_exhaustive()
    }
}

/// Items that are to be received: await it, or [`wait`](Self::wait). Nothing happens before.
///
/// It is ready once there is an item, with how many it has put behind what the vector had: all that
/// waited, up to the limit. After an error, too, what came before it is in the vector.
///
/// # Cancel safety
/// Dropped before it is ready, it has taken nothing.
#[must_use = "nothing is received unless it is awaited or waited for"]
pub struct ReceivingMany<'a, T: Item + ?Sized> {
    channel: &'a Arc<Channel>,
    into: &'a mut Vec<T::Taken>,
    limit: usize,
    ticket: Ticket,
}

impl<'a, T: Item + ?Sized> ReceivingMany<'a, T> {
    pub(super) fn new(
        channel: &'a Arc<Channel>,
        into: &'a mut Vec<T::Taken>,
        limit: usize,
    ) -> Self {
        Self {
            channel,
            into,
            limit,
            ticket: Ticket::new(),
        }
    }

    /// One attempt; `None` if nothing is there.
    fn attempt(
        channel: &Arc<Channel>,
        into: &mut Vec<T::Taken>,
        limit: usize,
    ) -> Option<Result<usize, RecvError>> {
        let before = into.len();
        let stopped = channel.take_many::<T>(into, limit);
        let count = into.len() - before;
        match stopped {
            // This one is gone; the others say the same the next time.
            Some(Got::Item(Err(error @ RecvError::Archive(_)))) => Some(Err(error)),
            _ if count > 0 => Some(Ok(count)),
            Some(Got::Item(Err(error))) => Some(Err(error)),
            Some(Got::Closed) => Some(Err(RecvError::Closed)),
            Some(Got::Empty) => None,
            Some(Got::Item(Ok(_))) | None => Some(Ok(0)),
        }
    }

    fn receivers(&self) -> &'a WaitSet {
        &self.channel.front().receivers
    }

    pub(super) fn try_now(self) -> Result<usize, RecvError> {
        let (channel, limit) = (self.channel, self.limit);
        Self::attempt(channel, &mut *self.into, limit).unwrap_or(Err(RecvError::Empty))
    }

    fn until(self, until: Option<Instant>) -> Result<usize, RecvError> {
        let (channel, limit) = (self.channel, self.limit);
        let receivers = self.receivers();
        let into = &mut *self.into;
        if let Some(outcome) = Self::attempt(channel, into, limit) {
            return outcome;
        }
        let attempt = || Self::attempt(channel, into, limit);
        let blocked = channel.seat.block(receivers, until, attempt);
        blocked.unwrap_or(Err(RecvError::TimedOut))
    }

    /// Blocks until there is an item; how many were received.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn wait(self) -> Result<usize, RecvError> {
        self.until(None)
    }

    /// Blocks until there is an item, or the timeout has passed.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn wait_timeout(self, timeout: Duration) -> Result<usize, RecvError> {
        self.until(deadline(timeout))
    }
}

impl<T: Item + ?Sized> Unpin for ReceivingMany<'_, T> {}

impl<T: Item + ?Sized> Future for ReceivingMany<'_, T> {
    type Output = Result<usize, RecvError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (channel, limit) = (this.channel, this.limit);
        let receivers = this.receivers();
        let into = &mut *this.into;
        if let Some(outcome) = Self::attempt(channel, into, limit) {
            this.ticket.done(&channel.seat, receivers);
            return Poll::Ready(outcome);
        }
        let attempt = || Self::attempt(channel, into, limit);
        channel
            .seat
            .listen(receivers, &mut this.ticket, context, attempt)
    }
}

impl<T: Item + ?Sized> Drop for ReceivingMany<'_, T> {
    fn drop(&mut self) {
        let receivers = self.receivers();
        self.ticket.leave(&self.channel.seat, receivers);
    }
}

impl<T: Item + ?Sized> fmt::Debug for ReceivingMany<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivingMany").finish_non_exhaustive()
    }
}
