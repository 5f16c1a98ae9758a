//! The queue beside a plain one, with deaths; and what it does with the bytes of wild stores.

use core::ptr::NonNull;
use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::primitive::atomic::{AtomicU64, Ordering};

const BODY: usize = 16;

#[derive(Debug)]
#[repr(C)]
struct With<F> {
    front: F,
    body: [u8; BODY],
    rest: [u8; BODY],
}

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
    fn new(slots: usize, hands: usize, lap: u32) -> Self {
        Self {
            header: FifoHeader::starting_at(lap),
            slots: (0..slots)
                .map(|_| With {
                    front: Slot::starting_at(lap),
                    body: [0; BODY],
                    rest: [0; BODY],
                })
                .collect(),
            hands: (0..hands)
                .map(|_| With {
                    front: Hand::new(),
                    body: [0; BODY],
                    rest: [0; BODY],
                })
                .collect(),
        }
    }

    fn fifo(&self) -> Fifo<'_> {
        Fifo::new(&self.header, row(&self.slots), row(&self.hands))
    }
}

/// Items are numbers, kept in the notes.
fn send(fifo: Fifo<'_>, me: Owner, value: u64) -> bool {
    match offer(fifo, me) {
        Offer::Room(place) => {
            note(fifo, place).store(value, Ordering::Relaxed);
            fifo.publish(place);
            true
        }
        _ => false,
    }
}

fn note(fifo: Fifo<'_>, place: Place) -> &AtomicU64 {
    fifo.slots().front(place.index).note()
}

fn hand_note(fifo: Fifo<'_>, grip: Grip) -> &AtomicU64 {
    fifo.hands().front(grip.index).note()
}

fn receive(fifo: Fifo<'_>, me: Owner) -> Option<u64> {
    match take(fifo, me) {
        Take::Item(place) => {
            let value = note(fifo, place).load(Ordering::Relaxed);
            fifo.vacate(place);
            Some(value)
        }
        Take::Held(grip) => {
            let value = hand_note(fifo, grip).load(Ordering::Relaxed);
            fifo.let_go(grip);
            Some(value)
        }
        Take::Empty | Take::Busy => None,
    }
}

/// More than honest words ever need.
const TRIES: usize = 64;

/// Takes, as often as it has to be tried: after many items were dropped, the beginning of the
/// queue is passed on over several calls.
fn take(fifo: Fifo<'_>, me: Owner) -> Take {
    let mut tries = (0..TRIES).map(|_| fifo.take(me));
    tries
        .find(|taken| !matches!(taken, Take::Busy))
        .unwrap_or(Take::Busy)
}

/// Offers, in the same way.
fn offer(fifo: Fifo<'_>, me: Owner) -> Offer {
    let mut tries = (0..TRIES).map(|_| fifo.offer(me));
    tries
        .find(|offered| !matches!(offered, Offer::Busy))
        .unwrap_or(Offer::Busy)
}

/// Where a process may stop for ever.
#[derive(Clone, Copy, Debug)]
enum Step {
    Send,
    Receive,
    Hold,
    LetGo,
    GiveBack,
    Withdraw,
    DieFilling,
    DieClaimed,
    DieGrasping,
    /// Held, and still at its place.
    DieMoving,
    DieHolding,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    use Step::*;
    let one = prop_oneof![
        8 => Just(Send),
        6 => Just(Receive),
        3 => Just(Hold),
        2 => Just(LetGo),
        1 => Just(GiveBack),
        1 => Just(Withdraw),
        1 => Just(DieFilling),
        1 => Just(DieClaimed),
        1 => Just(DieGrasping),
        1 => Just(DieMoving),
        1 => Just(DieHolding),
    ];
    proptest::collection::vec(one, 1..200)
}

/// What there should be.
#[derive(Default, Debug)]
struct Model {
    waiting: VecDeque<u64>,
    /// Came back: taken before anything that waits, in any order.
    back: Vec<u64>,
    held: Vec<(Grip, u64)>,
    lost: u64,
    /// Places whose items were dropped, at most.
    dropped: usize,
}

impl Model {
    fn take(&mut self, value: u64) {
        if let Some(at) = self.back.iter().position(|&back| back == value) {
            self.back.swap_remove(at);
        } else {
            assert!(self.back.is_empty(), "what came back goes first");
            assert_eq!(self.waiting.pop_front(), Some(value));
        }
    }

    fn is_empty(&self) -> bool {
        self.back.is_empty() && self.waiting.is_empty()
    }

    /// Places that are taken: what waits, and what came back to its place.
    fn check(&self, fifo: Fifo<'_>, slots: usize) {
        assert_eq!(fifo.lost(), self.lost);
        assert!(fifo.looks_ready() || self.is_empty());
        let done = self.is_empty() && self.held.is_empty();
        assert_eq!(fifo.is_done(|| false), done);
        let len = fifo.len() as usize;
        assert!(len <= slots + self.back.len());
        assert!(self.waiting.len() + self.back.len() <= len);
    }
}

