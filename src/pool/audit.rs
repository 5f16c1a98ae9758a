//! The audit: every shared word that matters, compared with what the parent knows by itself.
//!
//! It runs under the hub's lock beside live workers, so it accepts every state that an honest one
//! may produce at that moment:
//!
//! * The word of a slot without a task, the front of a job's header and the queue's tail are the
//!   parent's alone: they stand still under its lock and are compared to the letter.
//! * The word of a task or a chunk goes from one legal state to the next by one exchange. Each of
//!   them is legal here, and names a worker that the roster knows: a worker's claims are taken
//!   back under the lock before it is struck off. What has ended stays so for as long as the job
//!   lasts, so a chunk may name a worker that has died since.
//! * A worker holds one claim at a time, beside those of futures, of which it may have many: the
//!   parent knows which tasks are futures. Two words are not read at once: the first claim is
//!   looked at again when a second one is found. It can have ended meanwhile, and cannot have come
//!   back, since the parent hands nothing out while it looks.
//! * A worker that sleeps holds nothing but futures. It may have been woken a moment ago and its
//!   word be seen late, so only a claim that was met in the same way by the audit before is damage:
//!   between two audits lies a tenth of a second, and a claim that lasts as long beside a sleeper
//!   is nobody's.
//! * Cells of the queue: see `ring::check`.
//!
//! A word that happens to be legal is believed. Hints that are merely off are no damage: they are
//! put right in place by [`Engine::look_over`].

use crate::board::{ChunkOutcome, JOBS};
use crate::error::Damage;
use crate::memory::owner::Owner;
use crate::pool::engine::Engine;
use crate::pool::flight::Flight;
use crate::pool::hub::Hub;
use crate::pool::terms::TaskTerms;
use crate::primitive::atomic::Ordering;
use crate::protocol::control::{Control, Order, Status};
use crate::ring::Stand;
use crate::sync::Parking;
use crate::sync::kernel::KernelFutex;

/// More findings are not told apart.
const MOST: usize = 64;

/// What was found overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The word of a slot without a task.
    Vacant,
    /// The word of a task.
    Task,
    /// A position or a hint of the queue of tasks.
    Queue,
    /// The header of a job's place.
    Place,
    /// The word of a chunk.
    Chunk,
    /// A claim in the name of a worker that does something else.
    Claim,
}

/// A word that nobody honest left so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) part: Part,
    /// Which slot, job, or worker.
    pub(crate) index: u32,
    pub(crate) found: u64,
}

/// A claimed word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    owner: Owner,
    place: HeldPlace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeldPlace {
    Slot {
        slot: u32,
        generation: u32,
    },
    Chunk {
        job: u32,
        generation: u32,
        chunk: u32,
    },
}

/// One audit under way.
pub(crate) struct Audit<'a> {
    hub: &'a Hub,
    control: &'a Control,
    parking: Parking<'a>,
    findings: Vec<Finding>,
    /// Claims that sleepers seem to hold.
    idle_claims: Vec<Held>,
}

