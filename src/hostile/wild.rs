//! Wild stores: words of the control area and of an arena, and what may be written there.

#![expect(unsafe_code, reason = "writes anywhere in shared memory, in bounds")]

use super::source::{Source, read, replace};
use super::stage::WORKERS;
use crate::memory::owner::{Owner, Word};
use crate::memory::region::Region;
use crate::primitive::atomic::AtomicU64;
use crate::protocol::control::Control;
use crate::protocol::freed::ARENA_HEADER_SIZE;
use crate::protocol::range::Span;

/// Where it hurts: offset, size of one thing, and how many of the first are aimed at. As drawn in
/// `docs/protocol.md`; were it out of date, the aim would be worse, and nothing else.
const AIMS: [(usize, usize, usize); 10] = [
    // Bits of idle workers, parks.
    (0x20_0000, 8, 72),
    // Workers' records.
    (0x21_0100, 64, 3),
    // Head, tail and misses of the ring; the first cells.
    (0x22_0100, 8, 56),
    // Slots.
    (0x23_01c0, 64, 16),
    // Done bits.
    (0x27_01c0, 8, 4),
    // Counts of jobs.
    (0x27_03c0, 128, 4),
    // Chunks of the first job.
    (0x27_23c0, 16, 64),
    // What only the parent writes; it survives there, too, what no worker can do.
    (0x1000, 64, 8),
    // The high lane's header, and its first cells.
    (0x37_23c0, 8, 24),
    (0x37_2480, 8, 16),
];

/// Bytes of the control area before the lanes that only a pool of many workers has.
const AIMED_AT: usize = 4 << 20;

/// The control area as it is at first.
pub(super) struct Snapshot(Vec<u8>);

impl Snapshot {
    pub(super) fn take(region: &Region) -> Self {
        // SAFETY: mapped, and only this thread knows the pool.
        let bytes = unsafe { core::slice::from_raw_parts(region.base().as_ptr(), AIMED_AT) };
        Self(bytes.to_vec())
    }

    pub(super) fn restore(&self, region: &Region) {
        let Self(bytes) = self;
        // SAFETY: mapped, and only this thread knows the pool.
        unsafe {
            region
                .base()
                .as_ptr()
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len())
        };
    }
}

/// A word of shared memory.
pub(super) fn word_at(region: &Region, offset: u64) -> &AtomicU64 {
    let place = region.pointer(offset & !7, 8).expect("in bounds");
    // SAFETY: in the mapping, which the region keeps alive; aligned; a word is only used as such.
    unsafe { place.cast::<AtomicU64>().as_ref() }
}

/// One wild store.
pub(super) fn scribble(region: &Region, source: &mut Source<'_>, arena: Span) {
    let offset = match source.byte() {
        0..=15 => source.below(AIMED_AT) as u64,
        16..=31 if arena.size > 0 => {
            arena.offset + source.below(2 * ARENA_HEADER_SIZE as usize) as u64
        }
        aim => {
            let (start, size, count) = AIMS[usize::from(aim) % AIMS.len()];
            let which = source.below(count);
            let inside = usize::from(source.byte()) % size;
            (start + which * size + inside) as u64
        }
    };
    let word = word_at(region, offset);
    let next = value(source, read(word), arena);
    replace(word, next);
}

/// What may stand where `now` stands.
pub(super) fn value(source: &mut Source<'_>, now: u64, arena: Span) -> u64 {
    match source.byte() % 9 {
        0 => source.word(),
        1 => now ^ 1 << (source.byte() % 64),
        2 => {
            let owner = Owner::new(source.below(WORKERS.into()) as u16, source.byte().into());
            let state = source.byte();
            Word::new(state, owner, source.byte().into()).to_bits()
        }
        3 => {
            // The same use of the same thing in another state.
            let word = Word::from_bits(now);
            let owner = Owner::new(source.below(WORKERS.into()) as u16, 1);
            Word::new(source.byte(), owner, word.generation()).to_bits()
        }
        4 => source.byte().into(),
        5 => u64::MAX - u64::from(source.byte()),
        6 => arena.offset + source.below(4 << 20) as u64,
        7 => Control::arguments_offset(u32::from(source.byte() % 16), 64),
        _ => now.wrapping_add(1),
    }
}
