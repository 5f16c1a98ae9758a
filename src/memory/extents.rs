//! Which extents are handed out, committed or warm: the books, without a system call.
//!
//! An extent is in one of these states (`u` used, `c` committed):
//!
//! ```text
//!   cold --  no memory, reads as zero ------ take ----> u-  being committed, or only reserved
//!    ^                                                   | settle
//!    | chill (after a punch)                             v
//!   warm -c  memory, unknown bytes <---- release ------ uc  in a buffer
//!            `-------------- take ------------------------^
//! ```

use std::fmt;
use std::ops::Range;

use offset_allocator::{Allocation, Allocator, ext::min_allocator_size};

const USED: u8 = 1;
const COMMITTED: u8 = 2;
const HUGE: u8 = 4;

/// The most runs at a time; bounds the allocator's tables to about 1 MiB.
const RUNS: u32 = 1 << 15;

/// Consecutive extents, handed out together. Whoever holds it gives it back by
/// [`Extents::release`].
pub(crate) struct Run {
    first: u32,
    count: u32,
    allocation: Allocation<u32>,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Run({:?})", self.extents())
    }
}

impl Run {
    /// The indices of the extents.
    pub(crate) fn extents(&self) -> Range<u32> {
        self.first..self.first + self.count
    }
}

/// Numbers of extents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Having memory: used ones and warm ones.
    pub(crate) committed: u32,
    /// Having memory and free.
    pub(crate) warm: u32,
    /// Having memory in one huge page.
    pub(crate) huge: u32,
    /// Handed out, with memory or without.
    pub(crate) used: u32,
}

/// The books of all extents of an area.
pub(crate) struct Extents {
    allocator: Allocator<u32>,
    /// The flags of each extent.
    states: Vec<u8>,
    /// One past the last extent ever used, so that searches end early in a sparse area.
    high_water: usize,
    counts: Counts,
}

impl fmt::Debug for Extents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extents")
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl Extents {
    /// `count` cold extents.
    pub(crate) fn new(count: u32) -> Self {
        // A run and the hole behind it take a node each.
        let nodes = count.saturating_mul(2).saturating_add(2).min(RUNS);
        Self {
            allocator: Allocator::with_max_allocs(count, nodes),
            states: vec![0; count as usize],
            high_water: 0,
            counts: Counts::default(),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// The longest run that [`Extents::take`] is sure to find.
    pub(crate) fn longest_free(&self) -> u32 {
        self.allocator.storage_report().largest_free_region
    }

    /// Hands out `count` > 0 extents. Holes are used before untouched space, so what is warm is
    /// met again. `None`: no hole is long enough.
    pub(crate) fn take(&mut self, count: u32) -> Option<Run> {
        // Also keeps the rounding below from overflowing.
        if count as usize > self.states.len() {
            return None;
        }
        // Address space is cheap: a run takes up the size of a bin of the allocator, because a
        // hole is only ever found for a request that its bin's lower bound can hold. Otherwise a
        // run of 257 extents, freed, would not be found again for 257.
        let room = min_allocator_size(count);
        let allocation = self
            .allocator
            .allocate(room)
            .or_else(|| self.allocator.allocate(count))?;
        let first = allocation.offset;
        let run = Run {
            first,
            count,
            allocation,
        };
        for state in slice_of(&mut self.states, run.extents()) {
            debug_assert_eq!(*state & USED, 0, "an extent is handed out twice");
            self.counts.warm -= u32::from(*state & COMMITTED != 0);
            *state |= USED;
        }
        self.counts.used += count;
        self.high_water = self.high_water.max(run.extents().end as usize);
        Some(run)
    }

    /// The parts of `run` that have no memory and read as zero.
    pub(crate) fn cold_parts(&self, run: &Run) -> Vec<Range<u32>> {
        self.matching(run.extents(), |state| state & COMMITTED == 0)
            .collect()
    }

    /// The parts of `run` that have memory.
    pub(crate) fn committed_parts(&self, run: &Run) -> Vec<Range<u32>> {
        self.matching(run.extents(), |state| state & COMMITTED != 0)
            .collect()
    }

    /// Counts `extents`, cold and used, as committed; done before they get their memory, so that
    /// nobody else plans with it.
    pub(crate) fn settle(&mut self, extents: Range<u32>) {
        self.counts.committed += extents.end - extents.start;
        for state in slice_of(&mut self.states, extents) {
            debug_assert_eq!(*state, USED);
            *state |= COMMITTED;
        }
    }

    /// Notes that `extents`, just settled, are `huge`.
    pub(crate) fn mark_huge(&mut self, extents: Range<u32>) {
        self.counts.huge += extents.end - extents.start;
        for state in slice_of(&mut self.states, extents) {
            *state |= HUGE;
        }
    }

    /// Notes that `extents` were punched.
    pub(crate) fn chill(&mut self, extents: Range<u32>) {
        for state in slice_of(&mut self.states, extents) {
            let had = |flag| u32::from(*state & flag != 0);
            self.counts.committed -= had(COMMITTED);
            self.counts.huge -= had(HUGE);
            self.counts.warm -= had(COMMITTED) & (1 - had(USED));
            *state &= USED;
        }
    }

    /// Takes `run` back; what of it is committed is warm from now on.
    pub(crate) fn release(&mut self, run: Run) {
        for state in slice_of(&mut self.states, run.extents()) {
            debug_assert_ne!(*state & USED, 0, "an extent is given back twice");
            *state &= !USED;
            self.counts.warm += u32::from(*state & COMMITTED != 0);
        }
        self.counts.used -= run.count;
        self.allocator.free(run.allocation);
    }

    /// Warm extents to punch, `count` in all or all there are. Those of `newest`, which may soon be
    /// wanted again, come last; otherwise the highest addresses come first, which keeps what is
    /// warm together.
    pub(crate) fn victims(&self, count: u32, newest: Range<u32>) -> Vec<Range<u32>> {
        let warm = |state: u8| state & (USED | COMMITTED) == COMMITTED;
        let high_water = u32::try_from(self.high_water).unwrap_or(u32::MAX);
        let newest = newest.start.min(high_water)..newest.end.min(high_water);
        let mut chosen = Vec::new();
        let mut missing = count;
        for zone in [newest.end..high_water, 0..newest.start, newest] {
            if missing == 0 {
                break;
            }
            let parts: Vec<_> = self.matching(zone, warm).collect();
            for part in parts.into_iter().rev() {
                let start = part.end - missing.min(part.end - part.start);
                missing -= part.end - start;
                if start < part.end {
                    chosen.push(start..part.end);
                }
            }
        }
        chosen
    }

    /// The maximal ranges within `extents` whose states are all `wanted`.
    fn matching(
        &self,
        extents: Range<u32>,
        wanted: impl Fn(u8) -> bool + Copy,
    ) -> impl Iterator<Item = Range<u32>> {
        let mut next = extents.start;
        std::iter::from_fn(move || {
            let state = |index: &u32| self.states[*index as usize];
            let start = (next..extents.end).find(|index| wanted(state(index)))?;
            let end = (start..extents.end).find(|index| !wanted(state(index)));
            next = end.unwrap_or(extents.end);
            Some(start..next)
        })
    }
}

/// How many extents `parts` have.
pub(crate) fn total(parts: &[Range<u32>]) -> u32 {
    parts.iter().map(|part| part.end - part.start).sum()
}

fn slice_of(states: &mut [u8], extents: Range<u32>) -> &mut [u8] {
    &mut states[extents.start as usize..extents.end as usize]
}
