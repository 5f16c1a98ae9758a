//! `SimpleQueue`: a queue without anything to choose.

use core::fmt;

use super::error::{RecvError, SendError};
use super::handle::Queue;
use super::item::Item;
use super::layout::Kind;
use super::receiving::Receiving;
use super::sending::Sending;
use crate::commons::{Object, Region};
use crate::error::Result;
use crate::protocol::name::{Handle, Name};

/// How many items may wait in a simple queue.
const CAPACITY: usize = 1024;

/// A [`Queue`] of 1024 items with the four things that most programs need of one.
pub struct SimpleQueue<T: Item + ?Sized>(Queue<T>);

impl<T: Item + ?Sized> SimpleQueue<T> {
    /// A queue in this region.
    ///
    /// # Errors
    /// What the region says if it has no room.
    pub fn new(region: &Region) -> Result<Self> {
        let queue = Queue::builder(CAPACITY).build_as(Kind::Simple, region)?;
        Ok(Self(queue))
    }

    /// Its name, for a process that has the region.
    pub fn handle(&self) -> Handle<Self> {
        Handle::new(self.0.channel.name())
    }

    /// Sends an item, once there is room: awaited, or waited for.
    pub fn send<'a>(&'a self, item: T::Given<'a>) -> Sending<'a, T> {
        self.0.send(item)
    }

    /// Sends an item if there is room now.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn try_send<'a>(&'a self, item: T::Given<'a>) -> Result<(), SendError<T::Given<'a>>> {
        self.0.try_send(item)
    }

    /// Receives the oldest item, once there is one: awaited, or waited for.
    pub fn recv(&self) -> Receiving<'_, T> {
        self.0.recv()
    }

    /// Receives the oldest item if there is one now.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn try_recv(&self) -> Result<T::Taken, RecvError> {
        self.0.try_recv()
    }

    /// Whether nothing waits just now.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// From now on nothing can be sent; what is there can be received.
    pub fn close(&self) {
        self.0.close();
    }
}

impl<T: Item + ?Sized> Clone for SimpleQueue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Item + ?Sized> fmt::Debug for SimpleQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<T: Item + ?Sized> Object for SimpleQueue<T> {
    fn find(name: Name) -> Result<Self> {
        Ok(Self(Queue::open(name, Kind::Simple)?))
    }

    fn name(&self) -> Name {
        self.handle().name()
    }
}
