//! Models of two lanes over the same slots: helpers, a death between, and tasks that are moved.

use super::*;

const OTHER: Lane = Lane::new(3);

/// Slots with a lane beside the main one.
struct Lanes {
    memory: Arc<Memory>,
    other: LaneRing,
}

impl Lanes {
    fn new(slots: usize) -> Arc<Self> {
        let memory = Memory::new(slots);
        let other = LaneRing::new();
        Arc::new(Self { memory, other })
    }

    fn main(&self) -> Ring<'_> {
        self.memory.ring()
    }

    fn other(&self) -> Ring<'_> {
        self.main().beside(OTHER, &self.other)
    }

    /// Submits a task to the other lane.
    fn submit_beside(&self, slot: u32, value: u32) {
        let generation = self.memory.fill(slot, value);
        assert!(self.other().publish(slot, generation));
    }

    /// Claims and ends all that this worker finds, from the other lane first.
    fn work(&self, me: Owner) -> Vec<u32> {
        let mut ended = Vec::new();
        while let Some(claim) = self.other().claim(me).or_else(|| self.main().claim(me)) {
            self.memory.write(claim.slot, 5);
            assert!(self.main().complete(me, claim, Outcome::Done));
            self.memory.done().set(claim.slot);
            ended.push(claim.slot);
        }
        ended
    }
}

#[test]
fn a_task_of_two_lanes_is_claimed_once() {
    explore_bounded(Some(2), || {
        let lanes = Lanes::new(2);
        lanes.memory.submit(0, 1);
        lanes.submit_beside(1, 1);
        let helper = Arc::clone(&lanes);
        let helper = thread::spawn(move || helper.work(worker(0)));
        let mut ended = lanes.work(worker(1));
        ended.extend(helper.join().unwrap());
        ended.sort_unstable();
        assert_eq!(ended, [0, 1]);
    });
}

#[test]
fn a_lane_leaves_what_waits_in_another() {
    // Of a lane that has lost its hints: a sweep must not take what is not its own.
    explore(|| {
        let lanes = Lanes::new(2);
        lanes.submit_beside(0, 1);
        lanes.main().hints.count_missed();
        let sweeper = Arc::clone(&lanes);
        let sweeper = thread::spawn(move || sweeper.main().claim(worker(0)));
        let claim = lanes.other().claim(worker(1));
        assert_eq!(sweeper.join().unwrap(), None);
        assert!(claim.is_some());
    });
}

#[test]
fn a_diverted_task_is_claimed_once() {
    explore(|| {
        let lanes = Lanes::new(1);
        lanes.submit_beside(0, 1);
        let claimer = Arc::clone(&lanes);
        let claimer = thread::spawn(move || {
            let claim = claimer.other().claim(worker(0));
            if let Some(claim) = claim {
                claimer.memory.write(claim.slot, 2);
            }
            claim.is_some()
        });
        let diverted = lanes.main().divert(OTHER, 0, 0);
        let here = lanes.main().claim(worker(1));
        if let Some(claim) = here {
            lanes.memory.write(claim.slot, 3);
        }
        assert_eq!(here.is_some(), diverted);
        let there = claimer.join().unwrap();
        assert!(there != here.is_some(), "once, and not never");
    });
}

#[test]
fn a_death_between_two_lanes_loses_nothing() {
    // The worker of the other lane dies over a task of it, with another task waiting there and a
    // helper at work; the parent retries the one in its lane, then moves both.
    explore_bounded(Some(2), || {
        let lanes = Lanes::new(2);
        lanes.submit_beside(0, 1);
        lanes.submit_beside(1, 1);
        let mortal = Arc::clone(&lanes);
        let mortal = thread::spawn(move || {
            if let Peek::Hint(hint) = mortal.other().hints.peek() {
                let _ = mortal.main().slot(hint.slot()).claim(OTHER, worker(0), 0);
            }
        });
        let survivor = Arc::clone(&lanes);
        let survivor = thread::spawn(move || {
            if let Some(claim) = survivor.main().claim(worker(1)) {
                assert!(survivor.main().complete(worker(1), claim, Outcome::Done));
                survivor.memory.done().set(claim.slot);
            }
        });
        mortal.join().unwrap();
        let mut generations = [0; 2];
        let done = lanes.memory.done();
        lanes.main().recover(worker(0), done, |slot, generation| {
            generations[slot as usize] = generation + 1;
            Verdict::Divert(OTHER)
        });
        for slot in 0..2 {
            assert!(lanes.main().divert(OTHER, slot, generations[slot as usize]));
        }
        survivor.join().unwrap();
        lanes.work(worker(1));
        let mut delivered = [0; 2];
        lanes.memory.done().drain(|slot| {
            let harvest = lanes.main().harvest(slot, generations[slot as usize]);
            assert!(matches!(harvest, Harvest::Finished { .. }));
            delivered[slot as usize] += 1;
        });
        assert_eq!(delivered, [1, 1], "nothing lost, nothing delivered twice");
    });
}
