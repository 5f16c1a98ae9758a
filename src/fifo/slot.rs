//! One place of the queue: the word that is the truth about the item in it.
//!
//! ```text
//! byte 0        8        16
//!      [  word  ][  note  ][ the item's bytes ... ]
//!
//! word: FREE(l) -> FILLING(o, l) -> READY(l) -> CLAIMED(o, l) -> FREE(l + 1)
//!                     |              ^  ^          |  ^  |
//!                     v (withdraw,   |  |          |  |  v (put_back, recover)
//!                  VOID(l)  recover) |  +----------+  RETURNED(l)
//!                     |              |
//!                     +-> FREE(l + 1) (by whoever passes it)
//! ```
//!
//! `l` is the lap: how often the queue has come round to this place. It takes the generation's
//! bits, so an exchange that comes a lap late fails.
//!
//! Who may touch note and bytes:
//! * FREE, VOID: nobody.
//! * FILLING: the sender that moved the word there, alone.
//! * READY, RETURNED: nobody; whoever moves the word on may read.
//! * CLAIMED: its owner may read; nobody writes.

use crate::memory::owner::{Owner, Word};
use crate::primitive::atomic::{AtomicU64, Ordering};

const FREE: u8 = 0;
const FILLING: u8 = 1;
const READY: u8 = 2;
const VOID: u8 = 3;
const CLAIMED: u8 = 4;
const RETURNED: u8 = 5;

/// The front of a place; the item's bytes follow it.
#[derive(Debug)]
#[repr(C, align(16))]
pub(crate) struct Slot {
    word: AtomicU64,
    note: AtomicU64,
}

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<Slot>() == 16);

/// What a place's word says, seen from one lap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum Stand {
    /// The lap before has not left the place yet.
    Before,
    /// What was put there in the lap before was taken back: `pass_void` frees it.
    VoidBefore,
    /// It waits for a sender.
    Free,
    /// A sender writes the item.
    Filling,
    /// The item waits for a receiver.
    Ready,
    /// The item was taken back before anybody saw it.
    Void,
    /// A receiver has it, or had it and gave it back; or the next lap has begun.
    Past,
}

/// What became of a place when its owner was found dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum Recovered {
    /// The dead process had nothing to do with it.
    Untouched,
    /// A half-written item was dropped.
    Dropped,
    /// A half-read item waits again.
    Returned,
}

const fn nobodys(state: u8, lap: u32) -> u64 {
    Word::new(state, Owner::NONE, lap).to_bits()
}

impl Slot {
    /// A free place, to be written in place.
    pub(crate) fn new() -> Self {
        Self::starting_at(0)
    }

    /// The same, in a queue that has come round `lap` times.
    pub(crate) fn starting_at(lap: u32) -> Self {
        Self {
            word: AtomicU64::new(nobodys(FREE, lap)),
            note: AtomicU64::new(0),
        }
    }

    /// A word for whoever may touch the bytes: what they are.
    pub(crate) fn note(&self) -> &AtomicU64 {
        &self.note
    }

    /// What the word says in `lap`.
    pub(super) fn stand(&self, lap: u32) -> Stand {
        // Relaxed: a guess; each exchange proves it. That a look after a fence overlooks nothing
        // is the business of the positions' Acquire (F3, F4) and of that fence.
        let seen = Word::from_bits(self.word.load(Ordering::Relaxed));
        match (seen.generation().wrapping_sub(lap) as i32, seen.state()) {
            (-1, VOID) => Stand::VoidBefore,
            (..0, _) => Stand::Before,
            (0, FREE) => Stand::Free,
            (0, FILLING) => Stand::Filling,
            (0, READY) => Stand::Ready,
            (0, VOID) => Stand::Void,
            _ => Stand::Past,
        }
    }

