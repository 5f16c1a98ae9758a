//! Loom models of the ring: every interleaving, of a few steps, of a few threads.
//!
//! The payload is a loom cell a slot, standing for the body and for what it points to: an access
//! that is not ordered after the last one fails the model.

#![expect(unsafe_code, reason = "loom's cells hand out raw pointers")]

mod death;
mod lanes;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::hints::Peek;
use super::*;
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::primitive::model::{explore, explore_bounded, others_first};

/// A ring on the heap, with payloads.
struct Memory {
    header: RingHeader,
    cells: Vec<Cell>,
    slots: Vec<Slot>,
    done: Vec<AtomicU64>,
    payloads: Vec<UnsafeCell<u32>>,
}

impl Memory {
    fn new(slots: usize) -> Arc<Self> {
        Arc::new(Self {
            header: RingHeader::new(),
            cells: (0..2 * slots).map(|_| Cell::new()).collect(),
            slots: (0..slots).map(|_| Slot::new()).collect(),
            done: vec![AtomicU64::new(0)],
            payloads: (0..slots).map(|_| UnsafeCell::new(0)).collect(),
        })
    }

    fn ring(&self) -> Ring<'_> {
        Ring::new(&self.header, &self.cells, &self.slots)
    }

    fn done(&self) -> DoneBits<'_> {
        DoneBits(&self.done)
    }

    fn write(&self, slot: u32, value: u32) {
        self.payloads[slot as usize].with_mut(|payload| {
            // SAFETY: loom has checked that no other access is concurrent.
            unsafe { *payload = value }
        });
    }

    fn read(&self, slot: u32) -> u32 {
        self.payloads[slot as usize].with(|payload| {
            // SAFETY: loom has checked that no write is concurrent.
            unsafe { *payload }
        })
    }

    fn fill(&self, slot: u32, value: u32) -> u32 {
        let generation = self.ring().fill(slot).expect("a free slot");
        self.write(slot, value);
        generation
    }

    /// As whoever is alone in submitting does.
    fn post(&self, slot: u32, value: u32) {
        assert!(self.ring().is_free(slot, 0));
        self.write(slot, value);
        assert!(self.ring().post(slot, 0));
    }

    fn submit(&self, slot: u32, value: u32) {
        let generation = self.fill(slot, value);
        assert!(self.ring().publish(slot, generation));
    }
}

const fn worker(index: u16) -> Owner {
    Owner::new(index, 0)
}

#[test]
fn a_claim_sees_the_body() {
    explore(|| {
        let memory = Memory::new(1);
        let submitter = Arc::clone(&memory);
        let submitter = thread::spawn(move || submitter.submit(0, 7));
        others_first();
        let early = memory.ring().claim(worker(0));
        if early.is_some() {
            assert_eq!(memory.read(0), 7);
        }
        submitter.join().unwrap();
        // Published before READY, a hint would be passed in vain, and the task never found.
        let late = memory.ring().claim(worker(0));
        assert!(early.is_some() != late.is_some());
        assert_eq!(memory.read(0), 7);
    });
}

#[test]
fn a_task_is_claimed_once() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(2);
        memory.submit(0, 0);
        memory.submit(1, 0);
        let claimers = [0, 1].map(|index| {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                let mut claims = Vec::new();
                while let Some(claim) = memory.ring().claim(worker(index)) {
                    memory.write(claim.slot, u32::from(index) + 1);
                    claims.push(claim.slot);
                }
                claims
            })
        });
        let mut claims = claimers.map(|claimer| claimer.join().unwrap()).concat();
        claims.sort_unstable();
        assert_eq!(claims, [0, 1]);
        assert_eq!(memory.ring().hints.misses(), 0);
    });
}

#[test]
fn a_harvest_sees_the_result() {
    explore(|| {
        let memory = Memory::new(1);
        memory.submit(0, 1);
        let completer = Arc::clone(&memory);
        let completer = thread::spawn(move || {
            let claim = completer.ring().claim(worker(0)).unwrap();
            completer.write(0, 2);
            assert!(completer.ring().complete(worker(0), claim, Outcome::Done));
        });
        others_first();
        if let Harvest::Finished { owner, outcome } = memory.ring().harvest(0, 0) {
            assert_eq!((owner, outcome), (worker(0), Outcome::Done));
            assert_eq!(memory.read(0), 2);
        }
        completer.join().unwrap();
        assert!(matches!(
            memory.ring().harvest(0, 0),
            Harvest::Finished { .. }
        ));
    });
}

