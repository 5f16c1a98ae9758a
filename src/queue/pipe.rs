//! Pipes of messages: two ends, and an end of file when one of them has gone.

use core::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::error::{RecvError, SendError};
use super::handle::Queue;
use super::item::Item;
use super::layout::Kind;
use super::receiving::{QueueIter, QueueStream, Receiving};
use super::seat::Region;
use super::sending::Sending;
use crate::error::Result;

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
    let end = |queue: Queue<T>| Arc::new(End(queue));
    Ok((PipeSender(end(queue.clone())), PipeReceiver(end(queue))))
}

/// The last handle of an end ends the pipe.
struct End<T: Item + ?Sized>(Queue<T>);

impl<T: Item + ?Sized> Drop for End<T> {
    fn drop(&mut self) {
        self.0.close();
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
    fn queue(&self) -> &Queue<T> {
        &self.0.0
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

    /// Whether the other end has gone.
    pub fn is_closed(&self) -> bool {
        self.queue().is_closed()
    }
}

impl<T: Item + ?Sized> PipeReceiver<T> {
    fn queue(&self) -> &Queue<T> {
        &self.0.0
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
        self.queue().incoming()
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

    /// Both halves, to be kept apart.
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
