//! The queue's paths: a process killed at every instruction of send, receive, hold and their kin;
//! and others that act while it stands still there.

#![expect(unsafe_code, reason = "views the region, saves and restores its bytes")]

use std::hint::black_box;
use std::ptr::NonNull;

use super::sweep::{VICTIM, say};
use super::tracee::{NotPermitted, Stop, Tracee};
use crate::fifo::{Fifo, FifoHeader, Grip, Hand, Offer, Orphan, Place, Row, Slot, Take};
use crate::memory::owner::Owner;
use crate::memory::region::{EXTENT_BYTES, Region};
use crate::primitive::atomic::{AtomicU64, Ordering};

const SURVIVOR: Owner = Owner::new(1, 0);
const PLACES: usize = 3;
const HANDS: usize = 2;

/// As in `sweep`.
const PAUSES: usize = 8;
const LONGEST: usize = 200_000;

#[repr(C)]
struct Words {
    header: FifoHeader,
    slots: [Slot; PLACES],
    hands: [Hand; HANDS],
    /// What the victim says that it has got, its hand, and how far it came.
    got: AtomicU64,
    grip: AtomicU64,
}

struct Stage(Region);

type Checked = Result<(), String>;

impl Stage {
    fn new(items: &[u64]) -> Self {
        let region = Region::create(EXTENT_BYTES).expect("memory");
        let words = Words {
            header: FifoHeader::starting_at(7),
            slots: std::array::from_fn(|_| Slot::starting_at(7)),
            hands: std::array::from_fn(|_| Hand::new()),
            got: AtomicU64::new(0),
            grip: AtomicU64::new(0),
        };
        // SAFETY: in the mapping, aligned to an extent, and nobody else knows it yet.
        unsafe { region.base().cast::<Words>().write(words) };
        let stage = Self(region);
        for &item in items {
            stage.send(SURVIVOR, item);
        }
        stage
    }

    fn words(&self) -> &Words {
        // SAFETY: written in `new`, all atomics, mapped as long as the region.
        unsafe { self.0.base().cast::<Words>().as_ref() }
    }

    fn fifo(&self) -> Fifo<'_> {
        let words = self.words();
        // SAFETY: the slots lie one behind the other, as long as the borrow.
        let slots = unsafe {
            Row::new(
                NonNull::from(&words.slots).cast(),
                size_of::<Slot>(),
                PLACES as u32,
            )
        };
        // SAFETY: as above.
        let hands = unsafe {
            Row::new(
                NonNull::from(&words.hands).cast(),
                size_of::<Hand>(),
                HANDS as u32,
            )
        };
        Fifo::new(&words.header, slots, hands)
    }

    fn save(&self) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<Words>()];
        let to = NonNull::from(&mut bytes[..]).cast();
        // SAFETY: both are that large, apart, and nobody writes meanwhile.
        unsafe { self.0.base().copy_to_nonoverlapping(to, bytes.len()) };
        bytes
    }

    fn restore(&self, saved: &[u8]) {
        let from = NonNull::from(saved).cast();
        // SAFETY: both are that large, apart, and nobody reads or writes meanwhile.
        unsafe { self.0.base().copy_from_nonoverlapping(from, saved.len()) };
    }

    fn send(&self, me: Owner, item: u64) -> bool {
        let Offer::Room(place) = self.fifo().offer(me) else {
            return false;
        };
        self.note(place).store(item, Ordering::Relaxed);
        self.fifo().publish(place);
        true
    }

    fn note(&self, place: Place) -> &AtomicU64 {
        self.fifo().slots().front(place.index).note()
    }

    fn hand(&self, grip: Grip) -> &AtomicU64 {
        self.fifo().hands().front(grip.index).note()
    }

    fn receive(&self, me: Owner) -> Option<u64> {
        match self.fifo().take(me) {
            Take::Item(place) => {
                let item = self.note(place).load(Ordering::Relaxed);
                self.fifo().vacate(place);
                Some(item)
            }
            Take::Held(grip) => {
                let item = self.hand(grip).load(Ordering::Relaxed);
                self.fifo().let_go(grip);
                Some(item)
            }
            Take::Empty | Take::Busy => None,
        }
    }

    fn hold(&self, me: Owner) -> Option<Grip> {
        let grip = self.fifo().grasp(me, 0)?;
        let Take::Item(place) = self.fifo().take(me) else {
            self.fifo().let_go(grip);
            return None;
        };
        let item = self.note(place).load(Ordering::Relaxed);
        self.hand(grip).store(item, Ordering::Relaxed);
        self.fifo().hold(me, grip, place);
        Some(grip)
    }

    fn drain(&self) -> Vec<u64> {
        std::iter::from_fn(|| self.receive(SURVIVOR)).collect()
    }

    fn got(&self) -> u64 {
        self.words().got.load(Ordering::Relaxed)
    }

    fn say_got(&self, item: u64) {
        self.words().got.store(item, Ordering::Relaxed);
    }

    /// Nothing is stuck: there is room for as many as ever, and every hand is free.
    fn is_whole(&self) -> Checked {
        for item in 0..PLACES as u64 {
            if !self.send(SURVIVOR, 100 + item) {
                return Err(format!("room for {item} items only"));
            }
        }
        let mut hands = Vec::new();
        while let Some(grip) = self.fifo().grasp(SURVIVOR, 0) {
            hands.push(grip);
        }
        if hands.len() != HANDS {
            return Err(format!("{} hands are free", hands.len()));
        }
        hands.into_iter().for_each(|grip| self.fifo().let_go(grip));
        match self.drain()[..] {
            [100, 101, 102] => Ok(()),
            ref other => Err(format!("afterwards {other:?} comes out")),
        }
    }
}

