//! A worker's own memory for results: only it writes here, only it allocates here.
//!
//! Results of 32 KiB and more take runs of 64 KiB pages; smaller ones share a page with others of
//! their power of two. All of this bookkeeping is private to the worker. Readers give blocks back
//! through the stack of `protocol::freed`; the worker takes the whole of it when it
//! allocates. When the worker dies, the bookkeeping dies with it and the parent frees the arena as
//! one, once nobody reads a result in it any more.
//!
//! # Invariants
//! - A result that the parent reads in place lies in whole pages of the *vault*, which is read-only
//!   here whenever user code runs, but for the block of the last result if nobody has it any more:
//!   so what the parent has checked stays as it was checked, and a worker whose results are taken
//!   and dropped one by one makes no system call for them.
//! - What is lent to user code, to fill it, lies in the vault as well and is writable until it is
//!   a result or given back: nobody else has it.
//! - Smaller results, which the parent copies when it harvests, and reports of panics lie in the
//!   *window*, which is always writable.

#![expect(unsafe_code, reason = "views a fresh block as bytes")]

use core::error::Error;
use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;
use core::slice;

use offset_allocator::Allocation;

use crate::memory::region::{EXTENT_BYTES, PAGE_BYTES, Region};
use crate::primitive::prefetch;
use crate::protocol::freed::{ARENA_HEADER_SIZE, Freed, SEALED_BYTES};
use crate::protocol::gauge::ArenaUse;
use crate::protocol::panic::{PanicReport, REPORT_BYTES};
use crate::protocol::range::Span;
use crate::protocol::reply::ReplyBlock;
use crate::sys::failure::SysError;
use crate::sys::process;
use crate::worker::privilege::insist;

mod loans;
mod runs;
mod slab;

use loans::Loans;
use runs::Runs;
use slab::Slab;

const PAGE_SIZE: u64 = 64 << 10;
const SMALLEST: u64 = 64;
/// Blocks of 64 bytes to 32 KiB.
const CLASSES: usize = 10;
const LARGEST: u64 = SMALLEST << (CLASSES - 1);
/// How much is committed at a time, so that small results rarely meet the kernel.
const COMMIT_STEP: u64 = 256 << 10;
/// The same of blocks for replies: these are few, as the parent takes the lowest slots first.
const REPLIES_STEP: u64 = 16 << 10;
const _: () = assert!(ARENA_HEADER_SIZE.is_multiple_of(REPLIES_STEP));
const _: () = assert!(ARENA_HEADER_SIZE / REPLIES_STEP <= 64);

/// Which part of the arena a block belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shelf {
    /// Always writable.
    Window,
    /// Read-only but for one block.
    Vault,
}

/// Exit code of a worker without memory to say how a task ended.
pub(crate) const EXIT_NO_REPLY: i32 = 75;

/// What a 64 KiB page of the arena is used for.
enum Page {
    Unused,
    /// The first page of a run that is one block.
    Run(Allocation),
    /// Many blocks of one size class.
    Slab(Slab),
}

/// The record names an arena that is not in the region.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the arena assigned to this worker is not in the region")]
struct OutsideRegion;

/// The worker's allocator over its arena.
pub(crate) struct Arena<'a> {
    region: &'a Region,
    freed: Freed<'a>,
    range: Range<u64>,
    /// Which steps of the replies' blocks are committed, a bit each.
    replies: u64,
    committed: u64,
    /// Of that, in huge pages.
    huge: u64,
    runs: Runs,
    /// As far as they have been used.
    pages: Vec<Page>,
    /// Pages of each shelf and class that have a free block.
    partial: [[Vec<u32>; CLASSES]; 2],
    /// The pages of the vault that are writable, and whether they hold a result.
    open: Range<u64>,
    holds_result: bool,
    loans: Loans,
}

impl fmt::Debug for Arena<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

impl<'a> Arena<'a> {
    /// Makes the arena that the parent assigned writable. Nothing is committed yet.
    pub(crate) fn attach(region: &'a Region, place: Span) -> Result<Self, Box<dyn Error>> {
        let Span { offset, size } = place;
        let range = offset..offset.saturating_add(size);
        region.unprotect(offset..offset + ARENA_HEADER_SIZE)?;
        region.populate(offset..offset + REPLIES_STEP)?;
        let freed = Freed::of(region, place).ok_or(OutsideRegion)?;
        ReplyBlock::of(region, place, 0).ok_or(OutsideRegion)?;
        let pages = (size / PAGE_SIZE) as u32;
        Ok(Self {
            region,
            freed,
            replies: 1,
            committed: offset + ARENA_HEADER_SIZE,
            huge: 0,
            // The first pages hold the head of the freed stack and the blocks for replies.
            runs: Runs::new(pages, (ARENA_HEADER_SIZE / PAGE_SIZE) as u32),
            pages: Vec::new(),
            partial: Default::default(),
            open: 0..0,
            holds_result: false,
            loans: Loans::default(),
            range,
        })
    }

