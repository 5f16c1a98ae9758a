//! Lanes: more queues of hints over the same slots, for tasks that not every worker may take, or
//! that go before others.
//!
//! ```text
//! lane ring (8384 bytes)
//!      0 [ header: head, tail, missed and swept, a line each ]
//!    192 [ cells: 1024                                       ]
//! ```
//!
//! A lane adds no truth: its hints may be stale, doubled or dropped like those of the main ring,
//! and a task waits in exactly one lane because its slot's word says in which. Whoever moves a task
//! to another lane exchanges the word first; the hint in the old lane is stale from then on.
//!
//! A lane has fewer cells than there are slots. The submitter keeps at most [`LANE_TASKS`] tasks
//! of a lane in slots; if there are more, hints are dropped and counted, and found by a sweep.

use super::hints::{Cell, Hints, RingHeader};

/// How many tasks of one lane the submitter should have in slots at a time.
pub(crate) const LANE_TASKS: usize = LANE_CELLS / 2;

#[cfg(not(gristmill_loom))]
const LANE_CELLS: usize = 1024;
#[cfg(gristmill_loom)]
const LANE_CELLS: usize = 4;

/// The number of a lane.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Lane(u16);

impl Lane {
    /// The ring's own queue.
    pub(crate) const MAIN: Self = Self(0);

    pub(crate) const fn new(number: u16) -> Self {
        Self(number)
    }

    pub(crate) const fn number(self) -> u16 {
        self.0
    }

    /// Its number as an index.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One lane's queue of hints.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct LaneRing {
    header: RingHeader,
    cells: [Cell; LANE_CELLS],
}

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<LaneRing>() == 8384);
const _: () = assert!(LANE_CELLS.is_power_of_two());

impl LaneRing {
    /// An empty lane, to be written in place.
    pub(crate) fn new() -> Self {
        Self {
            header: RingHeader::new(),
            cells: std::array::from_fn(|_| Cell::new()),
        }
    }

    pub(super) const fn hints(&self) -> Hints<'_> {
        Hints {
            header: &self.header,
            cells: &self.cells,
        }
    }
}
