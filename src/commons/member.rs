//! Members: the processes that have a region attached, by place.
//!
//! ```text
//! word  state: 4 | who: 28 | generation: 32
//! FREE(g) ──claim──▶ LIVE(pid, g+1) ──leave──▶ FREE(g+1)
//!                       │ dead by its pidfd
//!                       ▼
//!                   SWEPT(recoverer, g+1) ──sweep is over──▶ FREE(g+1)
//!                       ▲ │ the recoverer is dead: another takes over
//!                       └─┘
//! ```
//!
//! The claim names the process at once, so there is no moment at which a place is taken by nobody
//! known. When it started is written afterwards and tells it from a later process of the same
//! number; one that died before it wrote that has claimed nothing else. The generation's low half
//! is the incarnation in the member's name.

use crate::memory::owner::{Owner, Word};
use crate::primitive::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::primitive::line::Line;
use crate::sync::waitset::Door;

const FREE: u8 = 0;
const LIVE: u8 = 1;
const SWEPT: u8 = 2;

const AWAKE: u32 = 0;
const RUNG: u32 = 1;
const ASLEEP: u32 = 2;

/// One place.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Member {
    word: AtomicU64,
    started: AtomicU64,
    reserved: [u64; 6],
    bell: Line<AtomicU32>,
}

const _: () = assert!(size_of::<Member>() == 128);

/// What a place's word says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stand {
    Free,
    Live { pid: i32 },
    Swept { by: Owner },
}

/// A place's word as read at one instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen(Word);

impl Seen {
    pub(super) fn stand(self) -> Stand {
        let who = self.0.owner();
        match self.0.state() {
            LIVE => Stand::Live {
                pid: i32::from(who.index()) << 16 | i32::from(who.incarnation()),
            },
            SWEPT => Stand::Swept { by: who },
            _ => Stand::Free,
        }
    }

    /// The name of the process that has, or had, place `index`.
    pub(super) fn name(self, index: u16) -> Owner {
        Owner::new(index, self.0.generation() as u16)
    }
}

fn process(pid: i32) -> Owner {
    // Numbers of processes are below 2^22.
    Owner::new((pid >> 16 & 0xff) as u16, pid as u16)
}

impl Member {
    pub(super) fn see(&self) -> Seen {
        // ORDERING: B1, Acquire; who sees a place free or live sees what was done there before.
        Seen(Word::from_bits(self.word.load(Ordering::Acquire)))
    }

    /// When the process started, in the kernel's ticks; 0 if it has not said so yet.
    pub(super) fn started(&self) -> u64 {
        // ORDERING: Acquire; pairs with the Release in `claim`.
        self.started.load(Ordering::Acquire)
    }

    /// FREE -> LIVE. The name of this process, if the place was free.
    pub(super) fn claim(&self, index: u16, pid: i32, started: u64) -> Option<Owner> {
        let seen = self.see();
        if seen.stand() != Stand::Free {
            return None;
        }
        let next = Word::new(LIVE, process(pid), seen.0.generation().wrapping_add(1));
        self.exchange(seen, next).then(|| {
            // ORDERING: Relaxed; who rings a bell of the place's predecessor rings in vain.
            self.bell.0.store(AWAKE, Ordering::Relaxed);
            // ORDERING: Release; pairs with the Acquire in `started`.
            self.started.store(started, Ordering::Release);
            Seen(next).name(index)
        })
    }

    /// LIVE -> FREE, by the process itself, which holds nothing.
    pub(super) fn leave(&self, index: u16, me: Owner) {
        let seen = self.see();
        if matches!(seen.stand(), Stand::Live { .. }) && seen.name(index) == me {
            self.free(seen);
        }
    }

    /// LIVE or SWEPT -> SWEPT by us: what `seen` names is dead.
    pub(super) fn take_over(&self, seen: Seen, me: Owner) -> Option<Seen> {
        let next = Word::new(SWEPT, me, seen.0.generation());
        self.exchange(seen, next).then_some(Seen(next))
    }

    /// To FREE.
    pub(super) fn free(&self, seen: Seen) {
        // ORDERING: Relaxed; the exchange publishes it to the next claim.
        self.started.store(0, Ordering::Relaxed);
        self.exchange(seen, Word::new(FREE, Owner::NONE, seen.0.generation()));
    }

    fn exchange(&self, seen: Seen, next: Word) -> bool {
        // ORDERING: B1, AcqRel; pairs with the Acquire in `see`: what a sweep or a leaver did is
        // done for whoever has the place next.
        self.word
            .compare_exchange(
                seen.0.to_bits(),
                next.to_bits(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// Any process: there is something to look at.
    pub(super) fn ring(&self, door: &impl Door) {
        // ORDERING: B2, AcqRel; what was done before the ring is seen by the listener's look.
        if self.bell.0.swap(RUNG, Ordering::AcqRel) == ASLEEP {
            door.wake(&self.bell.0, 1);
        }
    }

    /// The same, also if whoever rang last died before it told the kernel.
    pub(super) fn ring_surely(&self, door: &impl Door) {
        // ORDERING: B2, AcqRel; as in `ring`.
        self.bell.0.swap(RUNG, Ordering::AcqRel);
        door.wake(&self.bell.0, 1);
    }

    /// The listener: from here on a ring is a new one. Look at everything, then `sleep`.
    pub(super) fn listen(&self) {
        // ORDERING: B2, AcqRel; pairs with `ring`.
        self.bell.0.swap(AWAKE, Ordering::AcqRel);
    }

    /// The listener: sleeps until somebody rings, unless somebody has since `listen`.
    pub(super) fn sleep(&self, door: &impl Door) {
        // ORDERING: B2, AcqRel; one word, so whichever of this and a ring comes second sees the
        // other.
        let quiet =
            self.bell
                .0
                .compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire);
        // ORDERING: Acquire; pairs with `ring`.
        while quiet.is_ok() && self.bell.0.load(Ordering::Acquire) == ASLEEP {
            door.wait(&self.bell.0, ASLEEP, None);
        }
    }
}
