//! `Event`: a flag for which processes wait.

#![expect(
    unsafe_code,
    reason = "views an object's bytes as what was written there"
)]

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::commons::{Kind, Object, Region, Seat, Ticket, WaitSet, deadline};
use crate::error::{Error, RegionError, Result};
use crate::gate::{EventWord, Since};
use crate::protocol::name::{Handle, Name};

/// An event, byte by byte.
#[derive(Debug)]
#[repr(C)]
struct EventFront {
    word: EventWord,
    waiters: WaitSet,
}

const FRONT_BYTES: u64 = 192;
const _: () = assert!(size_of::<EventFront>() as u64 == FRONT_BYTES);

/// What the region must know of events.
pub(crate) static EVENT: Kind = Kind {
    id: 20,
    recover: |seat, dead| {
        // The dead have nothing here but a wake-up they may have swallowed, or not given.
        if let Some(event) = Event::of(seat.clone()) {
            event.seat.bury(&event.front().waiters, dead);
        }
    },
    blocks: |_, _| {},
};

/// A flag between processes: set or not, and anybody may wait until it is.
///
/// While it is set, all waits end at once; cloning gives another handle to the same event, and
/// [`handle`](Self::handle) the name by which other processes open it. It lives as long as its last
/// handle in any process.
///
/// # What is guaranteed
/// A wait ends if the event is set, was set when the wait was asked for, or was set since: a set
/// that is followed by a clear lets everybody through who waited then, however late they come to
/// look. (Python's event may leave them waiting.) What was written before [`set`](Self::set) is
/// seen after the wait.
///
/// # When a process dies
/// Nobody has an event, so nothing is to be taken back. A process that dies while it waits takes no
/// wake-up along; one that dies inside `set` has set it or not, and if it has, everybody is woken.
///
/// # Costs
/// Nothing here takes a system call while nobody sleeps. However many tasks of a process wait, it
/// is one sleeping thread that is woken for them.
///
/// # Examples
///
/// ```
/// use gristmill::{Event, Handle, Process, Region};
///
/// let region = Region::new(2 << 20)?;
/// let ready = Event::new(&region)?;
/// let other = Process::builder().region(&region);
/// let other = other.spawn(ready.handle().words(), |name| {
///     let name = [name[0].into(), name[1].into()];
///     let ready: Event = Handle::from_words(name).open().unwrap();
///     ready.set().unwrap();
/// })?;
/// ready.wait_blocking()?;
/// assert!(ready.is_set());
/// other.wait()?;
/// # Ok::<(), gristmill::Error>(())
/// ```
#[derive(Clone)]
pub struct Event {
    seat: Seat,
}

impl Event {
    /// An event that is not set, in this region.
    ///
    /// # Errors
    /// What the region says if it has no room.
    pub fn new(region: &Region) -> Result<Self> {
        let seat = Seat::create(region, &EVENT, FRONT_BYTES, |start| {
            let front = EventFront {
                word: EventWord::new(),
                waiters: WaitSet::new(),
            };
            // SAFETY: a new object of that size, aligned to 64, which nobody else knows yet.
            unsafe { start.cast().write(front) };
        })?;
        Ok(Self { seat })
    }

    fn of(seat: Seat) -> Option<Self> {
        (seat.size() >= FRONT_BYTES).then_some(Self { seat })
    }

    fn front(&self) -> &EventFront {
        // SAFETY: written when the event was made, large enough (`of`), and mapped as long as the
        // seat.
        unsafe { self.seat.at(0).cast().as_ref() }
    }

    /// Its name, for a process that has the region.
    pub fn handle(&self) -> Handle<Self> {
        Handle::new(self.seat.name())
    }

    /// Sets it, and lets through whoever waits. Setting it twice does nothing more.
    ///
    /// # Errors
    /// [`Error::Forked`] in a process that was forked from one that has the region.
    pub fn set(&self) -> Result<()> {
        self.seat.me()?;
        let front = self.front();
        front.word.set();
        self.seat.wake_all(&front.waiters);
        Ok(())
    }

    /// Clears it: who comes from now on waits.
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    pub fn clear(&self) -> Result<()> {
        self.seat.me()?;
        self.front().word.clear();
        Ok(())
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.front().word.is_set()
    }

    /// Waits until it is set. A set counts from this call on, before the future is first polled,
    /// and so does that it is set now.
    pub fn wait(&self) -> EventWaiting<'_> {
        EventWaiting {
            event: self,
            since: self.front().word.now(),
            ticket: Ticket::new(),
        }
    }

    fn attempt(&self, since: Since) -> Option<Result<()>> {
        if let Err(error) = self.seat.me() {
            return Some(Err(error));
        }
        self.front().word.has_passed(since).then_some(Ok(()))
    }

    fn until(&self, until: Option<Instant>) -> Option<Result<()>> {
        let since = self.front().word.now();
        if let Some(outcome) = self.attempt(since) {
            return Some(outcome);
        }
        let waiters = &self.front().waiters;
        self.seat.block(waiters, until, || self.attempt(since))
    }

    /// Blocks until it is set.
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    pub fn wait_blocking(&self) -> Result<()> {
        // Without a deadline there is an outcome.
        self.until(None).unwrap_or(Err(Error::Forked))
    }

    /// Blocks until it is set (true), or the timeout has passed (false).
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        match self.until(deadline(timeout)) {
            Some(outcome) => outcome.map(|()| true),
            None => Ok(false),
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("set", &self.is_set())
            .finish_non_exhaustive()
    }
}

impl Object for Event {
    fn find(name: Name) -> Result<Self> {
        let foreign = || {
            let found = "an event that is too short".into();
            RegionError::Foreign { found }
        };
        Ok(Self::of(Seat::open(name, &EVENT)?).ok_or_else(foreign)?)
    }

    fn name(&self) -> Name {
        self.seat.name()
    }
}

/// An event is to be set: await it.
///
/// # Cancel safety
/// Dropping it changes nothing, and a wake-up that was meant for it is everybody's.
#[must_use = "nothing is waited for unless it is awaited"]
pub struct EventWaiting<'a> {
    event: &'a Event,
    since: Since,
    ticket: Ticket,
}

impl Future for EventWaiting<'_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (event, since) = (this.event, this.since);
        let waiters = &event.front().waiters;
        if let Some(outcome) = event.attempt(since) {
            this.ticket.done(&event.seat, waiters);
            return Poll::Ready(outcome);
        }
        let attempt = || event.attempt(since);
        let ticket = &mut this.ticket;
        event.seat.listen(waiters, ticket, context, attempt)
    }
}

impl Drop for EventWaiting<'_> {
    fn drop(&mut self) {
        let event = self.event;
        self.ticket.leave(&event.seat, &event.front().waiters);
    }
}

impl fmt::Debug for EventWaiting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventWaiting").finish_non_exhaustive()
    }
}
