//! The heap: hands out blocks of the region, commits them first, keeps them warm afterwards.
//!
//! The books are private to the parent. Large blocks are runs of whole extents; small ones are
//! pieces of spans, which are extents themselves: packed for what workers only read, in pages of
//! their own for buffers, which a worker may be allowed to write.
//! Two locks: `small` may be held while `large` is taken, never the reverse. Neither is held
//! while memory is committed, but for a span's.

#![expect(unsafe_code, reason = "zeroes recycled memory")]

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;

use super::block::{Block, Place};
use super::extents::{Counts, Extents, Run, total};
use super::limit::{AllocError, MemoryLimit, OutOfMemory};
use super::region::{EXTENT_BYTES, Region};
use super::span::{Families, Family, GRANULE_BYTES};
use super::stats::MemoryStats;
use crate::sys::cpu;
use crate::sys::failure::SysError;
use crate::sys::map::{ForkMark, HUGE_PAGE_BYTES};

/// Blocks from this size on are made of whole extents.
pub(crate) const LARGE_BYTES: usize = 1 << 20;

/// How much memory a heap may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeapLimits {
    /// The most bytes committed at a time, those kept warm included.
    pub(crate) budget: u64,
    /// The most bytes kept committed for later when they are given back.
    pub(crate) keep_warm: u64,
}

/// What a block's bytes are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// Zeroes, or what an earlier owner left.
    Any,
    /// Zeroes.
    Zeroed,
}

#[derive(Debug)]
struct LargeState {
    extents: Extents,
    in_use: u64,
    reserved: u64,
}

#[derive(Debug)]
struct SmallState {
    families: Families,
    in_use: u64,
}

/// The allocator of the parent over an area of its region.
#[derive(Debug)]
pub(crate) struct Heap {
    region: Arc<Region>,
    /// Where extent 0 starts.
    start: u64,
    budget: u32,
    keep_warm: u32,
    large: Mutex<LargeState>,
    small: Mutex<SmallState>,
    origin: ForkMark,
}

impl Heap {
    /// A heap over the whole extents in `area` of `region`, which nobody else may use.
    ///
    /// # Panics
    /// If `area` is not inside the region.
    pub(crate) fn new(
        region: Arc<Region>,
        area: Range<u64>,
        limits: HeapLimits,
    ) -> Result<Arc<Self>, SysError> {
        assert!(
            area.start <= area.end && area.end <= region.size(),
            "an area of the region"
        );
        let start = area.start.next_multiple_of(EXTENT_BYTES);
        let extents = whole_extents(area.end.saturating_sub(start));
        Ok(Arc::new(Self {
            region,
            start,
            budget: whole_extents(limits.budget),
            keep_warm: whole_extents(limits.keep_warm),
            large: Mutex::new(LargeState {
                extents: Extents::new(extents),
                in_use: 0,
                reserved: 0,
            }),
            small: Mutex::new(SmallState {
                families: Families::new(),
                in_use: 0,
            }),
            origin: ForkMark::new()?,
        }))
    }

    /// The region that the blocks are in.
    pub(crate) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Whether this is the process that made the heap, and no child that it forked.
    pub(crate) fn is_home(&self) -> bool {
        self.origin.is_here()
    }

    /// A block of `size` bytes at a multiple of `align` (and of 64), with memory behind it, in
    /// pages that no other block has a part in.
    ///
    /// A small block takes less than a tenth of a microsecond, a large one that is warm about one;
    /// a cold one is committed first, in 120 to 170 ms/GiB. No bytes need no memory.
    pub(crate) fn allocate(
        self: &Arc<Self>,
        size: usize,
        align: usize,
        contents: Contents,
    ) -> Result<Block, AllocError> {
        self.allocate_of(Family::Paged, size, align, contents)
    }

    /// As [`Heap::allocate`], side by side with others of its kind, and with any contents: for what
    /// workers only read.
    pub(crate) fn allocate_packed(
        self: &Arc<Self>,
        size: usize,
        align: usize,
    ) -> Result<Block, AllocError> {
        self.allocate_of(Family::Packed, size, align, Contents::Any)
    }

