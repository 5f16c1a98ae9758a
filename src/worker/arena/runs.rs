//! Which runs of pages are handed out.
//!
//! The tables for this take two megabytes, and a worker whose results fit the blocks beside the
//! slots never needs them: they are made for the first result that does not. To fill them takes
//! longer than a process takes to start otherwise, and a worker that is recycled starts often.

use offset_allocator::{Allocation, Allocator};

/// Runs and slabs that may live at once; 64 Ki pages make 4 GiB.
const MOST: u32 = 64 << 10;

/// The books on runs.
pub(super) struct Runs {
    pages: u32,
    /// Pages at the beginning that are no run.
    reserved: u32,
    allocator: Option<Allocator>,
}

impl Runs {
    /// So many pages, of which the first are `reserved`.
    pub(super) const fn new(pages: u32, reserved: u32) -> Self {
        Self {
            pages,
            reserved,
            allocator: None,
        }
    }

    fn allocator(&mut self) -> &mut Allocator {
        self.allocator.get_or_insert_with(|| {
            let mut fresh = Allocator::with_max_allocs(self.pages, self.pages.clamp(1, MOST));
            let _ = fresh.allocate(self.reserved);
            fresh
        })
    }

    /// A run of `count` pages.
    pub(super) fn allocate(&mut self, count: u32) -> Option<Allocation> {
        self.allocator().allocate(count)
    }

    /// Takes a run back.
    pub(super) fn free(&mut self, run: Allocation) {
        self.allocator().free(run);
    }

    /// How many pages the longest run to be had has, at least.
    pub(super) fn longest(&mut self) -> u32 {
        self.allocator().storage_report().largest_free_region
    }

    /// How many pages are reserved or handed out.
    pub(super) fn in_use(&self) -> u32 {
        let Some(allocator) = &self.allocator else {
            return self.reserved.min(self.pages);
        };
        let free = allocator.storage_report().total_free_space;
        self.pages.saturating_sub(free)
    }
}
