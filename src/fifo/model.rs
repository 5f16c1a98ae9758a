//! Loom models of the queue: every interleaving, of a few steps, of a few threads.
//!
//! The payload of a place and of a hand is a loom cell: an access that is not ordered after the
//! last one fails the model.

mod ends;
mod hands;
mod streams;

use core::ptr::NonNull;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::primitive::model::{explore, explore_bounded, others_first};

/// A front with what stands for the bytes behind it.
#[repr(C)]
struct With<F> {
    front: F,
    payload: UnsafeCell<u32>,
}

/// A queue on the heap.
struct Memory {
    header: FifoHeader,
    slots: Vec<With<Slot>>,
    hands: Vec<With<Hand>>,
}

fn row<F>(fronts: &[With<F>]) -> Row<'_, F> {
    // SAFETY: they lie one behind the other, each with its front first, as long as the borrow.
    unsafe {
        Row::new(
            NonNull::from(fronts).cast(),
            size_of::<With<F>>(),
            fronts.len() as u32,
        )
    }
}

impl Memory {
    fn new(slots: usize, hands: usize) -> Arc<Self> {
        Arc::new(Self {
            header: FifoHeader::new(),
            slots: (0..slots)
                .map(|_| With {
                    front: Slot::new(),
                    payload: UnsafeCell::new(0),
                })
                .collect(),
            hands: (0..hands)
                .map(|_| With {
                    front: Hand::new(),
                    payload: UnsafeCell::new(0),
                })
                .collect(),
        })
    }

    fn fifo(&self) -> Fifo<'_> {
        Fifo::new(&self.header, row(&self.slots), row(&self.hands))
    }

    fn write(&self, place: Place, value: u32) {
        set(&self.slots[place.index as usize].payload, value);
    }

    fn read(&self, place: Place) -> u32 {
        get(&self.slots[place.index as usize].payload)
    }

    fn write_hand(&self, grip: Grip, value: u32) {
        set(&self.hands[grip.index as usize].payload, value);
    }

    fn read_hand(&self, grip: Grip) -> u32 {
        get(&self.hands[grip.index as usize].payload)
    }

    fn send(&self, me: Owner, value: u32) -> Offer {
        let offer = self.fifo().offer(me);
        if let Offer::Room(place) = offer {
            self.write(place, value);
            self.fifo().publish(place);
        }
        offer
    }

    fn receive(&self, me: Owner) -> Option<u32> {
        match self.fifo().take(me) {
            Take::Item(place) => {
                let value = self.read(place);
                self.fifo().vacate(place);
                Some(value)
            }
            Take::Held(grip) => {
                let value = self.read_hand(grip);
                self.fifo().let_go(grip);
                Some(value)
            }
            Take::Empty | Take::Busy => None,
        }
    }
}

fn set(payload: &UnsafeCell<u32>, value: u32) {
    payload.with_mut(|payload| {
        // SAFETY: loom has checked that no other access is concurrent.
        unsafe { *payload = value }
    });
}

fn get(payload: &UnsafeCell<u32>) -> u32 {
    payload.with(|payload| {
        // SAFETY: loom has checked that no write is concurrent.
        unsafe { *payload }
    })
}

const fn member(index: u16) -> Owner {
    Owner::new(index, 0)
}

#[test]
fn a_receiver_sees_the_item() {
    explore(|| {
        let memory = Memory::new(1, 0);
        let sender = Arc::clone(&memory);
        let sender = thread::spawn(move || sender.send(member(0), 7));
        others_first();
        let early = memory.receive(member(1));
        assert!(matches!(sender.join().unwrap(), Offer::Room(_)));
        let late = memory.receive(member(1));
        assert_eq!(early.or(late), Some(7));
        assert!(early.is_none() || late.is_none());
    });
}

