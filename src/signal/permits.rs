//! A semaphore in a region, as one process has it: attempts, and whom to wake after them.
//!
//! ```text
//! byte   0 [ is it bounded: u32 | 60 bytes unused           ]  64
//!       64 [ word | 56 unused | total | limit | line | ..   ] 128
//!      192 [ who is first in line waits here                ] 128
//!      320 [ the others wait here                           ] 128
//!      448 [ held | note, of each member                    ] 16 × 256
//! ```
//! Who waits for its turn is woken when the line is free, one at a time: whoever gets permits after
//! waiting, or leaves the line, wakes the next. So while the line is free and somebody sleeps, one
//! of them is on its way.

#![expect(
    unsafe_code,
    reason = "views an object's bytes as what was written there"
)]

use std::sync::Arc;

use super::error::{AcquireError, ReleaseError};
use crate::commons::{Kind, MEMBERS, Region, Seat, WaitSet};
use crate::error::{Error, RegionError};
use crate::gate::{Account, Change, Entered, Made, PermitHead, Permits};
use crate::primitive::atomic::{AtomicU32, Ordering};
use crate::protocol::name::Name;

/// A semaphore, byte by byte; drawn above.
#[derive(Debug)]
#[repr(C, align(64))]
struct SemaphoreFront {
    /// Never written again.
    bounded: AtomicU32,
    unused: [u32; 15],
    head: PermitHead,
    first: WaitSet,
    behind: WaitSet,
    accounts: [Account; MEMBERS],
}

const FRONT_BYTES: u64 = 448 + 16 * MEMBERS as u64;
const _: () = assert!(size_of::<SemaphoreFront>() as u64 == FRONT_BYTES);

/// What the region must know of semaphores.
pub(crate) static SEMAPHORE: Kind = Kind {
    id: 21,
    recover: |seat, dead| {
        if let Some(core) = Core::of(seat.clone()) {
            core.permits().recover(dead);
            core.seat.bury(&core.front().first, dead);
            core.seat.bury(&core.front().behind, dead);
        }
    },
    blocks: |_, _| {},
};

/// Tells the waiters of this process apart.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A semaphore as this process has it.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) seat: Seat,
}

/// What an attempt that may lead to waiting has come to.
pub(super) enum Step {
    Got,
    /// First in line, under this number.
    First(u32),
}

impl Core {
    pub(super) fn create(region: &Region, bounded: bool, head: PermitHead) -> Result<Self, Error> {
        let seat = Seat::create(region, &SEMAPHORE, FRONT_BYTES, |start| {
            let front = SemaphoreFront {
                bounded: AtomicU32::new(bounded.into()),
                unused: [0; 15],
                head,
                first: WaitSet::new(),
                behind: WaitSet::new(),
                accounts: core::array::from_fn(|_| Account::new()),
            };
            // SAFETY: a new object of that size, aligned to 64, which nobody else knows yet.
            unsafe { start.cast().write(front) };
        })?;
        Ok(Self { seat })
    }

    pub(super) fn open(name: Name, bounded: bool) -> Result<Self, Error> {
        let foreign = |found: &str| {
            let found = found.into();
            RegionError::Foreign { found }
        };
        let core = Self::of(Seat::open(name, &SEMAPHORE)?);
        let core = core.ok_or_else(|| foreign("a semaphore that is too short"))?;
        // Relaxed: never written again.
        match (core.front().bounded.load(Ordering::Relaxed) != 0) == bounded {
            true => Ok(core),
            false => Err(foreign("a semaphore with a bound, or without").into()),
        }
    }

    fn of(seat: Seat) -> Option<Self> {
        (seat.size() >= FRONT_BYTES).then_some(Self { seat })
    }

    fn front(&self) -> &SemaphoreFront {
        // SAFETY: written when the semaphore was made, large enough (`of`), and mapped as long as
        // the seat.
        unsafe { self.seat.at(0).cast().as_ref() }
    }

    pub(super) fn first(&self) -> &WaitSet {
        &self.front().first
    }