    fn allocate_of(
        self: &Arc<Self>,
        family: Family,
        size: usize,
        align: usize,
        contents: Contents,
    ) -> Result<Block, AllocError> {
        if !align.is_power_of_two() || align > HUGE_PAGE_BYTES {
            return Err(AllocError::Alignment { wanted: align });
        }
        if !self.origin.is_here() {
            return Err(AllocError::Forked);
        }
        if size == 0 && align <= GRANULE_BYTES {
            return Ok(Block::empty());
        }
        let attempt = || {
            // What a granule may have to be moved on by.
            let padding = align.saturating_sub(family.granule_bytes());
            match size.saturating_add(padding) {
                padded if padded < LARGE_BYTES => {
                    let block = self.allocate_small(family, size, align, padded)?;
                    if contents == Contents::Zeroed {
                        // SAFETY: the block is ours alone and committed.
                        unsafe { block.as_ptr().write_bytes(0, size) };
                    }
                    Ok(block)
                }
                _ => self.allocate_large(size, contents),
            }
        };
        attempt().or_else(|refusal| match refusal {
            // Spans kept for the next small block may be what is lacking.
            AllocError::OutOfMemory(_) if self.release_spans() => attempt(),
            _ => Err(refusal),
        })
    }

    /// Address space for `size` bytes, without memory: whoever writes there commits first. Reads as
    /// zero. Takes nothing of the budget.
    pub(crate) fn reserve(self: &Arc<Self>, size: usize) -> Result<Block, AllocError> {
        if !self.origin.is_here() {
            return Err(AllocError::Forked);
        }
        let count = extents_for(size.max(1))?;
        let mut large = lock(&self.large);
        let run = large
            .extents
            .take(count)
            .ok_or_else(|| no_room(&large.extents, size))?;
        for part in large.extents.committed_parts(&run) {
            match self.region.punch(self.bytes_of(&part)) {
                Ok(()) => large.extents.chill(part),
                Err(failure) => {
                    large.extents.release(run);
                    return Err(failure.into());
                }
            }
        }
        large.reserved += size as u64;
        drop(large);
        let offset = self.bytes_of(&run.extents()).start;
        Ok(self.block(Place::Reserved(run), offset, size))
    }

    /// What is taken and given at this moment.
    pub(crate) fn stats(&self) -> MemoryStats {
        let small = lock(&self.small).in_use;
        let large = lock(&self.large);
        let Counts {
            committed,
            warm,
            huge,
            ..
        } = large.extents.counts();
        MemoryStats {
            budget: bytes(self.budget),
            in_use: small + large.in_use,
            reserved: large.reserved,
            committed: bytes(committed),
            warm: bytes(warm),
            huge: bytes(huge),
            // An estimate that the kernel refuses is no reason to fail.
            resident: self.region.resident().unwrap_or(0),
        }
    }

    /// Gives everything that is free back to the kernel.
    pub(crate) fn trim(&self) {
        if !self.origin.is_here() {
            return;
        }
        self.release_spans();
        let mut large = lock(&self.large);
        let warm = large.extents.counts().warm;
        self.evict(&mut large.extents, warm, 0..0);
    }

    /// Gives back the spans that nothing is in; says whether there were any.
    fn release_spans(&self) -> bool {
        let empty = lock(&self.small).families.trim();
        let found = !empty.is_empty();
        for run in empty {
            self.give_back(&mut lock(&self.large), run);
        }
        found
    }

    fn allocate_small(
        self: &Arc<Self>,
        family: Family,
        size: usize,
        align: usize,
        padded: usize,
    ) -> Result<Block, AllocError> {
        // Less than LARGE_BYTES, so this fits.
        let granules = padded.div_ceil(family.granule_bytes()).max(1) as u16;
        let mut small = lock(&self.small);
        let piece = match small.families.spans(family).allocate(granules) {
            Some(found) => found,
            None => {
                let (run, _) = self.take_run(1, size)?;
                small.families.spans(family).add(run);
                small
                    .families
                    .spans(family)
                    .allocate(granules)
                    .expect("an empty span has room for a small block")
            }
        };
        small.in_use += size as u64;
        drop(small);
        let offset = (self.start + piece.offset()).next_multiple_of(align as u64);
        Ok(self.block(Place::Piece(piece), offset, size))
    }

