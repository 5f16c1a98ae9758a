//! Every task and job that has no outcome yet, and who waits for it. Guarded by one mutex.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::Thread;
use std::time::Duration;

use crate::error::TaskError;
use crate::memory::region::Region;
use crate::pool::aftermath::Aftermath;
use crate::pool::alarm::Alarm;
use crate::pool::audit::Held;
use crate::pool::closing::Ending;
use crate::pool::deadline::NEVER;
use crate::pool::entry::{Entry, Place};
use crate::pool::flight::{Flight, TaskEntry};
use crate::pool::helping::Alone;
use crate::pool::job::Jobs;
use crate::pool::lanes::LaneBooks;
use crate::pool::launch::{JobEntry, JobOutcome};
use crate::pool::pace::Paces;
use crate::pool::reactor::Reactors;
use crate::pool::reserve::Reserve;
use crate::pool::room::Room;
use crate::pool::roster::Roster;
use crate::pool::sticky::Buckets;
use crate::pool::terms::TaskTerms;
use crate::protocol::control::{Control, FIRST_SLOTS};
use crate::protocol::lanes::{Shape, Takers};
use crate::protocol::task::Task;
use crate::ring::Lane;
use crate::sys::{clock, cpu};

/// A slot of the ring that is being filled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filling {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    /// Its word says FILLING, for it is kept beyond the lock; else the word is still FREE.
    is_kept: bool,
}

/// What is known of a slot without a flight.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Vacant {
    /// Which use of the slot comes next, or is being prepared.
    pub(super) generation: u32,
    /// Somebody writes a task into it, and keeps it beyond the lock for that.
    pub(super) filling: bool,
}

/// The state behind the lock.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) roster: Roster,
    pub(crate) jobs: Jobs,
    pub(crate) reactors: Reactors,
    /// Why nothing is accepted any more.
    pub(crate) closed: Option<TaskError>,
    /// Set when the pool is being dropped: the supervisor is to end.
    pub(crate) stopping: bool,
    pub(super) ending: Ending,
    /// Whether a blocked thread is listening to the kernel for all of them.
    pub(crate) has_leader: bool,
    /// The other blocked threads, any of which may be the next leader.
    pub(crate) followers: Vec<Thread>,
    pub(super) flights: Vec<Option<Flight>>,
    pub(super) free: Vec<u32>,
    /// What there is memory for; as many slots as `vacant` and `flights` have.
    pub(super) room: Room,
    pub(super) lanes: LaneBooks,
    pub(super) buckets: Buckets,
    /// Slots that are free, but whose word was overwritten: they wait for the next rebuild.
    lost: Vec<u32>,
    /// Of each slot without a flight: which use comes next, and whether it is being filled.
    pub(super) vacant: Vec<Vacant>,
    /// Something was met in shared memory that nobody honest wrote: the supervisor is to look.
    pub(crate) suspects: bool,
    /// How many outcomes were delivered, and how often the workers were all replaced.
    pub(crate) outcomes: u64,
    pub(crate) rebuilds: u32,
    /// Work that sleeping workers seemed to hold when all was looked over last.
    pub(super) idle_claims: Vec<Held>,
    /// Those who wait for room in the queue.
    pub(super) line: VecDeque<Arc<Entry<()>>>,
    /// When the supervisor is to look for overdue work.
    pub(super) look_at: u64,
    /// Who wants to be woken at a time.
    pub(super) alarms: Vec<Alarm>,
    /// How many tasks and jobs have been published: each may need a worker woken.
    pub(super) calls: u64,
    /// How fast kernels went.
    pub(crate) paces: Paces,
    /// What callers that helped did alone.
    pub(super) alone: Alone,
    /// Workers that jobs leave asleep.
    pub(crate) reserve: Reserve,
    /// What follows once the lock is released.
    pub(super) aftermath: Aftermath,
}

