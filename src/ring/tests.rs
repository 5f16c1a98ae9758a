//! Random operations beside a stupid oracle, with deaths between any two steps, and hostile bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::hints::Peek;
use super::*;
use crate::primitive::atomic::AtomicU64;

/// A ring in plain memory.
struct Memory {
    header: RingHeader,
    cells: Vec<Cell>,
    slots: Vec<Slot>,
    done: Vec<AtomicU64>,
}

impl Memory {
    /// `slots` slots and twice the cells, beginning with the given lap and generation.
    fn new(slots: usize, lap: u32, generation: u32) -> Self {
        let cells = 2 * slots;
        Self {
            header: RingHeader::starting_at(u64::from(lap) * cells as u64),
            cells: (0..cells).map(|_| Cell::starting_at(lap)).collect(),
            slots: (0..slots).map(|_| Slot::starting_at(generation)).collect(),
            done: (0..slots.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn ring(&self) -> Ring<'_> {
        Ring::new(&self.header, &self.cells, &self.slots)
    }

    fn done(&self) -> DoneBits<'_> {
        DoneBits(&self.done)
    }
}

/// How far a claimer gets before it dies.
#[derive(Clone, Copy, Debug)]
enum DeathAfter {
    Word,
    Cell,
    Head,
    Complete,
    DoneBit,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Submit,
    Abandon,
    Claim { worker: u16 },
    Complete { worker: u16, outcome: bool },
    Harvest,
    Retract { which: usize },
    Die { worker: u16, death: DeathAfter },
    Repost,
}

fn operation() -> impl Strategy<Value = Operation> {
    let worker = 0..3_u16;
    let death = prop_oneof![
        Just(DeathAfter::Word),
        Just(DeathAfter::Cell),
        Just(DeathAfter::Head),
        Just(DeathAfter::Complete),
        Just(DeathAfter::DoneBit),
    ];
    prop_oneof![
        6 => Just(Operation::Submit),
        1 => Just(Operation::Abandon),
        6 => worker.clone().prop_map(|worker| Operation::Claim { worker }),
        6 => (worker.clone(), any::<bool>())
            .prop_map(|(worker, outcome)| Operation::Complete { worker, outcome }),
        4 => Just(Operation::Harvest),
        2 => any::<usize>().prop_map(|which| Operation::Retract { which }),
        1 => (worker, death).prop_map(|(worker, death)| Operation::Die { worker, death }),
        1 => Just(Operation::Repost),
    ]
}

/// What a task is known to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Ready,
    Claimed(Owner),
    Finished(Owner, Outcome),
}

/// The oracle: what the parent and the workers know of one another's doings.
struct Oracle<'a> {
    memory: &'a Memory,
    /// By slot: generation and state of each task that is under way.
    tasks: BTreeMap<u32, (u32, State)>,
    incarnations: [u16; 3],
    submitted: usize,
    delivered: usize,
    withdrawn: usize,
}

