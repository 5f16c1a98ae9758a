//! `Barrier`: parties that wait for each other.

#![expect(
    unsafe_code,
    reason = "views an object's bytes as what was written there"
)]

use core::fmt;
use core::ptr::NonNull;
use std::time::Duration;

use super::arriving::BarrierWaiting;
use super::error::BarrierError;
use crate::commons::{Kind, Object, Region, Seat, WaitSet, deadline};
use crate::error::{Error, RegionError, Result};
use crate::gate::{Arrival, BarrierHead, MOST_PARTIES, Party, Rounds, Spot};
use crate::protocol::name::{Handle, Name};

/// A barrier, byte by byte; the places of the parties follow.
///
/// ```text
/// byte   0 [ word | parties: u32 | 52 unused ]  64
///       64 [ who has arrived waits here      ] 128
///      192 [ who finds no place waits here   ] 128
///      320 [ place, of each party            ]   8 × parties
/// ```
#[derive(Debug)]
#[repr(C, align(64))]
struct BarrierFront {
    head: BarrierHead,
    arrived: WaitSet,
    entrance: WaitSet,
}

const FRONT_BYTES: u64 = 320;
const _: () = assert!(size_of::<BarrierFront>() as u64 == FRONT_BYTES);

fn size_of_barrier(parties: u32) -> u64 {
    FRONT_BYTES + u64::from(parties) * size_of::<Spot>() as u64
}

/// What the region must know of barriers.
pub(crate) static BARRIER: Kind = Kind {
    id: 22,
    recover: |seat, dead| {
        if let Some(barrier) = Barrier::of(seat.clone()) {
            barrier.rounds().recover(dead);
            barrier.seat.bury(&barrier.front().arrived, dead);
            barrier.seat.bury(&barrier.front().entrance, dead);
        }
    },
    blocks: |_, _| {},
};

/// A place where so many parties wait until all of them have come, again and again.
///
/// A party is a task or thread of any process that waits; which ones they are may differ from round
/// to round. Cloning gives another handle to the same barrier; it lives as long as its last handle
/// in any process.
///
/// # Rounds
/// The last to come is the leader of the round: it runs its action, if it waits by
/// [`wait_with`](Self::wait_with), and then all are let through. A next round is only complete once
/// all have left the one before. What a party did before it waited is seen by all afterwards.
///
/// # Broken
/// A barrier breaks when a party dies while it waits, when a wait times out, when an action panics,
/// and by [`abort`](Self::abort): all who wait, and all who come, get
/// [`BarrierError::Broken`], until somebody calls [`reset`](Self::reset). Nobody waits for a party
/// that will not come.
///
/// A wait that is *dropped* breaks nothing: it has not come, and another may come in its stead. So
/// a wait may be one branch of a `select!`. (With a timeout of the runtime's around it, too, it is
/// the caller who decides whether to abort.)
///
/// # Examples
///
/// ```
/// use gristmill::{Barrier, Handle, Process, Region};
///
/// let region = Region::new(2 << 20)?;
/// let start = Barrier::new(&region, 2)?;
/// let other = Process::builder().region(&region);
/// let other = other.spawn(start.handle().words(), |name| {
///     let name = [name[0].into(), name[1].into()];
///     let start: Barrier = Handle::from_words(name).open().unwrap();
///     start.wait_blocking().unwrap();
/// })?;
/// let round = start.wait_blocking()?;
/// assert!(round.index() < 2);
/// other.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Barrier {
    pub(super) seat: Seat,
    parties: u32,
}

impl Barrier {
    /// How many parties a barrier can have: 4095.
    pub const MAX_PARTIES: u32 = MOST_PARTIES;

    /// A barrier for so many parties, in this region.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for none, or for more than [`MAX_PARTIES`](Self::MAX_PARTIES);
    /// what the region says if it has no room.
    pub fn new(region: &Region, parties: u32) -> Result<Self> {
        if parties == 0 || parties > MOST_PARTIES {
            return Err(Error::InvalidArgument {
                what: "number of a barrier's parties",
                found: parties.to_string(),
                wanted: "at least 1, and at most 4095".into(),
            });
        }
        let size = size_of_barrier(parties);
        let seat = Seat::create(region, &BARRIER, size, |start| {
            let front = BarrierFront {
                head: BarrierHead::new(parties),
                arrived: WaitSet::new(),
                entrance: WaitSet::new(),
            };
            // SAFETY: a new object of that size, aligned to 64, which nobody else knows yet.
            unsafe { start.cast().write(front) };
            for index in 0..parties as usize {
                // SAFETY: behind the front, which is a multiple of 64 long, and within the size.
                let spots = unsafe { start.cast::<Spot>().byte_add(FRONT_BYTES as usize) };
                // SAFETY: one of so many.
                let spot = unsafe { spots.add(index) };
                // SAFETY: as for the front.
                unsafe { spot.write(Spot::new()) };
            }
        })?;
        Ok(Self { seat, parties })
    }

    /// The barrier in this seat; `None` if its parties do not fit its size.
    fn of(seat: Seat) -> Option<Self> {
        if seat.size() < FRONT_BYTES {
            return None;
        }
        let mut barrier = Self { seat, parties: 0 };
        let parties = barrier.front().head.parties();
        let fits = (1..=MOST_PARTIES).contains(&parties)
            && size_of_barrier(parties) <= barrier.seat.size();
        barrier.parties = parties;
        fits.then_some(barrier)
    }

