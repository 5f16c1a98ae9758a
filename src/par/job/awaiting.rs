//! A job as a future, and what becomes of one that is dropped.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::{Job, State};
use crate::error::{Error, TaskError};

impl<O: Unpin> Future for Job<'_, O> {
    type Output = Result<O, Error>;

    /// Never panics; polled after it was ready, it is [`TaskError::Cancelled`].
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            this.engage();
            let advanced = match &this.state {
                State::Planned(_) => this.begin(),
                State::Running(..) if this.engine.check_process().is_err() => Err(Error::Forked),
                State::Running(entry, _) => match this.engine.poll(entry, context) {
                    Poll::Ready(outcome) => this.finish(outcome),
                    Poll::Pending => return Poll::Pending,
                },
                State::Ready(_) | State::Ended => {
                    match core::mem::replace(&mut this.state, State::Ended) {
                        State::Ready(output) => return Poll::Ready(Ok(output)),
                        _ => return Poll::Ready(Err(Error::Task(TaskError::Cancelled))),
                    }
                }
            };
            if let Err(error) = advanced {
                this.end();
                return Poll::Ready(Err(error));
            }
        }
    }
}

impl<O> Drop for Job<'_, O> {
    fn drop(&mut self) {
        let State::Running(entry, _) = &self.state else {
            return;
        };
        self.engine.cancel_job(entry, None);
        if !entry.is_ready() {
            // Its buffers are freed when its last chunk ends, and nobody waits for that.
            self.engine.let_supervisor_listen();
        }
    }
}

impl<O> fmt::Debug for Job<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Planned(_) => "planned",
            State::Running(..) => "running",
            State::Ready(_) => "ready",
            State::Ended => "ended",
        };
        f.debug_struct("Job")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