impl Hub {
    /// The books of a control area that has just been created.
    pub(crate) fn new(region: &Arc<Region>, shape: Shape) -> Self {
        let mut hub = Self {
            roster: Roster::default(),
            jobs: Jobs::new(),
            reactors: Reactors::default(),
            closed: None,
            stopping: false,
            ending: Ending::default(),
            has_leader: false,
            followers: Vec::new(),
            flights: Vec::new(),
            free: Vec::new(),
            room: Room::new(Arc::clone(region)),
            lanes: LaneBooks::new(shape),
            buckets: Buckets::default(),
            lost: Vec::new(),
            vacant: Vec::new(),
            suspects: false,
            outcomes: 0,
            rebuilds: 0,
            idle_claims: Vec::new(),
            alarms: Vec::new(),
            calls: 0,
            line: VecDeque::new(),
            paces: Paces::new(),
            alone: Alone::default(),
            reserve: Reserve::NONE,
            aftermath: Aftermath::default(),
            look_at: NEVER,
        };
        hub.add_slots(FIRST_SLOTS);
        hub
    }

    /// A slot to fill for a task of this lane, if one is free and none of the lane has been
    /// waiting for one. It is published, kept or abandoned before the lock is released.
    pub(crate) fn begin(&mut self, control: &Control, lane: Lane) -> Option<Filling> {
        self.make_room(control);
        match self.lanes.admits(lane, self.free.len()) {
            true => self.take_slot(control),
            false => None,
        }
    }

    fn take_slot(&mut self, control: &Control) -> Option<Filling> {
        while let Some(slot) = self.free.pop() {
            control.ring().expect_submission(slot);
            control.task(slot).expect_store();
            control.parking().expect_wake();
            let Vacant { generation, .. } = self.vacant[slot as usize];
            if control.ring().is_free(slot, generation) {
                return Some(Filling {
                    slot,
                    generation,
                    is_kept: false,
                });
            }
            // Its word was overwritten: somebody may believe to have a task in it.
            self.lost.push(slot);
            self.suspect();
        }
        None
    }

    /// Keeps a slot to be filled after the lock was released; `None`: it cannot be had.
    pub(crate) fn keep(&mut self, control: &Control, filling: Filling) -> Option<Filling> {
        let Filling {
            slot, generation, ..
        } = filling;
        if control.ring().fill(slot) != Some(generation) {
            // Its word was overwritten since it was taken.
            self.lost.push(slot);
            self.suspect();
            return None;
        }
        self.vacant[slot as usize].filling = true;
        Some(Filling {
            is_kept: true,
            ..filling
        })
    }

    /// Has the supervisor look everything over.
    pub(super) fn suspect(&mut self) {
        self.suspects = true;
        self.aftermath.nudge = true;
    }

    /// Makes the list of free slots anew.
    pub(super) fn recount_free(&mut self) {
        let books = self.flights.iter().zip(&self.vacant).enumerate().rev();
        self.free.clear();
        self.free.extend(
            books
                .filter(|(_, (flight, vacant))| flight.is_none() && !vacant.filling)
                .map(|(slot, _)| slot as u32),
        );
        self.lost.clear();
    }

    /// Gives back a slot that will not be published after all.
    pub(crate) fn abandon(&mut self, control: &Control, filling: Filling) {
        let Filling {
            slot, generation, ..
        } = filling;
        let next = match filling.is_kept {
            true => {
                control.ring().abandon(slot, generation);
                generation.wrapping_add(1)
            }
            false => generation,
        };
        self.vacate(slot, next);
    }

    /// Publishes a filled slot and has a worker woken if all are asleep.
    pub(crate) fn publish(&mut self, control: &Control, filling: Filling, flight: Flight) {
        let Filling {
            slot,
            generation,
            is_kept,
        } = filling;
        if let Some(timeout) = flight.terms().and_then(|terms| terms.timeout) {
            self.look_at(clock::after(clock::now(), timeout));
        }
        let lane = flight.route.lane;
        self.lanes.seat(lane);
        self.vacant[slot as usize].filling = false;
        let place = &mut self.flights[slot as usize];
        place.insert(flight).settle_in(slot, generation);
        if lane != Lane::MAIN {
            control.use_lanes();
        }
        let ring = control.lane(lane);
        let published = match is_kept {
            true => ring.publish(slot, generation),
            false => ring.post(slot, generation),
        };
        if !published {
            // A word that is not what it was a moment ago was overwritten.
            self.suspect();
        }
        control.callers().note_submitter(cpu::current());
        self.calls += 1;
        self.reactors.company.came();
        self.wake_takers(lane);
        self.expect_next(control);
    }