    /// Where the arena is.
    pub(crate) fn span(&self) -> Span {
        Span {
            offset: self.range.start,
            size: self.range.end - self.range.start,
        }
    }

    /// The block for the reply to the task in `slot`. Without memory for it this worker ends: it
    /// could not even say so.
    pub(crate) fn reply(&mut self, slot: u32) -> &'a ReplyBlock {
        let start = ReplyBlock::offset_in_arena(slot);
        let end = start + size_of::<ReplyBlock>() as u64;
        for step in start / REPLIES_STEP..end.div_ceil(REPLIES_STEP) {
            if self.replies >> step & 1 == 0 {
                let first = self.range.start + step * REPLIES_STEP;
                if let Err(error) = self.region.populate(first..first + REPLIES_STEP) {
                    eprintln!("gristmill: a worker ends, for it cannot reply: {error}");
                    process::exit_now(EXIT_NO_REPLY);
                }
                self.replies |= 1 << step;
            }
        }
        let region = self.region;
        ReplyBlock::of(region, self.span(), slot).expect("`attach` saw that the arena is there")
    }

    /// Asks for the first line of the block for a reply, to write it; there need be no memory.
    pub(crate) fn expect_reply(&self, slot: u32) {
        let offset = self.range.start + ReplyBlock::offset_in_arena(slot);
        if let Some(block) = self.region.pointer(offset, size_of::<ReplyBlock>()) {
            prefetch::to_write(block.as_ptr());
        }
    }

    /// A committed and writable block of at least `size` bytes for a result, 64-byte aligned, and
    /// its offset in the region. One that is to be sealed: until [`Arena::seal`], or the next.
    pub(crate) fn allocate(&mut self, size: usize) -> Option<(u64, NonNull<u8>)> {
        // What takes a run of pages is opened and closed, also where the parent copies it.
        let shelf = match (size as u64) < SEALED_BYTES.min(LARGEST + 1) {
            true => Shelf::Window,
            false => Shelf::Vault,
        };
        self.allocate_on(shelf, size)
    }

    fn allocate_on(&mut self, shelf: Shelf, size: usize) -> Option<(u64, NonNull<u8>)> {
        let size = (size as u64).max(SMALLEST);
        let offset = self.find(shelf, size)?;
        if shelf == Shelf::Vault && self.open(offset, size).is_err() {
            self.release(offset);
            return None;
        }
        let block = self.region.pointer(offset, usize::try_from(size).ok()?)?;
        Some((offset, block))
    }

    /// A committed block.
    fn find(&mut self, shelf: Shelf, size: u64) -> Option<u64> {
        self.take_back();
        let class = (size.next_power_of_two() / SMALLEST).trailing_zeros() as usize;
        match class < CLASSES {
            true => self.small(shelf, class),
            false => self.run(size),
        }
    }

    /// Before user code runs: what it is not to change becomes read-only.
    pub(crate) fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        self.take_back();
        if self.holds_result {
            self.close();
        }
    }

    /// Makes the pages of a block of the vault writable, and no other's.
    fn open(&mut self, offset: u64, size: u64) -> Result<(), SysError> {
        let end = (offset + size).next_multiple_of(PAGE_BYTES);
        if self.open != (offset..end) {
            self.close();
            // Noted before: a refusal may come half-way.
            self.open = offset..end;
            if let Err(refusal) = self.region.unprotect(offset..end) {
                self.close();
                return Err(refusal);
            }
        }
        self.holds_result = true;
        Ok(())
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            insist(self.region.protect(self.open.clone()));
            self.open = 0..0;
        }
        self.holds_result = false;
    }

    /// Frees a block by its offset. Offsets that are no live block's are ignored: they came
    /// through shared memory.
    pub(crate) fn release(&mut self, offset: u64) {
        if !self.range.contains(&offset) {
            return;
        }
        let inside = offset - self.range.start;
        let number = (inside / PAGE_SIZE) as usize;
        let within = inside % PAGE_SIZE;
        match self.pages.get_mut(number) {
            Some(Page::Run(allocation)) if within == 0 => {
                self.runs.free(*allocation);
                self.pages[number] = Page::Unused;
            }
            Some(Page::Slab(slab)) if within.is_multiple_of(SMALLEST << slab.class) => {
                let was_full = slab.is_full();
                let block = (within / (SMALLEST << slab.class)) as usize;
                if !slab.give(block) {
                    return;
                }
                let (shelf, class, allocation) = (slab.shelf, slab.class, slab.allocation);
                let partial = &mut self.partial[shelf as usize][class];
                if was_full {
                    partial.push(number as u32);
                } else if slab.is_empty() && partial.len() > 1 {
                    partial.retain(|&page| page as usize != number);
                    if shelf == Shelf::Window {
                        insist(self.region.protect(self.page_at(number as u32)));
                    }
                    self.runs.free(allocation);
                    self.pages[number] = Page::Unused;
                }
            }
            _ => return,
        }
        if offset == self.open.start {
            self.holds_result = false;
        }
    }

    /// The size of the largest block to be had, at least.
    pub(crate) fn available(&mut self) -> u64 {
        u64::from(self.runs.longest()) * PAGE_SIZE
    }

    /// What the arena takes now.
    pub(crate) fn usage(&self) -> ArenaUse {
        ArenaUse {
            in_use: u64::from(self.runs.in_use()) * PAGE_SIZE,
            committed: self.committed - self.range.start,
            huge: self.huge,
        }
    }

    /// Writes the report of a panic where the parent can read it.
    pub(crate) fn write_report(&mut self, report: &PanicReport) -> Option<Span> {
        let (offset, block) = self.allocate_on(Shelf::Window, REPORT_BYTES)?;
        // SAFETY: the block was just allocated with this size and nobody else knows it; its bytes
        // are initialised, by whoever used them before or by the kernel.
        let place = unsafe { slice::from_raw_parts_mut(block.as_ptr(), REPORT_BYTES) };
        report.encode(place);
        Some(Span {
            offset,
            size: REPORT_BYTES as u64,
        })
    }

    fn small(&mut self, shelf: Shelf, class: usize) -> Option<u64> {
        let page = match self.partial[shelf as usize][class].last() {
            Some(&page) => page,
            None => self.cut_page(shelf, class)?,
        };
        let Page::Slab(slab) = &mut self.pages[page as usize] else {
            return None;
        };
        let block = slab.take()?;
        if slab.is_full() {
            self.partial[shelf as usize][class].pop();
        }
        Some(self.page_at(page).start + block as u64 * (SMALLEST << class))
    }

    /// Makes an unused page one of blocks.
    fn cut_page(&mut self, shelf: Shelf, class: usize) -> Option<u32> {
        let allocation = self.runs.allocate(1)?;
        let page = self.page_at(allocation.offset);
        // What is open and free may be this page: `close` must not meet it later.
        if !self.holds_result {
            self.close();
        }
        let ready =
            self.commit(page.end) && (shelf == Shelf::Vault || self.region.unprotect(page).is_ok());
        if !ready {
            self.runs.free(allocation);
            return None;
        }
        let slab = Slab::new(allocation, shelf, class);
        self.note(allocation.offset, Page::Slab(slab));
        self.partial[shelf as usize][class].push(allocation.offset);
        Some(allocation.offset)
    }

    fn run(&mut self, size: u64) -> Option<u64> {
        let count = u32::try_from(size.div_ceil(PAGE_SIZE)).ok()?;
        let allocation = self.runs.allocate(count)?;
        let start = self.page_at(allocation.offset).start;
        if !self.commit(start + size) {
            self.runs.free(allocation);
            return None;
        }
        self.note(allocation.offset, Page::Run(allocation));
        Some(start)
    }

    fn note(&mut self, number: u32, page: Page) {
        let number = number as usize;
        if self.pages.len() <= number {
            self.pages.resize_with(number + 1, || Page::Unused);
        }
        self.pages[number] = page;
    }

    fn page_at(&self, number: u32) -> Range<u64> {
        let start = self.range.start + u64::from(number) * PAGE_SIZE;
        start..start + PAGE_SIZE
    }

    /// Has the kernel provide memory up to `end`; `false` when it has none.
    fn commit(&mut self, end: u64) -> bool {
        if end <= self.committed {
            return true;
        }
        let first_extent = self.range.start + EXTENT_BYTES;
        let small = end.next_multiple_of(COMMIT_STEP).min(first_extent);
        if self.committed < small {
            let fresh = self.committed..small;
            let provided = self.provide(fresh.clone(), |region| region.populate(fresh));
            if provided.is_none() {
                return false;
            }
            self.committed = small;
        }
        // A worker with larger results gets huge pages for them.
        let goal = end.next_multiple_of(EXTENT_BYTES).min(self.range.end);
        if end > first_extent {
            let fresh = self.committed..goal;
            let Some(huge) = self.provide(fresh.clone(), |region| region.commit(fresh)) else {
                return false;
            };
            self.huge += huge;
            self.committed = goal;
        }
        end <= self.committed
    }

    /// Memory is provided where it may be written; afterwards it is read-only again.
    fn provide<T>(
        &self,
        fresh: Range<u64>,
        commit: impl FnOnce(&Region) -> Result<T, SysError>,
    ) -> Option<T> {
        let provided = self.region.unprotect(fresh.clone());
        let provided = provided.and_then(|()| commit(self.region));
        insist(self.region.protect(fresh));
        provided.ok()
    }

    /// Frees what the parent has given back since the last time.
    fn take_back(&mut self) {
        let freed = self.freed;
        freed.take(|offset| self.release(offset));
        self.end_those_elsewhere();
    }
}
