//! Who writes to an object: one at a time, in any process. A writer that dies lets go by being
//! recovered from; what it left half done is the object's own affair.

use core::future::{Future, poll_fn};
use core::task::Poll;
use std::time::Instant;

use crate::commons::{Seat, Ticket, WaitSet};
use crate::error::{Error, ShareError};
use crate::memory::owner::Owner;
use crate::sync::latchword::LatchWord;

/// The word, and those who wait for it.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Latch {
    word: LatchWord,
    unused: [u64; 7],
    set: WaitSet,
}

const _: () = assert!(size_of::<Latch>() == 192);

/// How long to wait for the right to write.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    None,
    Until(Option<Instant>),
}

/// The right to write, until it is dropped.
#[derive(Debug)]
pub(super) struct Latched<'a> {
    seat: &'a Seat,
    latch: &'a Latch,
    me: Owner,
}

impl Latch {
    pub(super) fn new() -> Self {
        Self {
            word: LatchWord::new(),
            unused: [0; 7],
            set: WaitSet::new(),
        }
    }

    /// Takes the right to write.
    pub(super) fn take<'a>(
        &'a self,
        seat: &'a Seat,
        patience: Patience,
    ) -> Result<Latched<'a>, ShareError> {
        let me = seat.me()?;
        let taken = match patience {
            Patience::None => self.word.try_take(me).ok_or(ShareError::Busy),
            Patience::Until(limit) => seat
                .block(&self.set, limit, || self.word.try_take(me))
                .ok_or(ShareError::TimedOut),
        };
        taken.map(|()| Latched {
            seat,
            latch: self,
            me,
        })
    }

    /// The same, in a task. Dropped while it waits, it has nothing.
    pub(super) fn take_async<'a>(
        &'a self,
        seat: &'a Seat,
    ) -> impl Future<Output = Result<Latched<'a>, ShareError>> + Send + 'a {
        let mut waits = Waits {
            seat,
            set: &self.set,
            ticket: Some(Ticket::new()),
        };
        poll_fn(move |context| {
            let me = seat.me()?;
            let Some(ticket) = &mut waits.ticket else {
                return Poll::Ready(Err(ShareError::Busy));
            };
            let polled = seat.listen(&self.set, ticket, context, || self.word.try_take(me));
            if polled.is_pending() {
                return Poll::Pending;
            }
            if let Some(mut ticket) = waits.ticket.take() {
                ticket.done(seat, &self.set);
            }
            let latch = self;
            Poll::Ready(Ok(Latched { seat, latch, me }))
        })
    }

    /// Lets go for a writer that died, and has everybody look again.
    pub(super) fn recover(&self, seat: &Seat, dead: Owner) {
        self.word.release(dead, true);
        // Wakes all.
        seat.bury(&self.set, dead);
    }

    /// Whether a writer has died over it since that was cleared.
    pub(super) fn has_died(&self) -> bool {
        self.word.has_died()
    }

    /// Forgets that a writer has died; for the writer.
    pub(super) fn clear(&self, latched: &Latched<'_>) {
        self.word.clear(latched.me);
    }
}

impl Drop for Latched<'_> {
    fn drop(&mut self) {
        // In a forked child it is the parent's.
        if self.seat.me().is_ok() && self.latch.word.release(self.me, false) {
            self.seat.wake_one(&self.latch.set);
        }
    }
}

/// A task that waits; passes a wake-up on if it does so no more.
struct Waits<'a> {
    seat: &'a Seat,
    set: &'a WaitSet,
    ticket: Option<Ticket>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if let Some(mut ticket) = self.ticket.take() {
            ticket.leave(self.seat, self.set);
        }
    }
}

/// The process was forked from the one that has the region.
pub(super) fn forked() -> ShareError {
    Error::Forked.into()
}