#[test]
fn a_freed_place_may_be_refilled() {
    explore(|| {
        let memory = Memory::new(1, 0);
        assert!(matches!(memory.send(member(0), 1), Offer::Room(_)));
        let receiver = Arc::clone(&memory);
        let receiver = thread::spawn(move || receiver.receive(member(1)));
        others_first();
        let sent = matches!(memory.send(member(0), 2), Offer::Room(_));
        assert_eq!(receiver.join().unwrap(), Some(1));
        assert_eq!(memory.receive(member(1)), sent.then_some(2));
    });
}

#[test]
fn a_void_place_may_be_refilled() {
    explore(|| {
        let memory = Memory::new(1, 0);
        let Offer::Room(place) = memory.fifo().offer(member(0)) else {
            panic!("a free place");
        };
        let doubter = Arc::clone(&memory);
        let doubter = thread::spawn(move || {
            doubter.write(place, 1);
            doubter.fifo().withdraw(place);
        });
        others_first();
        let early = matches!(memory.send(member(1), 2), Offer::Room(_));
        doubter.join().unwrap();
        let late = matches!(memory.send(member(1), 2), Offer::Room(_));
        assert!(early != late);
        assert_eq!(memory.receive(member(2)), Some(2));
    });
}

#[test]
fn an_item_has_one_receiver_and_keeps_its_turn() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(2, 0);
        for value in [1, 2] {
            assert!(matches!(memory.send(member(0), value), Offer::Room(_)));
        }
        let receivers = [1, 2].map(|index| {
            let memory = Arc::clone(&memory);
            thread::spawn(move || {
                let mut got = Vec::new();
                while let Some(value) = memory.receive(member(index)) {
                    got.push(value);
                }
                got
            })
        });
        let got = receivers.map(|receiver| receiver.join().unwrap());
        assert!(got.iter().all(|got| got.is_sorted()));
        let mut got = got.concat();
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
    });
}

#[test]
fn senders_take_turns() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(2, 0);
        let senders = [0, 1].map(|index| {
            let memory = Arc::clone(&memory);
            thread::spawn(move || memory.send(member(index), u32::from(index) + 1))
        });
        let mut got = Vec::new();
        others_first();
        got.extend(memory.receive(member(2)));
        for sender in senders {
            assert!(matches!(sender.join().unwrap(), Offer::Room(_)));
        }
        while let Some(value) = memory.receive(member(2)) {
            got.push(value);
        }
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        assert_eq!(memory.fifo().len(), 0);
    });
}

#[test]
fn no_item_is_overlooked_after_a_fence() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(2, 0);
        let waiting = Arc::new(AtomicU64::new(0));
        let senders = [0, 1].map(|index| {
            let (memory, waiting) = (Arc::clone(&memory), Arc::clone(&waiting));
            thread::spawn(move || {
                assert!(matches!(memory.send(member(index), 1), Offer::Room(_)));
                fence_after_rmw();
                waiting.load(Ordering::Relaxed) != 0
            })
        });
        waiting.swap(1, Ordering::Relaxed);
        fence_after_rmw();
        let found = memory.fifo().take(member(2)) != Take::Empty;
        let woken = senders.map(|sender| sender.join().unwrap());
        assert!(found || woken.contains(&true), "asleep beside two items");
    });
}

#[test]
fn no_room_is_overlooked_after_a_fence() {
    explore_bounded(Some(3), || {
        let memory = Memory::new(1, 0);
        assert!(matches!(memory.send(member(0), 1), Offer::Room(_)));
        let waiting = Arc::new(AtomicU64::new(0));
        let receiver = {
            let (memory, waiting) = (Arc::clone(&memory), Arc::clone(&waiting));
            thread::spawn(move || {
                assert_eq!(memory.receive(member(1)), Some(1));
                fence_after_rmw();
                waiting.load(Ordering::Relaxed) != 0
            })
        };
        waiting.swap(1, Ordering::Relaxed);
        fence_after_rmw();
        let found = memory.fifo().offer(member(0)) != Offer::Full;
        assert!(found || receiver.join().unwrap(), "asleep beside room");
    });
}
