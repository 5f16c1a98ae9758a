//! Round trips, exact lengths, limits, and bytes that are no archives.

use core::fmt::Debug;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use proptest::prelude::*;
use rkyv::api::high::HighSerializer;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;

use super::*;

mod copies;

/// The exact length of the value's archive, without writing it.
fn measure<T: Payload>(value: &T) -> Result<usize, ArchiveError> {
    // SAFETY: no byte is ever written to a destination of no capacity.
    let fit = unsafe { write(value, NonNull::dangling(), 0) };
    match fit? {
        Fit::Written(bytes) | Fit::Needs(bytes) => Ok(bytes),
    }
}

/// 64-aligned bytes, as a block in shared memory has them.
#[repr(C, align(64))]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Line([u8; 64]);

struct Block {
    lines: Vec<Line>,
    bytes: usize,
}

impl Block {
    fn new(bytes: usize) -> Self {
        Self {
            lines: vec![Line([0xA5; 64]); bytes / 64 + 1],
            bytes,
        }
    }

    fn of<T: Payload>(value: &T) -> Self {
        let mut block = Self::new(measure(value).unwrap());
        let bytes = block.bytes;
        assert_eq!(block.write(value, bytes), Ok(Fit::Written(bytes)));
        assert!(
            block.all()[bytes..].iter().all(|&byte| byte == 0xA5),
            "wrote past the end"
        );
        block
    }

    fn write<T: Payload>(&mut self, value: &T, capacity: usize) -> Result<Fit, ArchiveError> {
        let start = NonNull::from(self.lines.as_mut_slice()).cast();
        assert!(capacity <= self.lines.len() * 64);
        // SAFETY: the block has at least `capacity` bytes and is ours alone.
        unsafe { super::write(value, start, capacity) }
    }

    fn all(&self) -> &[u8] {
        bytemuck::cast_slice(&self.lines)
    }

    fn all_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }

    fn as_bytes(&self) -> &[u8] {
        &self.all()[..self.bytes]
    }
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, Clone, Debug, PartialEq)]
struct Job {
    name: String,
    shape: (u64, Option<i128>),
    rows: Vec<Vec<f64>>,
    labels: HashMap<String, Vec<String>>,
    index: BTreeMap<u32, String>,
    kind: Kind,
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, Clone, Debug, PartialEq)]
enum Kind {
    Empty,
    Text(String),
    Pair { left: Box<u16>, right: [u8; 3] },
}

/// A chain as deep as its length.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(
    serialize_bounds(__S: rkyv::ser::Writer),
    deserialize_bounds(__D::Error: rkyv::rancor::Source),
    bytecheck(bounds(__C: rkyv::validation::ArchiveContext, __C::Error: rkyv::rancor::Source))
)]
struct Chain {
    #[rkyv(omit_bounds)]
    next: Option<Box<Chain>>,
}

impl Chain {
    fn of(length: usize) -> Self {
        (0..length).fold(Self { next: None }, |next, _| Self {
            next: Some(Box::new(next)),
        })
    }
}

/// rkyv's own way of doing it is the oracle for the bytes.
fn reference<T: for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, rancor::Error>>>(
    value: &T,
) -> AlignedVec {
    rkyv::to_bytes::<rancor::Error>(value).unwrap()
}

fn assert_round_trip<T>(value: &T)
where
    T: Payload<Archived: Deserialize<T, Restorer>> + PartialEq + Debug,
    T: for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, rancor::Error>>,
{
    let block = Block::of(value);
    assert_eq!(block.as_bytes(), &*reference(value));
    let archived = access::<T>(block.as_bytes()).unwrap();
    assert_eq!(&to_owned::<T>(archived).unwrap(), value);
}

fn job() -> Job {
    Job {
        name: "a name that does not fit inline".into(),
        shape: (u64::MAX, Some(-1)),
        rows: vec![vec![1.0, 2.0], vec![], vec![f64::MAX; 33]],
        labels: [("a".into(), vec!["b".into(), "c".repeat(40)])].into(),
        index: (0..50)
            .map(|key| (key, key.to_string().repeat(5)))
            .collect(),
        kind: Kind::Pair {
            left: Box::new(7),
            right: [1, 2, 3],
        },
    }
}

#[test]
fn nothing_crosses_as_no_bytes() {
    assert_eq!(measure(&()), Ok(0));
    assert_eq!(Block::new(0).write(&(), 0), Ok(Fit::Written(0)));
    assert_eq!(access::<()>(&[]), Ok(&()));
    assert_round_trip(&());
}

#[test]
fn values_of_many_shapes_cross() {
    assert_round_trip(&1_u8);
    assert_round_trip(&(1.5_f64, u128::MAX, 'x', false));
    assert_round_trip(&String::new());
    assert_round_trip(&"é".repeat(1000));
    assert_round_trip(&vec![0.5_f64; 1 << 20]);
    assert_round_trip(
        &(0..10_000)
            .map(|i| i.to_string().repeat(i % 7))
            .collect::<Vec<_>>(),
    );
    assert_round_trip(
        &(0..1_000)
            .map(|i| (i, vec![i; 3]))
            .collect::<HashMap<u32, _>>(),
    );
    assert_round_trip(&vec![(); 5]);
    assert_round_trip(&[const { None::<Box<str>> }; 3]);
    assert_round_trip(&Kind::Empty);
    assert_round_trip(&Kind::Text("text".into()));
    assert_round_trip(&job());
}

