//! A barrier's words: how far a round has come, and who is at it.
//!
//! ```text
//! word     63  60 59      48 47      24 23      0
//!          [state][ arrived ][  breaks ][ trips ]     the truth about the round
//! place    63  60 59      32 31        0
//!          [state][  owner  ][   round  ]             one for each party
//!
//! word   FILLING(n, b, t) ─ last one ─▶ ACTING(b, t) ─ the leader ─▶ FILLING(0, b, t + 1)
//!        any ─ abort, timeout, death ─▶ BROKEN(b, t)     any ─ reset ─▶ FILLING(0, b + 1, t)
//! place  FREE ─ arrives ─▶ HERE(owner, round) ─ leaves, or was recovered ─▶ FREE
//! ```
//! A party has a place before it is counted, and keeps it until it knows how its round ended. So a
//! death at any point leaves a place that names the dead, and the next round cannot be complete
//! before all have left this one: `trips` differs if, and only if, a party's own round was.
//!
//! ```text
//! arrive    place (names it) | word: arrived + 1, or ACTING
//! leave     place FREE, once the word tells the outcome
//! withdraw  word: arrived - 1 | place FREE
//! recover   for each place of the dead: its round is the word's? word BROKEN | place FREE
//! ```

use crate::memory::owner::{Owner, Word};
use crate::primitive::atomic::{AtomicU32, AtomicU64, Ordering};

/// How many parties there can be.
pub(crate) const MOST_PARTIES: u32 = (1 << 12) - 1;

const FILLING: u8 = 0;
const ACTING: u8 = 1;
const BROKEN: u8 = 2;

const FREE: u64 = 0;
const HERE: u8 = 1;

const COUNT_BITS: u32 = 24;
const COUNT_MASK: u32 = (1 << COUNT_BITS) - 1;

/// The words that all parties share.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct BarrierHead {
    word: AtomicU64,
    /// Never written again.
    parties: AtomicU32,
    unused: [u32; 13],
}

/// The place of one party.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Spot(AtomicU64);

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<BarrierHead>() == 64 && size_of::<Spot>() == 8);

/// All of them, wherever they lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds<'a> {
    head: &'a BarrierHead,
    /// One for each party; not empty.
    spots: &'a [Spot],
}

/// A party's place in a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Party {
    /// Which place, below the number of parties.
    pub(crate) index: u32,
    round: Round,
}

/// Which round: how often the barrier was reset, and how often it was complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Round {
    breaks: u32,
    trips: u32,
}

/// What somebody who arrives is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Arrival {
    /// One that waits for the others.
    Waits(Party),
    /// The last one, who acts, and then lets all of them through by `trip`.
    Leads(Party),
    /// None yet: not all have left the round before.
    Full,
    Broken,
}

/// How a party's round stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stand {
    Open,
    Complete,
    Broken,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct State {
    state: u8,
    arrived: u32,
    round: Round,
}

impl State {
    fn from_bits(bits: u64) -> Self {
        Self {
            state: (bits >> 60) as u8,
            arrived: (bits >> 48) as u32 & MOST_PARTIES,
            round: Round {
                breaks: (bits >> COUNT_BITS) as u32 & COUNT_MASK,
                trips: bits as u32 & COUNT_MASK,
            },
        }
    }

    fn to_bits(self) -> u64 {
        let Round { breaks, trips } = self.round;
        u64::from(self.state) << 60
            | u64::from(self.arrived & MOST_PARTIES) << 48
            | u64::from(breaks & COUNT_MASK) << COUNT_BITS
            | u64::from(trips & COUNT_MASK)
    }

    fn broken(self) -> Self {
        Self {
            state: BROKEN,
            arrived: 0,
            round: self.round,
        }
    }
}

impl Round {
    /// As it stands in a place: resets and completions of late.
    fn mark(self) -> u32 {
        self.breaks << 16 | (self.trips & 0xffff)
    }
}

impl BarrierHead {
    /// Nobody has arrived.
    pub(crate) fn new(parties: u32) -> Self {
        Self {
            word: AtomicU64::new(0),
            parties: AtomicU32::new(parties),
            unused: [0; 13],
        }
    }

    /// How many parties there are to be.
    pub(crate) fn parties(&self) -> u32 {
        // ORDERING: Relaxed; never written again.
        self.parties.load(Ordering::Relaxed)
    }
}

impl Spot {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(FREE))
    }
}

impl<'a> Rounds<'a> {
    pub(crate) fn new(head: &'a BarrierHead, spots: &'a [Spot]) -> Self {
        debug_assert!(!spots.is_empty());
        Self { head, spots }
    }

    fn load(&self) -> State {
        // ORDERING: G5, Acquire; what each party did before it arrived, and the leader before it
        // let them through, is seen (`shift`). Model: a_round_publishes.
        State::from_bits(self.head.word.load(Ordering::Acquire))
    }