impl Oracle<'_> {
    fn owner(&self, worker: u16) -> Owner {
        Owner::new(worker, self.incarnations[worker as usize])
    }

    fn held(&self, owner: Owner) -> Option<Claim> {
        self.tasks.iter().find_map(|(&slot, &(generation, state))| {
            (state == State::Claimed(owner)).then_some(Claim { slot, generation })
        })
    }

    fn claimed(&mut self, claim: Claim, owner: Owner) {
        let task = self
            .tasks
            .get_mut(&claim.slot)
            .expect("a claim of a task that is there");
        assert_eq!(
            *task,
            (claim.generation, State::Ready),
            "claimed once, and only when READY"
        );
        task.1 = State::Claimed(owner);
    }

    fn submit(&mut self) -> Option<u32> {
        let ring = self.memory.ring();
        let free = (0..self.memory.slots.len() as u32).find(|slot| !self.tasks.contains_key(slot));
        let slot = free?;
        let generation = ring.fill(slot).expect("a slot without a task is FREE");
        self.tasks.insert(slot, (generation, State::Ready));
        Some(slot)
    }

    fn run(&mut self, operation: Operation) {
        let memory = self.memory;
        let ring = memory.ring();
        match operation {
            Operation::Submit => {
                if let Some(slot) = self.submit() {
                    assert!(ring.publish(slot, self.tasks[&slot].0));
                    self.submitted += 1;
                }
            }
            Operation::Abandon => {
                if let Some(slot) = self.submit() {
                    let (generation, _) = self.tasks.remove(&slot).expect("just begun");
                    ring.abandon(slot, generation);
                }
            }
            Operation::Claim { worker } => {
                let owner = self.owner(worker);
                match ring.claim(owner) {
                    Some(claim) => self.claimed(claim, owner),
                    None => self.assert_nothing_ready(),
                }
            }
            Operation::Complete { worker, outcome } => {
                let owner = self.owner(worker);
                let outcome = if outcome {
                    Outcome::Done
                } else {
                    Outcome::Failed
                };
                if let Some(claim) = self.held(owner) {
                    self.finish(owner, claim, outcome);
                    memory.done().set(claim.slot);
                }
            }
            Operation::Harvest => self.harvest(),
            Operation::Retract { which } => {
                let ready = self.tasks.iter().filter(|(_, task)| task.1 == State::Ready);
                let slots: Vec<u32> = ready.map(|(&slot, _)| slot).collect();
                if !slots.is_empty() {
                    let slot = slots[which % slots.len()];
                    let generation = self.tasks[&slot].0;
                    assert!(ring.retract(slot, generation));
                    if which % 3 == 0 {
                        assert!(ring.publish(slot, generation), "it may be published again");
                    } else {
                        ring.abandon(slot, generation);
                        self.tasks.remove(&slot);
                        self.withdrawn += 1;
                    }
                }
            }
            Operation::Die { worker, death } => self.die(worker, death),
            Operation::Repost => ring.repost(),
        }
    }

    fn finish(&mut self, owner: Owner, claim: Claim, outcome: Outcome) {
        assert!(self.memory.ring().complete(owner, claim, outcome));
        let task = self.tasks.get_mut(&claim.slot).expect("a held task");
        task.1 = State::Finished(owner, outcome);
    }

    /// Takes the steps of a claim and a completion up to the death, then recovers.
    fn die(&mut self, worker: u16, death: DeathAfter) {
        let memory = self.memory;
        let ring = memory.ring();
        let owner = self.owner(worker);
        if let Peek::Hint(hint) = ring.hints.peek() {
            let slot = hint.slot();
            let generation = ring
                .slot(slot)
                .ready(Lane::MAIN)
                .filter(|&g| hint.speaks_of(g));
            if let Some(generation) = generation {
                assert!(ring.slot(slot).claim(Lane::MAIN, owner, generation));
                self.claimed(Claim { slot, generation }, owner);
            }
            match death {
                DeathAfter::Word => {}
                DeathAfter::Cell => ring.hints.empty(hint),
                _ => ring.hints.pass(hint),
            }
        }
        if let (Some(claim), DeathAfter::Complete | DeathAfter::DoneBit) = (self.held(owner), death)
        {
            self.finish(owner, claim, Outcome::Done);
            if matches!(death, DeathAfter::DoneBit) {
                memory.done().set(claim.slot);
            }
        }
        let tasks = &mut self.tasks;
        ring.recover(owner, memory.done(), |slot, generation| {
            let task = tasks.get_mut(&slot).expect("the dead held a task");
            assert_eq!(*task, (generation, State::Claimed(owner)));
            if generation % 3 == 0 {
                task.1 = State::Finished(owner, Outcome::Failed);
                Verdict::Fail
            } else {
                *task = (generation.wrapping_add(1), State::Ready);
                Verdict::Retry
            }
        });
        assert_eq!(self.held(owner), None, "the dead hold nothing");
        ring.repost();
        self.incarnations[worker as usize] += 1;
    }

    fn harvest(&mut self) {
        let memory = self.memory;
        let mut drained = Vec::new();
        memory.done().drain(|slot| drained.push(slot));
        for slot in drained {
            let Some(&(generation, state)) = self.tasks.get(&slot) else {
                continue;
            };
            let harvest = memory.ring().harvest(slot, generation);
            match state {
                State::Ready => assert_eq!(harvest, Harvest::Pending),
                State::Claimed(owner) => assert_eq!(harvest, Harvest::Running(owner)),
                State::Finished(owner, outcome) => {
                    assert_eq!(harvest, Harvest::Finished { owner, outcome });
                    let next = memory.ring().free(slot, generation);
                    assert_eq!(next, generation.wrapping_add(1));
                    self.tasks.remove(&slot);
                    self.delivered += 1;
                }
            }
        }
        let left = self
            .tasks
            .values()
            .any(|task| matches!(task.1, State::Finished(..)));
        assert!(!left, "every finished task has its done bit");
    }

    fn assert_nothing_ready(&self) {
        let ready = self.tasks.values().any(|task| task.1 == State::Ready);
        assert!(!ready, "a READY task is found");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_is_lost_nor_delivered_twice(
        size in 0..4_u32,
        lap in prop_oneof![Just(0), Just(u32::MAX - 1), Just(i32::MAX as u32 - 1)],
        generation in prop_oneof![Just(0), Just(u32::MAX - 5)],
        operations in prop::collection::vec(operation(), 0..300),
    ) {
        let memory = Memory::new(1 << size, lap, generation);
        let mut oracle = Oracle {
            memory: &memory,
            tasks: BTreeMap::new(),
            incarnations: [0; 3],
            submitted: 0,
            delivered: 0,
            withdrawn: 0,
        };
        for operation in operations {
            oracle.run(operation);
        }
        // The end of the day: everything that was submitted is claimed, ended and delivered.
        let me = Owner::new(9, 0);
        while let Some(claim) = memory.ring().claim(me) {
            oracle.claimed(claim, me);
        }
        oracle.assert_nothing_ready();
        let owners = [0, 1, 2].map(|worker| oracle.owner(worker));
        for owner in owners.into_iter().chain([me]) {
            while let Some(claim) = oracle.held(owner) {
                oracle.finish(owner, claim, Outcome::Done);
                memory.done().set(claim.slot);
            }
        }
        oracle.harvest();
        prop_assert!(oracle.tasks.is_empty());
        prop_assert_eq!(oracle.submitted, oracle.delivered + oracle.withdrawn);
    }

    #[test]
    fn wild_bytes_stop_nobody(seed in any::<u64>(), plausible in any::<bool>()) {
        let memory = Memory::new(8, 0, 0);
        let ring = memory.ring();
        let mut state = seed;
        let mut random = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            if plausible { state >> 32 & 0xf000_000f_0000_000f } else { state.rotate_left(23) }
        };
        let me = Owner::new(1, 1);
        for _ in 0..20 {
            ring.hints.scribble(&mut random);
            for slot in &memory.slots {
                slot.scribble(random());
            }
            for bits in &memory.done {
                bits.store(random(), crate::primitive::atomic::Ordering::Relaxed);
            }
            for slot in 0..8 {
                let generation = ring.fill(slot).unwrap_or_default();
                let _ = ring.publish(slot, generation);
                let _ = ring.retract(slot, generation);
                let _ = ring.harvest(slot, generation);
            }
            memory.done().drain(|slot| assert!(slot < 64));
            ring.recover(me, memory.done(), |_, _| Verdict::Retry);
            ring.repost();
            let _ = (ring.looks_empty(), ring.claim(me));
        }
        // Once the bytes stop changing, what the parent frees and publishes is found again.
        for slot in 0..8 {
            ring.free(slot, 0);
            assert_eq!(ring.fill(slot), Some(1));
            assert!(ring.publish(slot, 1));
        }
        for _ in 0..8 {
            prop_assert!(ring.claim(me).is_some());
        }
        prop_assert_eq!(ring.claim(me), None);
    }
}

