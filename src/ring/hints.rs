//! The queue of hints: which slots are READY, roughly first in, first out.
//!
//! ```text
//! cell   63        32  31  30          20 19           0
//!        [    lap    ][full][ generation ][    slot     ]     generation: its low 11 bits
//!
//! header   0 [ head               | 56 bytes unused ]
//!         64 [ tail               | 56 bytes unused ]
//!        128 [ missed    | swept  | 48 bytes unused ]
//! ```
//!
//! Positions count up for ever; position `p` lies in cell `p % cells`, in lap `p / cells`. A cell
//! at lap `l` is *empty(l)*, waiting for the hint of lap `l`, then *full(l)*, then *empty(l + 1)*.
//! Its own exchange decides each step; head and tail only say where to look, and whoever finds
//! them behind moves them on. So nobody ever waits for another's half-done step.
//!
//! A hint may be dropped: by a crash, by a push that finds no room, by a wild store that a corrupt
//! head or tail betrays. Whoever drops one without a crash counts `missed` up, and a claimer that
//! finds no hint looks through all slots while `swept` differs from it. A crash ends in `repost`.
//!
//! Wrap-around: positions are 64 bits and never come round; a cell keeps the low 32 bits of the
//! lap, compared by signed distance. A process would have to sleep for exactly 2^32 laps (days of
//! the highest rate) between a load and its exchange to mistake one lap for another, and could then
//! only misplace a hint.

use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::primitive::line::Line;
use crate::primitive::prefetch;

use super::check::QueueFault;
use super::lane::Lane;
use super::slot::Slot;

const SLOT_BITS: u32 = 20;
const GENERATION_BITS: u32 = 11;
const FULL_SHIFT: u32 = SLOT_BITS + GENERATION_BITS;
const LAP_SHIFT: u32 = FULL_SHIFT + 1;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
const GENERATION_MASK: u64 = (1 << GENERATION_BITS) - 1;

const _: () = assert!(LAP_SHIFT + 32 == u64::BITS);

/// The most slots a ring can have.
pub(crate) const MAX_SLOTS: usize = 1 << SLOT_BITS;

/// How often a push tries to place its hint before it leaves the slot to a full look.
const PUSH_ATTEMPTS: usize = 64;

/// One hint's place.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Cell(AtomicU64);

/// Where to look next; drawn above.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct RingHeader {
    head: Line<AtomicU64>,
    tail: Line<AtomicU64>,
    misses: Line<Misses>,
}

#[derive(Debug)]
#[repr(C)]
struct Misses {
    /// How many hints were dropped.
    missed: AtomicU64,
    /// A value of `missed` after which a look through all slots found nothing READY.
    swept: AtomicU64,
}

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<Cell>() == 8);
#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<RingHeader>() == 192);

impl Cell {
    /// An empty cell of lap 0, to be written in place.
    pub(crate) fn new() -> Self {
        Self::starting_at(0)
    }

    /// An empty cell of a ring whose positions start with `lap`.
    pub(crate) fn starting_at(lap: u32) -> Self {
        Self(AtomicU64::new(Content::empty(lap).0))
    }
}

impl RingHeader {
    /// The header of an empty ring, to be written in place.
    pub(crate) fn new() -> Self {
        Self::starting_at(0)
    }

    /// The same, its first position being `position`.
    pub(crate) fn starting_at(position: u64) -> Self {
        Self {
            head: Line(AtomicU64::new(position)),
            tail: Line(AtomicU64::new(position)),
            misses: Line(Misses {
                missed: AtomicU64::new(0),
                swept: AtomicU64::new(0),
            }),
        }
    }
}

/// What a cell holds, as a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Content(u64);

impl Content {
    const fn empty(lap: u32) -> Self {
        Self((lap as u64) << LAP_SHIFT)
    }

    const fn full(lap: u32, slot: u32, generation: u32) -> Self {
        Self(
            Self::empty(lap).0
                | (1 << FULL_SHIFT)
                | ((generation as u64 & GENERATION_MASK) << SLOT_BITS)
                | (slot as u64 & SLOT_MASK),
        )
    }

    const fn is_full(self) -> bool {
        self.0 >> FULL_SHIFT & 1 == 1
    }