#[test]
fn a_shared_pointer_arrives_as_several() {
    let shared = Arc::new("a text that does not fit inline".to_owned());
    let block = Block::of(&(Arc::clone(&shared), shared));
    let (one, other) = {
        let both = access::<(Arc<String>, Arc<String>)>(block.as_bytes()).unwrap();
        (both.0.get(), both.1.get())
    };
    assert_eq!(one, other);
    assert!(!core::ptr::eq(one, other));
}

#[test]
fn what_does_not_fit_is_counted_and_nothing_overrun() {
    let value = job();
    let needed = measure(&value).unwrap();
    for capacity in 0..needed {
        let mut block = Block::new(needed);
        assert_eq!(block.write(&value, capacity), Ok(Fit::Needs(needed)));
        assert!(
            block.all()[capacity..].iter().all(|&byte| byte == 0xA5),
            "past {capacity}"
        );
    }
}

#[test]
fn scratch_spills_and_is_given_back() {
    let value: Vec<Vec<String>> = (0..300).map(|i| vec!["x".repeat(20); i]).collect();
    let expected = reference(&value);
    let before = heap::live();
    let block = Block::of(&value);
    assert_eq!(block.as_bytes(), &*expected);
    drop(block);
    assert_eq!(heap::live(), before);
}

#[test]
fn scratch_is_given_back_when_serialising_panics() {
    let value = vec![(vec![String::new(); 1000], Stubborn::Panics)];
    let before = heap::live();
    let panic = std::panic::catch_unwind(|| measure(&value)).unwrap_err();
    drop(panic);
    assert_eq!(heap::live(), before);
}

#[test]
fn flat_payloads_take_no_heap_at_all() {
    let value = (
        "x".repeat(64 << 20),
        vec![0_u8; 64 << 20],
        vec![0.5_f64; 1 << 20],
    );
    let mut block = Block::new(measure(&value).unwrap());
    let bytes = block.bytes;
    let (before, live) = (heap::allocated(), heap::live());
    assert_eq!(measure(&value), Ok(bytes));
    assert_eq!(block.write(&value, bytes), Ok(Fit::Written(bytes)));
    assert!(access::<(String, Vec<u8>, Vec<f64>)>(block.as_bytes()).is_ok());
    assert_eq!((heap::allocated(), heap::live()), (before, live));
}

/// Claims to be as many bytes as it is told, all of them zero.
struct Zeros(usize);

impl Archive for Zeros {
    type Archived = rkyv::vec::ArchivedVec<u8>;
    type Resolver = usize;

    fn resolve(&self, position: usize, out: rkyv::Place<Self::Archived>) {
        let resolver = rkyv::vec::VecResolver::from_pos(position);
        rkyv::vec::ArchivedVec::<u8>::resolve_from_len(self.0, resolver, out);
    }
}

impl<S: rkyv::rancor::Fallible + rkyv::ser::Writer + ?Sized> Serialize<S> for Zeros {
    fn serialize(&self, serializer: &mut S) -> Result<usize, S::Error> {
        static ZEROS: [u8; 16 << 20] = [0; 16 << 20];
        let position = serializer.pos();
        let mut left = self.0;
        while left > 0 {
            let now = left.min(ZEROS.len());
            serializer.write(&ZEROS[..now])?;
            left -= now;
        }
        Ok(position)
    }
}

#[test]
fn what_rkyv_would_panic_over_is_refused() {
    let overhead = size_of::<<Zeros as Archive>::Archived>();
    assert_eq!(measure(&Zeros(LIMIT - overhead)), Ok(LIMIT));
    let most = LIMIT - overhead + 1;
    for bytes in [
        most,
        i32::MAX as usize,
        1 << 31,
        (1 << 31) + 64,
        (1 << 32) + 64,
        1 << 40,
    ] {
        let error = measure(&Zeros(bytes)).unwrap_err();
        assert!(
            matches!(error, ArchiveError::TooLarge { limit: LIMIT, .. }),
            "{bytes}: {error}"
        );
    }
    // A pointer back over nearly all of it, from the middle of a large object and from a table.
    let wide = (
        Zeros(LIMIT - (1 << 20)),
        [const { String::new() }; 4096],
        "x".repeat(99),
    );
    assert!(measure(&wide).is_ok());
    let table: HashMap<u32, Zeros> = (0..2000).map(|key| (key, Zeros(1 << 20))).collect();
    assert!(measure(&table).unwrap() > 2000 << 20);
    let table: HashMap<u32, Zeros> = (0..2048).map(|key| (key, Zeros(1 << 20))).collect();
    assert!(matches!(
        measure(&table),
        Err(ArchiveError::TooLarge { .. })
    ));
}

