//! In which order a worker looks through its lanes.
//!
//! High first, then its own, whose tasks nobody else can take, then normal and low. Every
//! [`EVERY`]-th task it begins at the next lane in turn instead, so that each lane is the first for
//! one of any `4 * EVERY` tasks that the worker takes, and no task starves. A high task is passed
//! by at most one other of the same worker, therefore.

use crate::memory::owner::Owner;
use crate::protocol::control::Control;
use crate::protocol::lanes::Priority;
use crate::ring::{Claim, Lane};
use crate::sync::Group;
use crate::worker::idle::More;

/// Tasks from one look that begins out of turn to the next.
const EVERY: u32 = 8;
const LANES: usize = 4;

/// A worker's lanes, and where it begins.
#[derive(Debug)]
pub(crate) struct Rounds {
    lanes: [Lane; LANES],
    group: Group,
    taken: u32,
}

impl Rounds {
    pub(crate) fn new(control: &Control, me: u16) -> Self {
        let shape = control.shape();
        let queue = shape.queue_of(me);
        Self {
            lanes: [
                shape.queue_lane(queue, Priority::High),
                shape.own_lane(me),
                shape.queue_lane(queue, Priority::Normal),
                shape.queue_lane(queue, Priority::Low),
            ],
            group: Group::new(queue, shape.queues()),
            taken: 0,
        }
    }

    /// Those with whom this worker shares its queue.
    pub(crate) const fn group(&self) -> Group {
        self.group
    }

    /// Asks for the lines of the task that the next claim will probably find, and names its slot.
    pub(crate) fn expect(&self, control: &Control) -> Option<u32> {
        let slot = control.ring().expect_claim()?;
        control.task(slot).expect();
        Some(slot)
    }

    /// Asks for the body of the task that probably comes next, while another runs. Not for its
    /// slot: a peer may be about to claim that.
    pub(crate) fn glance(&self, control: &Control) {
        if let Some(slot) = control.ring().next() {
            control.task(slot).expect();
        }
    }

    /// Takes a task, if one waits that this worker may take.
    pub(crate) fn claim(&mut self, control: &Control, me: Owner) -> Option<Claim> {
        if !control.lanes_in_use() {
            let ring = control.ring();
            // A look at the tail, which `claim` takes of an empty ring, would take its line from
            // whoever submits next.
            return match ring.looks_empty() {
                true => None,
                false => ring.claim(me),
            };
        }
        let first = match self.taken % EVERY {
            0 => self.taken / EVERY,
            _ => 0,
        };
        let claim = (0..LANES).find_map(|step| {
            let lane = self.lanes[(first as usize + step) % LANES];
            control.lane(lane).claim(me)
        });
        self.taken = self.taken.wrapping_add(claim.is_some().into());
        claim
    }

    /// Whether there seems to be a task that this worker may take.
    pub(crate) fn see_tasks(&self, control: &Control) -> bool {
        if !control.lanes_in_use() {
            return !control.ring().looks_empty();
        }
        let waits = |&lane: &Lane| !control.lane(lane).looks_empty();
        self.lanes.iter().any(waits)
    }

    /// How many tasks were taken out of the lanes that all workers share, to be compared with what
    /// it was before; `None` where there are several queues.
    pub(crate) fn passed(&self, control: &Control) -> Option<u64> {
        let [high, _own, normal, low] = self.lanes;
        let passed = |lanes: &[Lane]| {
            let each = lanes.iter().map(|&lane| control.lane(lane).passed());
            each.fold(0, u64::wrapping_add)
        };
        (self.group == Group::ALL).then(|| match control.lanes_in_use() {
            true => passed(&[high, normal, low]),
            false => passed(&[normal]),
        })
    }

    /// Whether there seems to be a task that others of this worker's queue may take as well.
    #[cfg(feature = "tokio")]
    pub(crate) fn see_shared_tasks(&self, control: &Control) -> bool {
        if !control.lanes_in_use() {
            return !control.ring().looks_empty();
        }
        let [high, _own, normal, low] = self.lanes;
        let waits = |lane| !control.lane(lane).looks_empty();
        waits(high) || waits(normal) || waits(low)
    }

    /// Whether there seems to be a task that only this worker may take.
    #[cfg(feature = "tokio")]
    pub(crate) fn see_own_tasks(&self, control: &Control) -> bool {
        let [_high, own, ..] = self.lanes;
        control.lanes_in_use() && !control.lane(own).looks_empty()
    }

    /// What else there is to do now that this worker is busy; whether there are chunks, which
    /// everybody may take, the caller knows.
    pub(super) fn see_more(&self, control: &Control, chunks: bool) -> More {
        let [high, _own, normal, low] = self.lanes;
        let waits = |lane| !control.lane(lane).looks_empty();
        let others = || control.lanes_in_use() && (waits(high) || waits(low));
        More {
            tasks: waits(normal) || others(),
            chunks,
        }
    }
}