    fn allocate_large(
        self: &Arc<Self>,
        size: usize,
        contents: Contents,
    ) -> Result<Block, AllocError> {
        let (run, cold) = self.take_run(extents_for(size)?, size)?;
        lock(&self.large).in_use += size as u64;
        let area = self.bytes_of(&run.extents());
        let block = self.block(Place::Run(run), area.start, size);
        if contents == Contents::Zeroed {
            let end = area.start + size as u64;
            let mut dirty = area.start;
            // What was cold is zero already; between and behind, earlier owners left their bytes.
            let behind = std::iter::once(area.end..area.end);
            for part in cold.iter().map(|part| self.bytes_of(part)).chain(behind) {
                let stop = part.start.min(end);
                if dirty < stop {
                    let length = (stop - dirty) as usize;
                    let start = self
                        .region
                        .pointer(dirty, length)
                        .expect("a part of the block");
                    // SAFETY: a part of the block, which is ours alone and committed.
                    unsafe { start.write_bytes(0, length) };
                }
                dirty = part.end;
            }
        }
        Ok(block)
    }

    fn block(self: &Arc<Self>, place: Place, offset: u64, size: usize) -> Block {
        let pointer = self
            .region
            .pointer(offset, size)
            .expect("the area is in the region");
        Block {
            heap: Some(Arc::clone(self)),
            place,
            pointer,
            offset,
            size,
        }
    }

    /// Takes a block's memory back. In a forked child nothing happens: the memory is the parent's.
    pub(super) fn free(&self, place: Place, size: usize) {
        if !self.origin.is_here() {
            return;
        }
        match place {
            Place::Nowhere => {}
            Place::Piece(piece) => {
                let mut small = lock(&self.small);
                small.in_use -= size as u64;
                let empty = small.families.spans(piece.family()).free(piece);
                drop(small);
                if let Some(run) = empty {
                    self.give_back(&mut lock(&self.large), run);
                }
            }
            Place::Run(run) => {
                let mut large = lock(&self.large);
                large.in_use -= size as u64;
                self.give_back(&mut large, run);
            }
            Place::Reserved(run) => {
                // Others wrote there, so a run that cannot be emptied is dirty without the books
                // knowing it, and must never be handed out again.
                let emptied = self.region.punch(self.bytes_of(&run.extents())).is_ok();
                let mut large = lock(&self.large);
                large.reserved -= size as u64;
                if emptied {
                    large.extents.release(run);
                }
            }
        }
    }

    fn give_back(&self, large: &mut LargeState, run: Run) {
        let extents = run.extents();
        large.extents.release(run);
        let excess = large.extents.counts().warm.saturating_sub(self.keep_warm);
        self.evict(&mut large.extents, excess, extents);
    }

    /// A run of `count` extents with memory, and the parts of it that were cold (and are zero).
    fn take_run(&self, count: u32, size: usize) -> Result<(Run, Vec<Range<u32>>), AllocError> {
        loop {
            let (run, cold) = self.plan_run(count, size)?;
            match self.commit(&cold) {
                Ok(()) => return Ok((run, cold)),
                Err(failure) => {
                    let mut large = lock(&self.large);
                    for part in cold {
                        // Punching frees memory and needs none. Were it to fail, the extents would
                        // stay committed, which the books say and the budget counts.
                        if self.region.punch(self.bytes_of(&part)).is_ok() {
                            large.extents.chill(part);
                        }
                    }
                    large.extents.release(run);
                    // What is warm may be what the machine lacks.
                    let warm = large.extents.counts().warm;
                    let freed = self.evict(&mut large.extents, warm, 0..0);
                    if freed == 0 {
                        return Err(refusal(failure, size));
                    }
                }
            }
        }
    }