/// What may be left of the items, given what the victim says that it got.
type Legal<'a> = &'a dyn Fn(&[u64], &Stage) -> bool;

struct Walk<'a> {
    name: &'static str,
    floor: usize,
    stage: &'a Stage,
    orphan: Orphan,
    /// After a death.
    legal: Legal<'a>,
    /// What others do while it stands still: the items that they got.
    meanwhile: &'a dyn Fn(&Stage) -> Vec<u64>,
    /// After all went well: everything that came out, others' first.
    living: Legal<'a>,
}

impl Walk<'_> {
    fn death(&self, mut out: Vec<u64>) -> Checked {
        let fifo = self.stage.fifo();
        // The first that recovers may die, too.
        fifo.recover(VICTIM, self.orphan, |_| ());
        fifo.recover(VICTIM, self.orphan, |_| ());
        out.extend(self.stage.drain());
        if !(self.legal)(&out, self.stage) {
            return Err(format!(
                "a death leaves {out:?}, the dead had {}",
                self.stage.got()
            ));
        }
        self.stage.is_whole()
    }

    fn run(&self, path: impl FnOnce()) -> Result<(), (usize, String)> {
        let mut tracee = match Tracee::start(2, path) {
            Ok(tracee) => tracee,
            Err(NotPermitted) => {
                say(&format!(
                    "walk of {}: SKIPPED, ptrace is not permitted",
                    self.name
                ));
                return Ok(());
            }
        };
        let full = std::env::var_os("GRISTMILL_SWEEP").is_some_and(|form| form == "full");
        let mut before = None;
        for instruction in 0..LONGEST {
            let saved = self.stage.save();
            let changed = before.as_ref() != Some(&saved);
            if full || changed || instruction % PAUSES == 0 {
                let twin = tracee.twin();
                let out = (self.meanwhile)(self.stage);
                let standing = self.stage.save();
                tracee.resume();
                let mut all = out.clone();
                all.extend(self.stage.drain());
                if !(self.living)(&all, self.stage) {
                    let why = format!("after a pause {all:?} came out, and {}", self.stage.got());
                    return Err((instruction, why));
                }
                tracee.kill();
                // And dead where it stood, after what others did.
                self.stage.restore(&standing);
                self.death(out).map_err(|why| (instruction, why))?;
                self.stage.restore(&saved);
                tracee = twin;
            }
            let twin = tracee.twin();
            tracee.kill();
            if full || changed {
                self.death(Vec::new()).map_err(|why| (instruction, why))?;
                self.stage.restore(&saved);
            }
            tracee = twin;
            before = Some(saved);
            if tracee.step() == Stop::Exit {
                let floor = match cfg!(debug_assertions) {
                    true => self.floor,
                    false => self.floor / 15,
                };
                assert!(instruction >= floor, "{}: {instruction} points", self.name);
                say(&format!(
                    "walk of {}: killed at {instruction} points",
                    self.name
                ));
                return Ok(());
            }
        }
        panic!("{}: no end after {LONGEST} instructions", self.name);
    }

    fn holds(&self, path: impl FnOnce()) {
        if let Err((instruction, why)) = self.run(path) {
            panic!("{}, instruction {instruction}: {why}", self.name);
        }
    }
}

