//! The parent's hold on a worker's result arena, and on the results read in it.

use std::sync::Arc;

use crate::memory::block::Block;
use crate::memory::region::Region;
use crate::protocol::freed::{ARENA_HEADER_SIZE, BLOCK_ALIGN, Freed};
use crate::protocol::range::{Span, bytes_of};
use crate::protocol::reply::{REPLY_SIZE, ReplyBlock};

/// One incarnation's arena. Lives until the worker is gone and nobody reads a result in it.
#[derive(Debug)]
pub(crate) struct Arena {
    region: Arc<Region>,
    block: Block,
}

/// A block of an arena that somebody reads; given back to the worker on drop.
#[derive(Debug)]
pub(crate) struct Loan {
    arena: Arc<Arena>,
    span: Span,
}

impl Arena {
    pub(crate) fn new(region: Arc<Region>, block: Block) -> Self {
        Self { region, block }
    }

    pub(crate) fn span(&self) -> Span {
        Span {
            offset: self.block.offset(),
            size: self.block.size() as u64,
        }
    }

    /// Where this worker replies to the task in `slot`.
    pub(crate) fn reply(&self, slot: u32) -> Option<&ReplyBlock> {
        ReplyBlock::of(&self.region, self.span(), slot)
    }

    /// Where the results of a batch lie, if its worker has said so. It may have died because there
    /// was no memory to say it in, and to read takes as much.
    pub(crate) fn announced(&self, slot: u32, generation: u32) -> Option<u64> {
        let arena = self.span();
        let start = arena
            .offset
            .checked_add(ReplyBlock::offset_in_arena(slot))?;
        let end = start.checked_add(size_of::<ReplyBlock>() as u64)?;
        self.region.populate(start..end).ok()?;
        self.reply(slot)?.announced(generation, arena)
    }

    /// The place of replies in the block of a slot, whose first bytes are this reply; `None` when
    /// it is elsewhere.
    pub(crate) fn inline_reply(&self, slot: u32, place: Span) -> Option<&[u8]> {
        let size = REPLY_SIZE as u64;
        let inline = ReplyBlock::inline_offset(self.span(), slot);
        let is_inline = place.offset == inline && place.size <= size;
        is_inline.then(|| bytes_of(&self.region, Span { size, ..place }))
    }

    /// Takes hold of a block that the worker handed over; `None` when it is not in the arena.
    pub(crate) fn lend(self: &Arc<Self>, span: Span) -> Option<Loan> {
        self.contains(span).then(|| Loan {
            arena: Arc::clone(self),
            span,
        })
    }

    /// Looks at bytes that the worker may have written; `None` when they are not in the arena.
    ///
    /// For an arena whose worker has been reaped.
    pub(crate) fn peek(&self, span: Span) -> Option<&[u8]> {
        self.contains(span).then(|| bytes_of(&self.region, span))
    }

    fn contains(&self, span: Span) -> bool {
        let whole = self.span();
        let Some(inside) = span.offset.checked_sub(whole.offset) else {
            return false;
        };
        let end = inside.checked_add(span.size);
        inside >= ARENA_HEADER_SIZE
            && end.is_some_and(|end| end <= whole.size)
            && span.size > 0
            && span.offset.is_multiple_of(BLOCK_ALIGN)
    }
}

impl Loan {
    /// The bytes handed over.
    ///
    /// The worker that wrote them has made its view of them read-only, if they are many enough to
    /// be read in place (`SEALED_BYTES`).
    pub(crate) fn bytes(&self) -> &[u8] {
        bytes_of(&self.arena.region, self.span)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // In a forked child the block is still the parent's.
        if !self.arena.block.is_home() {
            return;
        }
        if let Some(freed) = Freed::of(&self.arena.region, self.arena.span()) {
            freed.push(self.span.offset);
        }
    }
}
