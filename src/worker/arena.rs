//! A worker's own memory for results: only it writes here, only it allocates here.
//!
//! Results of 32 KiB and more take runs of 64 KiB pages; smaller ones share a page with others of
//! their power of two. All of this bookkeeping is private to the worker. Readers give blocks back
//! through the stack of `protocol::freed`; the worker takes the whole of it when it
//! allocates. When the worker dies, the bookkeeping dies with it and the parent frees the arena as
//! one, once nobody reads a result in it any more.

#![expect(unsafe_code, reason = "views a fresh block as bytes")]

use core::error::Error;
use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;
use core::slice;

use offset_allocator::{Allocation, Allocator};

use crate::memory::region::{EXTENT_BYTES, Region};
use crate::primitive::atomic::Ordering;
use crate::protocol::control::WorkerRecord;
use crate::protocol::freed::{ARENA_HEADER_SIZE, Freed};
use crate::protocol::gauge::ArenaUse;
use crate::protocol::panic::{PanicReport, REPORT_BYTES};
use crate::protocol::range::Span;

const PAGE_SIZE: u64 = 64 << 10;
const SMALLEST: u64 = 64;
/// Blocks of 64 bytes to 32 KiB.
const CLASSES: usize = 10;
/// How much is committed at a time, so that small results rarely meet the kernel.
const COMMIT_STEP: u64 = 256 << 10;
/// Runs and slabs that may live at once; 64 Ki pages make 4 GiB.
const MOST_RUNS: u32 = 64 << 10;

/// What a 64 KiB page of the arena is used for.
enum Page {
    Unused,
    /// The first page of a run that is one block.
    Run(Allocation),
    /// Many blocks of one size class.
    Slab(Slab),
}

/// A page cut into blocks of one size; a set bit is a free block.
struct Slab {
    allocation: Allocation,
    class: usize,
    free: [u64; (PAGE_SIZE / SMALLEST / 64) as usize],
}

impl Slab {
    const fn blocks(class: usize) -> usize {
        (PAGE_SIZE / (SMALLEST << class)) as usize
    }

    fn new(allocation: Allocation, class: usize) -> Self {
        let mut free = [0; (PAGE_SIZE / SMALLEST / 64) as usize];
        for block in 0..Self::blocks(class) {
            free[block / 64] |= 1 << (block % 64);
        }
        Self {
            allocation,
            class,
            free,
        }
    }

    fn take(&mut self) -> Option<usize> {
        let word = self.free.iter().position(|&word| word != 0)?;
        let bit = self.free[word].trailing_zeros() as usize;
        self.free[word] &= self.free[word] - 1;
        Some(word * 64 + bit)
    }

    /// Frees a block; `false` if it was free already or does not exist.
    fn give(&mut self, block: usize) -> bool {
        let fresh =
            block < Self::blocks(self.class) && self.free[block / 64] >> (block % 64) & 1 == 0;
        if fresh {
            self.free[block / 64] |= 1 << (block % 64);
        }
        fresh
    }

    fn is_full(&self) -> bool {
        self.free.iter().all(|&word| word == 0)
    }

    fn is_empty(&self) -> bool {
        let free: u32 = self.free.iter().map(|word| word.count_ones()).sum();
        free as usize == Self::blocks(self.class)
    }
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
    committed: u64,
    /// Of that, in huge pages.
    huge: u64,
    runs: Allocator,
    pages: Vec<Page>,
    /// Pages of each class that have a free block.
    partial: [Vec<u32>; CLASSES],
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
    pub(crate) fn attach(
        region: &'a Region,
        record: &'a WorkerRecord,
    ) -> Result<Self, Box<dyn Error>> {
        // ORDERING: Relaxed; the parent wrote both before it created this process.
        let offset = record.arena_offset.load(Ordering::Relaxed);
        let size = record.arena_size.load(Ordering::Relaxed);
        let range = offset..offset.saturating_add(size);
        region.unprotect(range.clone())?;
        region.populate(offset..offset + ARENA_HEADER_SIZE)?;
        let span = Span { offset, size };
        let freed = Freed::of(region, span).ok_or(OutsideRegion)?;
        let pages = (size / PAGE_SIZE) as u32;
        let mut runs = Allocator::with_max_allocs(pages, pages.clamp(1, MOST_RUNS));
        // The first page holds the head of the freed stack.
        let _ = runs.allocate((ARENA_HEADER_SIZE / PAGE_SIZE) as u32);
        Ok(Self {
            region,
            freed,
            committed: offset + ARENA_HEADER_SIZE,
            huge: 0,
            runs,
            pages: (0..pages).map(|_| Page::Unused).collect(),
            partial: Default::default(),
            range,
        })
    }

