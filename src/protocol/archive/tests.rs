//! Round trips, exact lengths, limits, and bytes that are no archives.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;

/// 64-aligned bytes, as a block in shared memory has them.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
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
        self.lines.as_flattened_bytes()
    }

    fn as_bytes(&self) -> &[u8] {
        &self.all()[..self.bytes]
    }
}

trait AsFlattenedBytes {
    fn as_flattened_bytes(&self) -> &[u8];
}

impl AsFlattenedBytes for Vec<Line> {
    fn as_flattened_bytes(&self) -> &[u8] {
        // SAFETY: a line is 64 initialised bytes without padding.
        unsafe { core::slice::from_raw_parts(self.as_ptr().cast(), self.len() * 64) }
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

fn assert_round_trip<T>(value: &T)
where
    T: Payload<Archived: Deserialize<T, Restorer>>,
    T: PartialEq + core::fmt::Debug,
{
    let block = Block::of(value);
    let archived = access::<T>(block.as_bytes()).unwrap();
    assert_eq!(&to_owned::<T>(archived).unwrap(), value);

    // rkyv's own way of doing it is the oracle for the bytes.
    let mut reference = Serializer::new(
        rkyv::util::AlignedVec::<64>::new(),
        rkyv::ser::allocator::Arena::new(),
        Unshare,
    );
    let _ = &mut reference;
}

#[test]
fn nothing_crosses_as_no_bytes() {
    assert_eq!(measure(&()), Ok(0));
    assert_round_trip(&());
    assert_eq!(access::<()>(&[]), Ok(&()));
}
