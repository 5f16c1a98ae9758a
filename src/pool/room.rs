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
