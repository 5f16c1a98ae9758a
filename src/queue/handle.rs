//! `Queue` and how it is made.

use core::fmt;
use core::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::channel::Channel;
use super::error::{RecvError, SendError};
use super::item::{Item, Keep};
use super::layout::{Kind, Terms};
use super::many::{ReceivingMany, SendingMany};
use super::receiving::{self, QueueIter, QueueStream, Receiving};
use super::sending::Sending;
use super::sink::QueueSink;
use crate::commons::{Object, Region};
use crate::error::{Error, Result};
use crate::fifo::Orphan;
use crate::protocol::name::{Handle, Name};

/// What becomes of an item that a process had received and not finished with when it died.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum OnDeath {
    /// It is dropped, and counted by [`Queue::lost`]: nothing is received twice.
    #[default]
    Lost,
    /// It is received by somebody else, before anything that waits: nothing is lost.
    ComesBack,
}

impl OnDeath {
    const fn orphan(self) -> Orphan {
        match self {
            Self::Lost => Orphan::Lost,
            Self::ComesBack => Orphan::ComesBack,
        }
    }
}

/// How a queue is to be made.
#[derive(Debug)]
#[must_use]
pub struct QueueBuilder<T: Item + ?Sized> {
    capacity: u64,
    held: u32,
    on_death: OnDeath,
    item: PhantomData<fn() -> T>,
}

/// How many received items all the receivers of a queue together may hold, unless said otherwise.
const HELD: u32 = 256;

impl<T: Item + ?Sized> QueueBuilder<T> {
    fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity as u64,
            held: HELD,
            on_death: OnDeath::default(),
            item: PhantomData,
        }
    }

    /// What becomes of an item whose receiver dies holding it. (A plain value is copied out and
    /// not held; one whose receiver dies inside the call always comes back.)
    pub fn on_death(mut self, on_death: OnDeath) -> Self {
        self.on_death = on_death;
        self
    }

    /// How many [`Received`](crate::Received) there may be at a time, in all processes together: at
    /// first 256. One more is [`RecvError::TooManyHeld`].
    pub fn held(mut self, held: u32) -> Self {
        self.held = held;
        self
    }

    /// Makes the queue in this region.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a capacity of zero, or one that no region has room for;
    /// whatever the region says if it has none.
    pub fn build(self, region: &Region) -> Result<Queue<T>> {
        self.build_as(Kind::Queue, region)
    }

    pub(super) fn build_as(self, kind: Kind, region: &Region) -> Result<Queue<T>> {
        let refused = |what, found: String, wanted: &str| Error::InvalidArgument {
            what,
            found,
            wanted: wanted.into(),
        };
        if self.capacity == 0 {
            return Err(refused(
                "capacity of a queue",
                "0".into(),
                "at least one place; a queue without any could hand nothing over",
            ));
        }
        let by_hand = T::KEEP == Keep::InHand;
        if by_hand && self.held == 0 {
            return Err(refused(
                "number of items held at a time",
                "0".into(),
                "at least one",
            ));
        }
        let too_large = || {
            let found = self.capacity.to_string();
            refused("capacity of a queue", found, "a queue that fits a region")
        };
        let places = u32::try_from(self.capacity).map_err(|_| too_large())?;
        let hands = if by_hand { self.held } else { 0 };
        let orphan = self.on_death.orphan();
        let terms = Terms::new(kind, T::signature(), places, hands, T::BODY_BYTES, orphan)
            .ok_or_else(too_large)?;
        Ok(Queue::of(Arc::new(Channel::create(region, terms)?)))
    }
}

