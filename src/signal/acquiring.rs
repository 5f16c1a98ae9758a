//! Permits on their way to who wants them: awaited, or waited for; and the guard that holds them.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::AcquireError;
use super::permits::{Core, Shared, Step};
use crate::commons::{Ticket, deadline};

/// Permits of a semaphore, until it is dropped: then they are free again.
///
/// It may be moved to another task or thread and dropped there. The permits are known to be this
/// process's: if it dies, they are free again at once.
#[must_use = "permits that are dropped are free again at once"]
pub struct Permit {
    core: Shared,
    count: u32,
}

impl Permit {
    pub(super) fn new(core: &Shared, count: u32) -> Self {
        let core = Arc::clone(core);
        Self { core, count }
    }

    /// How many they are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Forgets them without releasing: from now on they are nobody's, and come back by nobody's
    /// death, but by [`release`](crate::Semaphore::release), in any process.
    pub fn forget(mut self) {
        self.core.forget(core::mem::take(&mut self.count));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.core.give(self.count);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// Permits that are to be acquired: await it, or [`wait`](Self::wait). Nothing happens before.
///
/// # Cancel safety
/// Dropped before it is ready, it has taken no permit, its place in line is the next one's, and a
/// wake-up that was meant for it goes there, too. While it is neither polled nor dropped it keeps
/// its place: so do not keep one aside that was polled.
#[must_use = "nothing is acquired unless it is awaited or waited for"]
pub struct Acquiring<'a> {
    core: &'a Shared,
    count: u32,
    ticket: Ticket,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Behind,
    /// First in line, under this number.
    First(u32),
}

type Outcome = Result<Permit, AcquireError>;

impl<'a> Acquiring<'a> {
    pub(super) fn new(core: &'a Shared, count: u32) -> Self {
        Self {
            core,
            count,
            ticket: Ticket::new(),
            state: State::New,
        }
    }

    fn permit(&self, outcome: Result<(), AcquireError>) -> Outcome {
        outcome.map(|()| Permit::new(self.core, self.count))
    }

    fn until(mut self, until: Option<Instant>) -> Outcome {
        let (core, count) = (self.core, self.count);
        core.check(count)?;
        let step = match core.enter(count) {
            Some(step) => step?,
            None => {
                let behind = core.seat.block(core.behind(), until, || core.enter(count));
                let step = behind.unwrap_or(Err(AcquireError::TimedOut))?;
                if matches!(step, Step::Got) {
                    core.pass_on();
                }
                step
            }
        };
        let Step::First(number) = step else {
            return self.permit(Ok(()));
        };
        // Dropped on any way out, it leaves the line.
        self.state = State::First(number);
        let taken = core.seat.block(core.first(), until, || core.take(count));
        self.permit(taken.unwrap_or(Err(AcquireError::TimedOut)))
    }

    /// Blocks until there are so many permits.
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub fn wait(self) -> Result<Permit, AcquireError> {
        self.until(None)
    }

    /// Blocks until there are so many permits, or the timeout has passed: then none was taken.
    ///
    /// # Errors
    /// See [`AcquireError`].
    pub fn wait_timeout(self, timeout: Duration) -> Result<Permit, AcquireError> {
        self.until(deadline(timeout))
    }

    /// Has a place in line, or permits; pending while behind.
    fn poll_behind(&mut self, context: &mut Context<'_>) -> Poll<Result<Step, AcquireError>> {
        let (core, count) = (self.core, self.count);
        let (behind, ticket) = (core.behind(), &mut self.ticket);
        if let Some(step) = core.enter(count) {
            ticket.done(&core.seat, behind);
            return Poll::Ready(step);
        }
        let polled = core
            .seat
            .listen(behind, ticket, context, || core.enter(count));
        if polled.is_pending() {
            self.state = State::Behind;
        }
        polled
    }

    fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<Result<(), AcquireError>> {
        let (core, count) = (self.core, self.count);
        let (first, ticket) = (core.first(), &mut self.ticket);
        if let Some(taken) = core.take(count) {
            ticket.done(&core.seat, first);
            return Poll::Ready(taken);
        }
        core.seat
            .listen(first, ticket, context, || core.take(count))
    }

    /// Whatever it is waiting for, no more.
    fn stop(&mut self) {
        let core: &Core = self.core;
        match self.state {
            State::Behind => self.ticket.leave(&core.seat, core.behind()),
            State::First(number) => {
                self.ticket.leave(&core.seat, core.first());
                core.leave(number);
            }
            State::New => {}
        }
        self.state = State::New;
    }
}

impl Future for Acquiring<'_> {
    type Output = Result<Permit, AcquireError>;

    /// Polled again after it was ready, it acquires again.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.state == State::New {
            this.core.check(this.count)?;
        }
        if !matches!(this.state, State::First(_)) {
            let was_behind = this.state == State::Behind;
            let step = ready!(this.poll_behind(context));
            this.state = State::New;
            match step? {
                Step::First(number) => this.state = State::First(number),
                Step::Got => {
                    if was_behind {
                        this.core.pass_on();
                    }
                    return Poll::Ready(this.permit(Ok(())));
                }
            }
        }
        let taken = ready!(this.poll_first(context));
        this.stop();
        Poll::Ready(this.permit(taken))
    }
}

impl Drop for Acquiring<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Acquiring<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquiring")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}