    /// By how many laps this content is ahead of `lap`.
    const fn ahead_of(self, lap: u32) -> i32 {
        ((self.0 >> LAP_SHIFT) as u32).wrapping_sub(lap) as i32
    }

    const fn slot(self) -> u32 {
        (self.0 & SLOT_MASK) as u32
    }

    const fn speaks_of(self, generation: u32) -> bool {
        self.0 >> SLOT_BITS & GENERATION_MASK == generation as u64 & GENERATION_MASK
    }
}

/// A hint at the head of the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hint {
    position: u64,
    content: Content,
}

impl Hint {
    /// The slot that it points to; any 20 bits.
    pub(super) const fn slot(self) -> u32 {
        self.content.slot()
    }

    /// Whether the hint was made for this generation, as far as its few bits tell.
    pub(super) const fn speaks_of(self, generation: u32) -> bool {
        self.content.speaks_of(generation)
    }
}

/// What stands at the head.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(super) enum Peek {
    /// A hint; `pass` it once its slot is dealt with.
    Hint(Hint),
    /// Nothing is queued.
    Empty,
    /// The head stood still or wrong and was moved: look again.
    Moved,
}

/// The queue over its borrowed memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hints<'a> {
    pub(super) header: &'a RingHeader,
    pub(super) cells: &'a [Cell],
}