/// A bounded queue between processes: any number of senders, any number of receivers, each item to
/// one of them, first in, first out.
///
/// Cloning it gives another handle to the same queue; it lives as long as its last handle in any
/// process. A handle is a value: it may be a task's context or argument, or an item of another
/// queue. What may be sent is an [`Item`]: any plain value, an archive, bytes.
///
/// Sending and receiving are futures that also [`wait`](Sending::wait), with a timeout or without;
/// `try_send` and `try_recv` never wait. All of them may be mixed, in any process.
///
/// # When a process dies
/// A half-written item is dropped: nobody had been told that it was sent. One whose receiver was
/// inside the call comes back. One that was received and not finished with, see
/// [`OnDeath`]. Nobody waits for the dead, and no wake-up is lost with one.
///
/// # Order
/// Items of one sender come out in the order in which they were sent; but what
/// comes back from the dead, or was given back, comes before anything that waits.
///
/// # Costs
/// A send or receive takes no system call while nobody sleeps. A queue of `n` items of `b` bytes
/// takes about `n * (b + 16)` bytes of the region, each item's share rounded up to 64.
pub struct Queue<T: Item + ?Sized> {
    pub(super) channel: Arc<Channel>,
    item: PhantomData<fn() -> T>,
}

impl<T: Item + ?Sized> Queue<T> {
    /// A queue of so many items, in this region.
    ///
    /// # Errors
    /// As for [`QueueBuilder::build`].
    pub fn new(region: &Region, capacity: usize) -> Result<Self> {
        Self::builder(capacity).build(region)
    }

    /// A queue with more to say about it than its capacity.
    pub fn builder(capacity: usize) -> QueueBuilder<T> {
        QueueBuilder::new(capacity)
    }

    pub(super) fn of(channel: Arc<Channel>) -> Self {
        Self {
            channel,
            item: PhantomData,
        }
    }

    /// Its name, for a process that has the region.
    pub fn handle(&self) -> Handle<Self> {
        Handle::new(self.channel.name())
    }

    pub(super) fn open(name: Name, kind: Kind) -> Result<Self> {
        Ok(Self::of(Arc::new(Channel::open(
            name,
            kind,
            T::signature(),
            T::BODY_BYTES,
        )?)))
    }

    /// Sends an item, once there is room: awaited, or waited for.
    pub fn send<'a>(&'a self, item: T::Given<'a>) -> Sending<'a, T> {
        Sending::new(&self.channel, item)
    }

    /// Sends an item if there is room now.
    ///
    /// # Errors
    /// [`SendError::Full`] if there is none; see [`SendError`].
    pub fn try_send<'a>(&'a self, item: T::Given<'a>) -> Result<(), SendError<T::Given<'a>>> {
        self.send(item).try_now()
    }

