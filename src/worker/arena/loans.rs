//! Blocks of the vault that user code fills before they are a result, or part of none.

use core::cell::RefCell;
use core::ops::Range;
use core::ptr::NonNull;

use super::{Arena, Shelf};
use crate::memory::region::PAGE_BYTES;
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::protocol::loan::{self, Lender, Loan};
use crate::worker::privilege::insist;

/// Tickets that were given out in this process, whose arenas may be several in tests.
static TICKETS: AtomicU64 = AtomicU64::new(0);

/// What is lent now.
#[derive(Debug, Default)]
pub(super) struct Loans(Vec<Lent>);

#[derive(Debug)]
struct Lent {
    ticket: u64,
    /// Its pages, which are writable.
    pages: Range<u64>,
    block: NonNull<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Somebody has it.
    Out,
    /// It holds a result, and somebody has it still.
    Settled,
    /// It holds a result, and whoever had it has gone.
    Done,
}

impl Arena<'_> {
    fn lend(&mut self, size: usize) -> Option<Loan> {
        for ticket in loan::ended_elsewhere() {
            self.end(ticket);
        }
        let offset = self.find(Shelf::Vault, size as u64)?;
        let pages = offset..(offset + size as u64).next_multiple_of(PAGE_BYTES);
        let block = self.region.pointer(offset, size)?;
        if self.open == pages {
            self.open = 0..0;
        } else {
            // What is open and free may be a part of it.
            if !self.holds_result {
                self.close();
            }
            if self.region.unprotect(pages.clone()).is_err() {
                // It may have come half-way.
                insist(self.region.protect(pages));
                self.release(offset);
                return None;
            }
        }
        // ORDERING: Relaxed; a number that nobody else gets is all that is asked for.
        let ticket = TICKETS.fetch_add(1, Ordering::Relaxed);
        self.loans.0.push(Lent {
            ticket,
            pages,
            block,
            state: State::Out,
        });
        Some(Loan {
            ticket,
            block,
            size,
        })
    }

    fn end(&mut self, ticket: u64) {
        let loans = &mut self.loans.0;
        let Some(index) = loans.iter().position(|lent| lent.ticket == ticket) else {
            return;
        };
        match loans[index].state {
            State::Settled => loans[index].state = State::Done,
            State::Out => {
                let pages = loans.swap_remove(index).pages;
                let offset = pages.start;
                match self.holds_result {
                    // One that is being written: a batch's.
                    true => insist(self.region.protect(pages)),
                    false => self.shelve(pages, false),
                }
                self.release(offset);
            }
            State::Done => {}
        }
    }

    /// The block stays writable as the one that is open.
    fn shelve(&mut self, pages: Range<u64>, holds_result: bool) {
        self.close();
        self.open = pages;
        self.holds_result = holds_result;
    }

    /// What was lent under this ticket holds a result.
    pub(crate) fn settle_loan(&mut self, ticket: u64) {
        let lent = self.loans.0.iter_mut().find(|lent| lent.ticket == ticket);
        if let Some(lent) = lent.filter(|lent| lent.state == State::Out) {
            lent.state = State::Settled;
        }
    }

    /// The block that holds a result, if whoever had it has gone: it is the result's now. Else
    /// the bytes, which stay lent.
    pub(crate) fn take_settled(&mut self, ticket: u64) -> Option<Result<u64, NonNull<u8>>> {
        let loans = &mut self.loans.0;
        let index = loans.iter().position(|lent| lent.ticket == ticket)?;
        let lent = &mut loans[index];
        match lent.state {
            State::Done => {
                let pages = loans.swap_remove(index).pages;
                let offset = pages.start;
                self.shelve(pages, true);
                Some(Ok(offset))
            }
            State::Settled | State::Out => {
                lent.state = State::Out;
                Some(Err(lent.block))
            }
        }
    }
}

impl Lender for RefCell<Arena<'_>> {
    fn lend(&self, size: usize) -> Option<Loan> {
        self.borrow_mut().lend(size)
    }

    fn take_back(&self, ticket: u64) {
        self.borrow_mut().end(ticket);
    }
}