fn run(slots: usize, hands: usize, lap: u32, orphan: Orphan, steps: &[Step]) {
    let memory = Memory::new(slots, hands, lap);
    let fifo = memory.fifo();
    let mut model = Model::default();
    let mut me = Owner::new(0, 0);
    let mut holder = Owner::new(1, 0);
    let mut next = 0;
    for &step in steps {
        match step {
            Step::Send => {
                let sent = send(fifo, me, next);
                if sent {
                    model.waiting.push_back(next);
                    next += 1;
                } else {
                    // What came back to its place is still in the way, and so is what was dropped
                    // until its turn comes.
                    let taken = model.waiting.len() + model.back.len() + model.dropped;
                    assert!(taken >= slots);
                }
            }
            Step::Receive => match receive(fifo, me) {
                Some(value) => model.take(value),
                None => {
                    assert!(model.is_empty());
                    model.dropped = 0;
                }
            },
            Step::Hold => {
                let Some(grip) = fifo.grasp(holder, next as u32) else {
                    continue;
                };
                match take(fifo, holder) {
                    Take::Item(place) => {
                        let value = note(fifo, place).load(Ordering::Relaxed);
                        hand_note(fifo, grip).store(value, Ordering::Relaxed);
                        fifo.hold(holder, grip, place);
                        model.take(value);
                        model.held.push((grip, value));
                    }
                    Take::Held(other) => {
                        fifo.let_go(grip);
                        let value = hand_note(fifo, other).load(Ordering::Relaxed);
                        model.take(value);
                        model.held.push((other, value));
                    }
                    Take::Empty | Take::Busy => {
                        fifo.let_go(grip);
                        assert!(model.is_empty());
                    }
                }
            }
            Step::LetGo => {
                if let Some((grip, value)) = model.held.pop() {
                    assert_eq!(hand_note(fifo, grip).load(Ordering::Relaxed), value);
                    fifo.let_go(grip);
                }
            }
            Step::GiveBack => {
                if let Some((grip, value)) = model.held.pop() {
                    fifo.give_back(grip);
                    model.back.push(value);
                }
            }
            Step::Withdraw => {
                if let Offer::Room(place) = offer(fifo, me) {
                    fifo.withdraw(place);
                    model.dropped += 1;
                }
            }
            Step::DieFilling => {
                model.dropped += usize::from(matches!(offer(fifo, me), Offer::Room(_)));
                fifo.recover(me, orphan, |_| panic!("nothing in hand"));
                me = me.next();
            }
            Step::DieClaimed => {
                let taken = take(fifo, me);
                let value = match taken {
                    Take::Item(place) => Some(note(fifo, place).load(Ordering::Relaxed)),
                    Take::Held(grip) => Some(hand_note(fifo, grip).load(Ordering::Relaxed)),
                    Take::Empty | Take::Busy => None,
                };
                fifo.recover(me, orphan, |_| ());
                me = me.next();
                if let Some(value) = value {
                    model.take(value);
                    match (taken, orphan) {
                        (Take::Held(_), Orphan::Lost) => model.lost += 1,
                        _ => model.back.push(value),
                    }
                }
            }
            Step::DieGrasping => {
                let _ = fifo.grasp(me, 0);
                fifo.recover(me, orphan, |_| panic!("an empty hand"));
                me = me.next();
            }
            Step::DieMoving => {
                let Some(grip) = fifo.grasp(me, 0) else {
                    continue;
                };
                match take(fifo, me) {
                    Take::Item(place) => {
                        let value = note(fifo, place).load(Ordering::Relaxed);
                        hand_note(fifo, grip).store(value, Ordering::Relaxed);
                        // The first half of `hold`.
                        let front = fifo.hands().front(grip.index);
                        front.hold(me, grip.generation, place);
                        model.take(value);
                        model.back.push(value);
                        fifo.recover(me, orphan, |_| panic!("it is at its place"));
                    }
                    Take::Held(other) => {
                        let value = hand_note(fifo, other).load(Ordering::Relaxed);
                        model.take(value);
                        match orphan {
                            Orphan::ComesBack => model.back.push(value),
                            Orphan::Lost => model.lost += 1,
                        }
                        fifo.recover(me, orphan, |_| ());
                    }
                    Take::Empty | Take::Busy => fifo.recover(me, orphan, |_| panic!("empty")),
                }
                me = me.next();
            }
            Step::DieHolding => {
                let mut dropped = 0;
                fifo.recover(holder, orphan, |_| dropped += 1);
                holder = holder.next();
                let held = model.held.drain(..).map(|(_, value)| value);
                match orphan {
                    Orphan::ComesBack => model.back.extend(held),
                    Orphan::Lost => {
                        let count = held.count() as u64;
                        assert_eq!(dropped, count);
                        model.lost += count;
                    }
                }
            }
        }
        model.check(fifo, slots);
    }
    // Nothing is stuck: all comes out, in order, and then there is room for as much as ever.
    for (grip, _) in model.held.drain(..) {
        fifo.let_go(grip);
    }
    while let Some(value) = receive(fifo, me) {
        model.take(value);
    }
    assert!(model.is_empty());
    for value in 0..slots as u64 {
        assert!(send(fifo, me, value), "{value} of {slots}");
    }
    assert!(!send(fifo, me, 0));
    assert_eq!(fifo.len() as usize, slots);
    for hand in 0..hands {
        assert!(fifo.grasp(me, hand as u32).is_some());
    }
    assert!(fifo.grasp(me, 0).is_none());
}

