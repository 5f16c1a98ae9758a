//! A queue and a stream in small, and a walk along a path over them: a process killed at every
//! instruction, and others that act while it stands still there.

#![expect(unsafe_code, reason = "views the region, saves and restores its bytes")]

use std::ptr::NonNull;

use super::sweep::{VICTIM, say};
use super::tracee::{NotPermitted, Stop, Tracee};
use crate::fifo::{
    Fifo, FifoHeader, Grip, Hand, Offer, Orphan, Place, Row, Slot, StreamHeader, Take,
};
use crate::memory::owner::Owner;
use crate::memory::region::{EXTENT_BYTES, Region};
use crate::primitive::atomic::{AtomicU64, Ordering};

pub(super) const SURVIVOR: Owner = Owner::new(1, 0);
const PLACES: usize = 3;
const HANDS: usize = 2;
pub(super) const RING: usize = 8;

/// As in `sweep`.
const PAUSES: usize = 8;
const LONGEST: usize = 200_000;

#[repr(C)]
pub(super) struct Words {
    header: FifoHeader,
    slots: [Slot; PLACES],
    hands: [Hand; HANDS],
    pub(super) stream: StreamHeader,
    pub(super) bytes: [AtomicU64; RING],
    /// What the victim says that it has got, its hand, and how far it came.
    got: AtomicU64,
    grip: AtomicU64,
}

pub(super) struct Stage(Region);

pub(super) type Checked = Result<(), String>;

impl Stage {
    pub(super) fn new(items: &[u64]) -> Self {
        let region = Region::create(EXTENT_BYTES).expect("memory");
        let words = Words {
            header: FifoHeader::starting_at(7),
            slots: std::array::from_fn(|_| Slot::starting_at(7)),
            hands: std::array::from_fn(|_| Hand::new()),
            stream: StreamHeader::new(),
            bytes: std::array::from_fn(|_| AtomicU64::new(0)),
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

    pub(super) fn words(&self) -> &Words {
        // SAFETY: written in `new`, all atomics, mapped as long as the region.
        unsafe { self.0.base().cast::<Words>().as_ref() }
    }

    pub(super) fn fifo(&self) -> Fifo<'_> {
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

    pub(super) fn save(&self) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<Words>()];
        let to = NonNull::from(&mut bytes[..]).cast();
        // SAFETY: both are that large, apart, and nobody writes meanwhile.
        unsafe { self.0.base().copy_to_nonoverlapping(to, bytes.len()) };
        bytes
    }

    pub(super) fn restore(&self, saved: &[u8]) {
        let from = NonNull::from(saved).cast();
        // SAFETY: both are that large, apart, and nobody reads or writes meanwhile.
        unsafe { self.0.base().copy_from_nonoverlapping(from, saved.len()) };
    }

    pub(super) fn send(&self, me: Owner, item: u64) -> bool {
        let Offer::Room(place) = self.fifo().offer(me) else {
            return false;
        };
        self.note(place).store(item, Ordering::Relaxed);
        self.fifo().publish(place);
        true
    }

    pub(super) fn note(&self, place: Place) -> &AtomicU64 {
        self.fifo().slots().front(place.index).note()
    }

    pub(super) fn hand(&self, grip: Grip) -> &AtomicU64 {
        self.fifo().hands().front(grip.index).note()
    }

    pub(super) fn receive(&self, me: Owner) -> Option<u64> {
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

    pub(super) fn hold(&self, me: Owner) -> Option<Grip> {
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

    pub(super) fn drain(&self) -> Vec<u64> {
        std::iter::from_fn(|| self.receive(SURVIVOR)).collect()
    }

    pub(super) fn got(&self) -> u64 {
        self.words().got.load(Ordering::Relaxed)
    }

    pub(super) fn say_got(&self, item: u64) {
        self.words().got.store(item, Ordering::Relaxed);
    }

    /// Nothing is stuck: there is room for as many as ever, and every hand is free.
    pub(super) fn is_whole(&self) -> Checked {
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
pub(super) type Legal<'a> = &'a dyn Fn(&[u64], &Stage) -> bool;

pub(super) struct Walk<'a> {
    pub(super) name: &'static str,
    pub(super) floor: usize,
    pub(super) stage: &'a Stage,
    pub(super) orphan: Orphan,
    /// After a death.
    pub(super) legal: Legal<'a>,
    /// What others do while it stands still: the items that they got.
    pub(super) meanwhile: &'a dyn Fn(&Stage) -> Vec<u64>,
    /// After all went well: everything that came out, others' first.
    pub(super) living: Legal<'a>,
}

impl Walk<'_> {
    pub(super) fn death(&self, mut out: Vec<u64>) -> Checked {
        let fifo = self.stage.fifo();
        // The first that recovers may die, too.
        fifo.recover(VICTIM, self.orphan, |_| ());
        self.stage.words().stream.recover(VICTIM);
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

    pub(super) fn run(&self, path: impl FnOnce()) -> Result<(), (usize, String)> {
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

    pub(super) fn holds(&self, path: impl FnOnce()) {
        if let Err((instruction, why)) = self.run(path) {
            panic!("{}, instruction {instruction}: {why}", self.name);
        }
    }
}
