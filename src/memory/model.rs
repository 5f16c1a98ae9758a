//! Tests of the heap beside a stupid model.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::block::Block;
use super::heap::{Contents, Heap, HeapLimits, LARGE_BYTES};
use super::limit::{AllocError, MemoryLimit, OutOfMemory};
use super::region::{EXTENT_BYTES, PAGE_BYTES, Region};

const EXTENT: usize = EXTENT_BYTES as usize;

fn heap(extents: u64, budget: u64, keep_warm: u64) -> Arc<Heap> {
    // In front of the area is something else, as in life.
    let region = Arc::new(Region::create((extents + 1) * EXTENT_BYTES).unwrap());
    let limits = HeapLimits {
        budget: budget * EXTENT_BYTES,
        keep_warm: keep_warm * EXTENT_BYTES,
    };
    let area = EXTENT_BYTES - 5..region.size();
    Heap::new(region, area, limits).unwrap()
}

/// The bytes of a block; the tests are the only ones who know it.
#[expect(unsafe_code, reason = "looks at the bytes of a block")]
fn bytes_of(block: &mut Block) -> &mut [u8] {
    // SAFETY: the block is borrowed uniquely, committed, and any byte is a valid u8.
    unsafe { std::slice::from_raw_parts_mut(block.as_ptr().as_ptr(), block.size()) }
}

/// Whether all of `bytes` are `byte`, at the speed of `memcmp` even in a debug build.
fn is_all(bytes: &[u8], byte: u8) -> bool {
    match bytes {
        [] => true,
        [first, rest @ ..] => *first == byte && bytes[..rest.len()] == *rest,
    }
}

#[derive(Clone, Debug)]
enum Step {
    Allocate {
        size: usize,
        align: usize,
        zeroed: bool,
    },
    Reserve {
        size: usize,
    },
    Free {
        which: usize,
    },
    Trim,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![
        4 => 0..5000_usize,
        2 => 0..LARGE_BYTES,
        2 => LARGE_BYTES..3 * EXTENT,
        1 => prop::sample::select(vec![0, 1, 64, LARGE_BYTES - 1, LARGE_BYTES, EXTENT]),
    ];
    let align = (0..22_u32).prop_map(|bits| 1_usize << bits);
    let align = prop_oneof![3 => Just(8), 1 => align];
    let step = prop_oneof![
        6 => (size, align, any::<bool>())
            .prop_map(|(size, align, zeroed)| Step::Allocate { size, align, zeroed }),
        1 => (1..2 * EXTENT).prop_map(|size| Step::Reserve { size }),
        5 => any::<usize>().prop_map(|which| Step::Free { which }),
        1 => Just(Step::Trim),
    ];
    prop::collection::vec(step, 1..120)
}

/// What the model knows: which byte each block is filled with, by offset.
struct Model {
    heap: Arc<Heap>,
    live: BTreeMap<u64, (Block, u8)>,
    empty: usize,
    reserved: Vec<Block>,
    next_byte: u8,
}

impl Model {
    fn allocate(&mut self, size: usize, align: usize, zeroed: bool) {
        let contents = if zeroed {
            Contents::Zeroed
        } else {
            Contents::Any
        };
        let before = self.heap.stats();
        let mut block = match self.heap.allocate(size, align, contents) {
            Ok(block) => block,
            Err(AllocError::OutOfMemory(refusal)) => {
                assert_eq!(refusal.wanted, size as u64);
                assert_ne!(refusal.limit, MemoryLimit::Machine);
                let left = before.budget - (before.committed - before.warm);
                if refusal.limit == MemoryLimit::Budget {
                    assert!(refusal.available >= left);
                    assert!(
                        (size.max(align) as u64).next_multiple_of(EXTENT_BYTES) > refusal.available
                    );
                }
                return;
            }
            Err(other) => panic!("{other}"),
        };
        assert_eq!(block.size(), size);
        assert_eq!(block.as_ptr().addr().get() % align.max(64), 0);
        if size == 0 {
            self.empty += 1;
            return;
        }
        assert_eq!(block.offset() % align.max(64) as u64, 0);
        self.assert_apart(&block);
        let byte = self.next_byte;
        self.next_byte = self.next_byte % 255 + 1;
        let bytes = bytes_of(&mut block);
        if zeroed {
            assert!(is_all(bytes, 0), "a zeroed block is zero");
        }
        bytes.fill(byte);
        self.live.insert(block.offset(), (block, byte));
    }