impl Hints<'_> {
    /// Adds a hint that `slot` is READY under `generation`. False: it was dropped, and counted.
    pub(super) fn push(self, slot: u32, generation: u32, slots: &[Slot], lane: Lane) -> bool {
        for _ in 0..PUSH_ATTEMPTS {
            // Relaxed: a guess, proved by the exchange of the cell.
            let tail = self.header.tail.0.load(Ordering::Relaxed);
            let (cell, lap) = self.at(tail);
            let seen = cell.load();
            match seen.ahead_of(lap) {
                0 if !seen.is_full() => {
                    let full = Content::full(lap, slot, generation);
                    if cell.replace(seen, full) {
                        // Not a look at the head: its line is the claimers', and would cost as much
                        // as all else. Whether it is where it can be, they see (`overtaken`).
                        self.advance_tail(tail, tail.wrapping_add(1));
                        return true;
                    }
                }
                0.. => self.catch_up(tail),
                // A lap behind: the ring is full, of stale hints if we are lucky.
                _ if seen.is_full() && is_live(seen, slots, lane) => break,
                _ => {
                    cell.replace(seen, Content::empty(lap));
                }
            }
        }
        self.count_missed();
        false
    }

    /// What stands at the head.
    pub(super) fn peek(self) -> Peek {
        // ORDERING: R8, Acquire; whoever moved the head here saw the hints before it pushed, so the
        // tail that we read below is at most one behind (`advance_head`).
        // Model: no_hint_is_missed_without_a_crash.
        let head = self.header.head.0.load(Ordering::Acquire);
        let (cell, lap) = self.at(head);
        let seen = cell.load();
        match seen.ahead_of(lap) {
            0 if seen.is_full() => {
                return Peek::Hint(Hint {
                    position: head,
                    content: seen,
                });
            }
            1.. => {
                self.advance_head(head, head.wrapping_add(1));
                return Peek::Moved;
            }
            _ => {}
        }
        // ORDERING: R7, Acquire; a tail past the head proves that the head's cell was filled, and
        // that a second look sees it (`advance_tail`). Model: no_hint_is_missed_without_a_crash.
        let tail = self.header.tail.0.load(Ordering::Acquire);
        if head.wrapping_sub(tail) <= 1 {
            // The tail is where the head is, or one behind until a push moves it on.
            let Some((cell, seen, passed)) = self.overtaken(head) else {
                return Peek::Empty;
            };
            self.count_missed();
            cell.replace(seen, passed);
            return Peek::Moved;
        }
        if cell.load() == seen {
            // Both cannot be true unless somebody wrote wildly: begin again where pushes go.
            self.count_missed();
            self.advance_head(head, tail);
        }
        Peek::Moved
    }

    /// The cell before this head, what is in it, and what would be if the head had come here
    /// honestly; `None`: it has, for whoever moves the head past a cell has emptied it before. Else
    /// hints before the head may have been passed.
    fn overtaken(&self, head: u64) -> Option<(&Cell, Content, Content)> {
        let (cell, lap) = self.at(head.wrapping_sub(1));
        let seen = cell.load();
        let passed = Content::empty(lap.wrapping_add(1));
        (seen.ahead_of(lap) <= 0).then_some((cell, seen, passed))
    }

    /// The slot that the hint at the head points to, any 20 bits: a guess at what comes next.
    pub(super) fn glimpse(self) -> Option<u32> {
        // Relaxed: a guess.
        let head = self.header.head.0.load(Ordering::Relaxed);
        let (cell, lap) = self.at(head);
        let seen = cell.load();
        (seen.is_full() && seen.ahead_of(lap) == 0).then(|| seen.slot())
    }

    /// Where the head is.
    pub(super) fn passed(self) -> u64 {
        // Relaxed: a hint.
        self.header.head.0.load(Ordering::Relaxed)
    }

    /// Asks for the lines that the next `push` will touch.
    pub(super) fn expect_push(self) {
        // Relaxed: a guess.
        let tail = self.header.tail.0.load(Ordering::Relaxed);
        let (cell, _) = self.at(tail);
        prefetch::to_write(cell);
        prefetch::to_write(&self.header.tail);
    }

    /// Whether nothing is queued, as far as one look tells.
    pub(super) fn looks_empty(self) -> bool {
        // Relaxed: a hint. After a fence no hint pushed before its partner is overlooked: the cell
        // of a head that is behind or ahead of what we see is not empty in its lap.
        let head = self.header.head.0.load(Ordering::Relaxed);
        let (cell, lap) = self.at(head);
        let seen = cell.load();
        seen == Content::empty(lap) && self.overtaken(head).is_none() && self.missed().is_none()
    }

    /// Takes a hint out: empties its cell for the next lap and moves the head on.
    pub(super) fn pass(self, hint: Hint) {
        self.empty(hint);
        self.advance_head(hint.position, hint.position.wrapping_add(1));
    }

    /// The first step of `pass`.
    pub(super) fn empty(self, hint: Hint) {
        let (cell, lap) = self.at(hint.position);
        cell.replace(hint.content, Content::empty(lap.wrapping_add(1)));
    }

    /// Says that some READY slot may have no hint.
    pub(super) fn count_missed(self) {
        // ORDERING: R6, Release; the slot is READY before it counts as missed (`missed`).
        // Model: a_missed_hint_is_found_by_a_sweep.
        self.header.misses.0.missed.fetch_add(1, Ordering::Release);
    }

    /// A count of dropped hints that no look through all slots has answered yet.
    pub(super) fn missed(self) -> Option<u64> {
        // ORDERING: R6, Acquire; the look that follows sees every slot counted (`count_missed`).
        // Model: a_missed_hint_is_found_by_a_sweep.
        let missed = self.header.misses.0.missed.load(Ordering::Acquire);
        // Relaxed: an older value costs a look too many.
        (missed != self.header.misses.0.swept.load(Ordering::Relaxed)).then_some(missed)
    }

    /// A look through all slots, begun after `missed` was read, found nothing.
    pub(super) fn swept(self, missed: u64) {
        // Relaxed: it publishes nothing. A slower sweeper may put an older value back, which
        // costs another look; the newest value is never there without a look that came after it.
        self.header.misses.0.swept.store(missed, Ordering::Relaxed);
    }

    /// Whether all stands as honest processes leave it, while nobody pushes.
    pub(super) fn check(self, slots: usize) -> Result<(), QueueFault> {
        // ORDERING: R8, Acquire; the tail that we read next is not older than this head.
        let head = self.header.head.0.load(Ordering::Acquire);
        // Relaxed: whoever moves it holds the lock that the caller holds now.
        let tail = self.header.tail.0.load(Ordering::Relaxed);
        if tail.wrapping_sub(head) > self.cells.len() as u64 {
            return Err(QueueFault { found: head });
        }
        for (index, cell) in self.cells.iter().enumerate() {
            // The last position before the tail that lies in this cell.
            let behind = (tail as usize).wrapping_sub(index + 1) & (self.cells.len() - 1);
            let (_, lap) = self.at(tail.wrapping_sub(1 + behind as u64));
            let seen = cell.load();
            let legal = match seen.is_full() {
                true => seen.ahead_of(lap) == 0 && (seen.slot() as usize) < slots,
                false => seen == Content::empty(lap.wrapping_add(1)),
            };
            if !legal {
                return Err(QueueFault { found: seen.0 });
            }
        }
        Ok(())
    }

    /// Nothing is queued any more. By the parent, when no worker lives and nobody pushes.
    pub(super) fn clear(self) {
        let RingHeader { head, tail, misses } = self.header;
        // ORDERING: Relaxed throughout; the workers that read this are created afterwards.
        for word in [&head.0, &tail.0, &misses.0.missed, &misses.0.swept] {
            word.store(0, Ordering::Relaxed);
        }
        for cell in self.cells {
            // ORDERING: Relaxed; as above.
            cell.0.store(Content::empty(0).0, Ordering::Relaxed);
        }
    }

    fn at(&self, position: u64) -> (&Cell, u32) {
        let mask = self.cells.len() - 1;
        let lap = position >> self.cells.len().trailing_zeros();
        (&self.cells[position as usize & mask], lap as u32)
    }

    /// Position `tail` is filled: moves the tail past it, or to a head that is farther, which no
    /// honest one is: then hints between may be lost.
    fn catch_up(self, tail: u64) {
        // ORDERING: R8, Acquire; a head past a cell was seen after the cell was emptied.
        let head = self.header.head.0.load(Ordering::Acquire);
        let next = tail.wrapping_add(1);
        let is_behind = (head.wrapping_sub(next) as i64) > 0;
        let moved = self.advance_tail(tail, if is_behind { head } else { next });
        if is_behind && moved {
            self.count_missed();
        }
    }

    fn advance_tail(self, tail: u64, next: u64) -> bool {
        // ORDERING: R7, Release; the cells before the new tail are filled (`peek`); each exchange
        // of the tail carries on the release of those before it.
        // Model: no_hint_is_missed_without_a_crash.
        let place = &self.header.tail.0;
        place
            .compare_exchange(tail, next, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }

    fn advance_head(self, head: u64, next: u64) {
        // ORDERING: R8, Release; the cell behind the new head is passed (`peek`, `advance_tail`).
        // Model: no_hint_is_missed_without_a_crash.
        let _ =
            self.header
                .head
                .0
                .compare_exchange(head, next, Ordering::Release, Ordering::Relaxed);
    }
}

