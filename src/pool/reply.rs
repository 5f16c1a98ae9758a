//! The bytes of a result, wherever they are.

use core::fmt;
use core::ops::Range;
use std::sync::Arc;

use crate::error::TaskError;
use crate::pool::arena::Loan;
use crate::protocol::control::INLINE_SIZE;

/// A result's archive, or nothing.
#[derive(Debug)]
pub(crate) enum ReplyBytes {
    /// An archive of no bytes.
    Empty,
    /// It fitted beside the slot, and has moved out so that the slot could go on.
    Small(Box<Small>),
    /// It lies in the arena of the worker that wrote it.
    Lent(Loan),
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

/// At most 128 bytes, aligned as archives are.
#[repr(C, align(64))]
pub(crate) struct Small {
    bytes: [u8; INLINE_SIZE],
    len: usize,
}

impl ReplyBytes {
    /// Moves a small reply out of the block beside its slot; at most 128 bytes are taken.
    pub(crate) fn small(source: &[u8]) -> Self {
        if source.is_empty() {
            return Self::Empty;
        }
        let len = source.len().min(INLINE_SIZE);
        let mut bytes = [0; INLINE_SIZE];
        bytes[..len].copy_from_slice(&source[..len]);
        Self::Small(Box::new(Small { bytes, len }))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Small(small) => &small.bytes[..small.len],
            Self::Lent(loan) => loan.bytes(),
            Self::Part { whole, range } => &whole.bytes()[range.clone()],
            Self::Torn(_) => &[],
        }
    }
}

impl fmt::Debug for Small {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Small")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