#[test]
fn doubled_hints_never_fill_the_ring_for_good() {
    let memory = Memory::new(4, 0, 0);
    let ring = memory.ring();
    for slot in 0..4 {
        assert_eq!(ring.fill(slot), Some(0));
        assert!(ring.publish(slot, 0));
    }
    for _ in 0..5 {
        ring.repost();
    }
    assert_ne!(ring.hints.misses(), 0, "some found no room");
    let me = Owner::new(0, 0);
    for _ in 0..100 {
        let claim = ring.claim(me).expect("all four are READY");
        assert!(ring.complete(me, claim, Outcome::Done));
        ring.free(claim.slot, claim.generation);
        let generation = ring.fill(claim.slot).expect("just freed");
        assert!(ring.publish(claim.slot, generation));
    }
    for _ in 0..4 {
        assert!(!ring.looks_empty());
        assert!(ring.claim(me).is_some());
    }
    assert_eq!(ring.claim(me), None);
    assert!(ring.looks_empty());
}

#[test]
fn tasks_come_in_order_when_nobody_interferes() {
    let memory = Memory::new(16, 3, 7);
    let ring = memory.ring();
    let me = Owner::new(0, 0);
    for round in 0..10 {
        for slot in [3, 1, 2, 15] {
            assert_eq!(ring.fill(slot), Some(7 + round));
            assert!(ring.publish(slot, 7 + round));
        }
        for slot in [3, 1, 2, 15] {
            assert_eq!(
                ring.claim(me),
                Some(Claim {
                    slot,
                    generation: 7 + round
                })
            );
            ring.free(slot, 7 + round);
        }
        assert_eq!(ring.claim(me), None);
    }
    assert_eq!(ring.hints.misses(), 0);
}

#[test]
fn a_hint_that_a_wild_head_has_passed_is_found_all_the_same() {
    // So far is the head ahead, and so many tasks are submitted before a claimer looks.
    for (ahead, tasks) in [(1, 1), (1, 2), (2, 2), (2, 3), (3, 8), (9, 8)] {
        let memory = Memory::new(8, 0, 0);
        let ring = memory.ring();
        let head = ring.hints.words().next().unwrap();
        head.store(ahead, crate::primitive::atomic::Ordering::Relaxed);
        for slot in 0..tasks {
            assert_eq!(ring.fill(slot), Some(0));
            assert!(ring.publish(slot, 0));
        }
        assert_eq!(ring.hints.misses(), 0, "no push looks at the head");
        let me = Owner::new(1, 1);
        for left in (1..=tasks).rev() {
            assert!(!ring.looks_empty(), "{left} wait behind {ahead}");
            assert!(ring.claim(me).is_some());
        }
        assert_eq!(ring.claim(me), None);
        assert!(ring.looks_empty(), "whoever finds nothing may sleep");
    }
}
