//! An item on its way out of a queue: awaited, waited for, or a stream of them.

use core::fmt;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_core::Stream;
use futures_core::stream::FusedStream;

use super::channel::Channel;
use super::error::RecvError;
use super::item::Item;
use super::moving::Got;
use super::pipe::End;
use crate::commons::{Ticket, deadline};

/// An item that is to be received: await it, or [`wait`](Self::wait). Nothing happens before.
///
/// # Cancel safety
/// Dropped before it is ready, it has taken no item, and a wake-up that was meant for it goes to
/// the next receiver.
#[must_use = "nothing is received unless it is awaited or waited for"]
pub struct Receiving<'a, T: Item + ?Sized> {
    channel: &'a Arc<Channel>,
    ticket: Ticket,
    item: PhantomData<fn() -> T>,
}

pub(super) fn try_now<T: Item + ?Sized>(channel: &Arc<Channel>) -> Result<T::Taken, RecvError> {
    attempt::<T>(channel).unwrap_or(Err(RecvError::Empty))
}

/// One attempt; `None` if nothing is there.
fn attempt<T: Item + ?Sized>(channel: &Arc<Channel>) -> Option<Result<T::Taken, RecvError>> {
    match channel.take::<T>() {
        Got::Item(item) => Some(item),
        Got::Closed => Some(Err(RecvError::Closed)),
        Got::Empty => None,
    }
}

fn poll<T: Item + ?Sized>(
    channel: &Arc<Channel>,
    ticket: &mut Ticket,
    context: &mut Context<'_>,
) -> Poll<Result<T::Taken, RecvError>> {
    if let Some(outcome) = attempt::<T>(channel) {
        ticket.done(&channel.seat, &channel.front().receivers);
        return Poll::Ready(outcome);
    }
    let receivers = &channel.front().receivers;
    channel
        .seat
        .listen(receivers, ticket, context, || attempt::<T>(channel))
}

impl<'a, T: Item + ?Sized> Receiving<'a, T> {
    pub(super) fn new(channel: &'a Arc<Channel>) -> Self {
        Self {
            channel,
            ticket: Ticket::new(),
            item: PhantomData,
        }
    }

    fn until(self, until: Option<Instant>) -> Result<T::Taken, RecvError> {
        let channel = self.channel;
        if let Some(outcome) = attempt::<T>(channel) {
            return outcome;
        }
        let receivers = &channel.front().receivers;
        channel
            .seat
            .block(receivers, until, || attempt::<T>(channel))
            .unwrap_or(Err(RecvError::TimedOut))
    }

    /// Blocks until there is an item.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn wait(self) -> Result<T::Taken, RecvError> {
        self.until(None)
    }

    /// Blocks until there is an item, or the timeout has passed: then nothing was taken.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn wait_timeout(self, timeout: Duration) -> Result<T::Taken, RecvError> {
        self.until(deadline(timeout))
    }
}

impl<T: Item + ?Sized> Unpin for Receiving<'_, T> {}

impl<T: Item + ?Sized> Future for Receiving<'_, T> {
    type Output = Result<T::Taken, RecvError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        poll::<T>(this.channel, &mut this.ticket, context)
    }
}

impl<T: Item + ?Sized> Drop for Receiving<'_, T> {
    fn drop(&mut self) {
        self.ticket
            .leave(&self.channel.seat, &self.channel.front().receivers);
    }
}

impl<T: Item + ?Sized> fmt::Debug for Receiving<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiving").finish_non_exhaustive()
    }
}

/// What an outcome is in a sequence of them; after an error that is here to stay, it ends.
fn step<T: Item + ?Sized>(
    ended: &mut bool,
    outcome: Result<T::Taken, RecvError>,
) -> Option<Result<T::Taken, RecvError>> {
    *ended = matches!(outcome, Err(RecvError::Closed | RecvError::Region(_)));
    match outcome {
        Err(RecvError::Closed) => None,
        outcome => Some(outcome),
    }
}

/// Everything that comes, as a blocking iterator; it ends when the queue is closed and empty.
#[must_use = "nothing is received unless it is asked for"]
pub struct QueueIter<'a, T: Item + ?Sized> {
    channel: &'a Arc<Channel>,
    ended: bool,
    item: PhantomData<fn() -> T>,
}

impl<'a, T: Item + ?Sized> QueueIter<'a, T> {
    pub(super) fn new(channel: &'a Arc<Channel>) -> Self {
        Self {
            channel,
            ended: false,
            item: PhantomData,
        }
    }
}

impl<T: Item + ?Sized> Iterator for QueueIter<'_, T> {
    type Item = Result<T::Taken, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let outcome = Receiving::<T>::new(self.channel).wait();
        step::<T>(&mut self.ended, outcome)
    }
}

impl<T: Item + ?Sized> fmt::Debug for QueueIter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueIter").finish_non_exhaustive()
    }
}

/// Everything that comes, as a [`Stream`]; it ends when the queue is closed and empty.
///
/// # Cancel safety
/// Dropping it between two items loses none.
///
/// One that has waited is woken for the next item as any receiver is, and passes that on when
/// it goes; so let it go, rather than keep it without polling, if others receive as well.
#[must_use = "nothing is received unless it is polled"]
pub struct QueueStream<T: Item + ?Sized> {
    channel: Arc<Channel>,
    /// Of a pipe: keeps it open.
    _end: Option<Arc<End<T>>>,
    ticket: Ticket,
    ended: bool,
    item: PhantomData<fn() -> T>,
}

impl<T: Item + ?Sized> QueueStream<T> {
    pub(super) fn new(channel: &Arc<Channel>, end: Option<Arc<End<T>>>) -> Self {
        Self {
            channel: Arc::clone(channel),
            _end: end,
            ticket: Ticket::new(),
            ended: false,
            item: PhantomData,
        }
    }
}

impl<T: Item + ?Sized> Unpin for QueueStream<T> {}

impl<T: Item + ?Sized> Stream for QueueStream<T> {
    type Item = Result<T::Taken, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        poll::<T>(&this.channel, &mut this.ticket, context)
            .map(|outcome| step::<T>(&mut this.ended, outcome))
    }
}

impl<T: Item + ?Sized> FusedStream for QueueStream<T> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl<T: Item + ?Sized> Drop for QueueStream<T> {
    fn drop(&mut self) {
        self.ticket
            .leave(&self.channel.seat, &self.channel.front().receivers);
    }
}

impl<T: Item + ?Sized> fmt::Debug for QueueStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueStream").finish_non_exhaustive()
    }
}
