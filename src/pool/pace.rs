//! How fast kernels went lately, so that a short range which takes no time is not shared out, and
//! one that takes long is shared out at once; and how fast items of maps, for the next map.
//!
//! Each chunk costs some trips of a cache line between two cores, a tenth of a microsecond each.
//! A range of a few microseconds is therefore run as one chunk, on trial: if it takes long after
//! all, its worker gives the rest back and that is cut as usual. So a wrong guess costs some
//! microseconds, never the work of the others. For a job that is worth it, all workers are woken
//! when it is posted, by the caller, who has nothing else to do.

use crate::pool::chunking::Chunking;
use crate::pool::launch::Launch;
use crate::pool::terms::Grain;
use crate::protocol::function::FunctionId;

/// Longer ranges are cut in any case.
const LONGEST: u64 = 4096;
/// A range that is thought to take longer is shared out.
const SHORT_NANOSECONDS: u64 = 3_000;
/// A job that is thought to take longer is worth waking sleepers for.
const LONG_NANOSECONDS: u64 = 60_000;
/// A job that is thought to take less is cut into few chunks.
const QUICK_NANOSECONDS: u64 = 100_000;
/// What the parent sees of a job beyond its work: the way there and back, and the chunks.
const OVERHEAD_NANOSECONDS: u64 = 6_000;
/// What is thought to take less is no chunk: to claim one and to count it takes a third of that.
const CHUNK_NANOSECONDS: u64 = 1_500;
/// How many kernels are remembered.
const KERNELS: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Pace {
    /// All ones: none.
    kernel: u64,
    /// Time of 1024 elements, in nanoseconds.
    nanoseconds: u64,
}

/// The pace of each kernel, and of each map's function, that was met lately. A guess for speed;
/// nothing else depends on it.
#[derive(Debug)]
pub(crate) struct Paces([Pace; KERNELS]);

impl Paces {
    pub(crate) const fn new() -> Self {
        let unknown = Pace {
            kernel: u64::MAX,
            nanoseconds: 0,
        };
        Self([unknown; KERNELS])
    }

    /// Whether the pace of this job's kernel matters: the job may be run as one chunk.
    pub(crate) fn matters(launch: &Launch) -> bool {
        launch.grain == Grain::Elements
            && launch.pure_function
            && launch.job.element_limit == 0
            && launch.job.fail_fast
    }

    /// Whether a range of so many elements is thought to take no time worth sharing.
    pub(crate) fn is_short(&self, kernel: FunctionId, len: u64) -> bool {
        let time = self.estimate(kernel, len);
        len <= LONGEST && time.is_some_and(|time| time <= SHORT_NANOSECONDS)
    }

    /// Whether it is thought to take so long that sleepers are woken for it.
    pub(crate) fn is_long(&self, kernel: FunctionId, len: u64) -> bool {
        self.estimate(kernel, len)
            .is_some_and(|time| time >= LONG_NANOSECONDS)
    }

    /// How a range is cut by what is known of its kernel.
    pub(crate) fn cut(&self, kernel: FunctionId, chunking: Chunking, workers: usize) -> Chunking {
        let len = chunking.len();
        let cut = match self.is_quick(kernel, len) {
            true => chunking.coarse(workers),
            false => chunking,
        };
        match self.worth_a_chunk(kernel, len) {
            Some(elements) => cut.at_least(elements),
            None => cut,
        }
    }

    /// Whether anything is known of this kernel.
    pub(crate) fn knows(&self, kernel: FunctionId) -> bool {
        self.estimate(kernel, 1).is_some()
    }

    /// Whether it was seen to take less time than that.
    fn is_quick(&self, kernel: FunctionId, len: u64) -> bool {
        self.estimate(kernel, len)
            .is_some_and(|time| time < QUICK_NANOSECONDS)
    }

    /// Nanoseconds that an item of a map by this function took lately.
    pub(crate) fn of_item(&self, function: FunctionId) -> Option<u64> {
        self.estimate(function, 1)
    }

    /// How many elements of a range of `len` are worth a chunk of their own, if that is known.
    fn worth_a_chunk(&self, kernel: FunctionId, len: u64) -> Option<u64> {
        let time = self.estimate(kernel, len)?;
        Some(len.saturating_mul(CHUNK_NANOSECONDS) / time.max(1))
    }

    /// Nanoseconds that so many elements would take.
    pub(crate) fn estimate(&self, kernel: FunctionId, len: u64) -> Option<u64> {
        let Pace {
            kernel: known,
            nanoseconds,
        } = self.0[Self::index(kernel)];
        (known == kernel.to_bits()).then(|| nanoseconds.saturating_mul(len) / 1024)
    }

    /// Notes how long the work on so many elements took.
    pub(crate) fn note(&mut self, kernel: FunctionId, len: u64, nanoseconds: u64) {
        self.0[Self::index(kernel)] = Pace {
            kernel: kernel.to_bits(),
            nanoseconds: nanoseconds.saturating_mul(1024) / len.max(1),
        };
    }

    /// The same, from how long the whole job took.
    pub(crate) fn note_whole(&mut self, kernel: FunctionId, len: u64, nanoseconds: u64) {
        self.note(
            kernel,
            len,
            nanoseconds.saturating_sub(OVERHEAD_NANOSECONDS),
        );
    }

    fn index(kernel: FunctionId) -> usize {
        // Functions begin at multiples of 16.
        (kernel.to_bits() / 16 % KERNELS as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(number: u64) -> FunctionId {
        FunctionId::from_bits(number * 16)
    }

    #[test]
    fn only_what_was_seen_to_be_fast_is_short() {
        let mut paces = Paces::new();
        assert!(!paces.is_short(kernel(1), 1) && !paces.is_short(kernel(0), 1));
        paces.note(kernel(1), 256, 500);
        assert!(paces.is_short(kernel(1), 256));
        assert!(paces.is_short(kernel(1), 1024));
        assert!(!paces.is_short(kernel(1), LONGEST));
        assert!(
            !paces.is_short(kernel(1 + KERNELS as u64), 1),
            "another of the same place"
        );
        paces.note(kernel(1), 1, 1_000_000);
        assert!(!paces.is_short(kernel(1), 1));
    }

    #[test]
    fn a_chunk_is_worth_a_time_that_was_seen() {
        let mut paces = Paces::new();
        assert_eq!(paces.worth_a_chunk(kernel(2), 4096), None);
        paces.note(kernel(2), 1024, 10 * CHUNK_NANOSECONDS);
        assert_eq!(paces.worth_a_chunk(kernel(2), 4096), Some(102));
        paces.note(kernel(2), 1024, 0);
        assert!(paces.worth_a_chunk(kernel(2), 4096) > Some(4096));
    }

    #[test]
    fn what_the_way_there_costs_is_not_counted() {
        let mut paces = Paces::new();
        paces.note_whole(kernel(3), 64, OVERHEAD_NANOSECONDS / 2);
        assert!(paces.is_short(kernel(3), LONGEST));
        paces.note_whole(kernel(3), 64, OVERHEAD_NANOSECONDS + 64_000);
        assert!(!paces.is_short(kernel(3), 64) && !paces.is_long(kernel(3), 32));
        assert!(paces.is_long(kernel(3), 64) && !paces.is_long(kernel(4), 64));
    }
}