    /// Sends an item, once there is room; blocks until then.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_blocking<'a>(&'a self, item: T::Given<'a>) -> Result<(), SendError<T::Given<'a>>> {
        self.send(item).wait()
    }

    /// Sends an item, if there is room in time; blocks until then.
    ///
    /// # Errors
    /// [`SendError::TimedOut`] if there was none, and nothing was put; see [`SendError`].
    pub fn send_timeout<'a>(
        &'a self,
        item: T::Given<'a>,
        timeout: Duration,
    ) -> Result<(), SendError<T::Given<'a>>> {
        self.send(item).wait_timeout(timeout)
    }

    /// Sends the first of these items, as many as there is room for, once there is some: awaited,
    /// or waited for. Gives how many.
    ///
    /// ```
    /// # use gristmill::{Queue, Region};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let queue = Queue::<u64>::new(&Region::new(1 << 20)?, 4)?;
    /// let items = [1, 2, 3, 4, 5];
    /// let sent = queue.send_many(&items).wait()?;
    /// let mut received = Vec::new();
    /// queue.recv_many(&mut received, 100).wait()?;
    /// assert_eq!(received, items[..sent]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_many<'a>(&'a self, items: &'a [T::Given<'a>]) -> SendingMany<'a, T> {
        SendingMany::new(&self.channel, items)
    }

    /// Sends the first of these items, as many as there is room for now; how many.
    ///
    /// # Errors
    /// [`SendError::Full`] if there is no room for the first; see [`SendError`].
    pub fn try_send_many<'a>(
        &'a self,
        items: &'a [T::Given<'a>],
    ) -> Result<usize, SendError<T::Given<'a>>> {
        self.send_many(items).try_now()
    }

    /// Receives the oldest item, once there is one: awaited, or waited for.
    pub fn recv(&self) -> Receiving<'_, T> {
        Receiving::new(&self.channel)
    }

    /// Receives the oldest item, if there is one now.
    ///
    /// # Errors
    /// [`RecvError::Empty`] if there is none; see [`RecvError`].
    pub fn try_recv(&self) -> Result<T::Taken, RecvError> {
        receiving::try_now::<T>(&self.channel)
    }

    /// Receives the oldest item; blocks until there is one.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub fn recv_blocking(&self) -> Result<T::Taken, RecvError> {
        self.recv().wait()
    }

    /// Receives the oldest item, if there is one in time; blocks until then.
    ///
    /// # Errors
    /// [`RecvError::TimedOut`] if there was none, and nothing was taken; see [`RecvError`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T::Taken, RecvError> {
        self.recv().wait_timeout(timeout)
    }

    /// Receives all that waits, at most `limit` items, once there is one: awaited, or waited for.
    /// They are put behind what the vector has. Gives how many.
    pub fn recv_many<'a>(
        &'a self,
        into: &'a mut Vec<T::Taken>,
        limit: usize,
    ) -> ReceivingMany<'a, T> {
        ReceivingMany::new(&self.channel, into, limit)
    }

    /// Receives all that waits now, at most `limit` items; how many.
    ///
    /// # Errors
    /// [`RecvError::Empty`] if there is none; see [`RecvError`].
    pub fn try_recv_many(
        &self,
        into: &mut Vec<T::Taken>,
        limit: usize,
    ) -> Result<usize, RecvError> {
        self.recv_many(into, limit).try_now()
    }

    /// Everything that comes, as a blocking iterator.
    pub fn iter(&self) -> QueueIter<'_, T> {
        QueueIter::new(&self.channel)
    }

    /// Everything that comes, as a stream.
    pub fn incoming(&self) -> QueueStream<T> {
        QueueStream::new(&self.channel, None)
    }

    /// This queue as a sink for `futures`' combinators.
    pub fn sink(&self) -> QueueSink<T> {
        QueueSink::new(&self.channel, None)
    }

    /// Takes all that waits now, without waiting for more.
    pub fn drain(&self) -> impl Iterator<Item = Result<T::Taken, RecvError>> + '_ {
        let mut left = self.len();
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            match self.try_recv() {
                Err(RecvError::Empty | RecvError::Closed) => None,
                outcome => Some(outcome),
            }
        })
    }

    /// From now on nothing can be sent, by anybody; what is in the queue can be received, and then
    /// receivers find it closed. Closing it twice does nothing more.
    pub fn close(&self) {
        self.channel.close();
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.channel.fifo().is_closed()
    }

    /// How many items wait, as far as a look tells while others send and receive.
    pub fn len(&self) -> usize {
        self.channel.fifo().len() as usize
    }

    /// Whether nothing waits just now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room just now.
    pub fn is_full(&self) -> bool {
        !self.channel.fifo().looks_free()
    }

    /// How many items may wait: exactly what was asked for.
    pub fn capacity(&self) -> usize {
        self.channel.terms().places as usize
    }

    /// How many items went down with receivers that held them.
    pub fn lost(&self) -> u64 {
        self.channel.fifo().lost()
    }
}

impl<T: Item + ?Sized> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.channel))
    }
}

impl<T: Item + ?Sized> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl<T: Item + ?Sized> Object for Queue<T> {
    fn find(name: Name) -> Result<Self> {
        Self::open(name, Kind::Queue)
    }

    fn name(&self) -> Name {
        self.handle().name()
    }
}
