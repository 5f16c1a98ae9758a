//! Where the compiler offers no non-temporal store: kernels write directly, without a tile.

use std::mem::MaybeUninit;

use super::Line;

/// Whether going through a tile pays.
pub(in super::super) const AVAILABLE: bool = false;

/// Asks for nothing: the hardware's own prefetcher sees a plain sequential loop.
#[inline(always)]
pub(in super::super) fn prefetch(_: *const u8) {}

/// An ordinary store.
#[inline(always)]
pub(super) fn store(line: &Line, target: &mut MaybeUninit<Line>) {
    target.write(*line);
}

/// Ordinary stores are ordered by whatever publishes them.
#[inline(always)]
pub(super) fn fence() {}