/// One kind of look; each finds what no other does.
pub(crate) type Check = fn(&mut Audit<'_>);

/// All of them.
pub(crate) const CHECKS: [Check; 5] = [
    |audit| audit.check_slots(),
    |audit| audit.check_queue(),
    |audit| audit.check_places(),
    |audit| audit.check_chunks(),
    |audit| audit.check_claims(),
];

impl Finding {
    /// The same as its victims are told.
    pub(crate) fn to_damage(self) -> Damage {
        let Self { part, index, found } = self;
        let (what, wanted) = match part {
            Part::Vacant => ("the state of a free slot", "what the parent wrote"),
            Part::Task => ("the state of a task", "one that its workers can leave"),
            Part::Queue => ("the queue of tasks", "positions and laps in order"),
            Part::Place => ("the header of a job", "what the parent wrote"),
            Part::Chunk => ("the state of a chunk", "one that its workers can leave"),
            Part::Claim => ("the owner of a claim", "a worker that is at work on it"),
        };
        Damage::new(what, wanted, format!("{found:#018x} at number {index}"))
    }
}

impl Engine {
    /// Looks everything over: delivers what has finished whatever the hints say, compares the
    /// words with the books, puts hints right, wakes everybody. What it gives is damage.
    pub(crate) fn look_over(&self) -> Vec<Finding> {
        self.look_over_by(&CHECKS)
    }

    /// The same with some of the checks.
    pub(crate) fn look_over_by(&self, checks: &[Check]) -> Vec<Finding> {
        let control = self.control();
        let mut hub = self.hub();
        hub.harvest_thoroughly(control, self);
        let (findings, idle_claims) = hub.audit(control, self.parking(), checks);
        hub.idle_claims = idle_claims;
        hub.suspects = false;
        hub.mend(control);
        let places = 0..self.places() as u16;
        let serves: Vec<bool> = places
            .map(|index| hub.looks_for_work(control, index))
            .collect();
        drop(hub);
        self.mend_doorbell();
        let is_vacant = |index| !serves.get(usize::from(index)).is_some_and(|&serves| serves);
        self.parking().rouse_all(&KernelFutex, is_vacant);
        findings
    }
}

impl Hub {
    /// What is damaged, and what may be.
    fn audit(
        &self,
        control: &Control,
        parking: Parking<'_>,
        checks: &[Check],
    ) -> (Vec<Finding>, Vec<Held>) {
        let mut audit = Audit {
            hub: self,
            control,
            parking,
            findings: Vec::new(),
            idle_claims: Vec::new(),
        };
        for check in checks {
            check(&mut audit);
        }
        (audit.findings, audit.idle_claims)
    }

    /// Puts right what only leads workers, or counts for them.
    fn mend(&mut self, control: &Control) {
        let board = control.board();
        board.mend_open(self.jobs.open_bits());
        for job in self.jobs.active() {
            if let Some(running) = self.jobs.get(job) {
                board.mend(&running.posted, running.uncounted(control));
            }
        }
        let waits = |flight: &Option<Flight>, slot| {
            let stand = flight.as_ref().map(|flight: &Flight| {
                control
                    .lane(flight.route.lane)
                    .stand(slot, flight.generation)
            });
            stand == Some(Stand::Ready)
        };
        if (0..)
            .zip(&self.flights)
            .any(|(slot, flight)| waits(flight, slot))
        {
            for lane in self.lanes.shape().all() {
                control.lane(lane).call_for_a_look();
            }
        }
    }
}

impl Audit<'_> {
    fn report(&mut self, part: Part, index: u32, found: u64) {
        if self.findings.len() < MOST {
            self.findings.push(Finding { part, index, found });
        }
    }

    fn check_slots(&mut self) {
        let Self { hub, control, .. } = *self;
        for slot in 0..hub.vacant.len() as u32 {
            let vacant = hub.vacant[slot as usize];
            let (part, generation) = match &hub.flights[slot as usize] {
                Some(flight) => (Part::Task, flight.generation),
                None => (Part::Vacant, vacant.generation),
            };
            let stand = control.lane(hub.lane_in(slot)).stand(slot, generation);
            let legal = match (part, stand) {
                (Part::Task, Stand::Ready) => true,
                (Part::Task, Stand::Claimed(owner) | Stand::Ended(owner)) => {
                    hub.roster.knows(owner)
                }
                (Part::Vacant, Stand::Free) => !vacant.filling,
                (Part::Vacant, Stand::Filling) => vacant.filling,
                _ => false,
            };
            if !legal {
                let found = control.ring().bits(slot);
                self.report(part, slot, found);
            }
        }
    }

    fn check_queue(&mut self) {
        for lane in self.hub.lanes.shape().all() {
            if let Err(fault) = self.control.lane(lane).check_queue() {
                self.report(Part::Queue, lane.number().into(), fault.found);
            }
        }
    }

    fn check_places(&mut self) {
        for job in 0..JOBS as u32 {
            let known = self.hub.jobs.known(job);
            if let Some(found) = self.control.board().fault(job, known) {
                self.report(Part::Place, job, found);
            }
        }
    }

    fn check_chunks(&mut self) {
        let Self { hub, control, .. } = *self;
        for job in hub.jobs.active() {
            let Some(Some(running)) = hub.jobs.running.get(job as usize) else {
                continue;
            };
            for chunk in 0..running.posted.chunks() {
                let outcome = control.board().outcome(&running.posted, chunk);
                if let Some(found) = hub.nonsense_in(outcome) {
                    self.report(Part::Chunk, job, found);
                }
            }
        }
    }

    /// Each worker holds one thing at most, and none if it sleeps; futures are left out.
    fn check_claims(&mut self) {
        let Self {
            hub,
            control,
            parking,
            ..
        } = *self;
        let mut by_worker: Vec<Option<Held>> = Vec::new();
        for held in hub.claims(control) {
            let index = usize::from(held.owner.index());
            if by_worker.len() <= index {
                by_worker.resize(index + 1, None);
            }
            match by_worker[index].replace(held) {
                Some(other) if held.owner == other.owner && hub.still_holds(control, other) => {
                    self.report(Part::Claim, index as u32, other.number());
                }
                _ => {}
            }
        }
        for held in by_worker.into_iter().flatten() {
            let index = held.owner.index();
            if parking.is_asleep(index) && hub.still_holds(control, held) {
                if hub.idle_claims.contains(&held) {
                    self.report(Part::Claim, index.into(), held.number());
                }
                self.idle_claims.push(held);
            }
        }
    }
}

