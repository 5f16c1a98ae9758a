//! What a submission writes into shared memory: its archive, and not a byte more.

use core::slice;

use core::ptr::NonNull;

use super::*;
use crate::pool::Pool;

const FILLER: u8 = 0xa5;
const AROUND: usize = 4096;

/// The length of the archive, counted without writing it.
fn archive_len(value: &Vec<u8>) -> usize {
    // SAFETY: no byte is ever written to a destination of no capacity.
    match unsafe { archive::write(value, NonNull::dangling(), 0) }.unwrap() {
        Fit::Written(bytes) | Fit::Needs(bytes) => bytes,
    }
}

#[test]
fn an_argument_block_takes_its_archive_and_no_more() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let engine = pool.engine();
    for len in [200_usize, 1000, 4096, 100_001, 3 << 20] {
        // What the next block of this size will be carved from holds a pattern: a block that is
        // freed is the first to be taken again.
        let filled = engine.heap().allocate_packed(len + AROUND, ALIGN).unwrap();
        // SAFETY: the block was just allocated with this size, and nobody else knows it.
        unsafe { filled.as_ptr().write_bytes(FILLER, filled.size()) };
        let start = filled.offset();
        drop(filled);
        let value = vec![1_u8; len];
        let Fit::Needs(size) = Draft::new().write(&value).unwrap() else {
            panic!("too large to lie beside its slot");
        };
        let block = engine.place_arguments(&value, size).unwrap();
        let span = span_of(&block);
        assert_eq!(span.size as usize, archive_len(&value));
        assert_eq!(block.size() as u64, span.size);
        assert!(span.offset >= start && span.offset - start <= AROUND as u64);
        let end = start + (len + AROUND) as u64;
        let bytes = |from: u64, to: u64| {
            let first = engine.region().pointer(from, (to - from) as usize).unwrap();
            // SAFETY: in bounds, committed by the block that was there, and nobody writes it.
            unsafe { slice::from_raw_parts(first.as_ptr(), (to - from) as usize) }
        };
        assert!(bytes(start, span.offset).iter().all(|&x| x == FILLER));
        let after = bytes(span.offset + span.size, end);
        assert!(
            !after.is_empty() && after.iter().all(|&x| x == FILLER),
            "{len}"
        );
        assert!(archive::access::<Vec<u8>>(bytes(span.offset, span.offset + span.size)).is_ok());
    }
}
