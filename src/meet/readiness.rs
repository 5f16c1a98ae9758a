//! Waiting for a descriptor: a thread asks the kernel, a task has somebody wake it.
//!
//! Under tokio the runtime's own poll listens. Under any other executor a thread of the process
//! does ([`ear`]), which is started when it is first needed and listens for all. Each wait has a
//! descriptor of its own for the same file, so that any number may wait for it, in any runtime.

#![cfg_attr(
    feature = "tokio",
    expect(
        unsafe_code,
        reason = "vouches for the descriptor that tokio registers"
    )
)]

mod ear;

use core::future::{Future, poll_fn};
use core::task::{Context, Poll};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

#[cfg(feature = "tokio")]
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::Handle,
};

use self::ear::Heard;
use crate::error::MeetError;
use crate::sys::process::refused;
use crate::sys::socket;

/// For what is waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// Something to take.
    Arrival,
    /// Room to send.
    Room,
}

/// When a wait is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit(Option<Instant>);

impl Limit {
    /// Never.
    pub(super) const NONE: Self = Self(None);

    /// After `timeout`; never, if the clock does not go that far.
    pub(super) fn after(timeout: Duration) -> Self {
        Self(Instant::now().checked_add(timeout))
    }

    /// What is left; an error if that is nothing.
    fn left(self) -> Result<Option<Duration>, MeetError> {
        let Some(end) = self.0 else {
            return Ok(None);
        };
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(MeetError::TimedOut);
        }
        Ok(Some(left))
    }
}

/// Tries until there is an outcome, and waits in the kernel in between.
pub(super) fn block<T>(
    fd: BorrowedFd<'_>,
    what: For,
    limit: Limit,
    mut attempt: impl FnMut() -> Result<Option<T>, MeetError>,
) -> Result<T, MeetError> {
    loop {
        if let Some(outcome) = attempt()? {
            return Ok(outcome);
        }
        socket::wait(fd, what == For::Room, limit.left()?)?;
    }
}

/// The same, in a task. Dropped, it has taken nothing: what an attempt gives is given out at once.
pub(super) fn ready<'a, T>(
    fd: BorrowedFd<'a>,
    what: For,
    mut attempt: impl FnMut() -> Result<Option<T>, MeetError> + Send + 'a,
) -> impl Future<Output = Result<T, MeetError>> + Send + 'a {
    let mut waits: Option<Waits> = None;
    poll_fn(move |context| {
        loop {
            if let Some(outcome) = attempt()? {
                return Poll::Ready(Ok(outcome));
            }
            let waits = match &mut waits {
                Some(waits) => waits,
                none => none.insert(Waits::new(fd, what)?),
            };
            match waits.poll(context)? {
                Poll::Ready(()) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    })
}

/// Who listens for a task.
#[derive(Debug)]
enum Waits {
    #[cfg(feature = "tokio")]
    Runtime(AsyncFd<OwnedFd>, For),
    Thread(Heard),
}

impl Waits {
    fn new(fd: BorrowedFd<'_>, what: For) -> Result<Self, MeetError> {
        let fd = duplicate(fd)?;
        #[cfg(feature = "tokio")]
        if Handle::try_current().is_ok() {
            let interest = match what {
                For::Arrival => Interest::READABLE,
                For::Room => Interest::WRITABLE,
            };
            // SAFETY: an `OwnedFd` is the same descriptor until it is dropped, with the `AsyncFd`.
            let fd = unsafe { AsyncFd::register_with_interest(fd, interest) };
            let fd = fd
                .map_err(std::io::Error::from)
                .map_err(refused("watch a descriptor in the runtime"))?;
            return Ok(Self::Runtime(fd, what));
        }
        Ok(Self::Thread(Heard::new(fd, what)?))
    }

    /// Ready if there may be something; then look, and ask again if there is not.
    fn poll(&mut self, context: &mut Context<'_>) -> Result<Poll<()>, MeetError> {
        match self {
            #[cfg(feature = "tokio")]
            Self::Runtime(fd, what) => {
                let polled = match what {
                    For::Arrival => fd.poll_read_ready(context),
                    For::Room => fd.poll_write_ready(context),
                };
                let Poll::Ready(ready) = polled else {
                    return Ok(Poll::Pending);
                };
                // What comes after this look makes it ready again: the kernel tells each change.
                ready.map_err(refused("wait in the runtime"))?.clear_ready();
                Ok(Poll::Ready(()))
            }
            Self::Thread(heard) => heard.poll(context),
        }
    }
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd, MeetError> {
    Ok(fd
        .as_fd()
        .try_clone_to_owned()
        .map_err(refused("duplicate a descriptor"))?)
}
