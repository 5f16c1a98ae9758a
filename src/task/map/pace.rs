//! How many items go into a batch.

/// Nanoseconds that a batch should take: a hundred times what it costs to hand one over, and
/// little enough that all workers have something to do until the end.
const GOAL: u64 = 200_000;
/// Nanoseconds that it may take to pull the items of a batch: those that are there need not wait
/// for the last.
const PATIENCE: u64 = 1_000_000;
/// Items in the largest batch. More would not be faster, only later.
const MOST: usize = 1024;
/// Batches a worker that may be on their way at once, so that it never waits for the next one.
pub(super) const BATCHES: usize = 4;
/// Items in the first batch, where items were quick in the last map: a worker begins while the
/// caller pulls the next ones.
const FIRST: usize = 64;
/// How many times as large as the batch before it one may be.
const GROWTH: usize = 4;
/// Nanoseconds of work that nobody is woken for, so that it may as well be one batch.
const SHORT: u64 = 10_000;

/// Chooses the size of batches by how long items have taken.
#[derive(Debug)]
pub(super) struct Pace {
    fixed: Option<usize>,
    size: usize,
    /// Nanoseconds an item, as far as it is known; zero: not yet. And what was `known` before.
    item: u64,
    known: u64,
    /// Nanoseconds that it took to pull an item; zero: nobody knows.
    pull: u64,
    /// As many items as leave some to each worker.
    share: usize,
}

impl Pace {
    /// `known`: nanoseconds that an item of such a map took lately. `share`: as many items as leave
    /// some to each worker.
    pub(super) fn new(fixed: Option<usize>, known: Option<u64>, share: usize) -> Self {
        let mut pace = Self {
            fixed,
            size: 1,
            item: 0,
            known: known.unwrap_or(0),
            pull: 0,
            share,
        };
        pace.size = pace.fitting().min(FIRST);
        pace
    }

    /// Whether batches must stay as they are.
    pub(super) fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }

    /// Whether nothing is known of how long it takes to pull an item of this map, so that a batch
    /// had better end once that takes long.
    pub(super) fn is_untried(&self) -> bool {
        self.pull == 0 && self.fixed.is_none()
    }

    /// Items for the next batch.
    pub(super) fn size(&self) -> usize {
        let short = within(SHORT, self.expected()).max(1);
        self.fixed
            .unwrap_or_else(|| self.size.min(self.share.max(short)))
    }

    /// Nanoseconds that an item takes, or took in the last map; zero: nobody knows.
    fn expected(&self) -> u64 {
        match self.item {
            0 => self.known,
            item => item,
        }
    }

    /// The size that suits what is known.
    fn fitting(&self) -> usize {
        let pulled = match self.pull {
            0 => MOST,
            pull => within(PATIENCE, pull),
        };
        within(GOAL, self.expected()).min(pulled).clamp(1, MOST)
    }

    /// A batch of so many items was sent off, which it took so many nanoseconds to pull.
    ///
    /// The next one need not wait for its end where items are known to be quick.
    pub(super) fn sent(&mut self, items: usize, time: u64) {
        self.pull = (time / items.max(1) as u64).max(1);
        self.size = self.fitting().min(GROWTH * self.size);
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
        self.size = self.fitting().min(2 * self.size);
    }

    /// What is known for the next map, if anything was learnt: how long an item takes, or as long
    /// as it would have to for batches to be no larger than it takes time to pull them.
    pub(super) fn learnt(&self) -> Option<u64> {
        let is_known = self.item > 0 && self.fixed.is_none();
        is_known.then(|| self.item.max(GOAL / self.fitting() as u64))
    }
}

/// How many of so many nanoseconds there are in some time.
fn within(time: u64, each: u64) -> usize {
    usize::try_from(time.checked_div(each).unwrap_or(0)).unwrap_or(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As [`Pace::new`], of whose items nothing is known.
    fn new() -> Pace {
        Pace::new(None, None, usize::MAX)
    }

    #[test]
    fn quick_items_make_large_batches_and_slow_ones_small_ones_at_once() {
        let mut pace = new();
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
        let mut pace = new();
        for time in [0, 1, u64::MAX] {
            pace.note(0, time);
            pace.sent(0, time);
            assert!((1..=MOST).contains(&pace.size()));
        }
    }

    #[test]
    fn a_size_that_was_set_stays() {
        let mut pace = Pace::new(Some(7), Some(1), 2);
        pace.note(7, u64::MAX);
        pace.sent(7, u64::MAX);
        assert_eq!((pace.size(), pace.is_fixed()), (7, true));
        assert_eq!((pace.learnt(), pace.is_untried()), (None, false));
        assert!(
            !Pace::new(Some(7), None, 2).is_untried(),
            "a batch stays whole"
        );
    }

    #[test]
    fn of_unknown_items_each_travels_alone_until_the_first_is_back() {
        let mut pace = new();
        pace.sent(1, 100);
        assert_eq!((pace.size(), pace.learnt()), (1, None));
        pace.note(1, 100);
        assert_eq!(pace.size(), 2);
        pace.sent(2, 200);
        assert_eq!(pace.size(), 2 * GROWTH);
    }

    #[test]
    fn what_one_map_learns_the_next_begins_with() {
        let mut last = new();
        last.note(1000, 12_000);
        let sizes = |known, share| {
            let mut pace = Pace::new(None, known, share);
            [(); 4].map(|()| {
                let size = pace.size();
                pace.sent(size, 4 * size as u64);
                size
            })
        };
        assert_eq!(sizes(last.learnt(), usize::MAX), [64, 256, 1024, 1024]);
        // Nobody is woken for some microseconds of work, but for more of it all are.
        assert_eq!(sizes(Some(12), 250), [64, 256, 833, 833]);
        assert_eq!(sizes(Some(500), 50), [50, 50, 50, 50]);
        assert_eq!(sizes(Some(10_000), 50), [20, 20, 20, 20]);
        assert_eq!(sizes(Some(u64::MAX), 50), [1, 1, 1, 1]);
        // What it knew before counts no more once an item has come back.
        let mut next = Pace::new(None, Some(12), usize::MAX);
        next.note(1, 1_000_000);
        assert_eq!((next.size(), next.learnt()), (1, Some(1_000_000)));
    }

    #[test]
    fn items_do_not_wait_for_others_that_take_long_to_pull() {
        let mut pace = Pace::new(None, Some(12), usize::MAX);
        assert!(pace.is_untried());
        pace.note(64, 64 * 12);
        pace.sent(64, 64 * PATIENCE);
        assert_eq!((pace.size(), pace.is_untried()), (1, false));
        let next = Pace::new(None, pace.learnt(), usize::MAX);
        assert_eq!(next.size(), 1, "nor in the next map");
        pace.sent(1, 100);
        assert_eq!(pace.size(), GROWTH, "they come quickly again");
    }
}