#[test]
fn a_done_bit_means_a_done_slot() {
    explore(|| {
        let memory = Memory::new(1);
        memory.submit(0, 1);
        let completer = Arc::clone(&memory);
        let completer = thread::spawn(move || {
            let claim = completer.ring().claim(worker(0)).unwrap();
            assert!(completer.ring().complete(worker(0), claim, Outcome::Failed));
            completer.done().set(claim.slot);
        });
        let mut drained = 0;
        let mut drain = || {
            memory.done().drain(|slot| {
                drained += 1;
                assert!(matches!(
                    memory.ring().harvest(slot, 0),
                    Harvest::Finished { .. }
                ));
            });
        };
        others_first();
        drain();
        completer.join().unwrap();
        drain();
        assert_eq!(drained, 1);
    });
}

#[test]
fn a_freed_slot_may_be_refilled() {
    explore(|| {
        let memory = Memory::new(1);
        memory.submit(0, 1);
        let claim = memory.ring().claim(worker(0)).unwrap();
        assert!(memory.ring().complete(worker(0), claim, Outcome::Done));
        let reader = Arc::clone(&memory);
        let reader = thread::spawn(move || {
            assert_eq!(reader.read(0), 1);
            assert_eq!(reader.ring().free(0, 0), 1);
        });
        others_first();
        if let Some(generation) = memory.ring().fill(0) {
            assert_eq!(generation, 1);
            memory.write(0, 2);
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_retracted_task_is_nobody_elses() {
    explore(|| {
        let memory = Memory::new(1);
        let submitter = Arc::clone(&memory);
        let submitter = thread::spawn(move || submitter.submit(0, 1));
        let claimer = Arc::clone(&memory);
        let claimer = thread::spawn(move || {
            let claim = claimer.ring().claim(worker(0));
            if let Some(claim) = claim {
                claimer.write(claim.slot, 2);
            }
            claim
        });
        others_first();
        let retracted = memory.ring().retract(0, 0);
        if retracted {
            memory.write(0, 3);
            memory.ring().abandon(0, 0);
        }
        submitter.join().unwrap();
        let claimed = claimer.join().unwrap();
        assert!(!(retracted && claimed.is_some()));
        if !retracted && claimed.is_none() {
            assert!(memory.ring().claim(worker(1)).is_some());
        }
    });
}

#[test]
fn a_swept_task_has_its_body() {
    // By the word alone, as a sweep finds it: no hint, no count of misses helps.
    for submit in [Memory::submit, Memory::post] {
        explore(move || {
            let memory = Memory::new(1);
            let submitter = Arc::clone(&memory);
            let submitter = thread::spawn(move || submit(&submitter, 0, 7));
            others_first();
            if let Some(claim) = memory.ring().claim_any(worker(0)) {
                assert_eq!(memory.read(claim.slot), 7);
            }
            submitter.join().unwrap();
        });
    }
}

#[test]
fn a_passed_hint_has_a_claimed_slot() {
    explore(|| {
        let memory = Memory::new(1);
        memory.submit(0, 1);
        let claimer = Arc::clone(&memory);
        let claimer = thread::spawn(move || claimer.ring().claim(worker(0)));
        others_first();
        if matches!(memory.ring().hints.peek(), Peek::Empty) {
            let harvest = memory.ring().harvest(0, 0);
            assert_eq!(
                harvest,
                Harvest::Running(worker(0)),
                "nobody else would find it"
            );
        }
        assert!(claimer.join().unwrap().is_some());
    });
}

#[test]
fn a_hinted_slot_is_ready() {
    explore(|| {
        let memory = Memory::new(1);
        let submitter = Arc::clone(&memory);
        let submitter = thread::spawn(move || submitter.submit(0, 1));
        others_first();
        if let Peek::Hint(hint) = memory.ring().hints.peek() {
            assert_eq!(memory.ring().slot(hint.slot()).ready(Lane::MAIN), Some(0));
        }
        submitter.join().unwrap();
    });
}

#[test]
fn a_hint_is_never_hidden_behind_an_earlier_one() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(2);
        let told = Arc::new(AtomicU64::new(0));
        let first = Arc::clone(&memory);
        let first = thread::spawn(move || first.submit(0, 0));
        let (second, tell) = (Arc::clone(&memory), Arc::clone(&told));
        let second = thread::spawn(move || {
            second.submit(1, 0);
            tell.store(1, Ordering::Release);
        });
        others_first();
        if told.load(Ordering::Acquire) == 1 {
            assert!(
                memory.ring().claim(worker(0)).is_some(),
                "at least the second is there"
            );
        }
        first.join().unwrap();
        second.join().unwrap();
        assert_eq!(memory.ring().hints.misses(), 0);
    });
}

#[test]
fn no_hint_is_missed_without_a_crash() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(2);
        let submitter = Arc::clone(&memory);
        let submitter = thread::spawn(move || {
            submitter.submit(0, 0);
            submitter.submit(1, 0);
        });
        let claimer = Arc::clone(&memory);
        let claimer = thread::spawn(move || [(); 2].map(|()| claimer.ring().claim(worker(0))));
        others_first();
        let here = memory.ring().claim(worker(1));
        submitter.join().unwrap();
        let [first, second] = claimer.join().unwrap();
        let late = [(); 2].map(|()| memory.ring().claim(worker(1)));
        let claims = [here, first, second, late[0], late[1]];
        assert_eq!(claims.iter().flatten().count(), 2);
        assert_eq!(memory.ring().hints.misses(), 0);
    });
}

