//! Which lanes a pool has, and who serves them.
//!
//! ```text
//! lane 3 q          queue q, normal priority; lane 0 is the main ring
//! lane 3 q + 1      queue q, high
//! lane 3 q + 2      queue q, low
//! lane 3 Q + w      worker w's own, for sticky tasks
//! ```
//! Worker `w` serves queue `w % Q` and its own lane.

use crate::protocol::control::WORKERS;
use crate::ring::Lane;

/// The most queues that a pool may have.
pub(crate) const QUEUES: usize = 64;
/// The most lanes besides the main one.
pub(crate) const LANES: usize = LEVELS as usize * QUEUES + WORKERS - 1;

/// Lanes of a queue, one a priority.
const LEVELS: u16 = 3;

/// Which of the waiting tasks of a queue a worker takes first.
///
/// Among tasks of one priority, the oldest goes first, roughly. Of any 32 tasks that a worker takes
/// at least one is of each priority that has tasks waiting, so no task waits for ever.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Priority {
    /// After all others.
    Low,
    /// As everything that is not said to be otherwise.
    #[default]
    Normal,
    /// Before all others.
    High,
}

impl Priority {
    const fn level(self) -> u16 {
        match self {
            Self::Normal => 0,
            Self::High => 1,
            Self::Low => 2,
        }
    }
}

/// Who takes the tasks of a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Takers {
    /// The workers of this queue.
    Queue(u16),
    /// This worker alone.
    Worker(u16),
}

/// How many places for workers, and how many queues, a pool has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    places: u16,
    queues: u16,
}

impl Shape {
    /// Numbers out of bounds, which may come from shared memory, become the nearest within.
    pub(crate) fn new(places: usize, queues: usize) -> Self {
        Self {
            places: places.clamp(1, WORKERS) as u16,
            queues: queues.clamp(1, QUEUES) as u16,
        }
    }

    pub(crate) const fn places(self) -> usize {
        self.places as usize
    }

    pub(crate) const fn queues(self) -> u16 {
        self.queues
    }

    /// How many lanes there are, the main one included.
    pub(crate) const fn lanes(self) -> usize {
        LEVELS as usize * self.queues as usize + self.places as usize
    }

    /// Every lane, the main one first.
    pub(crate) fn all(self) -> impl Iterator<Item = Lane> + use<> {
        (0..self.lanes() as u16).map(Lane::new)
    }

    /// The lane of a queue's tasks of one priority.
    pub(crate) const fn queue_lane(self, queue: u16, priority: Priority) -> Lane {
        Lane::new(LEVELS * (queue % self.queues) + priority.level())
    }

    /// The lane of one worker's sticky tasks.
    pub(crate) const fn own_lane(self, worker: u16) -> Lane {
        Lane::new(LEVELS * self.queues + worker % self.places)
    }

    /// The queue that a worker serves.
    pub(crate) const fn queue_of(self, worker: u16) -> u16 {
        worker % self.queues
    }

    /// Who serves a lane.
    pub(crate) const fn takers(self, lane: Lane) -> Takers {
        let queue = lane.number() / LEVELS;
        if queue < self.queues {
            Takers::Queue(queue)
        } else {
            Takers::Worker(lane.number() - LEVELS * self.queues)
        }
    }

    /// The priority of a lane's tasks.
    pub(crate) fn priority(self, lane: Lane) -> Priority {
        let levels = [Priority::Normal, Priority::High, Priority::Low];
        match self.takers(lane) {
            Takers::Queue(_) => levels[usize::from(lane.number() % LEVELS)],
            Takers::Worker(_) => Priority::Normal,
        }
    }

    /// Whether a lane's tasks go before all others.
    pub(crate) fn is_high(self, lane: Lane) -> bool {
        self.priority(lane) == Priority::High
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lane_has_its_own_number_and_its_takers() {
        let shape = Shape::new(5, 2);
        let mut lanes = Vec::new();
        for queue in 0..2 {
            for priority in [Priority::Normal, Priority::High, Priority::Low] {
                let lane = shape.queue_lane(queue, priority);
                assert_eq!(shape.takers(lane), Takers::Queue(queue));
                assert_eq!(shape.priority(lane), priority);
                lanes.push(lane.index());
            }
        }
        for worker in 0..5 {
            let lane = shape.own_lane(worker);
            assert_eq!(shape.takers(lane), Takers::Worker(worker));
            assert!(!shape.is_high(lane));
            lanes.push(lane.index());
        }
        assert_eq!(lanes, (0..shape.lanes()).collect::<Vec<_>>());
        assert_eq!(shape.queue_lane(0, Priority::Normal), Lane::MAIN);
        assert_eq!(Shape::new(usize::MAX, usize::MAX).lanes(), LANES + 1);
    }
}
