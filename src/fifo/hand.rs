//! The hands: items that receivers have taken out of the queue and not finished with.
//!
//! ```text
//! byte 0        8          16       24       64
//!      [  word  ][ origin  ][ note  ][ unused ][ the item's bytes ... ]
//!
//! word: FREE(g) -> TAKING(o, g) -> HELD(o, g) -> DROPPING(o, g) -> FREE(g + 1)
//!                     |              |  ^  |                          ^
//!                     |  (give_back, v  |  +--------------------------+
//!                     |   recover) RETURNED(g)                        |
//!                     +-----------------------------------------------+ (let_go, recover)
//! ```
//!
//! An item is copied from its place into a hand, then the hand is HELD, then the place is free. If
//! its receiver dies in between, both name the dead: `origin` says from which place and lap the
//! item came, and the place decides.
//!
//! An item that owns something elsewhere is DROPPING while that is freed, so that what is freed
//! never comes back; who recovers frees it again, which has to do no harm.

use crate::memory::owner::{Owner, Word};
use crate::primitive::atomic::{AtomicU64, Ordering};

use super::Place;

const FREE: u8 = 0;
const TAKING: u8 = 1;
const HELD: u8 = 2;
const RETURNED: u8 = 3;
const DROPPING: u8 = 4;

/// The front of a hand; the item's bytes follow it.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Hand {
    word: AtomicU64,
    origin: AtomicU64,
    note: AtomicU64,
}

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<Hand>() == 64);

/// What a dead process had in a hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum Grasped {
    /// Nothing.
    Nothing,
    /// An empty hand, or an item that is still at its place.
    Emptied,
    /// The item of this generation.
    Item(u32),
    /// What belonged to the item of this generation is perhaps not yet freed.
    Dropping(u32),
}

const fn nobodys(state: u8, generation: u32) -> u64 {
    Word::new(state, Owner::NONE, generation).to_bits()
}