    fn assert_apart(&self, block: &Block) {
        let end = |block: &Block| block.offset() + block.size() as u64;
        let before = self.live.range(..=block.offset()).next_back();
        assert!(before.is_none_or(|(_, (other, _))| end(other) <= block.offset()));
        let after = self.live.range(block.offset()..).next();
        assert!(after.is_none_or(|(offset, _)| end(block) <= *offset));
        let apart = |other: &Block| end(other) <= block.offset() || end(block) <= other.offset();
        assert!(self.reserved.iter().all(apart));
    }

    fn free(&mut self, which: usize) {
        let count = self.live.len() + self.reserved.len();
        let Some(index) = which.checked_rem(count) else {
            return;
        };
        match index.checked_sub(self.live.len()) {
            Some(index) => drop(self.reserved.swap_remove(index)),
            None => {
                let offset = *self.live.keys().nth(index).unwrap();
                let (mut block, byte) = self.live.remove(&offset).unwrap();
                assert!(is_all(bytes_of(&mut block), byte), "still ours");
            }
        }
    }

    fn audit(&self, keep_warm: u64) {
        let stats = self.heap.stats();
        let wanted: usize = self.live.values().map(|(block, _)| block.size()).sum();
        let reserved: usize = self.reserved.iter().map(Block::size).sum();
        assert_eq!(stats.in_use, wanted as u64);
        assert_eq!(stats.reserved, reserved as u64);
        assert!(stats.committed <= stats.budget);
        assert!(stats.in_use + stats.warm <= stats.committed);
        assert!(stats.huge <= stats.committed);
        assert!(stats.warm <= keep_warm * EXTENT_BYTES);
        // The books agree with the kernel's.
        assert_eq!(self.heap.region().resident().unwrap(), stats.committed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_sequence_leaves_blocks_apart_and_books_right(
        steps in steps(),
        keep_warm in 0..8_u64,
        huge in any::<bool>(),
    ) {
        let heap = heap(24, 12, keep_warm);
        if !huge {
            heap.region().disable_huge_pages();
        }
        let mut model =
            Model { heap, live: BTreeMap::new(), empty: 0, reserved: Vec::new(), next_byte: 1 };
        for step in steps {
            match step {
                Step::Allocate { size, align, zeroed } => model.allocate(size, align, zeroed),
                Step::Reserve { size } => {
                    if let Ok(block) = model.heap.reserve(size) {
                        model.assert_apart(&block);
                        model.reserved.push(block);
                    }
                }
                Step::Free { which } => model.free(which),
                Step::Trim => model.heap.trim(),
            }
            model.audit(keep_warm);
        }
        while !model.live.is_empty() || !model.reserved.is_empty() {
            model.free(0);
            model.audit(keep_warm);
        }
        model.heap.trim();
        let stats = model.heap.stats();
        prop_assert_eq!((stats.committed, stats.huge, stats.warm), (0, 0, 0));
        prop_assert_eq!(model.heap.region().resident().unwrap(), 0);
    }
}

#[test]
fn a_freed_block_of_any_size_is_found_warm_again() {
    for extents in [1, 7, 9, 17, 31, 33] {
        let heap = heap(128, 64, 64);
        let size = extents * EXTENT;
        let first = heap.allocate(size, 64, Contents::Any).unwrap();
        let behind = heap.allocate(EXTENT, 64, Contents::Any).unwrap();
        let (offset, committed) = (first.offset(), heap.stats().committed);
        drop(first);
        let again = heap.allocate(size, 64, Contents::Any).unwrap();
        assert_eq!(again.offset(), offset, "{extents} extents");
        assert_eq!(heap.stats().committed, committed);
        drop(behind);
    }
}

#[test]
fn a_zeroed_block_is_zero_where_it_is_half_warm() {
    let heap = heap(16, 16, 16);
    let mut first = heap.allocate(2 * EXTENT, 64, Contents::Any).unwrap();
    bytes_of(&mut first).fill(0xff);
    drop(first);
    let mut wider = heap.allocate(4 * EXTENT - 5, 64, Contents::Zeroed).unwrap();
    assert_eq!(heap.stats().committed, 4 * EXTENT_BYTES, "two were warm");
    assert!(is_all(bytes_of(&mut wider), 0));
}

#[test]
fn a_full_budget_is_an_error_that_says_so() {
    let heap = heap(64, 4, 4);
    let held = heap.allocate(3 * EXTENT, 64, Contents::Any).unwrap();
    let refusal = heap.allocate(2 * EXTENT, 64, Contents::Any).unwrap_err();
    let expected = OutOfMemory {
        wanted: 2 * EXTENT_BYTES,
        available: EXTENT_BYTES,
        limit: MemoryLimit::Budget,
    };
    assert_eq!(refusal, AllocError::OutOfMemory(expected));
    let text = expected.to_string();
    assert!(text.contains("4194304") && text.contains("2097152") && text.contains("budget"));
    drop(held);
    assert!(heap.allocate(5 * EXTENT, 64, Contents::Any).is_err());
    assert_eq!(
        heap.stats().warm,
        3 * EXTENT_BYTES,
        "a vain request costs nothing"
    );
    // What was given back is warm, and makes way.
    let _all = heap.allocate(4 * EXTENT, 64, Contents::Any).unwrap();
    assert_eq!(heap.stats().committed, 4 * EXTENT_BYTES);
}

#[test]
fn warm_memory_makes_way_for_other_sizes() {
    let heap = heap(64, 4, 4);
    let blocks: Vec<_> = (0..4)
        .map(|_| heap.allocate(EXTENT, 64, Contents::Any).unwrap())
        .collect();
    let mut blocks = blocks.into_iter();
    let kept = blocks.nth(1).unwrap();
    drop(blocks);
    // One piece of three is not among the holes, so it is committed elsewhere.
    let wide = heap.allocate(3 * EXTENT, 64, Contents::Any).unwrap();
    assert_eq!(heap.stats().committed, 4 * EXTENT_BYTES);
    assert_eq!(heap.region().resident().unwrap(), 4 * EXTENT_BYTES);
    drop((kept, wide));
}

#[test]
fn address_space_runs_out_before_the_budget_with_an_error() {
    let heap = heap(4, 1000, 0);
    for wanted in [5 * EXTENT, usize::MAX] {
        let AllocError::OutOfMemory(refusal) =
            heap.allocate(wanted, 64, Contents::Any).unwrap_err()
        else {
            panic!("not out of memory")
        };
        assert_ne!(refusal.limit, MemoryLimit::Machine);
    }
    for wanted in [5 * EXTENT, usize::MAX, (u32::MAX as usize) * EXTENT] {
        assert!(heap.reserve(wanted).is_err());
    }
    let nothing = self::heap(0, 1000, 0);
    assert!(nothing.allocate(1, 1, Contents::Any).is_err());
    assert!(nothing.allocate(0, 1, Contents::Any).is_ok());
}

#[test]
fn spans_fill_up_and_make_way() {
    let heap = heap(64, 4, 4);
    let blocks: Vec<_> = (0..20_000)
        .map(|_| heap.allocate_packed(1, 1).unwrap())
        .collect();
    let mut offsets: Vec<_> = blocks.iter().map(Block::offset).collect();
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets.len(), blocks.len());
    assert!(heap.stats().committed > EXTENT_BYTES, "more than one span");
    drop(blocks);
    assert!(heap.stats().committed > heap.stats().warm, "a span is kept");
    // All of the budget can be had nevertheless.
    drop(heap.allocate(4 * EXTENT, 64, Contents::Any).unwrap());
    let _small = heap.allocate(1, 1, Contents::Any).unwrap();
}

#[test]
fn a_buffer_shares_no_page_with_anything() {
    let heap = heap(64, 16, 4);
    let sizes = [1, 64, 100, 4095, 4096, 4097, 70_000, LARGE_BYTES - 1];
    let buffers = || sizes.map(|size| heap.allocate(size, 8, Contents::Any).unwrap());
    let packed = || sizes.map(|size| heap.allocate_packed(size, 8).unwrap());
    let (_first, _between, again) = (buffers(), packed(), buffers());
    // What was given back is handed out again in whole pages, too.
    drop(again);
    let all = [buffers(), packed(), buffers(), packed()];
    let pages = |block: &Block| {
        let end = block.offset() + block.size() as u64;
        block.offset() / PAGE_BYTES..end.div_ceil(PAGE_BYTES)
    };
    let [first, second, third, fourth] = &all;
    for buffer in first.iter().chain(third) {
        for other in all.iter().flatten() {
            let (mine, others) = (pages(buffer), pages(other));
            let apart = mine.end <= others.start || others.end <= mine.start;
            assert!(
                apart || buffer.offset() == other.offset(),
                "{buffer:?} {other:?}"
            );
        }
    }
    let side_by_side = second[0].offset().abs_diff(second[1].offset()) < PAGE_BYTES;
    assert!(side_by_side, "{second:?} {fourth:?}");
}

#[test]
fn more_than_the_machine_has_is_refused_before_it_is_touched() {
    let region = Arc::new(Region::create(1 << 44).unwrap());
    let limits = HeapLimits {
        budget: u64::MAX,
        keep_warm: 0,
    };
    let area = 0..region.size();
    let heap = Heap::new(region, area, limits).unwrap();
    let AllocError::OutOfMemory(refusal) = heap.allocate(1 << 43, 64, Contents::Any).unwrap_err()
    else {
        panic!("not out of memory")
    };
    assert_eq!(refusal.limit, MemoryLimit::Machine);
    assert!(refusal.available < refusal.wanted);
    assert_eq!(heap.stats().committed, 0);
    assert_eq!(heap.region().resident().unwrap(), 0);
}

#[test]
fn what_a_worker_wrote_into_a_reserved_block_is_gone_with_it() {
    let heap = heap(8, 8, 8);
    let arena = heap.reserve(3 * EXTENT).unwrap();
    assert_eq!(heap.stats().committed, 0);
    let range = arena.offset()..arena.offset() + 3 * EXTENT_BYTES;
    let worker = Region::attach(heap.region().fd().try_clone_to_owned().unwrap()).unwrap();
    worker.unprotect(range.clone()).unwrap();
    worker.commit(range).unwrap();
    assert_eq!(heap.region().resident().unwrap(), 3 * EXTENT_BYTES);
    drop(arena);
    assert_eq!(heap.region().resident().unwrap(), 0);
    let mut next = heap.allocate(3 * EXTENT, 64, Contents::Zeroed).unwrap();
    assert!(is_all(bytes_of(&mut next), 0));
}

#[test]
#[expect(unsafe_code, reason = "forks")]
fn a_forked_child_neither_frees_nor_allocates() {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    let heap = heap(8, 8, 0);
    let mut block = heap.allocate(EXTENT, 64, Contents::Any).unwrap();
    bytes_of(&mut block).fill(7);
    // SAFETY: the child neither allocates nor takes a lock, as the assertions are to show, and
    // leaves without running destructors.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let refused = heap.allocate(1, 1, Contents::Any);
            let forked = matches!(refused, Err(AllocError::Forked));
            let readable = is_all(bytes_of(&mut block), 7);
            drop(block);
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(!(forked && readable))) }
        }
        ForkResult::Parent { child } => {
            assert!(matches!(waitpid(child, None), Ok(WaitStatus::Exited(_, 0))));
        }
    }
    assert!(is_all(bytes_of(&mut block), 7));
    drop(block);
    assert_eq!(heap.region().resident().unwrap(), 0);
}

