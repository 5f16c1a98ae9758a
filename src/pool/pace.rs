//! How fast kernels went lately, so that a short range which takes no time is not shared out.
//!
//! Each chunk costs some trips of a cache line between two cores, a tenth of a microsecond each.
//! A range of a few microseconds is therefore run as one chunk, on trial: if it takes long after
//! all, its worker gives the rest back and that is cut as usual. So a wrong guess costs some
//! microseconds, never the work of the others.

use crate::pool::job::Launch;
use crate::pool::terms::Grain;
use crate::protocol::function::FunctionId;

/// Longer ranges are shared out in any case.
const LONGEST: u64 = 4096;
/// A range that is thought to take longer is shared out.
const SHORT_NANOSECONDS: u64 = 3_000;
/// What the parent sees of a job beyond its work: the way there and back, and the chunks.
const OVERHEAD_NANOSECONDS: u64 = 6_000;
/// How many kernels are remembered.
const KERNELS: usize = 64;

#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    kernel: u64,
    /// Time of 1024 elements, in nanoseconds.
    nanoseconds: u64,
}

/// The pace of each kernel that was met lately. A guess for speed; nothing else depends on it.
#[derive(Debug)]
pub(crate) struct Paces([Pace; KERNELS]);

impl Paces {
    pub(crate) const fn new() -> Self {
        let unknown = Pace {
            kernel: 0,
            nanoseconds: 0,
        };
        Self([unknown; KERNELS])
    }

    /// Whether the pace of this job's kernel matters: whether it may be run as one chunk.
    pub(crate) fn matters(launch: &Launch) -> bool {
        launch.chunking.len() <= LONGEST
            && launch.grain == Grain::Elements
            && launch.pure_function
            && launch.job.element_limit == 0
            && launch.job.fail_fast
    }

    /// Whether a range of so many elements is thought to take no time worth sharing.
    pub(crate) fn is_short(&self, kernel: FunctionId, len: u64) -> bool {
        let Pace {
            kernel: known,
            nanoseconds,
        } = self.0[Self::index(kernel)];
        known == kernel.to_bits() && nanoseconds.saturating_mul(len) / 1024 <= SHORT_NANOSECONDS
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
        assert!(!paces.is_short(kernel(1), 1));
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
    fn what_the_way_there_costs_is_not_counted() {
        let mut paces = Paces::new();
        paces.note_whole(kernel(3), 64, OVERHEAD_NANOSECONDS / 2);
        assert!(paces.is_short(kernel(3), LONGEST));
        paces.note_whole(kernel(3), 64, OVERHEAD_NANOSECONDS + 64_000);
        assert!(!paces.is_short(kernel(3), 64));
    }
}