    /// A committed block of at least `size` bytes, 64-byte aligned, and its offset in the region.
    pub(crate) fn allocate(&mut self, size: usize) -> Option<(u64, NonNull<u8>)> {
        self.take_back();
        let size = (size as u64).max(SMALLEST);
        let class = (size.next_power_of_two() / SMALLEST).trailing_zeros() as usize;
        let offset = if class < CLASSES {
            self.small(class)
        } else {
            self.run(size)
        }?;
        if !self.commit(offset + size) {
            self.release(offset);
            return None;
        }
        let block = self.region.pointer(offset, usize::try_from(size).ok()?)?;
        Some((offset, block))
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
                let (class, allocation) = (slab.class, slab.allocation);
                let partial = &mut self.partial[class];
                if was_full {
                    partial.push(number as u32);
                } else if slab.is_empty() && partial.len() > 1 {
                    partial.retain(|&page| page as usize != number);
                    self.runs.free(allocation);
                    self.pages[number] = Page::Unused;
                }
            }
            _ => {}
        }
    }

    /// The size of the largest block to be had, at least.
    pub(crate) fn available(&self) -> u64 {
        u64::from(self.runs.storage_report().largest_free_region) * PAGE_SIZE
    }

    /// What the arena takes now.
    pub(crate) fn usage(&self) -> ArenaUse {
        let pages = self.pages.len() as u64;
        let free = u64::from(self.runs.storage_report().total_free_space);
        ArenaUse {
            in_use: pages.saturating_sub(free) * PAGE_SIZE,
            committed: self.committed - self.range.start,
            huge: self.huge,
        }
    }

    /// Writes the report of a panic where the parent can read it.
    pub(crate) fn write_report(&mut self, report: &PanicReport) -> Option<Span> {
        let (offset, block) = self.allocate(REPORT_BYTES)?;
        // SAFETY: the block was just allocated with this size and nobody else knows it; its bytes
        // are initialised, by whoever used them before or by the kernel.
        let place = unsafe { slice::from_raw_parts_mut(block.as_ptr(), REPORT_BYTES) };
        report.encode(place);
        Some(Span {
            offset,
            size: REPORT_BYTES as u64,
        })
    }

    fn small(&mut self, class: usize) -> Option<u64> {
        let page = match self.partial[class].last() {
            Some(&page) => page,
            None => {
                let allocation = self.runs.allocate(1)?;
                self.pages[allocation.offset as usize] = Page::Slab(Slab::new(allocation, class));
                self.partial[class].push(allocation.offset);
                allocation.offset
            }
        };
        let Page::Slab(slab) = &mut self.pages[page as usize] else {
            return None;
        };
        let block = slab.take()?;
        if slab.is_full() {
            self.partial[class].pop();
        }
        Some(self.range.start + u64::from(page) * PAGE_SIZE + block as u64 * (SMALLEST << class))
    }

    fn run(&mut self, size: u64) -> Option<u64> {
        let allocation = self
            .runs
            .allocate(u32::try_from(size.div_ceil(PAGE_SIZE)).ok()?)?;
        self.pages[allocation.offset as usize] = Page::Run(allocation);
        Some(self.range.start + u64::from(allocation.offset) * PAGE_SIZE)
    }

    /// Has the kernel provide memory up to `end`; `false` when it has none.
    fn commit(&mut self, end: u64) -> bool {
        if end <= self.committed {
            return true;
        }
        let first_extent = self.range.start + EXTENT_BYTES;
        let small = end.next_multiple_of(COMMIT_STEP).min(first_extent);
        if self.committed < small {
            if self.region.populate(self.committed..small).is_err() {
                return false;
            }
            self.committed = small;
        }
        // A worker with larger results gets huge pages for them.
        let goal = end.next_multiple_of(EXTENT_BYTES).min(self.range.end);
        if end > first_extent {
            let Ok(huge) = self.region.commit(self.committed..goal) else {
                return false;
            };
            self.huge += huge;
            self.committed = goal;
        }
        end <= self.committed
    }

    /// Frees what the parent has given back since the last time.
    fn take_back(&mut self) {
        let freed = self.freed;
        freed.take(|offset| self.release(offset));
    }
}
