//! Where the baseline has the widest registers, and no non-temporal store is at hand.

use std::mem::MaybeUninit;

use super::super::stream::Line;
use super::Kernel;

/// No streaming: kernels write directly, without a tile.
pub(in super::super) const STREAMS: bool = false;

/// Runs `kernel` as it is.
#[inline(always)]
pub(in super::super) fn widest<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

/// Asks for nothing: the hardware's own prefetcher sees a plain sequential loop.
#[inline(always)]
pub(in super::super) fn prefetch(_: *const u8) {}

/// An ordinary store.
#[inline(always)]
pub(in super::super) fn store(line: &Line, target: &mut MaybeUninit<Line>) {
    target.write(*line);
}

/// There is one kind of store.
#[inline(always)]
pub(in super::super) fn likes_halves() -> bool {
    false
}

/// As [`store`].
///
/// # Safety
/// None is asked for here.
#[inline(always)]
pub(in super::super) unsafe fn store_halves(line: &Line, target: &mut MaybeUninit<Line>) {
    store(line, target);
}

/// Ordinary stores are ordered by whatever publishes them.
#[inline(always)]
pub(in super::super) fn fence() {}

/// Nothing streams, so there is no order to choose.
#[inline(always)]
pub(in super::super) fn likes_lanes() -> bool {
    false
}