#[derive(Clone, Copy, PartialEq)]
enum Stubborn {
    Refuses,
    Panics,
}

impl Archive for Stubborn {
    type Archived = ();
    type Resolver = ();

    fn resolve(&self, (): (), _: rkyv::Place<()>) {}
}

impl<S: rkyv::rancor::Fallible<Error: rkyv::rancor::Source> + ?Sized> Serialize<S> for Stubborn {
    fn serialize(&self, _: &mut S) -> Result<(), S::Error> {
        if *self == Self::Panics {
            // Past the hook, whose backtrace machinery keeps some heap.
            std::panic::resume_unwind(Box::new(()));
        }
        rkyv::rancor::fail!(std::io::Error::other("not today"))
    }
}

#[test]
fn a_value_that_refuses_is_an_error_with_its_reason() {
    let error = measure(&(String::new(), Stubborn::Refuses)).unwrap_err();
    assert!(matches!(&error, ArchiveError::Refused { .. }));
    assert!(error.to_string().contains("not today"), "{error}");
}

#[test]
fn chains_are_read_as_deep_as_a_stack_bears_and_no_deeper() {
    let deepest = DEPTH.get() - 2;
    assert!(access::<Chain>(Block::of(&Chain::of(deepest)).as_bytes()).is_ok());
    let error = access::<Chain>(Block::of(&Chain::of(deepest + 1)).as_bytes()).err();
    assert!(
        matches!(error, Some(ArchiveError::Invalid { .. })),
        "{error:?}"
    );
}

#[test]
fn misplaced_and_cut_archives_are_errors() {
    let whole = Block::of(&job());
    for bytes in 0..whole.bytes {
        let cut = &whole.as_bytes()[..bytes];
        assert!(
            matches!(access::<Job>(cut), Err(ArchiveError::Invalid { .. })),
            "{bytes}"
        );
    }
    for by in 1..ALIGN {
        let mut moved = Block::new(whole.bytes + by);
        moved.all_mut()[by..][..whole.bytes].copy_from_slice(whole.as_bytes());
        let seen = access::<Job>(&moved.all()[by..][..whole.bytes]);
        assert_eq!(seen.is_ok(), by % align_of::<ArchivedJob>() == 0, "{by}");
    }
    assert!(access::<u64>(&[]).is_err());
}

/// Touches all that a reader could.
fn walk(job: &ArchivedJob) -> usize {
    let mut sum = job.name.len() + job.rows.iter().map(|row| row.len()).sum::<usize>();
    sum += job
        .labels
        .iter()
        .map(|(key, list)| key.len() + list.len())
        .sum::<usize>();
    sum += job
        .labels
        .get("a")
        .map_or(0, |list| list.iter().map(|text| text.len()).sum());
    sum += job
        .index
        .iter()
        .map(|(key, text)| key.to_native() as usize + text.len())
        .sum::<usize>();
    match &job.kind {
        ArchivedKind::Empty => sum,
        ArchivedKind::Text(text) => sum + text.chars().count(),
        ArchivedKind::Pair { left, right } => sum + usize::from(left.to_native()) + right.len(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn flipped_bits_are_an_error_or_harmless(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..8),
    ) {
        let mut block = Block::of(&job());
        for (at, bits) in flips {
            let at = at.index(block.bytes);
            block.all_mut()[at] ^= bits;
        }
        if let Ok(job) = access::<Job>(block.as_bytes()) {
            walk(job);
            let _ = to_owned::<Job>(job);
        }
    }

    #[test]
    fn noise_is_an_error_or_harmless(noise in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut block = Block::new(noise.len());
        block.all_mut()[..noise.len()].copy_from_slice(&noise);
        if let Ok(job) = access::<Job>(block.as_bytes()) {
            walk(job);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lists_of_anything_cross(
        value in {
            let element = ("\\PC{0,20}", any::<Option<i64>>(), any::<[u16; 3]>());
            prop::collection::vec(element, 0..50)
        },
    ) {
        assert_round_trip(&value);
    }
}

/// Counts what the current thread takes from the heap.
mod heap {
    use core::alloc::{GlobalAlloc, Layout};
    use core::cell::Cell;
    use std::alloc::System;

    struct Counting;

    #[global_allocator]
    static COUNTING: Counting = Counting;

    thread_local! {
        static ALLOCATED: Cell<usize> = const { Cell::new(0) };
        static FREED: Cell<usize> = const { Cell::new(0) };
    }

    // SAFETY: the system's allocator does the work.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            ALLOCATED.set(ALLOCATED.get() + layout.size());
            // SAFETY: the caller's promises are those that the system's allocator wants.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            FREED.set(FREED.get() + layout.size());
            // SAFETY: as above; `pointer` came from the system's allocator.
            unsafe { System.dealloc(pointer, layout) }
        }
    }

    /// All bytes this thread ever allocated.
    pub(super) fn allocated() -> usize {
        ALLOCATED.get()
    }

    /// Bytes allocated and not freed, by this thread.
    pub(super) fn live() -> isize {
        ALLOCATED.get().wrapping_sub(FREED.get()).cast_signed()
    }
}