proptest! {
    #[test]
    fn it_does_what_a_plain_queue_does(
        slots in 1_usize..6,
        hands in 0_usize..4,
        lap in prop_oneof![Just(0), Just(u32::MAX - 1), any::<u32>()],
        comes_back in any::<bool>(),
        steps in steps(),
    ) {
        let orphan = if comes_back { Orphan::ComesBack } else { Orphan::Lost };
        run(slots, hands, lap, orphan, &steps);
    }
}

#[test]
fn a_closed_queue_gives_what_it_has() {
    let memory = Memory::new(3, 0, 0);
    let (fifo, me) = (memory.fifo(), Owner::new(0, 0));
    assert!(send(fifo, me, 1) && send(fifo, me, 2));
    assert!(!fifo.is_drained());
    fifo.close();
    assert!(fifo.is_closed());
    assert_eq!(fifo.offer(me), Offer::Closed);
    assert!(!fifo.is_drained());
    assert_eq!([receive(fifo, me), receive(fifo, me)], [Some(1), Some(2)]);
    // The place that the late sender had is passed like any other.
    assert_eq!(receive(fifo, me), None);
    assert!(fifo.is_drained());
}

#[test]
fn recovering_twice_changes_nothing() {
    let memory = Memory::new(2, 1, 0);
    let (fifo, dead, me) = (memory.fifo(), Owner::new(0, 0), Owner::new(1, 0));
    assert!(send(fifo, me, 1));
    assert!(matches!(fifo.take(dead), Take::Item(_)));
    let _ = fifo.offer(dead);
    for _ in 0..3 {
        fifo.recover(dead, Orphan::Lost, |_| panic!("nothing in hand"));
    }
    assert_eq!([receive(fifo, me), receive(fifo, me)], [Some(1), None]);
    assert_eq!(fifo.lost(), 0);
}

proptest! {
    /// Whatever a wild store leaves, every call returns and touches nothing outside.
    #[test]
    fn wild_words_make_no_call_panic_or_hang(
        words in proptest::collection::vec(any::<u64>(), 20),
        small in proptest::collection::vec(0_u64..6, 20),
    ) {
        let memory = Memory::new(3, 2, 0);
        let fifo = memory.fifo();
        let wild = words.iter().zip(&small).map(|(word, small)| match small {
            0 => *word,
            1 => word >> 32 << 32 | small,
            2 => word & 0xf000_0000_0000_0003,
            other => *other,
        });
        let all = memory.header.words().into_iter()
            .chain(memory.slots.iter().map(|with| with.front.word()))
            .chain(memory.hands.iter().map(|with| with.front.word()));
        for (word, wild) in all.zip(wild) {
            word.store(wild, Ordering::Relaxed);
        }
        let me = Owner::new(1, 1);
        for _ in 0..4 {
            let _ = send(fifo, me, 1);
            let _ = receive(fifo, me);
            let _ = (fifo.len(), fifo.looks_ready(), fifo.looks_free(), fifo.is_drained());
            if let Some(grip) = fifo.grasp(me, u32::MAX) {
                fifo.let_go(grip);
            }
            fifo.recover(me, Orphan::ComesBack, |_| ());
            fifo.recover(Owner::NONE, Orphan::Lost, |_| ());
        }
    }
}

#[test]
fn a_stream_is_one_stream() {
    let header = StreamHeader::new();
    let (size, one, two) = (8, Owner::new(0, 0), Owner::new(1, 0));
    let mut ring = [0_u8; 8];
    let mut got = Vec::new();
    let mut next = 0_u8;
    for round in 0..200_usize {
        let me = if round % 3 == 0 { one } else { two };
        let turn = header.begin_write(me).expect("a turn");
        assert!(header.begin_write(one).is_none(), "one writes at a time");
        let room = header.room(&turn, size);
        let wanted = (round % 5).min(room.size);
        for at in 0..wanted {
            ring[room.start + at] = next;
            next = next.wrapping_add(1);
        }
        if round % 7 == 0 {
            // It dies before they count.
            header.recover(me);
            next = next.wrapping_sub(wanted as u8);
        } else {
            header.wrote(&turn, wanted);
            header.end_write(turn);
        }
        let turn = header.begin_read(me).expect("a turn");
        let run = header.waiting(&turn, size);
        got.extend_from_slice(&ring[run.start..run.start + run.size]);
        header.consumed(&turn, run.size);
        header.end_read(turn);
    }
    assert!(got.len() > 200);
    for (index, byte) in got.iter().enumerate() {
        assert_eq!(*byte, index as u8);
    }
}