#[test]
fn the_ring_is_lapped() {
    explore_bounded(Some(2), || {
        const TASKS: u32 = 5;
        let memory = Memory::new(1);
        let submitter = Arc::clone(&memory);
        let submitter = thread::spawn(move || {
            for task in 0..TASKS {
                submitter.submit(0, task);
                while !matches!(submitter.ring().harvest(0, task), Harvest::Finished { .. }) {
                    thread::yield_now();
                }
                assert_eq!(submitter.read(0), task + 100);
                submitter.ring().free(0, task);
            }
        });
        for task in 0..TASKS {
            let claim = loop {
                match memory.ring().claim(worker(0)) {
                    Some(claim) => break claim,
                    None => thread::yield_now(),
                }
            };
            assert_eq!((claim.generation, memory.read(0)), (task, task));
            memory.write(0, task + 100);
            assert!(memory.ring().complete(worker(0), claim, Outcome::Done));
        }
        submitter.join().unwrap();
    });
}

#[test]
fn a_missed_hint_is_found_by_a_sweep() {
    explore(|| {
        let memory = Memory::new(1);
        let parent = Arc::clone(&memory);
        let parent = thread::spawn(move || {
            let generation = parent.fill(0, 1);
            assert!(parent.ring().slot(0).publish(Lane::MAIN, generation));
            parent.ring().hints.count_missed();
        });
        others_first();
        let early = memory.ring().claim(worker(0));
        parent.join().unwrap();
        let late = memory.ring().claim(worker(0));
        assert!(early.is_some() != late.is_some());
        assert_eq!(memory.ring().claim(worker(0)), None);
        assert_eq!(memory.ring().hints.missed(), None, "one sweep settles it");
    });
}

#[test]
fn two_submitters_share_the_tail() {
    explore_bounded(Some(2), || {
        let memory = Memory::new(2);
        let submitters = [0, 1].map(|slot| {
            let memory = Arc::clone(&memory);
            thread::spawn(move || memory.submit(slot, slot))
        });
        others_first();
        let mut claims: Vec<u32> = (memory.ring().claim(worker(0)).into_iter())
            .map(|claim| claim.slot)
            .collect();
        for submitter in submitters {
            submitter.join().unwrap();
        }
        while let Some(claim) = memory.ring().claim(worker(0)) {
            assert_eq!(memory.read(claim.slot), claim.slot);
            claims.push(claim.slot);
        }
        claims.sort_unstable();
        assert_eq!(claims, [0, 1]);
        assert_eq!(memory.ring().hints.misses(), 0);
    });
}