fn nothing(_: &Stage) -> Vec<u64> {
    Vec::new()
}

/// Others take everything and put the like of it there.
fn take_and_send(stage: &Stage) -> Vec<u64> {
    let out = stage.drain();
    assert!(stage.send(SURVIVOR, 50), "there is room for one");
    out
}

#[test]
fn a_sender_dies() {
    let stage = Stage::new(&[1, 2]);
    let walk = Walk {
        name: "send",
        floor: 150,
        stage: &stage,
        orphan: Orphan::Lost,
        legal: &|out, _| {
            matches!(
                out,
                [1, 2] | [1, 2, 3] | [1, 2, 50] | [1, 2, 3, 50] | [1, 2, 50, 3]
            )
        },
        meanwhile: &take_and_send,
        living: &|out, _| matches!(out, [1, 2, 3, 50] | [1, 2, 50, 3]),
    };
    walk.holds(|| {
        stage.send(VICTIM, 3);
    });
}

#[test]
fn a_sender_to_a_closed_queue_dies() {
    let stage = Stage::new(&[1, 2]);
    let walk = Walk {
        name: "send while it is closed",
        floor: 150,
        stage: &stage,
        orphan: Orphan::Lost,
        legal: &|out, _| out == [1, 2],
        meanwhile: &|stage| {
            // Closed only now: those that drained before have ended, and miss nothing.
            let fifo = stage.fifo();
            let out = stage.drain();
            assert!(fifo.is_drained() || !out.is_empty() || stage.got() == 0);
            out
        },
        living: &|out, _| out == [1, 2],
    };
    stage.fifo().close();
    // What is whole afterwards is a queue that takes nothing.
    let saved = stage.save();
    if let Err((instruction, why)) = walk.run(|| {
        assert!(!stage.send(VICTIM, 3));
    }) {
        assert!(why.contains("room for 0"), "{instruction}: {why}");
    }
    stage.restore(&saved);
    assert_eq!(stage.drain(), [1, 2]);
    assert!(stage.fifo().is_drained());
}

#[test]
fn a_receiver_dies() {
    let stage = Stage::new(&[1, 2]);
    let walk = Walk {
        name: "receive",
        floor: 150,
        stage: &stage,
        orphan: Orphan::Lost,
        legal: &|out, stage| {
            let mut out = out.to_vec();
            out.sort_unstable();
            let rest = match out[..] {
                [ref rest @ .., 50] => rest,
                ref rest => rest,
            };
            rest == [1, 2] || (rest == [2] && stage.got() == 1) || (rest == [1] && stage.got() == 2)
        },
        meanwhile: &|stage| {
            // One is left for it.
            let out = Vec::from_iter(stage.receive(SURVIVOR));
            assert!(stage.send(SURVIVOR, 50), "there is room for one");
            out
        },
        living: &|out, stage| {
            let mut all = out.to_vec();
            all.push(stage.got());
            all.sort_unstable();
            all == [1, 2, 50] || all == [1, 2]
        },
    };
    walk.holds(|| {
        if let Take::Item(place) = stage.fifo().take(VICTIM) {
            stage.say_got(stage.note(place).load(Ordering::Relaxed));
            stage.fifo().vacate(place);
        }
    });
}