    fn shift(&self, from: State, to: State) -> bool {
        // ORDERING: G5, AcqRel; the last one sees what all did before they arrived, and everybody
        // what the last one did. Model: a_round_publishes.
        let shifted = self.head.word.compare_exchange(
            from.to_bits(),
            to.to_bits(),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        shifted.is_ok()
    }

    /// A free place, claimed for this round.
    fn claim(&self, me: Owner, round: Round) -> Option<u32> {
        let mine = Word::new(HERE, me, round.mark()).to_bits();
        let free = |spot: &Spot| {
            // ORDERING: Relaxed; the word's exchange, which comes after, publishes it. Whoever is
            // dead is recovered after a system call that orders everything.
            let spot = &spot.0;
            spot.load(Ordering::Relaxed) == FREE
                && spot
                    .compare_exchange(FREE, mine, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
        };
        self.spots.iter().position(free).map(|index| index as u32)
    }

    fn vacate(&self, me: Owner, party: Party) {
        let spot = &self.spots[party.index as usize % self.spots.len()].0;
        let mine = Word::new(HERE, me, party.round.mark()).to_bits();
        // ORDERING: Relaxed; nothing is published. A read-modify-write, as the caller's fence
        // wants.
        let _ = spot.compare_exchange(mine, FREE, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// One arrives.
    pub(crate) fn arrive(&self, me: Owner) -> Arrival {
        let mut now = self.load();
        let full = |state| match state {
            BROKEN => Some(Arrival::Broken),
            FILLING => None,
            _ => Some(Arrival::Full),
        };
        loop {
            if let Some(arrival) = full(now.state) {
                return arrival;
            }
            let round = now.round;
            let Some(index) = self.claim(me, round) else {
                return match self.load() {
                    State { state: BROKEN, .. } => Arrival::Broken,
                    _ => Arrival::Full,
                };
            };
            let party = Party { index, round };
            while now.state == FILLING && now.round == round {
                let arrived = now.arrived + 1;
                let is_last = arrived as usize >= self.spots.len();
                let state = if is_last { ACTING } else { FILLING };
                let next = State {
                    state,
                    arrived,
                    round,
                };
                if self.shift(now, next) {
                    return match is_last {
                        true => Arrival::Leads(party),
                        false => Arrival::Waits(party),
                    };
                }
                now = self.load();
            }
            // Reset or broken before it was counted: it has not arrived.
            self.vacate(me, party);
        }
    }

    /// The leader lets all through. False: the round was broken meanwhile.
    #[must_use]
    pub(crate) fn trip(&self, party: Party) -> bool {
        let now = self.load();
        let next = State {
            state: FILLING,
            arrived: 0,
            round: Round {
                breaks: now.round.breaks,
                trips: now.round.trips.wrapping_add(1) & COUNT_MASK,
            },
        };
        now.state == ACTING && now.round == party.round && self.shift(now, next)
    }

    /// How the party's round stands.
    pub(crate) fn stand(&self, party: Party) -> Stand {
        let now = self.load();
        if now.round.trips != party.round.trips {
            return Stand::Complete;
        }
        match now.state == BROKEN || now.round != party.round {
            true => Stand::Broken,
            false => Stand::Open,
        }
    }

    /// A party leaves, after its round: wake who waits for a place.
    pub(crate) fn leave(&self, me: Owner, party: Party) {
        self.vacate(me, party);
    }

    /// A party leaves before its round is complete, as if it had not come.
    pub(crate) fn withdraw(&self, me: Owner, party: Party) {
        loop {
            let now = self.load();
            if now.state != FILLING || now.round != party.round {
                // All have arrived, and it is let go with them; or nobody waits any more.
                break;
            }
            let next = State {
                arrived: now.arrived.saturating_sub(1),
                ..now
            };
            if self.shift(now, next) {
                break;
            }
        }
        self.vacate(me, party);
    }

    /// Breaks it, whatever it is at. A read-modify-write in any case.
    pub(crate) fn abort(&self) {
        loop {
            let now = self.load();
            if self.shift(now, now.broken()) {
                return;
            }
        }
    }

    /// Breaks the party's round; false if it has ended before.
    #[must_use]
    pub(crate) fn give_up(&self, party: Party) -> bool {
        loop {
            let now = self.load();
            if self.stand(party) != Stand::Open || now.round != party.round {
                return false;
            }
            if self.shift(now, now.broken()) {
                return true;
            }
        }
    }

    /// Begins a new round; whoever waits finds its own broken.
    pub(crate) fn reset(&self) {
        loop {
            let now = self.load();
            let next = State {
                state: FILLING,
                arrived: 0,
                round: Round {
                    breaks: now.round.breaks.wrapping_add(1) & COUNT_MASK,
                    trips: now.round.trips,
                },
            };
            if self.shift(now, next) {
                return;
            }
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.load().state == BROKEN
    }

    /// How many have arrived.
    pub(crate) fn arrived(&self) -> u32 {
        self.load().arrived
    }

    /// A party that died at a round breaks it. May be done again.
    pub(crate) fn recover(&self, dead: Owner) {
        for spot in self.spots {
            // ORDERING: Relaxed; see `claim`.
            let found = spot.0.load(Ordering::Relaxed);
            let word = Word::from_bits(found);
            if word.state() != HERE || word.owner() != dead {
                continue;
            }
            loop {
                let now = self.load();
                let is_at_it = now.round.mark() == word.generation();
                if !is_at_it || now.state == BROKEN || self.shift(now, now.broken()) {
                    break;
                }
            }
            // ORDERING: Relaxed; as in `vacate`.
            let place = &spot.0;
            let _ = place.compare_exchange(found, FREE, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(gristmill_loom)))]
impl BarrierHead {
    pub(super) fn word(&self) -> &AtomicU64 {
        &self.word
    }
}

#[cfg(all(test, not(gristmill_loom)))]
impl Spot {
    pub(super) fn word(&self) -> &AtomicU64 {
        &self.0
    }

    /// Whether nobody is there.
    pub(crate) fn is_free(&self) -> bool {
        self.0.load(Ordering::Relaxed) == FREE
    }
}
