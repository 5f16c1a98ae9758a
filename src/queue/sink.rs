//! A queue as a sink: items go in one after another, as `futures` sends them.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use futures_sink::Sink;

use super::channel::Channel;
use super::error::SendError;
use super::item::Item;
use super::moving::Sent;
use super::pipe::End;
use super::sending::refused;
use crate::commons::Ticket;
use crate::error::Error;

/// A queue, or the end of a pipe, that [`Sink`] combinators send to: `forward`, `send_all`.
///
/// It takes its items by value, packs each as it comes, and puts it at once if there is room. One
/// item that finds none waits in the sink, and the next is not taken before it is in.
///
/// Closing the sink sends what it has. It ends neither the queue, which others may send to and
/// [`Queue::close`](crate::Queue::close) ends, nor a pipe of which there are other handles; of a
/// pipe it lets go of its own.
///
/// # Cancel safety
/// What a dropped `send` had handed over goes in with the next poll of the sink. A sink that is
/// dropped takes what had found no room with it; the queue never sees half of it. One that has
/// waited is woken when there is room, and passes that on when it goes: let it go, rather than keep
/// it without polling, if others send as well.
///
/// # Errors
/// [`SendError`], with the item. A sink that is polled again goes on with the next.
#[must_use = "nothing is sent unless it is polled"]
pub struct QueueSink<T: Item + ?Sized> {
    channel: Arc<Channel>,
    /// Of a pipe: keeps it open.
    end: Option<Arc<End<T>>>,
    ticket: Ticket,
    waiting: Option<Waiting<T>>,
}

/// An item that found no room.
struct Waiting<T: Item + ?Sized> {
    item: T::Owned,
    packed: Option<T::Packed>,
}

enum Refused {
    Closed,
    Failed(Error),
}

impl<T: Item + ?Sized> QueueSink<T> {
    pub(super) fn new(channel: &Arc<Channel>, end: Option<Arc<End<T>>>) -> Self {
        Self {
            channel: Arc::clone(channel),
            end,
            ticket: Ticket::new(),
            waiting: None,
        }
    }

    fn attempt(channel: &Channel, packed: &mut Option<T::Packed>) -> Option<Result<(), Refused>> {
        match channel.put::<T>(packed) {
            Sent::Done => Some(Ok(())),
            Sent::Full => None,
            Sent::Closed => Some(Err(Refused::Closed)),
            Sent::Failed(error) => Some(Err(Refused::Failed(error))),
        }
    }

    fn poll_put(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SendError<T::Owned>>> {
        let Some(waiting) = &mut self.waiting else {
            return Poll::Ready(Ok(()));
        };
        let (seat, senders) = (&self.channel.seat, &self.channel.front().senders);
        let packed = &mut waiting.packed;
        let polled = match Self::attempt(&self.channel, packed) {
            Some(outcome) => {
                self.ticket.done(seat, senders);
                Poll::Ready(outcome)
            }
            None => seat.listen(senders, &mut self.ticket, context, || {
                Self::attempt(&self.channel, packed)
            }),
        };
        polled.map(|outcome| {
            let item = self.waiting.take().map(|waiting| waiting.item);
            settled(outcome, item)
        })
    }
}

fn settled<G>(outcome: Result<(), Refused>, item: Option<G>) -> Result<(), SendError<G>> {
    match (outcome, item) {
        (Err(Refused::Closed), Some(item)) => Err(SendError::Closed(item)),
        (Err(Refused::Failed(error)), _) => Err(SendError::Region(error)),
        (Ok(()), _) | (_, None) => Ok(()),
    }
}

impl<T: Item + ?Sized> Unpin for QueueSink<T> {}

impl<T: Item + ?Sized> Sink<T::Owned> for QueueSink<T> {
    type Error = SendError<T::Owned>;

    fn poll_ready(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Self::Error>> {
        self.poll_put(context)
    }

    fn start_send(mut self: Pin<&mut Self>, item: T::Owned) -> Result<(), Self::Error> {
        let this = &mut *self;
        if this.waiting.is_some() {
            // Whoever calls this without asking first.
            return Err(SendError::Full(item));
        }
        let packed = T::pack(&T::given(&item), &this.channel.seat);
        let mut packed = match packed {
            Ok(packed) => Some(packed),
            Err(error) => return Err(refused(error, item)),
        };
        match Self::attempt(&this.channel, &mut packed) {
            Some(outcome) => settled(outcome, Some(item)),
            None => {
                this.waiting = Some(Waiting { item, packed });
                Ok(())
            }
        }
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Self::Error>> {
        self.poll_put(context)
    }

    fn poll_close(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Self::Error>> {
        let polled = self.poll_put(context);
        if polled.is_ready() {
            self.end = None;
        }
        polled
    }
}

impl<T: Item + ?Sized> Drop for QueueSink<T> {
    fn drop(&mut self) {
        self.ticket
            .leave(&self.channel.seat, &self.channel.front().senders);
    }
}

impl<T: Item + ?Sized> fmt::Debug for QueueSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueSink").finish_non_exhaustive()
    }
}