    /// Asks for the lines of the slot that is filled next, while its submitter does something else.
    fn expect_next(&self, control: &Control) {
        if let Some(&next) = self.free.last() {
            control.ring().expect_slot(next);
            control.task(next).expect_store();
        }
    }

    /// Takes a task out of its slot.
    #[inline]
    pub(super) fn unseat(&mut self, slot: usize) -> Option<Flight> {
        let taken = self.flights.get_mut(slot)?.take();
        if let Some(flight) = &taken {
            self.lanes.unseat(flight.route.lane);
        }
        taken
    }

    /// The lane of the task in a slot; the main one, if there is none.
    pub(super) fn lane_in(&self, slot: u32) -> Lane {
        match self.flights.get(slot as usize) {
            Some(Some(flight)) => flight.route.lane,
            _ => Lane::MAIN,
        }
    }

    /// Lets a task wait until a slot is free.
    pub(crate) fn queue(&mut self, task: Task, flight: Flight) {
        flight.entry.set_place(Place::Backlog);
        self.lanes.push(task, flight);
    }

    /// Moves waiting tasks into free slots.
    pub(super) fn feed(&mut self, control: &Control) {
        loop {
            self.make_room(control);
            let Some(lane) = self.lanes.next(self.free.len()) else {
                return;
            };
            let Some(filling) = self.take_slot(control) else {
                return;
            };
            // A task cancelled while it waited has its outcome already.
            let next = loop {
                match self.lanes.pop(lane) {
                    Some((_, flight)) if flight.entry.is_ready() => self.discard(flight),
                    other => break other,
                }
            };
            let Some((task, flight)) = next else {
                self.abandon(control, filling);
                continue;
            };
            task.store(
                control.task(filling.slot),
                control.ring().slot(filling.slot),
            );
            self.publish(control, filling, flight);
        }
    }

    /// Ends a task that no worker has begun; `false` when one has, or when it has ended.
    ///
    /// Its outcome becomes `error` either way, unless it had one. With a time of `grace`, a worker
    /// that is still at it then is killed.
    pub(crate) fn cancel_task(
        &mut self,
        control: &Control,
        entry: &TaskEntry,
        error: TaskError,
        grace: Option<Duration>,
    ) -> bool {
        let never_begun = match entry.place() {
            Place::Nowhere | Place::Job { .. } => false,
            Place::Backlog => true,
            Place::Slot { slot, generation } => {
                let back = self.take_back(control, slot, generation);
                if let (false, Some(grace)) = (back, grace) {
                    let now = clock::now();
                    let end = match self.is_future(slot) {
                        // Its worker is asked at once, and then has its time.
                        true => now,
                        false => clock::after(now, grace),
                    };
                    self.limit_flight(slot, generation, end);
                }
                back
            }
        };
        self.settle(entry, Err(error));
        never_begun
    }

    fn is_future(&self, slot: u32) -> bool {
        let flight = self.flights.get(slot as usize).and_then(Option::as_ref);
        let terms = flight.and_then(Flight::terms);
        terms.is_some_and(TaskTerms::is_future)
    }

    /// Sets the time when a task must have ended.
    fn limit_flight(&mut self, slot: u32, generation: u32, end: u64) {
        if let Some(flight) = &mut self.flights[slot as usize]
            && flight.generation == generation
        {
            flight.some_terms().end = end;
            self.look_at(end);
        }
    }

    fn take_back(&mut self, control: &Control, slot: u32, generation: u32) -> bool {
        let Some(flight) = &self.flights[slot as usize] else {
            return false;
        };
        let lane = flight.route.lane;
        if flight.generation != generation || !control.lane(lane).retract(slot, generation) {
            return false;
        }
        if let Some(flight) = self.unseat(slot as usize) {
            self.discard(flight);
        }
        let taken = Filling {
            slot,
            generation,
            is_kept: true,
        };
        self.abandon(control, taken);
        self.feed(control);
        true
    }