impl Hand {
    /// An empty hand, to be written in place.
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU64::new(nobodys(FREE, 0)),
            origin: AtomicU64::new(0),
            note: AtomicU64::new(0),
        }
    }

    /// A word for whoever may touch the bytes: what they are.
    pub(crate) fn note(&self) -> &AtomicU64 {
        &self.note
    }

    /// FREE(g) -> TAKING(me, g), giving g.
    pub(super) fn grasp(&self, me: Owner) -> Option<u32> {
        // Relaxed: a guess, proved by the exchange.
        let seen = Word::from_bits(self.word.load(Ordering::Relaxed));
        let generation = seen.generation();
        // ORDERING: F7, Acquire; whoever had the hand before is done with its bytes (`let_go`).
        // Model: a_hand_changes_hands.
        (seen.state() == FREE
            && self
                .word
                .compare_exchange(
                    nobodys(FREE, generation),
                    Word::new(TAKING, me, generation).to_bits(),
                    Ordering::Acquire,
                    Ordering::Relaxed,
                )
                .is_ok())
        .then_some(generation)
    }

    /// TAKING(me, g) -> HELD(me, g), which is the owner's alone to do.
    pub(super) fn hold(&self, me: Owner, generation: u32, from: Place) {
        // Relaxed, both: they are for who recovers, who sees all that the dead did.
        // Model: a_held_item_comes_back_whole.
        self.origin.store(from.to_bits(), Ordering::Relaxed);
        self.word
            .store(Word::new(HELD, me, generation).to_bits(), Ordering::Relaxed);
    }

    /// HELD(me, g) -> DROPPING(me, g), which is the owner's alone to do.
    pub(super) fn begin_drop(&self, me: Owner, generation: u32) {
        // Relaxed: it is for who recovers, who sees all that the dead did.
        self.word.store(
            Word::new(DROPPING, me, generation).to_bits(),
            Ordering::Relaxed,
        );
    }

    /// TAKING(me, g) | HELD(me, g) | DROPPING(me, g) -> FREE(g + 1); the owner's alone to do.
    pub(super) fn let_go(&self, generation: u32) {
        // ORDERING: F7, Release; we are done with the bytes (`grasp`). Model: a_hand_changes_hands.
        self.word
            .store(nobodys(FREE, generation.wrapping_add(1)), Ordering::Release);
    }

    /// HELD(me, g) -> RETURNED(g), which is the owner's alone to do.
    pub(super) fn give_back(&self, generation: u32) {
        // ORDERING: F8, Release; the bytes are there for whoever takes it next (`take_returned`).
        // Model: an_item_given_back_is_taken_whole.
        self.word
            .store(nobodys(RETURNED, generation), Ordering::Release);
    }

    /// RETURNED(g) -> HELD(me, g), giving g, if the word is RETURNED.
    pub(super) fn take_returned(&self, me: Owner) -> Option<u32> {
        // Relaxed: a guess, proved by the exchange.
        let seen = Word::from_bits(self.word.load(Ordering::Relaxed));
        let generation = seen.generation();
        // ORDERING: F8, Acquire; sees the bytes (`give_back`, `grasped`).
        // Model: an_item_given_back_is_taken_whole.
        (seen.state() == RETURNED
            && self
                .word
                .compare_exchange(
                    nobodys(RETURNED, generation),
                    Word::new(HELD, me, generation).to_bits(),
                    Ordering::Acquire,
                    Ordering::Relaxed,
                )
                .is_ok())
        .then_some(generation)
    }

    /// Whether an item waits here to be taken again.
    pub(super) fn is_returned(&self) -> bool {
        // Relaxed: as in `Slot::is_returned`.
        Word::from_bits(self.word.load(Ordering::Relaxed)).state() == RETURNED
    }

    /// Whether there is an item, in somebody's hand or waiting to be taken again.
    pub(super) fn is_occupied(&self) -> bool {
        // ORDERING: F6, Acquire; as in `Slot::is_occupied`.
        let seen = Word::from_bits(self.word.load(Ordering::Acquire));
        matches!(seen.state(), HELD | RETURNED | DROPPING)
    }

    /// What the dead had here; an empty hand is freed at once. `at_place(p)` says whether the item
    /// of place p is there still.
    pub(super) fn grasped(&self, dead: Owner, at_place: impl FnOnce(Place) -> bool) -> Grasped {
        // Relaxed: asked about the dead only, all of whose stores are seen (`hold`).
        let seen = Word::from_bits(self.word.load(Ordering::Relaxed));
        if seen.owner() != dead {
            return Grasped::Nothing;
        }
        // Relaxed: as above.
        let origin = Place::from_bits(self.origin.load(Ordering::Relaxed));
        match seen.state() {
            HELD if !at_place(origin) => Grasped::Item(seen.generation()),
            DROPPING => Grasped::Dropping(seen.generation()),
            HELD | TAKING => {
                self.settle(seen, nobodys(FREE, seen.generation().wrapping_add(1)));
                Grasped::Emptied
            }
            _ => Grasped::Nothing,
        }
    }

    /// HELD(dead, g) -> RETURNED(g) | FREE(g + 1). False: somebody else has recovered it.
    pub(super) fn recover(&self, dead: Owner, generation: u32, comes_back: bool) -> bool {
        let next = match comes_back {
            true => nobodys(RETURNED, generation),
            false => nobodys(FREE, generation.wrapping_add(1)),
        };
        self.settle(Word::new(HELD, dead, generation), next)
    }

    /// DROPPING(dead, g) -> FREE(g + 1).
    pub(super) fn end_drop(&self, dead: Owner, generation: u32) {
        let free = nobodys(FREE, generation.wrapping_add(1));
        self.settle(Word::new(DROPPING, dead, generation), free);
    }

    fn settle(&self, seen: Word, next: u64) -> bool {
        // Relaxed: it writes no bytes, and carries on the release of `hold`; what the dead did is
        // seen because its end was.
        self.word
            .compare_exchange(seen.to_bits(), next, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

#[cfg(all(test, not(gristmill_loom)))]
impl Hand {
    /// The word itself, for those that run wild.
    pub(super) fn word(&self) -> &AtomicU64 {
        &self.word
    }
}
