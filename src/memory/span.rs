//! Small blocks: granules out of spans of one extent each.
//!
//! There are two families of spans. Packed blocks, which workers only ever read, are multiples of
//! 64 bytes. Paged blocks are whole pages: a worker is given the right to write one of them, or
//! that right is taken from it, and no other block is concerned.

use std::fmt;

use offset_allocator::{Allocation, Allocator};

use super::extents::Run;
use super::region::{EXTENT_BYTES, PAGE_BYTES};

/// What packed blocks are multiples of, and all small blocks are aligned to: a cache line.
pub(crate) const GRANULE_BYTES: usize = 64;

/// The most blocks in a span, and the holes between them; bounds its tables to 180 KiB. A span of
/// packed blocks below 256 bytes is full before its memory is.
const BLOCKS: u32 = 8192;

const _: () = assert!(
    EXTENT_BYTES / GRANULE_BYTES as u64 <= u16::MAX as u64,
    "offsets in a span are 16 bits wide"
);
const _: () = assert!(
    BLOCKS < u16::MAX as u32 - 1,
    "indices of blocks are 16 bits wide"
);

/// What the blocks of a span have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Side by side in cache lines: workers only ever read them.
    Packed,
    /// In pages of their own: workers may be allowed to write them.
    Paged,
}

impl Family {
    /// What the blocks are multiples of, and aligned to.
    pub(crate) const fn granule_bytes(self) -> usize {
        match self {
            Self::Packed => GRANULE_BYTES,
            Self::Paged => PAGE_BYTES as usize,
        }
    }

    const fn granules(self) -> u32 {
        (EXTENT_BYTES / self.granule_bytes() as u64) as u32
    }

    /// The most blocks and holes of a span.
    fn blocks(self) -> u32 {
        self.granules().saturating_mul(2).min(BLOCKS)
    }
}

/// Blocks of up to this many granules are worth remembering when they are given back.
const RECENT_GRANULES: usize = 64;

/// How many blocks of one size are remembered.
const RECENT_BLOCKS: usize = 64;

/// A block within a span.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    family: Family,
    offset: u64,
    span: u32,
    granules: u16,
    allocation: Allocation<u16>,
}

impl Piece {
    /// The spans that the block is of.
    pub(crate) fn family(&self) -> Family {
        self.family
    }

    /// Where the block starts in the area.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Piece({} {:?} granules at {} in span {})",
            self.granules, self.family, self.offset, self.span
        )
    }
}

struct Span {
    allocator: Allocator<u16>,
    run: Run,
    blocks: u32,
    /// A number of granules that was not to be had since the last block was given back; asking for
    /// as many again is in vain.
    refused: u16,
}

/// All spans of a family, of which at most one stays empty.
pub(crate) struct Spans {
    family: Family,
    spans: Vec<Option<Span>>,
    /// Where a block was found last.
    current: usize,
    empty: Option<usize>,
    /// Blocks given back lately, by their granules less one: they are handed out again as they are,
    /// in a tenth of the time that merging and splitting holes takes. Their span has them in use.
    recent: [Vec<Piece>; RECENT_GRANULES],
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spans")
            .field("spans", &self.spans.len())
            .finish_non_exhaustive()
    }
}

/// The spans of both families.
#[derive(Debug)]
pub(crate) struct Families {
    packed: Spans,
    paged: Spans,
}

impl Families {
    /// No span yet.
    pub(crate) fn new() -> Self {
        Self {
            packed: Spans::new(Family::Packed),
            paged: Spans::new(Family::Paged),
        }
    }

    pub(crate) fn spans(&mut self, family: Family) -> &mut Spans {
        match family {
            Family::Packed => &mut self.packed,
            Family::Paged => &mut self.paged,
        }
    }

    /// As [`Spans::trim`], of both.
    pub(crate) fn trim(&mut self) -> Vec<Run> {
        let mut runs = self.packed.trim();
        runs.extend(self.paged.trim());
        runs
    }
}

impl Spans {
    /// No span yet.
    fn new(family: Family) -> Self {
        let recent = [const { Vec::new() }; RECENT_GRANULES];
        Self {
            family,
            spans: Vec::new(),
            current: 0,
            empty: None,
            recent,
        }
    }

    /// A block of `granules` > 0, or `None` if no span has room.
    pub(crate) fn allocate(&mut self, granules: u16) -> Option<Piece> {
        let recent = self
            .recent
            .get_mut(usize::from(granules) - 1)
            .and_then(Vec::pop);
        recent
            .or_else(|| self.allocate_in(self.current, granules))
            .or_else(|| (0..self.spans.len()).find_map(|span| self.allocate_in(span, granules)))
    }

    fn allocate_in(&mut self, index: usize, granules: u16) -> Option<Piece> {
        let span = self.spans.get_mut(index)?.as_mut()?;
        if granules >= span.refused {
            return None;
        }
        let Some(allocation) = span.allocator.allocate(granules.into()) else {
            span.refused = granules;
            return None;
        };
        span.blocks += 1;
        self.current = index;
        if self.empty == Some(index) {
            self.empty = None;
        }
        let start = u64::from(span.run.extents().start) * EXTENT_BYTES;
        let offset = start + u64::from(allocation.offset) * self.family.granule_bytes() as u64;
        // There are fewer spans than extents, which 32 bits number.
        Some(Piece {
            family: self.family,
            offset,
            span: index as u32,
            granules,
            allocation,
        })
    }

    /// Makes `run`, one committed extent, the span to allocate from.
    pub(crate) fn add(&mut self, run: Run) {
        debug_assert_eq!(run.extents().len(), 1);
        let allocator = Allocator::with_max_allocs(self.family.granules(), self.family.blocks());
        let span = Some(Span {
            allocator,
            run,
            blocks: 0,
            refused: u16::MAX,
        });
        self.current = match self.spans.iter().position(Option::is_none) {
            Some(vacant) => {
                self.spans[vacant] = span;
                vacant
            }
            None => {
                self.spans.push(span);
                self.spans.len() - 1
            }
        };
    }

    /// Takes a block back. A span that thereby becomes the second empty one is handed back.
    pub(crate) fn free(&mut self, piece: Piece) -> Option<Run> {
        if let Some(recent) = self.recent.get_mut(usize::from(piece.granules) - 1)
            && recent.len() < RECENT_BLOCKS
        {
            recent.push(piece);
            return None;
        }
        self.merge(piece)
    }

    /// Makes a block a hole of its span.
    fn merge(&mut self, piece: Piece) -> Option<Run> {
        let index = piece.span as usize;
        let slot = &mut self.spans[index];
        let span = slot.as_mut().expect("a span with a block in it stays");
        span.allocator.free(piece.allocation);
        span.blocks -= 1;
        span.refused = u16::MAX;
        if span.blocks > 0 {
            return None;
        }
        match self.empty {
            None => {
                self.empty = Some(index);
                None
            }
            Some(_) => slot.take().map(|span| span.run),
        }
    }

    /// Forgets the recent blocks and hands back every empty span.
    fn trim(&mut self) -> Vec<Run> {
        let mut runs = Vec::new();
        for class in 0..RECENT_GRANULES {
            while let Some(piece) = self.recent[class].pop() {
                runs.extend(self.merge(piece));
            }
        }
        let empty = self.empty.take().and_then(|index| self.spans[index].take());
        runs.extend(empty.map(|span| span.run));
        runs
    }
}