    fn front(&self) -> &BarrierFront {
        // SAFETY: written when the barrier was made, large enough (`of`), and mapped as long as the
        // seat.
        unsafe { self.seat.at(0).cast().as_ref() }
    }

    pub(super) fn rounds(&self) -> Rounds<'_> {
        let start: NonNull<Spot> = self.seat.at(FRONT_BYTES).cast();
        // SAFETY: written when the barrier was made, for so many parties, which this process has
        // checked against the size; atomics, mapped as long as the seat.
        let spots = unsafe { core::slice::from_raw_parts(start.as_ptr(), self.parties as usize) };
        Rounds::new(&self.front().head, spots)
    }

    pub(super) fn arrived(&self) -> &WaitSet {
        &self.front().arrived
    }

    pub(super) fn entrance(&self) -> &WaitSet {
        &self.front().entrance
    }

    /// The word has changed for all.
    pub(super) fn wake_all(&self) {
        self.seat.wake_all(self.arrived());
        self.seat.wake_all(self.entrance());
    }

    /// One attempt to arrive; `None` while there is no place.
    pub(super) fn arrive(&self) -> Option<Result<Arrival, BarrierError>> {
        let me = match self.seat.me() {
            Ok(me) => me,
            Err(error) => return Some(Err(BarrierError::Region(error))),
        };
        match self.rounds().arrive(me) {
            Arrival::Full => None,
            Arrival::Broken => Some(Err(BarrierError::Broken)),
            arrival => Some(Ok(arrival)),
        }
    }

    /// A party leaves after its round.
    pub(super) fn leave(&self, party: Party) {
        if let Ok(me) = self.seat.me() {
            self.rounds().leave(me, party);
            self.seat.wake_one(self.entrance());
        }
    }

    /// A party leaves before.
    pub(super) fn withdraw(&self, party: Party) {
        if let Ok(me) = self.seat.me() {
            self.rounds().withdraw(me, party);
            self.seat.wake_one(self.entrance());
        }
    }

    /// Its name, for a process that has the region.
    pub fn handle(&self) -> Handle<Self> {
        Handle::new(self.seat.name())
    }

    /// Waits until all have come.
    pub fn wait(&self) -> BarrierWaiting<'_> {
        BarrierWaiting::new(self, None)
    }

    /// Waits until all have come, and runs `action` if it is the last one, before any other is let
    /// through. It runs inside the poll, or the call, of that party. Let each party give the same
    /// one: who comes last is not known before.
    ///
    /// If it panics, the barrier breaks, and the panic goes on. If it breaks meanwhile, because a
    /// party died or timed out, the leader gets [`BarrierError::Broken`] as all others.
    pub fn wait_with<A: FnOnce()>(&self, action: A) -> BarrierWaiting<'_, A> {
        BarrierWaiting::new(self, Some(action))
    }

    /// Waits until all have come; blocks until then.
    ///
    /// # Errors
    /// See [`BarrierError`].
    pub fn wait_blocking(&self) -> Result<BarrierWait, BarrierError> {
        self.wait().until(None)
    }

    /// Waits until all have come, if they do in time; blocks until then.
    ///
    /// # Errors
    /// [`BarrierError::TimedOut`], and then the barrier is broken for all; see [`BarrierError`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<BarrierWait, BarrierError> {
        self.wait().until(deadline(timeout))
    }

    /// Breaks it: who waits, and who comes, gets [`BarrierError::Broken`].
    ///
    /// # Errors
    /// [`Error::Forked`] in a process that was forked from one that has the region.
    pub fn abort(&self) -> Result<()> {
        self.seat.me()?;
        self.rounds().abort();
        self.wake_all();
        Ok(())
    }

    /// Makes it as new: who comes from now on begins a round, and who waits gets
    /// [`BarrierError::Broken`].
    ///
    /// # Errors
    /// As for [`abort`](Self::abort).
    pub fn reset(&self) -> Result<()> {
        self.seat.me()?;
        self.rounds().reset();
        self.wake_all();
        Ok(())
    }

    /// How many have to come.
    pub fn parties(&self) -> u32 {
        self.parties
    }

    /// How many have come and wait for the others.
    pub fn n_waiting(&self) -> u32 {
        self.rounds().arrived()
    }

    /// Whether it is broken.
    pub fn is_broken(&self) -> bool {
        self.rounds().is_broken()
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties)
            .field("n_waiting", &self.n_waiting())
            .field("broken", &self.is_broken())
            .finish_non_exhaustive()
    }
}

impl Object for Barrier {
    fn find(name: Name) -> Result<Self> {
        let foreign = || {
            let found = "a barrier whose parties lead out of it".into();
            RegionError::Foreign { found }
        };
        Ok(Self::of(Seat::open(name, &BARRIER)?).ok_or_else(foreign)?)
    }

    fn name(&self) -> Name {
        self.seat.name()
    }
}

/// A round that was complete, as one of its parties has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BarrierWait {
    pub(super) index: u32,
    pub(super) is_leader: bool,
}

impl BarrierWait {
    /// Which of the parties it is, from 0 on: each number is one party's of each round.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Whether it came last: true for one party of each round.
    pub fn is_leader(&self) -> bool {
        self.is_leader
    }
}