#[test]
fn an_alignment_beyond_an_extent_is_refused() {
    let heap = heap(4, 4, 0);
    for wanted in [2 * EXTENT, 3, 0] {
        let refusal = heap.allocate(1, wanted, Contents::Any).unwrap_err();
        assert_eq!(refusal, AllocError::Alignment { wanted });
    }
}

#[test]
fn threads_do_not_get_in_each_others_way() {
    let heap = heap(256, 64, 8);
    std::thread::scope(|scope| {
        for thread in 1..=4_u8 {
            let heap = &heap;
            scope.spawn(move || {
                let mut kept = Vec::new();
                for round in 0..400_usize {
                    let size = if round % 50 == 0 {
                        3 << 20
                    } else {
                        round * 97 % 9000 + 1
                    };
                    let mut block = heap.allocate(size, 64, Contents::Zeroed).unwrap();
                    assert!(is_all(bytes_of(&mut block), 0));
                    bytes_of(&mut block).fill(thread);
                    kept.push(block);
                    if kept.len() > 20 {
                        let mut old = kept.swap_remove(round % 20);
                        assert!(is_all(bytes_of(&mut old), thread));
                    }
                }
            });
        }
    });
    assert_eq!(heap.stats().in_use, 0);
    heap.trim();
    assert_eq!(heap.region().resident().unwrap(), 0);
}
