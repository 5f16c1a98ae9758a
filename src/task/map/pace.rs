//! How many items go into a batch.

/// Nanoseconds that a batch should take: a hundred times what it costs to hand one over, and
/// little enough that all workers have something to do until the end.
const GOAL: u64 = 200_000;
/// Items in the largest batch. More would not be faster, only later.
const MOST: usize = 1024;
/// Batches a worker that may be on their way at once, so that it never waits for the next one.
pub(super) const BATCHES: usize = 4;

/// Chooses the size of batches by how long items have taken.
#[derive(Debug)]
pub(super) struct Pace {
    fixed: Option<usize>,
    size: usize,
    /// Nanoseconds an item, as far as it is known.
    item: u64,
}

impl Pace {
    pub(super) fn new(fixed: Option<usize>) -> Self {
        Self {
            fixed,
            size: 1,
            item: 0,
        }
    }

    /// Whether batches must stay as they are.
    pub(super) fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }

    /// Items for the next batch.
    pub(super) fn size(&self) -> usize {
        self.fixed.unwrap_or(self.size)
    }

    /// Learns that so many items took so many nanoseconds.
    ///
    /// Slow items count at once, quick ones bit by bit: too small a batch costs a microsecond, too
    /// large a one keeps items waiting.
    pub(super) fn note(&mut self, items: usize, time: u64) {
        let item = (time / items.max(1) as u64).max(1);
        self.item = match self.item {
            0 => item,
            known if item > known => item,
            known => known - (known - item) / 4,
        };
        let fitting = usize::try_from(GOAL / self.item).unwrap_or(MOST);
        self.size = fitting.clamp(1, MOST).min(2 * self.size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_items_make_large_batches_and_slow_ones_small_ones_at_once() {
        let mut pace = Pace::new(None);
        assert_eq!(pace.size(), 1);
        for _ in 0..20 {
            pace.note(pace.size(), 50 * pace.size() as u64);
        }
        assert_eq!(pace.size(), MOST);
        pace.note(1, 3_000_000);
        assert_eq!(pace.size(), 1);
        pace.note(1, 0);
        assert_eq!(pace.size(), 1);
    }

    #[test]
    fn nothing_a_worker_says_makes_a_batch_of_no_items() {
        let mut pace = Pace::new(None);
        for time in [0, 1, u64::MAX] {
            pace.note(0, time);
            assert!((1..=MOST).contains(&pace.size()));
        }
    }

    #[test]
    fn a_size_that_was_set_stays() {
        let mut pace = Pace::new(Some(7));
        pace.note(7, u64::MAX);
        assert_eq!((pace.size(), pace.is_fixed()), (7, true));
    }
}
