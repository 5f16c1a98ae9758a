//! Small blocks: granules of 64 bytes out of spans of one extent each.

use std::fmt;

use offset_allocator::{Allocation, Allocator};

use super::extents::Run;
use super::region::EXTENT_BYTES;

/// What small blocks are multiples of, and aligned to: a cache line.
pub(crate) const GRANULE_BYTES: usize = 64;

const GRANULES: u32 = (EXTENT_BYTES / GRANULE_BYTES as u64) as u32;

/// The most blocks in a span, and the holes between them; bounds its tables to 180 KiB. A span of
/// blocks below 256 bytes is full before its memory is.
const BLOCKS: u32 = GRANULES / 4;

const _: () = assert!(
    GRANULES <= u16::MAX as u32,
    "offsets in a span are 16 bits wide"
);
const _: () = assert!(
    BLOCKS < u16::MAX as u32 - 1,
    "indices of blocks are 16 bits wide"
);

/// A block within a span.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    span: usize,
    allocation: Allocation<u16>,
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece({}, {})", self.span, self.allocation.offset)
    }
}

struct Span {
    allocator: Allocator<u16>,
    run: Run,
    blocks: u32,
    /// A number of granules that was not to be had since the last block was given back; asking for
    /// as many again is in vain.
    refused: u32,
}

/// All spans, of which at most one stays empty.
#[derive(Default)]
pub(crate) struct Spans {
    spans: Vec<Option<Span>>,
    /// Where a block was found last.
    current: usize,
    empty: Option<usize>,
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spans")
            .field("spans", &self.spans.len())
            .finish_non_exhaustive()
    }
}

impl Spans {
    /// A block of `granules`, and its offset in the region; `None` if no span has room.
    pub(crate) fn allocate(&mut self, granules: u32) -> Option<(Piece, u64)> {
        self.allocate_in(self.current, granules)
            .or_else(|| (0..self.spans.len()).find_map(|span| self.allocate_in(span, granules)))
    }

    fn allocate_in(&mut self, index: usize, granules: u32) -> Option<(Piece, u64)> {
        let span = self.spans.get_mut(index)?.as_mut()?;
        if granules >= span.refused {
            return None;
        }
        let Some(allocation) = span.allocator.allocate(granules) else {
            span.refused = granules;
            return None;
        };
        span.blocks += 1;
        self.current = index;
        if self.empty == Some(index) {
            self.empty = None;
        }
        let start = u64::from(span.run.extents().start) * EXTENT_BYTES;
        let within = u64::from(allocation.offset) * GRANULE_BYTES as u64;
        Some((
            Piece {
                span: index,
                allocation,
            },
            start + within,
        ))
    }

    /// Makes `run`, one committed extent, the span to allocate from.
    pub(crate) fn add(&mut self, run: Run) {
        debug_assert_eq!(run.extents().len(), 1);
        let allocator = Allocator::with_max_allocs(GRANULES, BLOCKS);
        let span = Some(Span {
            allocator,
            run,
            blocks: 0,
            refused: u32::MAX,
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
        let slot = &mut self.spans[piece.span];
        let span = slot.as_mut().expect("a span with a block in it stays");
        span.allocator.free(piece.allocation);
        span.blocks -= 1;
        span.refused = u32::MAX;
        if span.blocks > 0 {
            return None;
        }
        match self.empty {
            None => {
                self.empty = Some(piece.span);
                None
            }
            Some(_) => slot.take().map(|span| span.run),
        }
    }

    /// Hands back the span that is kept although it is empty.
    pub(crate) fn trim(&mut self) -> Option<Run> {
        self.spans[self.empty.take()?].take().map(|span| span.run)
    }
}
