//! A party on its way through a barrier: awaited, or waited for.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::barrier::{Barrier, BarrierWait};
use super::error::BarrierError;
use crate::commons::{Ticket, deadline};
use crate::gate::{Arrival, Party, Stand};

type Outcome = Result<BarrierWait, BarrierError>;

/// A party that is to wait for the others: await it, or [`wait`](Self::wait). Nothing happens
/// before.
///
/// # Cancel safety
/// Dropped before it is ready, it has not come: the barrier is not broken, and another party may
/// come in its stead. If all had come already, they are let through, and it is as if it had been
/// dropped right after. Once it was polled and has come, it counts as one that waits until it is
/// dropped: so do not keep one aside.
#[must_use = "nobody has come unless it is awaited or waited for"]
pub struct BarrierWaiting<'a, A: FnOnce() = fn()> {
    barrier: &'a Barrier,
    action: Option<A>,
    ticket: Ticket,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    /// Not come.
    Away,
    Waits(Party),
    /// In its action.
    Leads(Party),
}

impl<'a, A: FnOnce()> BarrierWaiting<'a, A> {
    pub(super) fn new(barrier: &'a Barrier, action: Option<A>) -> Self {
        Self {
            barrier,
            action,
            ticket: Ticket::new(),
            state: State::Away,
        }
    }

    /// It has come last: acts, and lets all through.
    fn lead(&mut self, party: Party) -> Outcome {
        // Dropped by a panic, it breaks the barrier.
        self.state = State::Leads(party);
        if let Some(action) = self.action.take() {
            action();
        }
        self.state = State::Away;
        let is_whole = self.barrier.rounds().trip(party);
        if is_whole {
            self.barrier.wake_all();
        }
        self.barrier.leave(party);
        match is_whole {
            true => Ok(BarrierWait {
                index: party.index,
                is_leader: true,
            }),
            false => Err(BarrierError::Broken),
        }
    }

    /// What has become of the round; `None` while it is open.
    fn outcome(barrier: &Barrier, party: Party) -> Option<Outcome> {
        if let Err(error) = barrier.seat.me() {
            return Some(Err(BarrierError::Region(error)));
        }
        match barrier.rounds().stand(party) {
            Stand::Open => None,
            Stand::Broken => Some(Err(BarrierError::Broken)),
            Stand::Complete => Some(Ok(BarrierWait {
                index: party.index,
                is_leader: false,
            })),
        }
    }

    /// Its round has ended.
    fn end(&mut self, party: Party) {
        self.state = State::Away;
        self.barrier.leave(party);
    }

    pub(super) fn until(mut self, until: Option<Instant>) -> Outcome {
        let barrier = self.barrier;
        let arrival = barrier.arrive().or_else(|| {
            let entrance = barrier.entrance();
            barrier.seat.block(entrance, until, || barrier.arrive())
        });
        let party = match arrival {
            Some(Ok(Arrival::Leads(party))) => return self.lead(party),
            Some(Ok(Arrival::Waits(party))) => party,
            Some(Err(error)) => return Err(error),
            Some(Ok(Arrival::Full | Arrival::Broken)) | None => {
                // It was to come, and does not.
                let _ = barrier.abort();
                return Err(BarrierError::TimedOut);
            }
        };
        self.state = State::Waits(party);
        let attempt = || Self::outcome(barrier, party);
        let outcome = barrier.seat.block(barrier.arrived(), until, attempt);
        let outcome = outcome.unwrap_or_else(|| match barrier.rounds().give_up(party) {
            true => {
                barrier.wake_all();
                Err(BarrierError::TimedOut)
            }
            // It ended at the last moment.
            false => attempt().unwrap_or(Err(BarrierError::Broken)),
        });
        self.end(party);
        outcome
    }

    /// Blocks until all have come.
    ///
    /// # Errors
    /// See [`BarrierError`].
    pub fn wait(self) -> Result<BarrierWait, BarrierError> {
        self.until(None)
    }

    /// Blocks until all have come, or the timeout has passed.
    ///
    /// # Errors
    /// [`BarrierError::TimedOut`], and then the barrier is broken for all; see [`BarrierError`].
    pub fn wait_timeout(self, timeout: Duration) -> Result<BarrierWait, BarrierError> {
        self.until(deadline(timeout))
    }

    fn poll_arrival(&mut self, context: &mut Context<'_>) -> Poll<Result<Arrival, BarrierError>> {
        let (barrier, ticket) = (self.barrier, &mut self.ticket);
        if let Some(arrival) = barrier.arrive() {
            ticket.done(&barrier.seat, barrier.entrance());
            return Poll::Ready(arrival);
        }
        let (seat, entrance) = (&barrier.seat, barrier.entrance());
        seat.listen(entrance, ticket, context, || barrier.arrive())
    }

    fn poll_outcome(&mut self, party: Party, context: &mut Context<'_>) -> Poll<Outcome> {
        let (barrier, ticket) = (self.barrier, &mut self.ticket);
        let attempt = || Self::outcome(barrier, party);
        if let Some(outcome) = attempt() {
            ticket.done(&barrier.seat, barrier.arrived());
            return Poll::Ready(outcome);
        }
        let (seat, arrived) = (&barrier.seat, barrier.arrived());
        seat.listen(arrived, ticket, context, attempt)
    }
}

// Nothing in it is pinned.
impl<A: FnOnce()> Unpin for BarrierWaiting<'_, A> {}

impl<A: FnOnce()> Future for BarrierWaiting<'_, A> {
    type Output = Result<BarrierWait, BarrierError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let party = match this.state {
            State::Waits(party) => party,
            State::Away | State::Leads(_) => match ready!(this.poll_arrival(context))? {
                Arrival::Leads(party) => return Poll::Ready(this.lead(party)),
                Arrival::Waits(party) => {
                    this.state = State::Waits(party);
                    party
                }
                Arrival::Full | Arrival::Broken => return Poll::Ready(Err(BarrierError::Broken)),
            },
        };
        let outcome = ready!(this.poll_outcome(party, context));
        this.end(party);
        Poll::Ready(outcome)
    }
}

impl<A: FnOnce()> Drop for BarrierWaiting<'_, A> {
    fn drop(&mut self) {
        let barrier = self.barrier;
        match self.state {
            State::Away => self.ticket.leave(&barrier.seat, barrier.entrance()),
            State::Waits(party) => {
                self.ticket.leave(&barrier.seat, barrier.arrived());
                barrier.withdraw(party);
            }
            State::Leads(party) => {
                // In a forked child there is nothing to break.
                let _ = barrier.abort();
                barrier.leave(party);
            }
        }
    }
}

impl<A: FnOnce()> fmt::Debug for BarrierWaiting<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWaiting").finish_non_exhaustive()
    }
}
