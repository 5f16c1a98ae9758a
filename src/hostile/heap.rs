//! The heap beside a list of intervals.

#![expect(unsafe_code, reason = "fills and compares blocks that it was given")]

use std::sync::Arc;

use super::source::Source;
use crate::memory::block::Block;
use crate::memory::heap::{Contents, Heap, HeapLimits, LARGE_BYTES};
use crate::memory::region::Region;

const BUDGET: u64 = 8 << 20;
const SPACE: u64 = 3 * BUDGET;
/// Where the heap's part of the region begins.
const START: u64 = 4 << 20;
const STEPS: usize = 200;

struct Held {
    block: Block,
    filler: u8,
    is_reserved: bool,
}

/// Blocks never overlap, keep their bytes, are aligned and zero where that was asked for; the
/// figures are right, and everything can be had again at the end.
pub fn heap(data: &[u8]) {
    let mut source = Source::new(data);
    let region = Arc::new(Region::create(START + SPACE).expect("address space"));
    let limits = HeapLimits {
        budget: BUDGET,
        keep_warm: u64::from(source.byte()) << 16,
    };
    let heap = Heap::new(Arc::clone(&region), START..region.size(), limits).expect("a heap");
    let mut held: Vec<Held> = Vec::new();
    for _ in 0..STEPS {
        if source.is_empty() {
            break;
        }
        match source.byte() % 8 {
            0..=3 => allocate(&heap, &mut source, &mut held),
            4 | 5 if !held.is_empty() => release(held.swap_remove(source.below(held.len()))),
            6 => {
                let size = source.below(SPACE as usize);
                if let Ok(block) = heap.reserve(size) {
                    keep(&mut held, block, None);
                }
            }
            7 => heap.trim(),
            _ => {}
        }
        let stats = heap.stats();
        let sum = |reserved| -> u64 {
            let of_kind = held.iter().filter(|held| held.is_reserved == reserved);
            of_kind.map(|held| held.block.size() as u64).sum()
        };
        assert_eq!((stats.in_use, stats.reserved), (sum(false), sum(true)));
        assert!(stats.committed <= stats.budget && stats.warm <= stats.committed);
    }
    held.drain(..).for_each(release);
    let stats = heap.stats();
    assert_eq!((stats.in_use, stats.reserved), (0, 0));
    let whole = heap.allocate(BUDGET as usize, 64, Contents::Any);
    assert!(whole.is_ok(), "{whole:?}");
    drop(whole);
    heap.trim();
    assert_eq!(heap.stats().committed, 0);
}

fn allocate(heap: &Arc<Heap>, source: &mut Source<'_>, held: &mut Vec<Held>) {
    let size = match source.byte() % 8 {
        0 => LARGE_BYTES - 64 + source.below(128),
        1 => source.below(BUDGET as usize),
        2 => (source.below(5) << 21) + source.below(3),
        3 => usize::MAX - source.below(1 << 22),
        _ => {
            let most = 1 << (source.byte() % 18);
            source.below(most)
        }
    };
    let align = 1_usize << (source.byte() % 23);
    let contents = match source.byte() % 2 {
        0 => Contents::Any,
        _ => Contents::Zeroed,
    };
    let Ok(block) = heap.allocate(size, align, contents) else {
        return;
    };
    assert!(align <= 2 << 20, "an alignment of {align}");
    assert_eq!(block.size(), size);
    if size == 0 {
        return;
    }
    assert!(block.offset().is_multiple_of((align as u64).max(64)));
    if contents == Contents::Zeroed {
        assert!(is_filled(&block, 0), "{size} bytes are not zero");
    }
    keep(held, block, Some(source.byte() | 1));
}

fn keep(held: &mut Vec<Held>, block: Block, filler: Option<u8>) {
    let range = |block: &Block| block.offset()..block.offset() + block.size() as u64;
    let new = range(&block);
    assert!(new.start >= START && new.end <= START + SPACE, "{new:?}");
    for other in held.iter().map(|held| range(&held.block)) {
        assert!(
            new.end <= other.start || other.end <= new.start,
            "{new:?} {other:?}"
        );
    }
    if let Some(filler) = filler {
        // SAFETY: the block is committed, and nobody else's.
        unsafe { block.as_ptr().write_bytes(filler, block.size()) };
    }
    held.push(Held {
        block,
        filler: filler.unwrap_or(0),
        is_reserved: filler.is_none(),
    });
}

fn release(held: Held) {
    if !held.is_reserved {
        assert!(is_filled(&held.block, held.filler), "somebody else wrote");
    }
}

fn is_filled(block: &Block, filler: u8) -> bool {
    // SAFETY: the block is committed, and nobody writes it meanwhile.
    let bytes = unsafe { core::slice::from_raw_parts(block.as_ptr().as_ptr(), block.size()) };
    let pattern = [filler; 4096];
    bytes
        .chunks(4096)
        .all(|part| part == &pattern[..part.len()])
}
