//! Archives and contexts, from any bytes.

#![expect(
    unsafe_code,
    reason = "reads and writes archives in buffers of its own"
)]

use core::fmt::Debug;
use core::ptr::NonNull;
use std::collections::{BTreeMap, HashMap};

use super::source::{Aligned, Source};
use crate::protocol::archive::result_vec::ResultVec;
use crate::protocol::archive::{self, Fit, Payload, Restore};
use crate::protocol::context::{Context, ContextReader, Rkyv};
use crate::shared::SharedSlice;

/// What a task may return.
#[derive(Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
enum Shape {
    Nothing,
    Named { name: String, weights: Vec<u32> },
    Many(Vec<(u16, Option<String>)>),
    Kept(Box<[u8]>, BTreeMap<String, u64>, char, bool),
}

type Parts = (u64, SharedSlice<u32>, (Rkyv<Vec<String>>, [u8; 3]));

/// Bytes are an archive of a type or they are refused; what was accepted can be walked, and comes
/// back the same when it is written again. The same bytes are read as a context.
pub fn archive(data: &[u8]) {
    let mut source = Source::new(data);
    let which = source.byte();
    let aligned = Aligned::new(data.get(1..).unwrap_or_default());
    let bytes = aligned.bytes();
    match which % 10 {
        0 => round_trip::<u64>(bytes),
        1 => round_trip::<String>(bytes),
        2 => round_trip::<Vec<u8>>(bytes),
        3 => round_trip::<Vec<(u32, String)>>(bytes),
        4 => round_trip::<Option<Box<Vec<Vec<u16>>>>>(bytes),
        5 => round_trip::<BTreeMap<String, Vec<u16>>>(bytes),
        6 => round_trip::<HashMap<u32, String>>(bytes),
        7 => round_trip::<Shape>(bytes),
        8 => read_context(bytes),
        _ => round_trip::<Option<(ResultVec<u32>, ResultVec<u8>)>>(bytes),
    }
}

fn round_trip<T>(bytes: &[u8])
where
    T: Payload<Archived: Restore<T>> + PartialEq + Debug,
{
    let Ok(archived) = archive::access::<T>(bytes) else {
        return;
    };
    let Ok(value) = archive::to_owned::<T>(archived) else {
        return;
    };
    // SAFETY: no byte is ever written to a destination of no capacity.
    let (Fit::Needs(size) | Fit::Written(size)) =
        unsafe { archive::write(&value, NonNull::dangling(), 0) }.expect("it was an archive");
    let mut place = Aligned::new(&vec![0xa5; size]);
    let start = NonNull::from(place.bytes_mut()).cast();
    // SAFETY: the place has that many bytes, and is this function's alone.
    let fit = unsafe { archive::write(&value, start, size) }.expect("it was an archive");
    assert_eq!(fit, Fit::Written(size));
    let again = archive::access::<T>(place.bytes()).expect("written a moment ago");
    assert_eq!(archive::to_owned::<T>(again).as_ref(), Ok(&value));
}

fn read_context(bytes: &[u8]) {
    // A small region, so that offsets and lengths are often nearly right.
    let region = Aligned::new(&[7; 4096]);
    let start = NonNull::from(region.bytes()).cast();
    // SAFETY: the region is `region`, which nobody writes.
    let mut reader = unsafe { ContextReader::new(bytes, start, 4096) };
    if let Ok((number, elements, (words, tail))) = view::<Parts, _>(&mut reader) {
        let read: usize = words.iter().map(|word| word.len()).sum();
        let ends = elements.iter().filter(|&&x| x != 0x0707_0707).count();
        assert_eq!(ends, 0, "{number} {read} {tail:?}");
    }
}

fn view<'a, C: Context<M>, M>(
    reader: &mut ContextReader<'a>,
) -> Result<C::View<'a>, crate::protocol::context::ContextError> {
    C::view(reader)
}