fn sorted(out: &[u64]) -> Vec<u64> {
    let mut out: Vec<_> = out.iter().copied().filter(|&item| item < 50).collect();
    out.sort_unstable();
    out
}

#[test]
fn a_holder_dies_and_its_item_comes_back() {
    let stage = Stage::new(&[1, 2]);
    let walk = Walk {
        name: "hold",
        floor: 250,
        stage: &stage,
        orphan: Orphan::ComesBack,
        legal: &|out, _| sorted(out) == [1, 2],
        meanwhile: &nothing,
        living: &|out, _| sorted(out) == [2],
    };
    walk.holds(|| {
        let _ = black_box(stage.hold(VICTIM));
    });
}

#[test]
fn a_holder_dies_and_its_item_is_reported_lost() {
    let stage = Stage::new(&[1, 2]);
    let walk = Walk {
        name: "hold, lost",
        floor: 250,
        stage: &stage,
        orphan: Orphan::Lost,
        legal: &|out, stage| match stage.fifo().lost() {
            0 => sorted(out) == [1, 2],
            _ => sorted(out) == [2],
        },
        meanwhile: &nothing,
        living: &|out, _| sorted(out) == [2],
    };
    walk.holds(|| {
        let _ = black_box(stage.hold(VICTIM));
    });
}

#[test]
fn a_holder_dies_while_it_lets_go() {
    let stage = Stage::new(&[1, 2]);
    let grip = stage.hold(VICTIM).expect("an item");
    let walk = Walk {
        name: "let go",
        floor: 20,
        stage: &stage,
        orphan: Orphan::ComesBack,
        // Once something of it may be freed, it does not come back.
        legal: &|out, stage| match stage.got() {
            0 => matches!(sorted(out)[..], [1, 2] | [2]),
            _ => sorted(out) == [2],
        },
        meanwhile: &nothing,
        living: &|out, _| sorted(out) == [2],
    };
    let start = stage.save();
    walk.holds(|| {
        stage.fifo().begin_drop(VICTIM, grip);
        stage.say_got(1);
        stage.fifo().let_go(grip);
    });
    stage.restore(&start);
    let walk = Walk {
        name: "give back",
        floor: 20,
        legal: &|out, _| sorted(out) == [1, 2],
        meanwhile: &|stage| stage.drain(),
        living: &|out, _| sorted(out) == [1, 2],
        ..walk
    };
    walk.holds(|| stage.fifo().give_back(grip));
}

/// The wrong way round: the place is free before the hand holds the item.
#[test]
fn an_item_that_leaves_its_place_too_early_is_caught() {
    let stage = Stage::new(&[1, 2]);
    let walk = Walk {
        name: "hold, place first",
        floor: 0,
        stage: &stage,
        orphan: Orphan::ComesBack,
        legal: &|out, _| sorted(out) == [1, 2],
        meanwhile: &nothing,
        living: &|out, _| sorted(out) == [2],
    };
    let found = walk.run(|| {
        let grip = stage.fifo().grasp(VICTIM, 0).expect("a hand");
        if let Take::Item(place) = stage.fifo().take(VICTIM) {
            let item = stage.note(place).load(Ordering::Relaxed);
            stage.hand(grip).store(item, Ordering::Relaxed);
            stage.fifo().vacate(place);
            stage.fifo().hold(VICTIM, grip, place);
        }
    });
    if let Err((instruction, why)) = found {
        assert!(instruction > 0 && why.contains("leaves [2]"), "{why}");
    } else {
        assert!(
            Tracee::start(2, || ()).is_err(),
            "nothing was wrong anywhere"
        );
    }
}
