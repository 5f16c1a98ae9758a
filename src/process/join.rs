//! Waiting for a process in async code.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use crate::error::TaskError;
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::process::handle::Handle;
use crate::process::record::Outcome;

/// The end of a [`Process`](crate::Process) or a [`Worker`](crate::Worker), to be awaited; made by
/// their `join`.
///
/// Works under any executor. Any number may wait for one process. Dropping it is safe at any time
/// and leaves the process alone, unless it was the last hold on one that is to be killed on drop.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Join<T = ()> {
    handle: Arc<Handle>,
    id: u64,
    read: fn(&Outcome) -> Result<T, TaskError>,
}

impl<T> Join<T> {
    pub(super) fn new(handle: &Arc<Handle>, read: fn(&Outcome) -> Result<T, TaskError>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            handle: Arc::clone(handle),
            // ORDERING: Relaxed; a number that differs from others.
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            read,
        }
    }
}

impl<T> Future for Join<T> {
    type Output = Result<T, TaskError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.handle.check().is_err() {
            return Poll::Ready(Err(TaskError::Forked));
        }
        match self.handle.record.poll(self.id, context.waker()) {
            Some(outcome) => Poll::Ready((self.read)(&outcome)),
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for Join<T> {
    fn drop(&mut self) {
        // In a forked child the lock may be held by a thread that does not exist there.
        if self.handle.check().is_ok() {
            self.handle.record.forget(self.id);
        }
    }
}

impl<T> fmt::Debug for Join<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join")
            .field("process", &self.handle.record.name)
            .finish_non_exhaustive()
    }
}
