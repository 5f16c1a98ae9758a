//! The bytes of a result, wherever they are.

#![expect(unsafe_code, reason = "keeps a view of bytes beside their owner")]

use core::fmt;
use core::ops::{Deref, Range};
use core::ptr::NonNull;
use std::sync::Arc;

use crate::error::TaskError;
use crate::pool::arena::Loan;
use crate::protocol::archive::ALIGN;
use crate::protocol::envelope::Enclosure;

/// A result's archive, or nothing.
#[derive(Debug)]
pub(crate) enum ReplyBytes {
    /// An archive of no bytes.
    Empty,
    /// It was tiny, and is here.
    Tiny(Tiny),
    /// It was small, and has moved out of the memory that its worker can write.
    Small(Small),
    /// It lies in the arena of the worker that wrote it.
    Lent(Loan),
    /// It lies in the envelope of a process that is gone.
    Enclosed(Arc<Enclosure>),
    /// It is one of several results in a block, which lives as long as any of them.
    Part {
        whole: Arc<ReplyBytes>,
        range: Range<usize>,
    },
    /// No archive: what is left of a batch whose worker died.
    Torn(Box<Torn>),
}

/// What is left of a batch whose worker died.
#[derive(Debug)]
pub(crate) struct Torn {
    /// The block of results, as far as it was written. Outer `None`: it had not begun; inner: it
    /// cannot be found.
    pub(crate) results: Option<Option<Loan>>,
    pub(crate) error: TaskError,
}

/// Bytes that are kept without an allocation.
const TINY: usize = 32;

/// A copy, aligned as most archives need it.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct Tiny {
    bytes: [u8; TINY],
    /// Where they begin and, in the upper half, end: one word, because two would be written in two
    /// pieces and moved as one.
    range: u64,
}

/// A block of results, which each of them that stays in it keeps, and where its bytes are: to find
/// out anew for each result takes as long as to read it.
#[derive(Debug)]
pub(crate) struct Whole {
    block: Arc<ReplyBytes>,
    /// # Invariants
    /// The bytes of `block`. They stay what and where they are, for nobody moves or changes what is
    /// in an `Arc`, and none of its kinds changes behind a shared reference.
    bytes: NonNull<[u8]>,
}

// SAFETY: it owns its share of the block, and gives out shared references to its bytes only.
unsafe impl Send for Whole where Arc<ReplyBytes>: Send {}
// SAFETY: as above.
unsafe impl Sync for Whole where Arc<ReplyBytes>: Sync {}

impl Whole {
    pub(crate) fn new(block: ReplyBytes) -> Self {
        let block = Arc::new(block);
        let bytes = NonNull::from(block.bytes());
        Self { block, bytes }
    }
}

impl Deref for Whole {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the invariant of `bytes`; the block lives as long as `self`.
        unsafe { self.bytes.as_ref() }
    }
}

/// No bytes, where values of no size may lie that are aligned nevertheless.
static NOTHING: Nothing = Nothing([]);

#[repr(C, align(64))]
struct Nothing([u8; 0]);

/// A copy, aligned as archives are.
pub(crate) struct Small {
    /// Never grows, so its bytes stay where they are.
    bytes: Vec<u8>,
    start: usize,
}

impl ReplyBytes {
    /// How a tiny one is aligned, wherever it moves.
    pub(crate) const TINY_ALIGN: usize = align_of::<Tiny>();

    /// Moves a small reply out of shared memory.
    #[inline]
    pub(crate) fn small(source: &[u8]) -> Self {
        if source.is_empty() {
            return Self::Empty;
        }
        match Tiny::copy(source, 0) {
            Some(tiny) => Self::Tiny(tiny),
            None => Self::boxed(source),
        }
    }

    /// One of several results in a block. A tiny one is copied, which takes less time than to
    /// count who still has the block. What is aligned in it is so by its place in the block, so it
    /// stays as far from a multiple of 16.
    #[inline]
    pub(crate) fn part(whole: &Whole, range: Range<usize>) -> Self {
        if range.is_empty() {
            return Self::Empty;
        }
        let start = range.start % align_of::<Tiny>();
        if start + range.len() <= TINY
            && let Some(tiny) = Tiny::copy(&whole[range.clone()], start)
        {
            return Self::Tiny(tiny);
        }
        let whole = Arc::clone(&whole.block);
        Self::Part { whole, range }
    }

