//! A value on a cache line of its own, so that its writers disturb nobody else's readers.

/// `T` alone on one or more lines of 64 bytes.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Line<T>(pub(crate) T);

const _: () = assert!(size_of::<Line<u64>>() == 64);
