//! What a region holds: one entry an object, by whose word it lives.
//!
//! ```text
//! word  FREE(g) ─▶ MAKING(owner, g) ─▶ LIVE(g) ◀─▶ ENDING(owner, g) ─▶ FREE(g+1)
//! ```
//! An object lives as long as any member has its bit among the holders. Who lets go last moves it
//! to ENDING and looks at the bits once more: a member that sets its bit looks at the word after.

use core::mem::size_of;

use crate::commons::layout::{Bits, MEMBERS};
use crate::memory::owner::{Owner, Word};
use crate::primitive::atomic::{AtomicU64, Ordering};

const FREE: u8 = 0;
const MAKING: u8 = 1;
const LIVE: u8 = 2;
const ENDING: u8 = 3;

/// One object's entry.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Entry {
    word: AtomicU64,
    at: AtomicU64,
    size: AtomicU64,
    kind: AtomicU64,
    holders: Bits,
}

const _: () = assert!(size_of::<Entry>() == 64);
const _: () = assert!(MEMBERS == 256);

/// Where an object lies, and what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Facts {
    pub(super) at: u64,
    pub(super) size: u64,
    pub(super) kind: u32,
}

/// What became of an attempt to hold an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Grasp {
    Held(Facts),
    /// It has ended.
    Gone,
    /// Somebody is about to end it, or not: try again.
    Undecided,
}

/// What an entry's word says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Free,
    Making(Owner),
    Live,
    Ending(Owner),
}

impl Entry {
    pub(super) fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            at: AtomicU64::new(0),
            size: AtomicU64::new(0),
            kind: AtomicU64::new(0),
            holders: [const { AtomicU64::new(0) }; MEMBERS / 64],
        }
    }

    fn load(&self) -> Word {
        // ORDERING: SeqCst; against the holders' bits, see the room's drawing.
        Word::from_bits(self.word.load(Ordering::SeqCst))
    }

    fn shift(&self, from: Word, to: Word) -> bool {
        // ORDERING: SeqCst; as above. Publishes the facts as well.
        self.word
            .compare_exchange(
                from.to_bits(),
                to.to_bits(),
                Ordering::SeqCst,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// The stage and the generation.
    pub(super) fn stage(&self) -> (Stage, u32) {
        let word = self.load();
        let stage = match word.state() {
            MAKING => Stage::Making(word.owner()),
            LIVE => Stage::Live,
            ENDING => Stage::Ending(word.owner()),
            _ => Stage::Free,
        };
        (stage, word.generation())
    }

    /// FREE -> MAKING; the generation.
    pub(super) fn begin(&self, me: Owner) -> Option<u32> {
        let word = self.load();
        let generation = word.generation();
        (word.state() == FREE && self.shift(word, Word::new(MAKING, me, generation)))
            .then_some(generation)
    }

    /// Notes where the object is to lie, so that its block can be found if the maker dies.
    pub(super) fn note(&self, facts: Facts) {
        // ORDERING: Relaxed; published by the word.
        self.at.store(facts.at, Ordering::Relaxed);
        self.size.store(facts.size, Ordering::Relaxed);
        self.kind.store(facts.kind.into(), Ordering::Relaxed);
    }

    /// MAKING -> LIVE, held by the maker.
    pub(super) fn finish(&self, me: Owner, generation: u32) {
        self.set(me, true);
        let made = self.shift(
            Word::new(MAKING, me, generation),
            Word::new(LIVE, Owner::NONE, generation),
        );
        debug_assert!(made, "an entry that is made is its maker's");
    }

    /// MAKING -> FREE, when it could not be made.
    pub(super) fn abandon(&self, me: Owner, generation: u32) {
        self.shift(
            Word::new(MAKING, me, generation),
            Word::new(FREE, Owner::NONE, generation.wrapping_add(1)),
        );
    }

    fn set(&self, member: Owner, held: bool) {
        let index = usize::from(member.index()) % MEMBERS;
        let bit = 1 << (index % 64);
        // ORDERING: SeqCst; see `load`.
        match held {
            true => self.holders[index / 64].fetch_or(bit, Ordering::SeqCst),
            false => self.holders[index / 64].fetch_and(!bit, Ordering::SeqCst),
        };
    }

    /// Held by the region itself: by the last member, whose place no process ever has.
    pub(super) fn keep(&self) {
        self.set(Owner::new(MEMBERS as u16 - 1, 0), true);
    }

    fn is_held(&self) -> bool {
        // ORDERING: SeqCst; see `load`.
        self.holders
            .iter()
            .any(|bits| bits.load(Ordering::SeqCst) != 0)
    }

    /// Holds the object of this generation.
    pub(super) fn hold(&self, me: Owner, generation: u32) -> Grasp {
        self.set(me, true);
        let word = self.load();
        if word.generation() != generation || matches!(word.state(), FREE | MAKING) {
            self.set(me, false);
            return Grasp::Gone;
        }
        if word.state() == ENDING {
            self.set(me, false);
            return Grasp::Undecided;
        }
        Grasp::Held(self.facts())
    }

    pub(super) fn facts(&self) -> Facts {
        // ORDERING: Relaxed; published by the word, which the caller has seen.
        Facts {
            at: self.at.load(Ordering::Relaxed),
            size: self.size.load(Ordering::Relaxed),
            kind: self.kind.load(Ordering::Relaxed) as u32,
        }
    }

    /// Lets go for a member. True: nobody holds the object, and it is the caller's to end.
    pub(super) fn release(&self, member: Owner, me: Owner) -> Option<u32> {
        self.set(member, false);
        self.end_if_unheld(me)
    }

    /// LIVE -> ENDING, if nobody holds it.
    pub(super) fn end_if_unheld(&self, me: Owner) -> Option<u32> {
        let word = self.load();
        if word.state() != LIVE || self.is_held() {
            return None;
        }
        let generation = word.generation();
        let ending = Word::new(ENDING, me, generation);
        if !self.shift(word, ending) {
            return None;
        }
        if self.is_held() {
            // Somebody came in between, and waits for this.
            self.shift(ending, word);
            return None;
        }
        Some(generation)
    }

    /// ENDING -> FREE, by who ended it or took over from one who died at it.
    pub(super) fn free(&self, owner: Owner, generation: u32) {
        self.shift(
            Word::new(ENDING, owner, generation),
            Word::new(FREE, Owner::NONE, generation.wrapping_add(1)),
        );
    }

    /// What a dead member was about to end becomes the caller's to end.
    pub(super) fn take_over(&self, dead: Owner, me: Owner) -> bool {
        let word = self.load();
        let is_theirs = word.state() == ENDING && word.owner() == dead;
        is_theirs && self.shift(word, Word::new(ENDING, me, word.generation()))
    }
}
