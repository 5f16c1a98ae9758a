//! Objects: what lies where, of what kind, and which processes have handles to it.
//!
//! ```text
//! word  state: 4 | owner: 28 | generation: 32
//! FREE(g) ──▶ MADE-BY(owner, g+1) ──▶ LIVE(g+1) ──▶ ENDED-BY(owner, g+1) ──▶ FREE(g+1)
//!                                       ▲                 │ a handle came meanwhile
//!                                       └─────────────────┘
//! ```
//!
//! `holders` has one bit a member, set and cleared by that member alone, or by the sweep once it is
//! dead. Who wants a handle sets its bit, fences, and then looks at the word; who cleared the last
//! bit moves LIVE to ENDED-BY, fences, and looks at the bits again. So either the one sees the
//! object ended, or the other sees the bit and moves it back.

use crate::memory::owner::{Owner, Word};
use crate::primitive::atomic::{AtomicU32, AtomicU64, Ordering, fence_after_rmw};
use crate::sync::waitset::MEMBERS;

const FREE: u8 = 0;
const MADE_BY: u8 = 1;
const LIVE: u8 = 2;
const ENDED_BY: u8 = 3;

/// One object's entry.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Object {
    word: AtomicU64,
    kind: AtomicU32,
    /// The entry of the block that it lies in.
    block: AtomicU32,
    offset: AtomicU64,
    size: AtomicU64,
    holders: [AtomicU64; MEMBERS / 64],
}

const _: () = assert!(size_of::<Object>() == 64);

/// What an object's word says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stand {
    Free,
    Made { by: Owner },
    Live { generation: u32 },
    Ended { by: Owner },
}

/// What an object is; to be checked against the region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Body {
    pub(super) kind: u32,
    pub(super) block: u32,
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// An object's word as read at one instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen(Word);

impl Seen {
    pub(super) fn stand(self) -> Stand {
        match self.0.state() {
            MADE_BY => Stand::Made { by: self.0.owner() },
            LIVE => Stand::Live {
                generation: self.0.generation(),
            },
            ENDED_BY => Stand::Ended { by: self.0.owner() },
            _ => Stand::Free,
        }
    }

    pub(super) fn generation(self) -> u32 {
        self.0.generation()
    }
}

impl Object {
    pub(super) fn see(&self) -> Seen {
        // ORDERING: O1, Acquire; who sees it LIVE sees its body and its data.
        Seen(Word::from_bits(self.word.load(Ordering::Acquire)))
    }

    fn exchange(&self, seen: Seen, next: Word) -> Option<Seen> {
        // ORDERING: O1, AcqRel; pairs with the Acquire in `see`. SeqCst for the fences O2.
        self.word
            .compare_exchange(
                seen.0.to_bits(),
                next.to_bits(),
                Ordering::SeqCst,
                Ordering::Relaxed,
            )
            .ok()
            .map(|_| Seen(next))
    }

    /// FREE -> MADE-BY; nobody holds it.
    pub(super) fn claim(&self, me: Owner) -> Option<Seen> {
        let seen = self.see();
        if seen.stand() != Stand::Free {
            return None;
        }
        let generation = seen.generation().wrapping_add(1);
        self.exchange(seen, Word::new(MADE_BY, me, generation))
    }

    /// MADE-BY -> LIVE, once its data is complete.
    pub(super) fn publish(&self, seen: Seen) -> Option<Seen> {
        self.exchange(seen, Word::new(LIVE, Owner::NONE, seen.generation()))
    }

    /// LIVE, or what a dead process has begun, -> ENDED-BY us.
    pub(super) fn end(&self, seen: Seen, me: Owner) -> Option<Seen> {
        let ended = self.exchange(seen, Word::new(ENDED_BY, me, seen.generation()));
        // ORDERING: O2, SeqCst; pairs with the fence in `hold`.
        fence_after_rmw();
        ended
    }

    /// ENDED-BY us -> LIVE: somebody has a handle after all.
    pub(super) fn revive(&self, seen: Seen) -> Option<Seen> {
        self.exchange(seen, Word::new(LIVE, Owner::NONE, seen.generation()))
    }

    /// ENDED-BY us -> FREE; its blocks are free.
    pub(super) fn free(&self, seen: Seen) {
        self.exchange(seen, Word::new(FREE, Owner::NONE, seen.generation()));
    }

    pub(super) fn write_body(&self, body: Body) {
        // ORDERING: Relaxed; `publish` publishes it.
        self.kind.store(body.kind, Ordering::Relaxed);
        self.block.store(body.block, Ordering::Relaxed);
        self.offset.store(body.offset, Ordering::Relaxed);
        self.size.store(body.size, Ordering::Relaxed);
    }

    pub(super) fn body(&self) -> Body {
        // ORDERING: Relaxed; `see` was the Acquire.
        Body {
            kind: self.kind.load(Ordering::Relaxed),
            block: self.block.load(Ordering::Relaxed),
            offset: self.offset.load(Ordering::Relaxed),
            size: self.size.load(Ordering::Relaxed),
        }
    }

    /// Says that `member` has a handle. Look at the word afterwards.
    pub(super) fn hold(&self, member: u16) {
        // Relaxed: the fence orders it.
        self.holders[member as usize / 64].fetch_or(1 << (member % 64), Ordering::Relaxed);
        // ORDERING: O2, SeqCst; pairs with the fence in `end`.
        fence_after_rmw();
    }

    /// Says that `member` has no handle. True: nobody has.
    #[must_use]
    pub(super) fn let_go(&self, member: u16) -> bool {
        // ORDERING: Release; what the member did to the object is done for whoever ends it.
        self.holders[member as usize / 64].fetch_and(!(1 << (member % 64)), Ordering::Release);
        fence_after_rmw();
        !self.is_held()
    }

    pub(super) fn is_held(&self) -> bool {
        // ORDERING: Acquire; pairs with the Release in `let_go`.
        self.holders
            .iter()
            .any(|bits| bits.load(Ordering::Acquire) != 0)
    }

    pub(super) fn is_held_by(&self, member: u16) -> bool {
        // ORDERING: Acquire; as in `is_held`.
        let bits = self.holders[member as usize / 64].load(Ordering::Acquire);
        bits >> (member % 64) & 1 == 1
    }
}
