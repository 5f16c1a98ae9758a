//! How results reach memory.

/// Through the cache, or past it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Store {
    /// Ordinary stores: the result is still in the cache when somebody reads it next.
    Cached,
    /// Non-temporal stores: a line is written without having been read first, and evicts nothing.
    Streaming,
}

impl Store {
    /// An output of so many bytes, over all chunks and workers, no longer fits in a usual share of
    /// the last cache: whoever reads it next would find its beginning evicted anyway.
    const STREAMED_BYTES: usize = 8 << 20;

    /// The better way for an output of `total_bytes` over all its chunks.
    pub(crate) const fn for_output(total_bytes: usize) -> Self {
        if total_bytes < Self::STREAMED_BYTES {
            Self::Cached
        } else {
            Self::Streaming
        }
    }
}