    /// Leaves an outcome and notes whom to wake once the lock is released.
    pub(super) fn settle<T>(&mut self, entry: &Entry<T>, outcome: T) {
        entry.set_place(Place::Nowhere);
        self.outcomes += 1;
        self.reactors.company.ended();
        self.aftermath.wakers.extend(entry.deliver(outcome));
    }

    /// Leaves a job's outcome; if nobody takes it, its buffers are dropped without the lock.
    pub(super) fn settle_job(&mut self, entry: Arc<JobEntry>, outcome: JobOutcome) {
        self.settle(&entry, outcome);
        self.ring_for(&entry);
        self.aftermath.ended.push(entry);
    }

    /// Frees a slot whose task has its outcome.
    pub(super) fn free_slot(&mut self, control: &Control, slot: u32, generation: u32) {
        // The slot that was freed last is filled next.
        control.task(slot).expect_store();
        let next = control.ring().free(slot, generation);
        self.vacate(slot, next);
    }

    fn vacate(&mut self, slot: u32, generation: u32) {
        self.vacant[slot as usize] = Vacant {
            generation,
            filling: false,
        };
        self.free.push(slot);
    }

    /// Whether the one task or job that is pending is all there is.
    pub(crate) fn waits_alone(&self) -> bool {
        self.pending() == 1
    }

    /// How many tasks and jobs have been submitted and not ended.
    pub(crate) fn pending(&self) -> usize {
        self.tasks() + self.jobs.count()
    }

    /// Takes somebody who has given up out of the line.
    pub(crate) fn leave_line(&mut self, place: &Arc<Entry<()>>) {
        self.line.retain(|waiter| !Arc::ptr_eq(waiter, place));
    }

    /// How many tasks have been submitted and not ended.
    pub(crate) fn tasks(&self) -> usize {
        self.vacant.len() - self.free.len() - self.lost.len() + self.lanes.waiting()
    }

    /// Calls as many of those who wait in line as the queue has room for.
    ///
    /// Whoever is called tries again, and stands in line again if others were quicker; so it does
    /// no harm to call somebody who has given up.
    pub(super) fn call_line(&mut self, depth: usize) {
        let room = match self.accepts() {
            true => depth.saturating_sub(self.tasks()),
            false => usize::MAX,
        };
        let called = self.line.len().min(room);
        for waiter in self.line.drain(..called) {
            self.aftermath.wakers.extend(waiter.deliver(()));
        }
    }

    /// How many tasks could be submitted before one has to wait, if there is memory.
    #[cfg(test)]
    pub(crate) fn vacancies(&self) -> usize {
        self.free.len() + crate::protocol::control::SLOTS - self.vacant.len()
    }

    /// How many tasks in slots wait for a worker, and how many do not any more.
    pub(super) fn flights_begun(&self, control: &Control) -> (usize, usize) {
        let flights = (0..).zip(&self.flights);
        let slots = flights.filter_map(|(slot, flight)| flight.as_ref().map(|_| slot));
        let (ready, begun): (Vec<u32>, Vec<u32>) =
            slots.partition(|&slot| control.ring().is_ready(slot));
        (ready.len(), begun.len())
    }

    /// Whether work waits in the parent, where only a harvest moves it on.
    pub(crate) fn has_backlog(&self) -> bool {
        self.lanes.has_waiting() || self.jobs.has_backlog()
    }

    /// So many workers have something new to do.
    pub(super) fn wake_workers(&mut self, count: u32) {
        let workers = &mut self.aftermath.workers;
        *workers = workers.saturating_add(count);
    }

    /// Those who serve this lane have one more task.
    pub(super) fn wake_takers(&mut self, lane: Lane) {
        let shape = self.lanes.shape();
        match shape.takers(lane) {
            Takers::Queue(_) if shape.queues() == 1 => self.aftermath.tasks += 1,
            takers => self.aftermath.takers.push(takers),
        }
    }

    /// Lets go of a task's flight. What its caller sent along is dropped once the lock is
    /// released: it is the caller's code that runs then, and may use the pool.
    #[inline]
    pub(super) fn discard(&mut self, flight: Flight) {
        if flight.route.placed.is_some() {
            let placement = flight.route.placement(self.lanes.shape());
            self.aftermath.completed.extend(placement);
        }
        self.aftermath.discarded.extend(flight.into_keep());
    }
}
