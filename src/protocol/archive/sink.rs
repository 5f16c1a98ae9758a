//! Where an archive's bytes go: into place as long as they fit, and counted in any case.

use core::fmt;
use core::ptr::NonNull;

use rkyv::rancor::{Source, fail};
use rkyv::ser::{Positional, Writer};

use super::LIMIT;

/// A writer over raw memory that never writes past its capacity and never stops counting.
///
/// So one pass is all it takes: the value either is in place at the end, or its size is known. With
/// a capacity of nothing it is the counting pass.
#[derive(Debug)]
pub struct Sink {
    /// # Invariants
    ///
    /// Valid for writes of `capacity` bytes.
    destination: NonNull<u8>,
    capacity: usize,
    /// Bytes asked for so far, at most [`LIMIT`].
    position: usize,
    overran_limit: bool,
    /// Whether the bytes may lie elsewhere, if they are there already.
    may_move: bool,
    /// The loan that they lie in now.
    moved: Option<u64>,
}

impl Sink {
    /// # Safety
    ///
    /// `destination` is valid for writes of `capacity` bytes for as long as the sink is used, and
    /// nobody else reads or writes there meanwhile. The first `position` bytes are in use.
    #[inline]
    pub(super) unsafe fn new(destination: NonNull<u8>, capacity: usize, position: usize) -> Self {
        Self {
            destination,
            capacity,
            position,
            overran_limit: false,
            may_move: false,
            moved: None,
        }
    }

    /// The bytes may lie in a block that was lent, in which their first part is already.
    #[inline]
    pub(super) fn movable(mut self) -> Self {
        self.may_move = true;
        self
    }

    /// Goes on in a block whose first `used` bytes are the first of the archive; whether it does.
    ///
    /// # Safety
    ///
    /// `block` is aligned to [`ALIGN`](super::ALIGN) and valid for `capacity` bytes for as long as
    /// the sink is used, and nobody else writes there meanwhile, nor reads behind those in use.
    pub(super) unsafe fn move_to(
        &mut self,
        ticket: u64,
        block: NonNull<u8>,
        capacity: usize,
        used: usize,
    ) -> bool {
        let moves = self.may_move && self.position == 0 && self.moved.is_none();
        if moves {
            self.destination = block;
            self.capacity = capacity;
            self.position = used;
            self.moved = Some(ticket);
        }
        moves
    }

    pub(super) fn moved(&self) -> Option<u64> {
        self.moved
    }

    #[inline]
    pub(super) fn fits(&self) -> bool {
        self.position <= self.capacity
    }

    pub(super) fn overran_limit(&self) -> bool {
        self.overran_limit
    }
}

impl Positional for Sink {
    #[inline]
    fn pos(&self) -> usize {
        self.position
    }
}

impl<E: Source> Writer<E> for Sink {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), E> {
        // Neither term exceeds `isize::MAX`: no overflow.
        let end = self.position + bytes.len();
        if end > LIMIT {
            self.overran_limit = true;
            fail!(OverranLimit);
        }
        // The position never goes back, so after the first miss nothing is written any more.
        if end <= self.capacity {
            // SAFETY: `position <= end <= capacity`, for which `destination` is valid.
            let target = unsafe { self.destination.add(self.position) };
            // SAFETY: `target` is valid for `end - position` bytes; `bytes` is borrowed from
            // elsewhere, since nobody else may read the destination meanwhile.
            unsafe { target.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        }
        self.position = end;
        Ok(())
    }
}

/// What rkyv carries upwards; `Sink::overran_limit` is what we act on.
#[derive(Debug)]
struct OverranLimit;

impl fmt::Display for OverranLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the archive is larger than {LIMIT} bytes")
    }
}

impl core::error::Error for OverranLimit {}
