//! Which tasks wait in the parent, and how many of each lane have a slot.
//!
//! A lane that is not the main one has at most [`LANE_TASKS`] tasks in slots, so that a flood of
//! tasks for one worker leaves slots for the others; the rest waits here, by lane. Free slots are
//! dealt to the lanes in turn. The last [`RESERVED`] of them are for high tasks, which so need not
//! wait until somebody else's task has ended.

use std::collections::VecDeque;
use std::num::NonZeroU64;

use crate::pool::dispatch::Placement;
use crate::pool::flight::Flight;
use crate::pool::scheduler::{QueueId, TaskInfo};
use crate::pool::sticky::Bucket;
use crate::protocol::lanes::{Shape, Takers};
use crate::protocol::task::Task;
use crate::ring::{LANE_TASKS, Lane};

/// Free slots that only high tasks get.
pub(crate) const RESERVED: usize = 64;

/// Where a task goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Where it waits; of a sticky task, as long as the worker lives.
    pub(crate) lane: Lane,
    /// The bucket of its key, if it is sticky.
    pub(crate) bucket: Option<Bucket>,
    /// One more than the number under which the scheduler has placed it, if it was asked.
    pub(crate) placed: Option<NonZeroU64>,
}

impl Route {
    /// Of a task of which nothing was asked, in a pool of one queue.
    pub(crate) const PLAIN: Self = Self {
        lane: Lane::MAIN,
        bucket: None,
        placed: None,
    };

    /// What the scheduler said.
    pub(crate) fn placement(&self, shape: Shape) -> Option<Placement> {
        let Takers::Queue(queue) = shape.takers(self.lane) else {
            return None;
        };
        let task = TaskInfo {
            id: self.placed?.get() - 1,
            priority: shape.priority(self.lane),
        };
        let queue = QueueId::new(queue.into());
        Some(Placement { task, queue })
    }
}

/// The books on lanes.
#[derive(Debug)]
pub(crate) struct LaneBooks {
    shape: Shape,
    /// Tasks in slots, by lane.
    seated: Vec<u32>,
    /// Tasks that wait for a slot, by lane.
    waiting: Vec<VecDeque<(Task, Flight)>>,
    /// Lanes in which tasks wait for a slot, the next to get one first.
    turns: VecDeque<Lane>,
}

impl LaneBooks {
    pub(crate) fn new(shape: Shape) -> Self {
        Self {
            shape,
            seated: vec![0; shape.lanes()],
            waiting: (0..shape.lanes()).map(|_| VecDeque::new()).collect(),
            turns: VecDeque::new(),
        }
    }

    pub(crate) const fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether a new task of this lane may have one of so many free slots.
    pub(crate) fn admits(&self, lane: Lane, free: usize) -> bool {
        self.waiting[lane.index()].is_empty() && self.has_room(lane, free)
    }

    fn has_room(&self, lane: Lane, free: usize) -> bool {
        let below = lane == Lane::MAIN || (self.seated[lane.index()] as usize) < LANE_TASKS;
        below && (free > RESERVED || self.shape.is_high(lane))
    }

    /// How many tasks of this lane have slots.
    pub(crate) fn seated(&self, lane: Lane) -> u32 {
        self.seated[lane.index()]
    }

    /// A task of this lane got a slot.
    pub(crate) fn seat(&mut self, lane: Lane) {
        self.seated[lane.index()] += 1;
    }

    /// A task of this lane has left its slot, or the lane.
    pub(crate) fn unseat(&mut self, lane: Lane) {
        let seated = &mut self.seated[lane.index()];
        *seated = seated.saturating_sub(1);
    }

    /// Lets a task wait for a slot.
    pub(crate) fn push(&mut self, task: Task, flight: Flight) {
        let lane = flight.route.lane;
        if self.waiting[lane.index()].is_empty() {
            self.turns.push_back(lane);
        }
        self.waiting[lane.index()].push_back((task, flight));
    }

    /// The lane whose turn it is to get one of so many free slots.
    pub(crate) fn next(&mut self, free: usize) -> Option<Lane> {
        let found = (self.turns.iter()).position(|&lane| self.has_room(lane, free))?;
        let lane = self.turns.remove(found)?;
        self.turns.push_back(lane);
        Some(lane)
    }

    /// The task that has waited longest in a lane.
    pub(crate) fn pop(&mut self, lane: Lane) -> Option<(Task, Flight)> {
        let first = self.waiting[lane.index()].pop_front();
        if self.waiting[lane.index()].is_empty() {
            self.turns.retain(|&other| other != lane);
        }
        first
    }

    /// Takes all that wait in a lane.
    pub(crate) fn take(&mut self, lane: Lane) -> VecDeque<(Task, Flight)> {
        self.turns.retain(|&other| other != lane);
        core::mem::take(&mut self.waiting[lane.index()])
    }

    /// Takes all that wait.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = (Task, Flight)> + use<> {
        self.turns.clear();
        let waiting: Vec<_> = self.waiting.iter_mut().map(core::mem::take).collect();
        waiting.into_iter().flatten()
    }

    /// Whether any task waits for a slot.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.turns.is_empty()
    }

    /// How many tasks wait for a slot.
    pub(crate) fn waiting(&self) -> usize {
        let lanes = self.turns.iter();
        lanes.map(|lane| self.waiting[lane.index()].len()).sum()
    }
}
