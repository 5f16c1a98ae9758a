//! `JoinableQueue`: a queue that knows what has been done with its items.

use core::fmt;
use core::ops::Deref;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::channel::Channel;
use super::handle::{Queue, QueueBuilder};
use super::item::Item;
use super::layout::Kind;
use crate::commons::{Object, Region, Ticket, deadline};
use crate::error::{Error, Result};
use crate::protocol::name::{Handle, Name};

/// A [`Queue`] whose receivers say when they are done with an item, and which can be waited for
/// until all are.
///
/// It dereferences to the queue. Each item that was received is to be followed by one
/// [`task_done`](Self::task_done), in any process. What a process had received and not called done
/// when it died is no longer waited for, unless it comes back (see [`OnDeath`](crate::OnDeath)); so
/// [`join`](Self::join) does not hang for the dead.
pub struct JoinableQueue<T: Item + ?Sized>(Queue<T>);

impl<T: Item + ?Sized> JoinableQueue<T> {
    /// A queue of so many items, in this region.
    ///
    /// # Errors
    /// As for [`QueueBuilder::build`].
    pub fn new(region: &Region, capacity: usize) -> Result<Self> {
        Queue::builder(capacity).build_joinable(region)
    }

    /// Its name, for a process that has the region.
    pub fn handle(&self) -> Handle<Self> {
        Handle::new(self.0.channel.name())
    }

    /// Says that one received item is done.
    ///
    /// # Errors
    /// [`Error::NotOwed`] if every received item was done already.
    pub fn task_done(&self) -> Result<()> {
        match self.0.channel.task_done()? {
            true => Ok(()),
            false => Err(Error::NotOwed),
        }
    }

    /// Waits until every item that was ever sent is done: awaited, or waited for.
    pub fn join(&self) -> Joining<'_> {
        Joining {
            channel: &self.0.channel,
            ticket: Ticket::new(),
        }
    }

    /// How many items are not done, as far as a look tells.
    pub fn unfinished(&self) -> usize {
        self.0.channel.unfinished()
    }
}

impl<T: Item + ?Sized> QueueBuilder<T> {
    /// Makes the queue, as one that can be joined.
    ///
    /// # Errors
    /// As for [`build`](Self::build).
    pub fn build_joinable(self, region: &Region) -> Result<JoinableQueue<T>> {
        self.build_as(Kind::Joinable, region).map(JoinableQueue)
    }
}

impl<T: Item + ?Sized> Deref for JoinableQueue<T> {
    type Target = Queue<T>;

    fn deref(&self) -> &Queue<T> {
        &self.0
    }
}

impl<T: Item + ?Sized> Clone for JoinableQueue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Item + ?Sized> fmt::Debug for JoinableQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinableQueue")
            .field("unfinished", &self.unfinished())
            .finish_non_exhaustive()
    }
}

/// Everything is to be done: await it, or [`wait`](Self::wait).
///
/// # Cancel safety
/// Dropping it changes nothing.
#[must_use = "nothing is waited for unless it is awaited or waited for"]
pub struct Joining<'a> {
    channel: &'a Arc<Channel>,
    ticket: Ticket,
}

impl Joining<'_> {
    fn attempt(channel: &Channel) -> Option<Result<()>> {
        if let Err(error) = channel.seat.me() {
            return Some(Err(error));
        }
        channel.is_done().then_some(Ok(()))
    }

    fn until(self, until: Option<Instant>) -> Option<Result<()>> {
        let channel = self.channel;
        let joiners = &channel.front().joiners;
        channel
            .seat
            .block(joiners, until, || Self::attempt(channel))
    }

    /// Blocks until everything is done.
    ///
    /// # Errors
    /// [`Error::Forked`], or what the region says if it cannot be used.
    pub fn wait(self) -> Result<()> {
        // Without a deadline there is an outcome.
        self.until(None).unwrap_or(Err(Error::Forked))
    }

    /// Blocks until everything is done (true), or the timeout has passed (false).
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_timeout(self, timeout: Duration) -> Result<bool> {
        match self.until(deadline(timeout)) {
            Some(outcome) => outcome.map(|()| true),
            None => Ok(false),
        }
    }
}

impl Future for Joining<'_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let joiners = &this.channel.front().joiners;
        let seat = &this.channel.seat;
        seat.listen(joiners, &mut this.ticket, context, || {
            Self::attempt(this.channel)
        })
    }
}

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        self.ticket
            .leave(&self.channel.seat, &self.channel.front().joiners);
    }
}

impl fmt::Debug for Joining<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joining").finish_non_exhaustive()
    }
}

impl<T: Item + ?Sized> Object for JoinableQueue<T> {
    fn find(name: Name) -> Result<Self> {
        Ok(Self(Queue::open(name, Kind::Joinable)?))
    }

    fn name(&self) -> Name {
        self.handle().name()
    }
}
