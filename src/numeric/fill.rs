//! The loop under every kernel that writes a separate output.
//!
//! ```text
//! output   |  head  |  tile  |  tile  |  tile  | tail |
//!          ^ start  ^ a line begins
//! ```
//! With [`Store::Cached`] the head is everything. With [`Store::Streaming`] each tile is computed
//! into a small buffer on the stack, which stays in the first cache, and copied from there by whole
//! lines past the cache: any closure profits, and the compiler vectorises it as in a plain loop. In
//! which order tiles are written, [`Lanes`] says.
#![expect(unsafe_code, reason = "a tile is seen as values and as lines")]

use std::mem::MaybeUninit;
use std::slice;

use bytemuck::Pod;

use super::isa::{self, Kernel};
use super::lanes::Lanes;
use super::source::Source;
use super::stream::{LINE, Line, Streamer};
use super::{At, Step, Store};

/// Bytes of the buffer on the stack. Eight lines are read ahead, computed and streamed at a time:
/// with 2 KiB and more, the prefetches of a tile outnumber the line fill buffers and stall.
const TILE_BYTES: usize = 512;

/// How far ahead of a single row of tiles the inputs are asked for: about a memory latency at full
/// bandwidth.
const AHEAD_BYTES: usize = 2048;

/// What a tile of `len` elements moves one way.
const fn tile_bytes(len: usize, written: usize, read: usize) -> usize {
    len * if read > written { read } else { written }
}

/// Elements of one tile: whole lines of `written` bytes an element, within `TILE_BYTES`, which read
/// about as much. Zero if there is no such number: the output is then written directly.
const fn tile_elements(written: usize, read: usize) -> usize {
    if !isa::STREAMS || written == 0 {
        return 0;
    }
    // The fewest elements that fill whole lines.
    let twos = written.trailing_zeros();
    let step = if twos < LINE.trailing_zeros() {
        LINE >> twos
    } else {
        1
    };
    if step * written > TILE_BYTES {
        return 0;
    }
    let larger = if read > written { read } else { written };
    let steps = TILE_BYTES / (larger * step);
    if steps == 0 { step } else { steps * step }
}

/// Writes `f(item)` of each item of `source` to its place in `output`.
#[inline]
pub(super) fn fill<S: Source, R: Pod>(
    source: S,
    output: &mut [MaybeUninit<R>],
    store: Store,
    at: &At,
    f: impl Fn(S::Item) -> R,
) {
    isa::widest(Fill {
        source,
        output,
        store,
        at,
        f,
    });
}

struct Fill<'a, S, R, F> {
    source: S,
    output: &'a mut [MaybeUninit<R>],
    store: Store,
    at: &'a At,
    f: F,
}

impl<S: Source, R: Pod, F: Fn(S::Item) -> R> Kernel for Fill<'_, S, R, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            source,
            output,
            store,
            at,
            f,
        } = self;
        let tile_len = const { tile_elements(size_of::<R>(), S::STRIDE) };
        let fits = const { align_of::<R>() <= align_of::<Line>() };
        let len = output.len();
        let head = if store == Store::Cached || tile_len == 0 || !fits {
            len
        } else {
            // `usize::MAX` if no element begins a line.
            output.as_ptr().align_offset(LINE).min(len)
        };
        let tiles = (len - head).checked_div(tile_len).unwrap_or(0);
        let moved = const {
            let len = tile_elements(size_of::<R>(), S::STRIDE);
            tile_bytes(len, size_of::<R>(), S::STRIDE)
        };
        let lanes = match tiles == 0 || S::STRIDE == 0 {
            true => Lanes::one(),
            false => Lanes::over(tiles, moved),
        };
        let ahead = match lanes.block() {
            Some(block) => block * tile_len,
            None => const { AHEAD_BYTES / if S::STRIDE == 0 { 1 } else { S::STRIDE } },
        };

        let mut step = Step::new(at);
        let mut streamer = Streamer::new();
        let mut tile = [MaybeUninit::<Line>::uninit(); TILE_BYTES / LINE];
        let mut done = 0;
        let mut turn = 0;
        // One loop for head, tiles and tail, so that there is one call of `f` to be inlined.
        while done < len {
            let direct = done < head || turn == tiles;
            let (start, end, since) = if done < head {
                (0, head, None)
            } else if direct {
                (done, len, None)
            } else {
                let start = head + lanes.place(turn) * tile_len;
                let since = lanes.block_of(turn).map(|tile| head + tile * tile_len);
                turn += 1;
                (start, start + tile_len, since)
            };
            step.stand(start, since);
            let target = &mut output[start..end];
            let slots = if direct {
                &mut *target
            } else {
                source.prefetch(start + ahead..end + ahead);
                slots_of(&mut tile, tile_len)
            };
            for (slot, item) in slots.iter_mut().zip(source.items(start..end)) {
                slot.write(f(item));
                step.advance();
            }
            if !direct {
                let lines =
                    const { tile_elements(size_of::<R>(), S::STRIDE) * size_of::<R>() / LINE };
                // SAFETY: the loop has just written `tile_len` values of `R`, which fill these
                // lines, to the start of the tile: `items` gave as many, and a `Pod` has no
                // padding. `Line` is plain bytes.
                let filled = unsafe { slice::from_raw_parts(tile.as_ptr().cast::<Line>(), lines) };
                streamer.write(filled, lines_of(target, lines));
            }
            done += end - start;
        }
        step.finish();
    }
}

/// The beginning of the tile as places for `len` values.
#[inline(always)]
fn slots_of<R: Pod>(tile: &mut [MaybeUninit<Line>], len: usize) -> &mut [MaybeUninit<R>] {
    assert!(align_of::<R>() <= align_of::<Line>());
    assert!(len * size_of::<R>() <= size_of_val(tile));
    // SAFETY: exclusively borrowed, in bounds and aligned, as asserted; `MaybeUninit` needs no
    // initialised bytes, and leaves none behind that the tile could not hold.
    unsafe { slice::from_raw_parts_mut(tile.as_mut_ptr().cast(), len) }
}

/// The first `lines` lines of `target`, which begins with one.
#[inline(always)]
fn lines_of<R: Pod>(target: &mut [MaybeUninit<R>], lines: usize) -> &mut [MaybeUninit<Line>] {
    let start = target.as_mut_ptr().cast::<MaybeUninit<Line>>();
    assert!(start.is_aligned());
    assert!(lines * LINE <= size_of_val(target));
    // SAFETY: exclusively borrowed, aligned and in bounds, as asserted; `MaybeUninit` needs no
    // initialised bytes.
    unsafe { slice::from_raw_parts_mut(start, lines) }
}
