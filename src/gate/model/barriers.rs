//! A barrier: what parties did before is seen by all after, and nobody is left behind.

use loom::cell::UnsafeCell;

use super::*;
use crate::memory::owner::Owner;

struct Memory {
    head: BarrierHead,
    spots: [Spot; 2],
    arrived: Bell,
    entrance: Bell,
    /// Written by each party before it comes.
    payloads: [UnsafeCell<u32>; 2],
}

const OWNERS: [Owner; 2] = [Owner::new(0, 0), Owner::new(1, 0)];

impl Memory {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            head: BarrierHead::new(2),
            spots: [Spot::new(), Spot::new()],
            arrived: Bell::new(),
            entrance: Bell::new(),
            payloads: [UnsafeCell::new(0), UnsafeCell::new(0)],
        })
    }

    fn rounds(&self) -> Rounds<'_> {
        Rounds::new(&self.head, &self.spots)
    }

    fn wake_all(&self) {
        self.arrived.wake_all();
        self.entrance.wake_all();
    }

    fn leave(&self, me: Owner, party: Party) {
        self.rounds().leave(me, party);
        self.entrance.wake_one();
    }

    /// What the room above does to wait.
    fn wait(&self, me: Owner) -> Stand {
        let arrival = self.entrance.wait(|| match self.rounds().arrive(me) {
            Arrival::Full => None,
            arrival => Some(arrival),
        });
        match arrival {
            Arrival::Leads(party) => {
                let is_whole = self.rounds().trip(party);
                if is_whole {
                    self.wake_all();
                }
                self.leave(me, party);
                if is_whole {
                    Stand::Complete
                } else {
                    Stand::Broken
                }
            }
            Arrival::Waits(party) => {
                let stand = self.arrived.wait(|| match self.rounds().stand(party) {
                    Stand::Open => None,
                    stand => Some(stand),
                });
                self.leave(me, party);
                stand
            }
            Arrival::Full | Arrival::Broken => Stand::Broken,
        }
    }

    fn write(&self, index: usize) {
        self.payloads[index].with_mut(|value| {
            // SAFETY: nobody reads it before both have come; loom watches.
            unsafe { *value = 7 };
        });
    }

    fn read(&self, index: usize) -> u32 {
        // SAFETY: both have come; loom watches.
        self.payloads[index].with(|value| unsafe { *value })
    }
}

/// Nobody waits here, since the waits order things, too.
#[test]
fn a_round_publishes() {
    explore(|| {
        let memory = Memory::new();
        let pass = |memory: &Memory, index: usize| {
            memory.write(index);
            match memory.rounds().arrive(OWNERS[index]) {
                Arrival::Leads(party) => {
                    assert_eq!(memory.read(1 - index), 7);
                    assert!(memory.rounds().trip(party));
                }
                Arrival::Waits(party) => {
                    if memory.rounds().stand(party) == Stand::Complete {
                        assert_eq!(memory.read(1 - index), 7);
                    }
                }
                other => panic!("{other:?}"),
            }
        };
        let other = Arc::clone(&memory);
        let thread = thread::spawn(move || pass(&other, 0));
        pass(&memory, 1);
        thread.join().unwrap();
    });
}

#[test]
fn both_are_let_through() {
    explore_bounded(Some(2), || {
        let memory = Memory::new();
        let pass = |memory: &Memory, index: usize| {
            memory.write(index);
            assert_eq!(memory.wait(OWNERS[index]), Stand::Complete);
            assert_eq!(memory.read(1 - index), 7);
        };
        let other = Arc::clone(&memory);
        let thread = thread::spawn(move || pass(&other, 0));
        pass(&memory, 1);
        thread.join().unwrap();
    });
}

#[test]
fn two_rounds_are_not_mixed_up() {
    explore_bounded(Some(2), || {
        let memory = Memory::new();
        let other = Arc::clone(&memory);
        let twice = |memory: &Memory, me| {
            assert_eq!(memory.wait(me), Stand::Complete);
            assert_eq!(memory.wait(me), Stand::Complete);
        };
        let thread = thread::spawn(move || twice(&other, OWNERS[0]));
        twice(&memory, OWNERS[1]);
        thread.join().unwrap();
    });
}

/// One party has died waiting: the other finds it broken, or was let through before that was seen.
#[test]
fn the_dead_are_not_waited_for() {
    explore_bounded(Some(3), || {
        let memory = Memory::new();
        let Arrival::Waits(dead) = memory.rounds().arrive(OWNERS[0]) else {
            panic!("there is one more to come");
        };
        let other = Arc::clone(&memory);
        let thread = thread::spawn(move || {
            other.rounds().recover(OWNERS[0]);
            assert_ne!(other.rounds().stand(dead), Stand::Open);
            other.wake_all();
        });
        let stand = memory.wait(OWNERS[1]);
        thread.join().unwrap();
        assert_eq!(stand == Stand::Broken, memory.rounds().is_broken());
    });
}

#[test]
fn who_waits_sees_it_break() {
    explore_bounded(Some(3), || {
        let memory = Memory::new();
        let other = Arc::clone(&memory);
        let thread = thread::spawn(move || other.wait(OWNERS[0]));
        memory.rounds().abort();
        memory.wake_all();
        assert_eq!(thread.join().unwrap(), Stand::Broken);
    });
}

/// One withdraws while the last one comes: it is counted, or it is not.
#[test]
fn who_withdraws_is_counted_or_not() {
    explore_bounded(Some(3), || {
        let memory = Memory::new();
        let Arrival::Waits(party) = memory.rounds().arrive(OWNERS[0]) else {
            panic!("there is one more to come");
        };
        let other = Arc::clone(&memory);
        let thread = thread::spawn(move || {
            other.rounds().withdraw(OWNERS[0], party);
            other.rounds().arrived()
        });
        let arrival = memory.rounds().arrive(OWNERS[1]);
        let arrived = thread.join().unwrap();
        match arrival {
            Arrival::Leads(party) => {
                // It came too late to withdraw, or one that is counted has gone.
                assert_ne!(arrived, 1);
                assert!(memory.rounds().trip(party));
            }
            Arrival::Waits(_) => assert_eq!(memory.rounds().arrived(), 1),
            other => panic!("{other:?}"),
        }
    });
}

/// One finds no place while the round before is left, and another is reset meanwhile.
#[test]
fn who_finds_no_place_is_called() {
    explore_bounded(Some(2), || {
        let memory = Memory::new();
        let one = memory.rounds().arrive(OWNERS[0]);
        let Arrival::Leads(two) = memory.rounds().arrive(OWNERS[1]) else {
            panic!("it is the last");
        };
        let Arrival::Waits(one) = one else {
            panic!("it is the first");
        };
        let other = Arc::clone(&memory);
        let thread = thread::spawn(move || {
            let party = other
                .entrance
                .wait(|| match other.rounds().arrive(OWNERS[0]) {
                    Arrival::Waits(party) => Some(party),
                    _ => None,
                });
            assert_eq!(other.rounds().stand(party), Stand::Open);
        });
        assert!(memory.rounds().trip(two));
        memory.wake_all();
        memory.leave(OWNERS[1], two);
        memory.leave(OWNERS[0], one);
        thread.join().unwrap();
    });
}
