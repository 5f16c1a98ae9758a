//! One process attached to a region: a word that names it, and what others need to reach it.
//!
//! ```text
//! word  FREE(incarnation) ─ join ─▶ LIVE(incarnation, pid) ─ leaves, or was recovered ─▶ FREE(+1)
//! ```
//! The process's number stands in the word's low half, so a claim names its process in one step.

use core::mem::size_of;

use crate::memory::owner::{Owner, Word};
use crate::primitive::atomic::{AtomicU32, AtomicU64, Ordering};

const FREE: u8 = 0;
const LIVE: u8 = 1;

/// A place for one process.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Member {
    word: AtomicU64,
    /// When the process began, by the kernel's clock ticks; 0 while that is not known.
    started: AtomicU64,
    /// Moved, and woken, when something happened that the process's waiting tasks may want.
    pub(super) bell: AtomicU32,
    unused: [u32; 11],
}

const _: () = assert!(size_of::<Member>() == 64);

/// A live member, as read at one instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Live {
    pub(super) owner: Owner,
    pub(super) pid: i32,
    pub(super) started: u64,
}

impl Member {
    /// A place that nobody has.
    pub(super) fn new(index: u16) -> Self {
        Self {
            word: AtomicU64::new(Word::new(FREE, Owner::new(index, 0), 0).to_bits()),
            started: AtomicU64::new(0),
            bell: AtomicU32::new(0),
            unused: [0; 11],
        }
    }

    /// FREE -> LIVE; `None` if somebody has it.
    pub(super) fn join(&self, index: u16, pid: u32, started: u64) -> Option<Owner> {
        // ORDERING: Relaxed; the exchange below compares.
        let found = Word::from_bits(self.word.load(Ordering::Relaxed));
        if found.state() != FREE {
            return None;
        }
        let owner = Owner::new(index, found.owner().incarnation());
        let live = Word::new(LIVE, owner, pid);
        // ORDERING: AcqRel; whoever had the place before has let go of everything that named it.
        self.word
            .compare_exchange(
                found.to_bits(),
                live.to_bits(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .ok()?;
        // ORDERING: Release; read by whoever watches (`live`). Zero until here.
        self.started.store(started, Ordering::Release);
        Some(owner)
    }

    /// Who is here.
    pub(super) fn live(&self) -> Option<Live> {
        // ORDERING: Acquire; pairs with `join`.
        let word = Word::from_bits(self.word.load(Ordering::Acquire));
        (word.state() == LIVE).then(|| Live {
            owner: word.owner(),
            pid: word.generation() as i32,
            // ORDERING: Acquire; as above.
            started: self.started.load(Ordering::Acquire),
        })
    }

    /// LIVE -> FREE, once nothing names this member any more.
    pub(super) fn vacate(&self, live: Live) {
        self.started.store(0, Ordering::Relaxed);
        let from = Word::new(LIVE, live.owner, live.pid as u32);
        let to = Word::new(FREE, live.owner.next(), 0);
        // ORDERING: Release; pairs with the Acquire of whoever joins next. If it fails, somebody
        // else has done it.
        let _ = self.word.compare_exchange(
            from.to_bits(),
            to.to_bits(),
            Ordering::Release,
            Ordering::Relaxed,
        );
    }
}
