//! What a task costs besides its archive: no allocation that grows with the payload, neither in
//! the parent, but for the copy of a small result, nor in the worker, which is this same program
//! and counts its own.

#![expect(unsafe_code, reason = "a global allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use gristmill::{Pool, TaskHandle};
use rkyv::rancor::Fallible;
use rkyv::ser::Writer;
use rkyv::{Archive, Place, Serialize};

struct Counting;

static ALLOCATED: AtomicU64 = AtomicU64::new(0);

// SAFETY: all of it is the system's allocator, but for a count.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; it came from `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocated() -> u64 {
    ALLOCATED.load(Ordering::Relaxed)
}

/// An archive of any length, made of nothing: a `Vec<u8>` would be an allocation itself.
struct Pattern(usize);

impl Archive for Pattern {
    type Archived = rkyv::vec::ArchivedVec<u8>;
    type Resolver = rkyv::vec::VecResolver;

    fn resolve(&self, resolver: Self::Resolver, out: Place<Self::Archived>) {
        rkyv::vec::ArchivedVec::resolve_from_len(self.0, resolver, out);
    }
}

impl<S: Fallible + Writer + ?Sized> Serialize<S> for Pattern {
    fn serialize(&self, serializer: &mut S) -> Result<Self::Resolver, S::Error> {
        let position = serializer.pos();
        let block = [0x5a; 4096];
        for begun in (0..self.0).step_by(4096) {
            serializer.write(&block[..4096.min(self.0 - begun)])?;
        }
        Ok(rkyv::vec::VecResolver::from_pos(position))
    }
}

/// By whole blocks, for a loop over bytes takes long without optimisation.
fn is_pattern(bytes: &[u8]) -> bool {
    bytes
        .chunks(4096)
        .all(|part| *part == [0x5a; 4096][..part.len()])
}

/// What a task costs whatever the payload: its entry, its handle, room in queues.
const OVERHEAD: u64 = 4 << 10;

/// Smaller results are copied once: it costs less than to keep their worker from them.
const COPIED: usize = 16 << 10;

/// One thread of one process only: this file has one test.
#[test]
fn nothing_is_allocated_for_the_payload() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let worker = |pool: &Pool| -> u64 {
        let task: TaskHandle<u64> = pool.spawn((), |()| allocated()).unwrap();
        task.wait().unwrap().to_native()
    };
    // That the counts count: each side allocates on purpose.
    let before = (allocated(), worker(&pool));
    drop(black_box(vec![1_u8; 1 << 20]));
    assert!(allocated() - before.0 >= 1 << 20);
    let task = pool.spawn((), |()| drop(black_box(vec![1_u8; 1 << 20])));
    task.unwrap().wait().unwrap();
    assert!(worker(&pool) - before.1 >= 1 << 20);

    // The first of a size may find that the allocators have to grow their own books.
    let sizes = [0, 100, 10_000, 100_000, 1 << 20, 8 << 20];
    for (round, size) in (0..2).flat_map(|round| sizes.map(|size| (round, size))) {
        let before = (allocated(), worker(&pool));
        let task = pool.spawn(Pattern(size), |bytes| {
            assert!(is_pattern(bytes));
            Pattern(bytes.len())
        });
        let answer = task.unwrap().wait().unwrap();
        assert_eq!(answer.len(), size);
        assert!(is_pattern(&answer));
        // The archive is the payload, padding to the root, and the root: a position and a length.
        let archive = answer.as_bytes().len();
        assert_eq!(archive, size.next_multiple_of(4) + 8);
        let after = (allocated(), worker(&pool));
        let (parent, worker) = (after.0 - before.0, after.1 - before.1);
        if round == 0 {
            continue;
        }
        let copy = if size < COPIED { size as u64 } else { 0 };
        assert!(
            parent < OVERHEAD + copy,
            "{parent} bytes in the parent for {size}"
        );
        assert!(worker < OVERHEAD, "{worker} bytes in the worker for {size}");
    }
}