    /// FREE(l) -> FILLING(me, l).
    pub(super) fn fill(&self, me: Owner, lap: u32) -> bool {
        // Relaxed: that whoever freed the place has read its bytes (F2, `vacate`, `withdraw`) is
        // seen after the fence in `Fifo::offer`. Model: a_freed_place_may_be_refilled.
        self.word
            .compare_exchange(
                nobodys(FREE, lap),
                Word::new(FILLING, me, lap).to_bits(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// FILLING(me, l) -> READY(l), which is the owner's alone to do.
    pub(super) fn publish(&self, lap: u32) {
        // ORDERING: F1, Release; publishes the item to the Acquire in `claim`. A read-modify-write,
        // so that waking receivers may follow without a fence. Model: a_receiver_sees_the_item.
        self.word.swap(nobodys(READY, lap), Ordering::Release);
    }

    /// FILLING(me, l) -> VOID(l), which is the owner's alone to do.
    pub(super) fn withdraw(&self, lap: u32) {
        // ORDERING: F2, Release; we are done with the bytes. Who passes the place does so by a
        // read-modify-write, which hands this on to `fill`. Model: a_void_place_may_be_refilled.
        self.word.swap(nobodys(VOID, lap), Ordering::Release);
    }

    /// VOID(l) -> FREE(l + 1), by anybody.
    pub(super) fn pass_void(&self, lap: u32) {
        // Relaxed: it carries on the release of `withdraw`; if it fails, somebody was faster.
        let _ = self.word.compare_exchange(
            nobodys(VOID, lap),
            nobodys(FREE, lap.wrapping_add(1)),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// READY(l) -> CLAIMED(me, l): the moment at which an item has a receiver.
    pub(super) fn claim(&self, me: Owner, lap: u32) -> bool {
        // ORDERING: F1, Acquire; sees the item that `publish` released.
        // Model: a_receiver_sees_the_item.
        self.word
            .compare_exchange(
                nobodys(READY, lap),
                Word::new(CLAIMED, me, lap).to_bits(),
                Ordering::Acquire,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// RETURNED(l) -> CLAIMED(me, l), giving the lap, if the word is RETURNED.
    pub(super) fn claim_returned(&self, me: Owner) -> Option<u32> {
        // Relaxed: a guess, proved by the exchange.
        let seen = Word::from_bits(self.word.load(Ordering::Relaxed));
        let lap = seen.generation();
        // ORDERING: F1, Acquire; sees the item that `publish` released, which every exchange since
        // has carried on; and that whoever put it back has read it, before we let it be
        // overwritten. Model: a_returned_item_is_taken_once.
        (seen.state() == RETURNED
            && self
                .word
                .compare_exchange(
                    nobodys(RETURNED, lap),
                    Word::new(CLAIMED, me, lap).to_bits(),
                    Ordering::Acquire,
                    Ordering::Relaxed,
                )
                .is_ok())
        .then_some(lap)
    }

    /// CLAIMED(me, l) -> FREE(l + 1), which is the owner's alone to do.
    pub(super) fn vacate(&self, lap: u32) {
        // ORDERING: F2, Release; the bytes were read, `fill` may write them. A read-modify-write,
        // so that waking senders may follow without a fence. Model: a_freed_place_may_be_refilled.
        self.word
            .swap(nobodys(FREE, lap.wrapping_add(1)), Ordering::Release);
    }

    /// CLAIMED(me, l) -> RETURNED(l), which is the owner's alone to do.
    #[cfg(all(test, gristmill_loom))]
    pub(super) fn put_back(&self, lap: u32) {
        // ORDERING: F1, Release; we have read the bytes, whoever claims them next may have them
        // overwritten (`claim_returned`). Model: an_item_is_put_back_once_it_was_read.
        self.word.swap(nobodys(RETURNED, lap), Ordering::Release);
    }

    /// Whether this process has claimed the item of this lap and not let go of it.
    pub(super) fn is_claimed(&self, owner: Owner, lap: u32) -> bool {
        // Relaxed: asked about the dead only, whose words nobody changes but who recovers.
        self.word.load(Ordering::Relaxed) == Word::new(CLAIMED, owner, lap).to_bits()
    }

    /// Whether there is an item, or one to come: anything but FREE and VOID.
    pub(super) fn is_occupied(&self) -> bool {
        // ORDERING: F6, Acquire; what was counted elsewhere before the place was freed is seen by
        // who looks there next (`vacate`). Model: an_item_is_always_counted.
        let seen = Word::from_bits(self.word.load(Ordering::Acquire));
        !matches!(seen.state(), FREE | VOID)
    }

    /// Whether an item waits here for the first time, or is being written.
    pub(super) fn is_waiting(&self) -> bool {
        // Relaxed: a look.
        let seen = Word::from_bits(self.word.load(Ordering::Relaxed));
        matches!(seen.state(), FILLING | READY)
    }

    /// Whether an item waits here to be taken again.
    pub(super) fn is_returned(&self) -> bool {
        // Relaxed: asked by who recovers, about what it or one before it did.
        Word::from_bits(self.word.load(Ordering::Relaxed)).state() == RETURNED
    }

    /// Whether there is an item that was sent.
    pub(super) fn has_item(&self) -> bool {
        // ORDERING: F6, Acquire; as in `is_occupied`.
        let seen = Word::from_bits(self.word.load(Ordering::Acquire));
        matches!(seen.state(), READY | CLAIMED | RETURNED)
    }

    /// FILLING(dead, l) -> VOID(l), CLAIMED(dead, l) -> RETURNED(l).
    pub(super) fn recover(&self, dead: Owner) -> Recovered {
        // Relaxed: the dead change nothing any more, and nobody else changes their words.
        let seen = Word::from_bits(self.word.load(Ordering::Relaxed));
        let (next, recovered) = match (seen.owner() == dead, seen.state()) {
            (true, FILLING) => (VOID, Recovered::Dropped),
            (true, CLAIMED) => (RETURNED, Recovered::Returned),
            _ => return Recovered::Untouched,
        };
        // Relaxed: it writes no bytes, and carries on the release of `publish`. What the dead wrote
        // is seen because its end was. Model: a_returned_item_is_taken_once.
        let moved = self.word.compare_exchange(
            seen.to_bits(),
            nobodys(next, seen.generation()),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        // Another one that recovers may have been faster.
        moved.map_or(Recovered::Untouched, |_| recovered)
    }
}

#[cfg(all(test, not(gristmill_loom)))]
impl Slot {
    /// The word itself, for those that run wild.
    pub(super) fn word(&self) -> &AtomicU64 {
        &self.word
    }
}