    pub(super) fn behind(&self) -> &WaitSet {
        &self.front().behind
    }

    pub(super) fn permits(&self) -> Permits<'_> {
        let front = self.front();
        Permits::new(&front.head, &front.accounts)
    }

    /// Repeats what another thread of this process is in the way of.
    fn make(&self, change: Change, count: u32) -> Result<Made, Error> {
        let me = self.seat.me()?;
        loop {
            match self.permits().make(me, change, count) {
                Made::Busy => std::thread::yield_now(),
                made => return Ok(made),
            }
        }
    }

    /// Refuses what can never be.
    pub(super) fn check(&self, wanted: u32) -> Result<(), AcquireError> {
        let limit = self.permits().limit();
        match wanted <= limit {
            true => Ok(()),
            false => Err(AcquireError::TooMany { wanted, limit }),
        }
    }

    /// One attempt that does not wait.
    pub(super) fn try_take(&self, count: u32) -> Result<(), AcquireError> {
        self.check(count)?;
        let me = self.seat.me().map_err(AcquireError::Region)?;
        if count == 0 {
            return Ok(());
        }
        loop {
            match self.permits().take_at_once(me, count) {
                Made::Done => return Ok(()),
                Made::Busy => std::thread::yield_now(),
                Made::TooFew | Made::TooMany => return Err(AcquireError::NoPermits),
            }
        }
    }

    /// One attempt of who is not in line; `None` if it is to wait behind.
    pub(super) fn enter(&self, count: u32) -> Option<Result<Step, AcquireError>> {
        let me = match self.seat.me() {
            Ok(me) => me,
            Err(error) => return Some(Err(AcquireError::Region(error))),
        };
        if count == 0 {
            return Some(Ok(Step::Got));
        }
        // Relaxed: only counts.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        loop {
            match self.permits().enter(me, number, count) {
                Entered::Got => return Some(Ok(Step::Got)),
                Entered::First => return Some(Ok(Step::First(number))),
                Entered::Behind => return None,
                Entered::Busy => std::thread::yield_now(),
            }
        }
    }

    /// One attempt of who is first in line.
    pub(super) fn take(&self, count: u32) -> Option<Result<(), AcquireError>> {
        match self.make(Change::Take, count) {
            Ok(Made::Done) => Some(Ok(())),
            Ok(_) => None,
            Err(error) => Some(Err(AcquireError::Region(error))),
        }
    }

    /// First in line no more, with what was wanted or without.
    pub(super) fn leave(&self, number: u32) {
        if let Ok(me) = self.seat.me() {
            self.permits().leave(me, number);
            self.seat.wake_one(self.behind());
        }
    }

    /// After waiting behind: the line is free, and the next is to come.
    pub(super) fn pass_on(&self) {
        self.seat.wake_one(self.behind());
    }

    /// Permits that this process has become free. In a forked child none are its own.
    pub(super) fn give(&self, count: u32) {
        if count > 0 && self.make(Change::Give, count).is_ok() {
            self.wake();
        }
    }

    /// There is more: for who is first in line, or for the next, who may have been called before by
    /// a process that has stood still since.
    fn wake(&self) {
        self.seat.wake_one(self.first());
        if !self.permits().has_first() {
            self.seat.wake_one(self.behind());
        }
    }

    /// Permits that this process has are no more.
    pub(super) fn forget(&self, count: u32) {
        if count > 0 {
            // In a forked child none are its own.
            let _ = self.make(Change::Forget, count);
        }
    }

    /// New permits.
    pub(super) fn add(&self, count: u32) -> Result<(), ReleaseError> {
        let made = self.make(Change::Add, count);
        match made.map_err(ReleaseError::Region)? {
            Made::TooMany => Err(ReleaseError::TooMany {
                released: count,
                limit: self.permits().limit(),
            }),
            _ => {
                self.wake();
                Ok(())
            }
        }
    }
}

/// As the guards and futures of a process share it.
pub(super) type Shared = Arc<Core>;