impl Hub {
    /// What stands in a chunk's word, if nobody honest can have left it.
    pub(super) fn nonsense_in(&self, outcome: ChunkOutcome) -> Option<u64> {
        let found = |owner: Owner| u64::from(owner.index()) << 16 | u64::from(owner.incarnation());
        match outcome {
            ChunkOutcome::Unclaimed | ChunkOutcome::Cancelled => None,
            ChunkOutcome::Claimed(owner) => (!self.roster.knows(owner)).then(|| found(owner)),
            ChunkOutcome::Done(owner) | ChunkOutcome::Failed(owner) => {
                (!self.roster.knew(owner)).then(|| found(owner))
            }
            ChunkOutcome::Foreign(word) => Some(word.to_bits()),
        }
    }

    /// Whether somebody is in this place who looks for work, as far as that worker says.
    fn looks_for_work(&self, control: &Control, index: u16) -> bool {
        let (Some(owner), Some(record)) = (self.roster.owner(index), control.record(index)) else {
            return false;
        };
        // ORDERING: Relaxed; a hint.
        let status = record.status.load(Ordering::Relaxed);
        let status = Status::from_bits(status, owner.incarnation());
        let waits = control
            .orders(index)
            .is_some_and(|orders| orders.order() == Order::Wait);
        status.has_begun() && status != Status::Ending && !waits
    }

    fn claims(&self, control: &Control) -> Vec<Held> {
        let mut claims = Vec::new();
        for (slot, flight) in (0..).zip(&self.flights) {
            let Some(flight) = flight else {
                continue;
            };
            let generation = flight.generation;
            if flight.terms().is_some_and(TaskTerms::is_future) {
                continue;
            }
            if let Stand::Claimed(owner) = control.lane(self.lane_in(slot)).stand(slot, generation)
            {
                let place = HeldPlace::Slot { slot, generation };
                claims.push(Held { owner, place });
            }
        }
        for job in self.jobs.active() {
            let Some(Some(running)) = self.jobs.running.get(job as usize) else {
                continue;
            };
            for chunk in 0..running.posted.chunks() {
                let outcome = control.board().outcome(&running.posted, chunk);
                if let ChunkOutcome::Claimed(owner) = outcome {
                    let generation = running.posted.generation();
                    let place = HeldPlace::Chunk {
                        job,
                        generation,
                        chunk,
                    };
                    claims.push(Held { owner, place });
                }
            }
        }
        claims
    }

    fn still_holds(&self, control: &Control, held: Held) -> bool {
        match held.place {
            HeldPlace::Slot { slot, generation } => {
                control.lane(self.lane_in(slot)).stand(slot, generation)
                    == Stand::Claimed(held.owner)
            }
            HeldPlace::Chunk {
                job,
                generation,
                chunk,
            } => {
                let running = self.jobs.running.get(job as usize);
                running.and_then(Option::as_ref).is_some_and(|running| {
                    let outcome = control.board().outcome(&running.posted, chunk);
                    running.posted.generation() == generation
                        && outcome == ChunkOutcome::Claimed(held.owner)
                })
            }
        }
    }
}

impl Held {
    fn number(self) -> u64 {
        match self.place {
            HeldPlace::Slot { slot, .. } => slot.into(),
            HeldPlace::Chunk { job, chunk, .. } => u64::from(job) << 32 | u64::from(chunk),
        }
    }
}
