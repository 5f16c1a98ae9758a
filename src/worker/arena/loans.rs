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
    /// It is part of an archive, and somebody has it still: who does not write to it any more.
    Pinned,
    /// It is part of an archive, and whoever had it has gone.
    Done,
}

impl Arena<'_> {
    fn lend(&mut self, size: usize) -> Option<Loan> {
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

    /// Ends the loans that ended where this arena was not at hand.
    pub(super) fn end_those_elsewhere(&mut self) {
        for ticket in loan::ended_elsewhere() {
            self.end(ticket);
        }
    }

    fn end(&mut self, ticket: u64) {
        let loans = &mut self.loans.0;
        let Some(index) = loans.iter().position(|lent| lent.ticket == ticket) else {
            return;
        };
        match loans[index].state {
            State::Pinned => loans[index].state = State::Done,
            State::Out => {
                let pages = loans.swap_remove(index).pages;
                let offset = pages.start;
                match self.holds_result {
                    // Another one, which is being written.
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

    fn pin(&mut self, ticket: u64) -> bool {
        let lent = self.loans.0.iter_mut().find(|lent| lent.ticket == ticket);
        match lent {
            Some(lent) if lent.state == State::Out => {
                lent.state = State::Pinned;
                true
            }
            _ => false,
        }
    }

    /// The block with an archive in it, if whoever had it has gone: it is the result's now. Else
    /// the bytes, which stay lent.
    pub(crate) fn take_pinned(&mut self, ticket: u64) -> Option<Result<u64, NonNull<u8>>> {
        let loans = &mut self.loans.0;
        let index = loans.iter().position(|lent| lent.ticket == ticket)?;
        if loans[index].state != State::Done {
            return Some(Err(loans[index].block));
        }
        let pages = loans.swap_remove(index).pages;
        let offset = pages.start;
        self.shelve(pages, true);
        Some(Ok(offset))
    }

    /// Of what was pinned and came to no result: what somebody has stays lent, the rest is free.
    pub(crate) fn unpin(&mut self) {
        let mut free = Vec::new();
        for lent in &mut self.loans.0 {
            match lent.state {
                State::Out => {}
                State::Pinned => lent.state = State::Out,
                State::Done => {
                    lent.state = State::Out;
                    free.push(lent.ticket);
                }
            }
        }
        free.into_iter().for_each(|ticket| self.end(ticket));
    }
}

impl Lender for RefCell<Arena<'_>> {
    fn lend(&self, size: usize) -> Option<Loan> {
        self.borrow_mut().lend(size)
    }

    fn pin(&self, ticket: u64) -> bool {
        self.borrow_mut().pin(ticket)
    }

    fn take_back(&self, ticket: u64) {
        self.borrow_mut().end(ticket);
    }
}
