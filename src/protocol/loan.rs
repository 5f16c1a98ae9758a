//! Memory of a worker's arena that its user code fills: who lends it in this thread.
//!
//! # Invariants
//! - A thread has a lender while a task runs in it, and no longer: what lends is borrowed for that
//!   time.
//! - A loan has a ticket that no other has in this process. Nothing is done twice for a ticket, so
//!   one that comes late meets nothing.

#![expect(unsafe_code, reason = "forgets for how long the lender is borrowed")]

use core::cell::Cell;
use core::mem::transmute;
use core::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

/// Has memory to lend.
pub(crate) trait Lender {
    /// A writable block of at least `size` bytes, aligned to 64; nobody else has it until it is
    /// given back.
    fn lend(&self, size: usize) -> Option<Loan>;
    /// Whoever had the block has gone.
    fn take_back(&self, ticket: u64);
}

/// A block that was lent.
#[derive(Debug)]
pub(crate) struct Loan {
    pub(crate) ticket: u64,
    pub(crate) block: NonNull<u8>,
    pub(crate) size: usize,
}

thread_local! {
    static LENDER: Cell<Option<NonNull<dyn Lender>>> = const { Cell::new(None) };
}

/// Loans that ended where there was no lender: in another thread, or after the task.
static ENDED: Mutex<Vec<u64>> = Mutex::new(Vec::new());

/// Sets the lender of this thread aside when it is dropped.
struct Reset(Option<NonNull<dyn Lender>>);

impl Drop for Reset {
    fn drop(&mut self) {
        LENDER.set(self.0);
    }
}

/// Runs `body` with a lender.
pub(crate) fn with<T>(lender: &dyn Lender, body: impl FnOnce() -> T) -> T {
    let lender = NonNull::from(lender);
    // SAFETY: the same pointer, to something that is borrowed until `_reset` takes it away again.
    let lender = unsafe { transmute::<NonNull<dyn Lender + '_>, NonNull<dyn Lender>>(lender) };
    let _reset = Reset(LENDER.replace(Some(lender)));
    body()
}

fn ask<T>(question: impl FnOnce(&dyn Lender) -> T) -> Option<T> {
    let lender = LENDER.get()?;
    // SAFETY: it is borrowed for as long as it stands there.
    Some(question(unsafe { lender.as_ref() }))
}

/// A block of at least `size` bytes, if this thread runs a task and there is room.
pub(crate) fn take(size: usize) -> Option<Loan> {
    ask(|lender| lender.lend(size)).flatten()
}

/// The loan has ended.
pub(crate) fn end(ticket: u64) {
    if ask(|lender| lender.take_back(ticket)).is_none() {
        let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
        ended.push(ticket);
    }
}

/// The loans that ended where there was no lender, since the last time.
pub(crate) fn ended_elsewhere() -> Vec<u64> {
    let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    core::mem::take(&mut *ended)
}