    /// Finds a run, makes room for it in the budget, and counts it as committed. Says which parts
    /// of it still are to be.
    fn plan_run(&self, count: u32, size: usize) -> Result<(Run, Vec<Range<u32>>), AllocError> {
        let mut large = lock(&self.large);
        let extents = &mut large.extents;
        let Counts {
            committed, warm, ..
        } = extents.counts();
        let available = self.budget.saturating_sub(committed - warm);
        let over_budget = OutOfMemory {
            wanted: size as u64,
            available: bytes(available),
            limit: MemoryLimit::Budget,
        };
        if count > available {
            return Err(over_budget.into());
        }
        let run = extents.take(count).ok_or_else(|| no_room(extents, size))?;
        let cold = extents.cold_parts(&run);
        let excess = (extents.counts().committed + total(&cold)).saturating_sub(self.budget);
        // All that is warm suffices, or `available` would be too little; but the kernel may refuse
        // to take it.
        if self.evict(extents, excess, 0..0) < excess {
            extents.release(run);
            return Err(over_budget.into());
        }
        for part in &cold {
            extents.settle(part.clone());
        }
        Ok((run, cold))
    }

    /// Commits `parts`, settled before, outside the locks.
    fn commit(&self, parts: &[Range<u32>]) -> Result<(), SysError> {
        if parts.is_empty() {
            return Ok(());
        }
        // Asked first, because the kernel would rather kill somebody than refuse a page.
        if bytes(total(parts)) > cpu::memory_available() {
            return Err(SysError::of("commit shared memory")(Errno::ENOMEM));
        }
        for part in parts {
            let huge = whole_extents(self.region.commit(self.bytes_of(part))?);
            // Which of them became huge does not matter to a sum.
            lock(&self.large)
                .extents
                .mark_huge(part.start..part.start + huge);
        }
        Ok(())
    }

    /// Gives up to `count` warm extents back to the kernel, `newest` last; says how many. The lock
    /// stays taken (3 ms/GiB in huge pages), so that nobody is handed what is being emptied.
    fn evict(&self, extents: &mut Extents, count: u32, newest: Range<u32>) -> u32 {
        let mut evicted = 0;
        for part in extents.victims(count, newest) {
            if self.region.punch(self.bytes_of(&part)).is_ok() {
                evicted += part.end - part.start;
                extents.chill(part);
            }
        }
        evicted
    }

    /// Where `extents` are in the region.
    fn bytes_of(&self, extents: &Range<u32>) -> Range<u64> {
        self.start + bytes(extents.start)..self.start + bytes(extents.end)
    }
}

/// The books are consistent between any two statements that can panic, so a poisoned lock is good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bytes(extents: u32) -> u64 {
    u64::from(extents) * EXTENT_BYTES
}

fn whole_extents(bytes: u64) -> u32 {
    u32::try_from(bytes / EXTENT_BYTES).unwrap_or(u32::MAX)
}

/// How many extents hold `size` bytes, or that no region has as many.
fn extents_for(size: usize) -> Result<u32, OutOfMemory> {
    u32::try_from((size as u64).div_ceil(EXTENT_BYTES)).map_err(|_| OutOfMemory {
        wanted: size as u64,
        available: bytes(u32::MAX),
        limit: MemoryLimit::AddressSpace,
    })
}

fn no_room(extents: &Extents, size: usize) -> OutOfMemory {
    OutOfMemory {
        wanted: size as u64,
        available: bytes(extents.longest_free()),
        limit: MemoryLimit::AddressSpace,
    }
}

/// What it means for an allocation of `size` bytes that committing failed.
fn refusal(failure: SysError, size: usize) -> AllocError {
    match failure.errno {
        Errno::ENOMEM | Errno::EFAULT | Errno::ENOSPC => AllocError::OutOfMemory(OutOfMemory {
            wanted: size as u64,
            available: cpu::memory_available(),
            limit: MemoryLimit::Machine,
        }),
        _ => AllocError::System(failure),
    }
}