    /// A tiny one of several results in a block.
    #[inline]
    pub(crate) fn tiny_part<'a>(block: &'a [u8], range: &Range<usize>) -> Option<TinyPart<'a>> {
        let at = range.start / align_of::<Tiny>() * align_of::<Tiny>();
        let around = block.get(at..at + TINY)?.try_into().ok()?;
        let (start, end) = (range.start - at, range.end.checked_sub(at)?);
        (start < end && end <= TINY).then_some(TinyPart { around, start, end })
    }

    /// Where an archive of this alignment may lie, which may move with the value.
    #[inline]
    pub(crate) fn aligned_to(self, align: usize) -> Self {
        match &self {
            Self::Tiny(tiny) if align > align_of::<Tiny>() => Self::boxed(tiny.bytes()),
            _ => self,
        }
    }

    fn boxed(source: &[u8]) -> Self {
        let mut bytes: Vec<u8> = Vec::with_capacity(source.len() + ALIGN - 1);
        let start = bytes.as_ptr().addr().wrapping_neg() % ALIGN;
        bytes.resize(start, 0);
        bytes.extend_from_slice(source);
        Self::Small(Small { bytes, start })
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Tiny(tiny) => tiny.bytes(),
            other => other.bytes_elsewhere(),
        }
    }

    fn bytes_elsewhere(&self) -> &[u8] {
        match self {
            Self::Empty | Self::Torn(_) => &NOTHING.0,
            Self::Tiny(tiny) => tiny.bytes(),
            Self::Small(Small { bytes, start }) => &bytes[*start..],
            Self::Lent(loan) => loan.bytes(),
            Self::Enclosed(enclosure) => enclosure.bytes(),
            Self::Part { whole, range } => &whole.bytes()[range.clone()],
        }
    }
}

/// Where a tiny result lies, and where in a block; nothing is copied yet. So it is found in
/// registers, and written once, where it is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TinyPart<'a> {
    /// With what is around it, so that it moves by whole words: a copy of exactly its bytes would
    /// be written in small pieces and read in large ones, for which the processor waits until they
    /// have left its store buffer.
    around: &'a [u8; TINY],
    start: usize,
    end: usize,
}

impl From<TinyPart<'_>> for ReplyBytes {
    #[inline]
    fn from(part: TinyPart<'_>) -> Self {
        Self::Tiny(Tiny::new(*part.around, part.start, part.end))
    }
}

impl Tiny {
    #[inline]
    fn new(bytes: [u8; TINY], start: usize, end: usize) -> Self {
        let range = start as u64 | (end as u64) << 32;
        Self { bytes, range }
    }

    /// A copy that begins at `start`, if there is room for it.
    #[inline]
    fn copy(source: &[u8], start: usize) -> Option<Self> {
        let mut bytes = [0; TINY];
        let end = start + source.len();
        bytes.get_mut(start..end)?.copy_from_slice(source);
        Some(Self::new(bytes, start, end))
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.bytes[self.range as u32 as usize..(self.range >> 32) as usize]
    }
}

impl fmt::Debug for Tiny {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiny")
            .field("len", &self.bytes().len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Small {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Small")
            .field("len", &(self.bytes.len() - self.start))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_reply_is_copied_to_where_an_archive_may_lie() {
        for len in [0_u8, 1, 31, 32, 33, 63, 64, 65, 255] {
            for align in [1, 16, 32, ALIGN] {
                let source: Vec<u8> = (0..len).collect();
                let reply = ReplyBytes::small(&source).aligned_to(align);
                assert_eq!(reply.bytes(), source);
                let moved = Box::new(reply);
                assert!(len == 0 || moved.bytes().as_ptr().addr().is_multiple_of(align));
            }
        }
    }
}
