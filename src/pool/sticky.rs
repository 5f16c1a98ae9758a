//! Sticky tasks: the same key goes to the same worker for as long as that worker lives.
//!
//! A key belongs to one of [`BUCKETS`] buckets for ever, and a bucket to a worker from its first
//! task until that worker is reaped: then whoever has the fewest buckets gets it with its next
//! task, and tasks that wait for it move at once. So nothing is kept per key, a worker's end
//! changes the place of no key but its own, and its replacement, which begins without buckets, is
//! the first choice for those that come. A worker that is recycled leaves its buckets to its
//! successor, also where that is the next one at its own place.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU16;

use crate::pool::hub::Hub;
use crate::pool::lanes::Route;
use crate::pool::roster::Roster;
use crate::protocol::control::Control;
use crate::protocol::lanes::Shape;
use crate::ring::Lane;

/// Into how many buckets keys fall; keys of one bucket share a worker.
const BUCKETS: usize = 4096;

/// The bucket of a key: one more than its number, so that to have none takes no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bucket(NonZeroU16);

const _: () = assert!(BUCKETS < u16::MAX as usize);

impl Bucket {
    /// Of a key; the same for equal keys in all pools of this process.
    pub(crate) fn of(key: &impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Self(NonZeroU16::MIN.saturating_add((hasher.finish() % BUCKETS as u64) as u16))
    }

    fn index(self) -> usize {
        usize::from(self.0.get() - 1)
    }
}

/// Which worker has which bucket.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    /// By bucket; empty until the first sticky task.
    owners: Vec<Option<u16>>,
    /// How many buckets a worker has, by its index.
    counts: Vec<u32>,
}

impl Buckets {
    /// The worker of a bucket, chosen now if it has none.
    fn owner(&mut self, bucket: Bucket, shape: Shape, roster: &Roster) -> u16 {
        self.owners.resize(BUCKETS, None);
        self.counts.resize(shape.places(), 0);
        let Self { owners, counts } = self;
        let owner = &mut owners[bucket.index()];
        *owner.get_or_insert_with(|| {
            let workers = 0..shape.places() as u16;
            // While none lives, one that will be replaced has to do.
            let rank = |worker| (!roster.serves(worker), !roster.awaits(worker));
            let best = workers
                .min_by_key(|&worker| (rank(worker), counts[usize::from(worker)]))
                .unwrap_or(0);
            counts[usize::from(best)] += 1;
            best
        })
    }

    /// Gives a worker's buckets to another.
    fn bequeath(&mut self, worker: u16, heir: u16) {
        for owner in &mut self.owners {
            if *owner == Some(worker) {
                *owner = Some(heir);
            }
        }
        let (worker, heir) = (usize::from(worker), usize::from(heir));
        if worker.max(heir) < self.counts.len() {
            self.counts[heir] += core::mem::take(&mut self.counts[worker]);
        }
    }

    /// Takes a worker's buckets from it.
    fn forget(&mut self, worker: u16) {
        for owner in &mut self.owners {
            if *owner == Some(worker) {
                *owner = None;
            }
        }
        if let Some(count) = self.counts.get_mut(usize::from(worker)) {
            *count = 0;
        }
    }
}

impl Hub {
    /// Where a task waits, as things stand.
    pub(crate) fn lane_of(&mut self, route: &Route) -> Lane {
        match route.bucket {
            Some(bucket) => self.sticky_lane(bucket),
            None => route.lane,
        }
    }

    /// Where the tasks of a bucket wait.
    fn sticky_lane(&mut self, bucket: Bucket) -> Lane {
        let shape = self.lanes.shape();
        shape.own_lane(self.buckets.owner(bucket, shape, &self.roster))
    }

    /// After a worker was taken off the roster: its keys, and the tasks that wait for it, go to
    /// others.
    pub(crate) fn move_sticky(&mut self, control: &Control, worker: u16) {
        self.buckets.forget(worker);
        self.empty_own_lane(control, worker);
    }

    /// When a worker retires: its keys, and the tasks that wait for it, go to its successor.
    pub(crate) fn hand_sticky(&mut self, control: &Control, worker: u16, heir: u16) {
        self.buckets.bequeath(worker, heir);
        self.empty_own_lane(control, worker);
    }

    /// Has what waits for a worker alone wait for whoever has its keys now.
    fn empty_own_lane(&mut self, control: &Control, worker: u16) {
        let from = self.lanes.shape().own_lane(worker);
        let seated = match self.lanes.seated(from) {
            0 => 0,
            _ => self.flights.len(),
        };
        for slot in 0..seated {
            let Some(flight) = &self.flights[slot] else {
                continue;
            };
            let (generation, route) = (flight.generation, flight.route);
            let Some(bucket) = route.bucket.filter(|_| route.lane == from) else {
                continue;
            };
            let to = self.sticky_lane(bucket);
            // One that is not READY is about to be harvested.
            if to == from || !control.lane(to).divert(from, slot as u32, generation) {
                continue;
            }
            if let Some(flight) = &mut self.flights[slot] {
                flight.route.lane = to;
            }
            self.lanes.unseat(from);
            self.lanes.seat(to);
            self.wake_takers(to);
        }
        for (task, mut flight) in self.lanes.take(from) {
            if let Some(bucket) = flight.route.bucket {
                flight.route.lane = self.sticky_lane(bucket);
            }
            self.lanes.push(task, flight);
        }
        self.feed(control);
    }
}
