//! Slots and places on the board, made when they are first needed.
//!
//! A pool begins with some of each, so that whatever is submitted can go on: where there is no
//! memory for more, work waits in the parent until one of those that are there is free.

use std::sync::Arc;

use crate::memory::region::Region;
use crate::pool::hub::{Hub, Vacant};
use crate::pool::lanes::RESERVED;
use crate::protocol::control::{Control, SLOTS};

/// What there is memory for.
#[derive(Debug)]
pub(super) struct Room {
    region: Arc<Region>,
    /// One bit a place for jobs.
    places: u64,
}

impl Room {
    /// Of a control area that has just been created.
    pub(super) fn new(region: Arc<Region>) -> Self {
        Self { region, places: 1 }
    }

    /// The first place that is none of those `taken`; none that could only be had with memory that
    /// there is not.
    pub(super) fn place(&mut self, taken: u64) -> Option<u32> {
        let job = (taken != u64::MAX).then(|| taken.trailing_ones())?;
        if self.places & 1 << job != 0 {
            return Some(job);
        }
        if Control::make_place(&self.region, job).is_ok() {
            self.places |= 1 << job;
            return Some(job);
        }
        let left = self.places & !taken;
        (left != 0).then(|| left.trailing_zeros())
    }
}

impl Hub {
    /// Makes more slots if those that are free are scarce: as many as there are.
    pub(super) fn make_room(&mut self, control: &Control) {
        let slots = self.vacant.len();
        if self.free.len() > RESERVED || slots >= SLOTS {
            return;
        }
        let most = (2 * slots).min(SLOTS);
        if control.make_slots(&self.room.region, slots..most).is_ok() {
            self.add_slots(most);
        }
    }

    /// Notes slots that were made.
    pub(super) fn add_slots(&mut self, most: usize) {
        let slots = self.vacant.len();
        self.flights.resize_with(most, || None);
        self.vacant.resize(most, Vacant::default());
        // The lowest first, and after those that were in use already.
        let free = (slots as u32..most as u32).rev();
        self.free.splice(0..0, free);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;
    use crate::protocol::control::FIRST_SLOTS;

    const TASKS: u32 = 1000;
    const JOBS: u32 = 100;

    /// More at once than there is room for at first; how many slots there are then.
    fn keep_busy(pool: &Pool) -> usize {
        let xs = pool.alloc_from_fn(10, |i| i as u64).unwrap().freeze();
        let jobs: Vec<_> = (0..JOBS)
            .map(|_| pool.par_map(&xs, |x| x + 1).start().unwrap())
            .collect();
        let tasks: Vec<_> = (0..TASKS)
            .map(|n| pool.spawn(n, |n| n.to_native() + 1).unwrap())
            .collect();
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(*task.wait().unwrap(), n + 1);
        }
        for job in jobs {
            assert_eq!(job.wait().unwrap()[9], 10);
        }
        pool.engine().hub().vacant.len()
    }

    #[test]
    fn where_there_is_no_memory_for_more_work_waits_for_what_there_is() {
        let pool = Pool::builder().workers(1).memory_budget(64 << 20);
        let pool = pool.build().unwrap();
        let region = pool.engine().region();
        // To commit what may not be written fails, as it does on a full machine.
        for later in Control::made_later() {
            region.protect(later).unwrap();
        }
        assert_eq!(keep_busy(&pool), FIRST_SLOTS);
        assert_eq!(pool.engine().hub().room.places, 1);
        for later in Control::made_later() {
            region.unprotect(later).unwrap();
        }
        assert!(keep_busy(&pool) > FIRST_SLOTS);
        assert_ne!(pool.engine().hub().room.places, 1);
    }
}