impl Cell {
    fn load(&self) -> Content {
        // ORDERING: R5, Acquire; the slot was READY when it was hinted at (`replace`).
        // Model: a_hinted_slot_is_ready.
        Content(self.0.load(Ordering::Acquire))
    }

    /// One step of the cell, unless somebody was faster.
    fn replace(&self, seen: Content, next: Content) -> bool {
        // ORDERING: R5, Release; a full cell says that its slot is READY, an empty one that it was
        // dealt with (`load`). Model: a_hinted_slot_is_ready.
        self.0
            .compare_exchange(seen.0, next.0, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }
}

fn is_live(content: Content, slots: &[Slot], lane: Lane) -> bool {
    slots
        .get(content.slot() as usize)
        .and_then(|slot| slot.ready(lane))
        .is_some_and(|generation| content.speaks_of(generation))
}

#[cfg(test)]
impl<'a> Hints<'a> {
    /// All words, for those that run wild.
    pub(super) fn words(self) -> impl Iterator<Item = &'a AtomicU64> {
        let RingHeader { head, tail, misses } = self.header;
        let header = [&head.0, &tail.0, &misses.0.missed, &misses.0.swept];
        header
            .into_iter()
            .chain(self.cells.iter().map(|cell| &cell.0))
    }
}

#[cfg(test)]
impl Hints<'_> {
    /// Whatever a wild store may leave behind.
    pub(super) fn scribble(self, mut bits: impl FnMut() -> u64) {
        for word in [&self.header.head.0, &self.header.tail.0] {
            word.store(bits(), Ordering::Relaxed);
        }
        for cell in self.cells {
            cell.0.store(bits(), Ordering::Relaxed);
        }
    }

    /// How many hints were ever dropped.
    pub(super) fn misses(self) -> u64 {
        self.header.misses.0.missed.load(Ordering::Relaxed)
    }
}
