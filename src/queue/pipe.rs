//! Pipes of messages: two ends, and an end of file when one of them has gone.

use core::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::error::{RecvError, SendError};
use super::handle::Queue;
use super::item::Item;
use super::layout::Kind;
use super::receiving::{QueueIter, QueueStream, Receiving};
use super::sending::Sending;
use super::sink::QueueSink;
use crate::commons::{Object, Region};
use crate::error::Result;
use crate::fifo::Side;
use crate::protocol::name::{Handle, Name};

/// A pipe both of whose ends send and receive; `capacity` messages may be on their way in each
/// direction.
///
/// # Errors
/// As for [`Queue::new`].
pub fn pipe<T: Item + ?Sized>(
    region: &Region,
    capacity: usize,
) -> Result<(PipeEnd<T>, PipeEnd<T>)> {
    let (one, other) = simplex(region, capacity)?;
    let (back, forth) = simplex(region, capacity)?;
    let end = |sender, receiver| PipeEnd { sender, receiver };
    Ok((end(one, forth), end(back, other)))
}

/// A pipe with an end that sends and an end that receives.
///
/// # Errors
/// As for [`Queue::new`].
pub fn simplex<T: Item + ?Sized>(
    region: &Region,
    capacity: usize,
) -> Result<(PipeSender<T>, PipeReceiver<T>)> {
    let queue = Queue::builder(capacity).build_as(Kind::Pipe, region)?;
    let sender = PipeSender(End::of(queue.clone(), Side::Sender)?);
    Ok((sender, PipeReceiver(End::of(queue, Side::Receiver)?)))
}

/// An end that this process has; the last one that is let go of in any process ends the pipe.
pub(super) struct End<T: Item + ?Sized> {
    queue: Queue<T>,
    side: Side,
}

impl<T: Item + ?Sized> End<T> {
    fn of(queue: Queue<T>, side: Side) -> Result<Arc<Self>> {
        queue.channel.hold_end(side)?;
        Ok(Arc::new(Self { queue, side }))
    }

    fn open(name: Name, side: Side) -> Result<Arc<Self>> {
        Self::of(Queue::open(name, Kind::Pipe)?, side)
    }

    fn handle<E>(&self) -> Handle<E> {
        Handle::new(self.queue.channel.name())
    }
}

impl<T: Item + ?Sized> Drop for End<T> {
    fn drop(&mut self) {
        self.queue.channel.let_go_of_end(self.side);
    }
}

impl<T: Item + ?Sized> Object for PipeSender<T> {
    fn find(name: Name) -> Result<Self> {
        End::open(name, Side::Sender).map(Self)
    }

    fn name(&self) -> Name {
        self.handle().name()
    }
}

impl<T: Item + ?Sized> Object for PipeReceiver<T> {
    fn find(name: Name) -> Result<Self> {
        End::open(name, Side::Receiver).map(Self)
    }

    fn name(&self) -> Name {
        self.handle().name()
    }
}

/// The end of a pipe that sends. When its last clone in any process has gone, also by death, the
/// receiver gets what is on its way and then [`RecvError::Closed`].
pub struct PipeSender<T: Item + ?Sized>(Arc<End<T>>);

/// The end of a pipe that receives. When its last clone in any process has gone, also by death,
/// sending is [`SendError::Closed`].
pub struct PipeReceiver<T: Item + ?Sized>(Arc<End<T>>);

/// An end of a pipe that sends to the other and receives from it.
pub struct PipeEnd<T: Item + ?Sized> {
    sender: PipeSender<T>,
    receiver: PipeReceiver<T>,
}

impl<T: Item + ?Sized> PipeSender<T> {
    /// Its name, for a process that has the region; keep this end until it was opened there.
    pub fn handle(&self) -> Handle<Self> {
        self.0.handle()
    }

    fn queue(&self) -> &Queue<T> {
        &self.0.queue
    }

    /// Sends a message, once there is room: awaited, or waited for.
    pub fn send<'a>(&'a self, item: T::Given<'a>) -> Sending<'a, T> {
        self.queue().send(item)
    }

    /// Sends a message if there is room now.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn try_send<'a>(&'a self, item: T::Given<'a>) -> Result<(), SendError<T::Given<'a>>> {
        self.queue().try_send(item)
    }

    /// This end as a sink for `futures`' combinators; closing that lets go of it.
    pub fn sink(&self) -> QueueSink<T> {
        QueueSink::new(&self.queue().channel, Some(Arc::clone(&self.0)))
    }

    /// Whether the other end has gone.
    pub fn is_closed(&self) -> bool {
        self.queue().is_closed()
    }
}

impl<T: Item + ?Sized> PipeReceiver<T> {
    /// Its name, for a process that has the region; keep this end until it was opened there.
    pub fn handle(&self) -> Handle<Self> {
        self.0.handle()
    }

    fn queue(&self) -> &Queue<T> {
        &self.0.queue
    }

    /// Receives the next message, once there is one: awaited, or waited for.
    pub fn recv(&self) -> Receiving<'_, T> {
        self.queue().recv()
    }

    /// Receives the next message if there is one now.
    ///
    /// # Errors
    /// [`RecvError::Closed`] at the end; see [`RecvError`].
    pub fn try_recv(&self) -> Result<T::Taken, RecvError> {
        self.queue().try_recv()
    }

    /// Receives the next message if there is one in time; blocks until then.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T::Taken, RecvError> {
        self.recv().wait_timeout(timeout)
    }

    /// Whether a message waits.
    pub fn poll(&self) -> bool {
        !self.queue().is_empty()
    }

    /// Every message until the end, as a blocking iterator.
    pub fn iter(&self) -> QueueIter<'_, T> {
        self.queue().iter()
    }

    /// Every message until the end, as a stream.
    pub fn incoming(&self) -> QueueStream<T> {
        QueueStream::new(&self.queue().channel, Some(Arc::clone(&self.0)))
    }
}

impl<T: Item + ?Sized> PipeEnd<T> {
    /// Sends a message, once there is room: awaited, or waited for.
    pub fn send<'a>(&'a self, item: T::Given<'a>) -> Sending<'a, T> {
        self.sender.send(item)
    }

    /// Receives the next message, once there is one: awaited, or waited for.
    pub fn recv(&self) -> Receiving<'_, T> {
        self.receiver.recv()
    }

    /// The half that sends.
    pub fn sender(&self) -> &PipeSender<T> {
        &self.sender
    }

    /// The half that receives.
    pub fn receiver(&self) -> &PipeReceiver<T> {
        &self.receiver
    }

    /// An end of two halves.
    pub fn of(sender: PipeSender<T>, receiver: PipeReceiver<T>) -> Self {
        Self { sender, receiver }
    }

    /// Both halves, to be kept apart, or to be named to another process.
    pub fn split(self) -> (PipeSender<T>, PipeReceiver<T>) {
        (self.sender, self.receiver)
    }
}

impl<T: Item + ?Sized> Clone for PipeSender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Item + ?Sized> Clone for PipeReceiver<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Item + ?Sized> Clone for PipeEnd<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            receiver: self.receiver.clone(),
        }
    }
}

impl<T: Item + ?Sized> fmt::Debug for PipeSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PipeSender").field(self.queue()).finish()
    }
}

impl<T: Item + ?Sized> fmt::Debug for PipeReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PipeReceiver").field(self.queue()).finish()
    }
}

impl<T: Item + ?Sized> fmt::Debug for PipeEnd<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipeEnd")
            .field("sender", &self.sender)
            .field("receiver", &self.receiver)
            .finish()
    }
}
