//! How a range is cut into chunks.
//!
//! Guided self-scheduling (Polychronopoulos and Kuck, IEEE Transactions on Computers C-36, 1987):
//! each chunk is a fixed part of what is left, so the first are large and the last are small, and
//! a heavy tail does not wait on one worker. The cut depends on the length and the number of
//! workers only, and on how quick its kernel was lately: no chunk should take less time than its
//! claim is worth. That, and whether a short range is cut at all, is decided in `pace`.

use core::iter;

use crate::board::CHUNKS;

/// The smallest chunk is this part of the range, which bounds their number.
const FINEST: u64 = 768;
/// The same for a short range of quick elements, whose claims are what it costs.
const FINEST_SHORT: u64 = 64;
/// However quick elements are, the smallest chunk is no more than this part of the range: several
/// workers should end at about the same time.
const COARSEST: u64 = 16;
/// Below this many elements a range is short.
const SHORT: u64 = 4096;
/// The smallest chunk of a longer range that is quick is this part of what a worker has of it. Most
/// of that is in the cores' caches still, and stays there if a worker takes up where it did last.
const FINEST_QUICK: u64 = 8;
/// So few elements are a chunk each: one may be as much work as all others.
const FEW: u64 = 64;
/// Chunks begin at multiples of this many elements where they are large enough, so that no two
/// workers write one cache line.
const GRAIN: u64 = 64;
/// And chunks of [`PAGED`] elements at multiples of this many: whole pages, whatever an element's
/// size, for a core streams through four pages at a time (`numeric::lanes`), and eight that it has
/// a part of take 5 to 9 % more time for a gibibyte.
const PAGE_GRAIN: u64 = 4096;
/// The rounding may make a chunk a quarter larger.
const PAGED: u64 = 4 * PAGE_GRAIN;

/// A cut of `0..len` into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunking {
    len: u64,
    /// Each chunk takes this part of the rest.
    divisor: u64,
    /// But no fewer elements than this.
    smallest: u64,
}

impl Chunking {
    /// Large chunks first, for `workers`; none below `at_least` elements while there are more.
    pub(crate) fn guided(len: u64, workers: usize, at_least: u64) -> Self {
        let divisor = match len {
            ..=FEW => u64::MAX,
            _ => workers as u64 * 8,
        };
        Self {
            len,
            divisor,
            smallest: len.div_ceil(FINEST).max(at_least).max(1),
        }
    }

    /// The same with fewer chunks, for a range that is known to be quick.
    pub(crate) fn coarse(self, workers: usize) -> Self {
        let workers = workers as u64;
        let finest = match self.len {
            ..SHORT => FINEST_SHORT,
            _ => workers * FINEST_QUICK,
        };
        Self {
            len: self.len,
            divisor: workers * 2,
            smallest: self.len.div_ceil(finest).max(self.smallest),
        }
    }

    /// The same with no chunk of fewer elements than these, while there are more.
    pub(crate) fn at_least(self, elements: u64) -> Self {
        Self {
            smallest: self.smallest.max(elements.min(self.len.div_ceil(COARSEST))),
            ..self
        }
    }

    /// Chunks of `len` over a fixed number, whatever the number of workers: for reductions, whose
    /// rounding must not depend on the machine.
    pub(crate) fn even(len: u64, at_least: u64) -> Self {
        let smallest = len.div_ceil(256).max(at_least).max(1);
        Self {
            len,
            divisor: u64::MAX,
            smallest,
        }
    }

    /// The whole range as one chunk.
    pub(crate) fn single(len: u64) -> Self {
        Self {
            len,
            divisor: 1,
            smallest: len.max(1),
        }
    }

    /// Another range, cut by the same rule.
    pub(crate) fn with_len(self, len: u64) -> Self {
        Self { len, ..self }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The chunks in order, as (start, len); together they are `0..len`.
    pub(crate) fn chunks(self) -> impl Iterator<Item = (u64, u64)> {
        let mut start = 0;
        iter::from_fn(move || {
            let rest = self.len - start;
            if rest == 0 {
                return None;
            }
            let mut size = (rest / self.divisor).max(self.smallest);
            if size >= PAGED {
                size = size.next_multiple_of(PAGE_GRAIN);
            } else if size >= 2 * GRAIN {
                size = size.next_multiple_of(GRAIN);
            }
            let chunk = (start, size.min(rest));
            start += chunk.1;
            Some(chunk)
        })
        .take(CHUNKS)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covers(chunking: Chunking) {
        let mut next = 0;
        let mut count = 0;
        for (start, len) in chunking.chunks() {
            assert_eq!(start, next);
            assert!(len > 0);
            next += len;
            count += 1;
        }
        assert_eq!(next, chunking.len());
        assert!(count <= CHUNKS);
    }

    proptest! {
        #[test]
        fn chunks_cover_the_range_once(
            len in prop_oneof![0..10_000u64, 0..1u64 << 40],
            workers in 1..1024usize,
            at_least in prop_oneof![Just(1u64), 1..1u64 << 20],
        ) {
            covers(Chunking::guided(len, workers, at_least));
            covers(Chunking::guided(len, workers, at_least).coarse(workers));
            covers(Chunking::guided(len, workers, 1).at_least(at_least));
            covers(Chunking::even(len, at_least));
            covers(Chunking::single(len));
        }
    }

    #[test]
    fn few_elements_are_a_chunk_each() {
        let each: Vec<_> = (0..64).map(|start| (start, 1)).collect();
        assert!(Chunking::guided(64, 2, 1).chunks().eq(each));
        let coarse = Chunking::guided(64, 2, 1).coarse(2);
        assert_eq!(coarse.chunks().next(), Some((0, 16)));
        assert_eq!(coarse.chunks().last(), Some((63, 1)));
    }

    #[test]
    fn a_quick_range_is_few_chunks() {
        let cut = |workers| {
            let coarse = Chunking::guided(1 << 17, workers, 1).coarse(workers);
            coarse.chunks().map(|(_, len)| len).collect::<Vec<_>>()
        };
        let two = cut(2);
        assert_eq!((two[0], two.len()), (1 << 15, 9));
        assert!(two[..8].iter().all(|&len| len >= 1 << 13));
        assert_eq!(cut(16).len(), 75);
    }

    #[test]
    fn no_chunk_but_the_last_is_smaller_than_what_is_worth_one() {
        let least = |elements| {
            let chunks = Chunking::guided(5000, 2, 1).at_least(elements).chunks();
            let sizes: Vec<_> = chunks.map(|(_, len)| len).collect();
            sizes[..sizes.len() - 1].iter().copied().min()
        };
        assert_eq!(least(100), Some(100));
        assert_eq!(least(1_000_000), Some(320), "all have a part of it");
        assert_eq!(least(0), Some(7));
    }

    #[test]
    fn large_chunks_are_whole_pages() {
        for (start, len) in Chunking::guided((1 << 27) + 5, 2, 1).chunks() {
            assert_eq!(start % PAGE_GRAIN, 0);
            assert!(len.is_multiple_of(PAGE_GRAIN) || start + len == (1 << 27) + 5);
        }
    }

    #[test]
    fn even_chunks_do_not_depend_on_the_workers() {
        let chunks: Vec<_> = Chunking::even(1 << 20, 1).chunks().collect();
        assert_eq!(chunks.len(), 256);
        assert!(chunks.iter().all(|&(_, len)| len == 4096));
    }
}
