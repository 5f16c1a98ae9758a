//! Where to look next, and what concerns the whole queue.
//!
//! ```text
//! byte 0 [ head               | 56 bytes unused ]
//!     64 [ tail               | 56 bytes unused ]
//!    128 [ closed | returned | swept | lost | 32 bytes unused ]
//!
//! position 63    32 31     0
//!         [  lap   ][ index ]
//! ```
//!
//! Head and tail are hints: the places' words decide, and whoever finds a position behind moves it
//! on. A position is moved past a place by one exchange that names the position before it, so it
//! never goes back.
//!
//! Wrap-around: a lap has 32 bits, compared by signed distance. A process would have to stand still
//! for exactly 2^32 laps (minutes of the highest rate with one place, days with many) between
//! a load and its exchange to mistake one lap for another.

use crate::primitive::atomic::{AtomicU64, Ordering, fence_after_rmw};
use crate::primitive::line::Line;

/// A place in the queue, in one of its laps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) index: u32,
    pub(crate) lap: u32,
}

impl Place {
    pub(super) const fn to_bits(self) -> u64 {
        ((self.lap as u64) << 32) | self.index as u64
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self {
            index: bits as u32,
            lap: (bits >> 32) as u32,
        }
    }

    const fn next(self, places: u32) -> Self {
        match self.index.wrapping_add(1) < places {
            true => Self {
                index: self.index + 1,
                lap: self.lap,
            },
            false => Self {
                index: 0,
                lap: self.lap.wrapping_add(1),
            },
        }
    }

    /// How far this is ahead of another, in places.
    const fn ahead_of(self, other: Self, places: u32) -> i64 {
        let laps = self.lap.wrapping_sub(other.lap) as i32 as i64;
        laps * places as i64 + self.index as i64 - other.index as i64
    }
}

/// Drawn above.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct FifoHeader {
    head: Position,
    tail: Position,
    notes: Line<Notes>,
}

#[derive(Debug)]
#[repr(transparent)]
pub(super) struct Position(Line<AtomicU64>);

#[derive(Debug)]
#[repr(C)]
struct Notes {
    /// 1 once nothing may be sent any more.
    closed: AtomicU64,
    /// How many items ever came back.
    returned: AtomicU64,
    /// A value of `returned` after which a look through all places found nothing RETURNED.
    swept: AtomicU64,
    /// How many items went down with a receiver that had them in hand.
    lost: AtomicU64,
}

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<FifoHeader>() == 192);

impl FifoHeader {
    /// The header of an empty queue, to be written in place.
    pub(crate) fn new() -> Self {
        Self::starting_at(0)
    }

    /// The same, of a queue that has come round `lap` times.
    pub(crate) fn starting_at(lap: u32) -> Self {
        let start = Place { index: 0, lap }.to_bits();
        Self {
            head: Position(Line(AtomicU64::new(start))),
            tail: Position(Line(AtomicU64::new(start))),
            notes: Line(Notes {
                closed: AtomicU64::new(0),
                returned: AtomicU64::new(0),
                swept: AtomicU64::new(0),
                lost: AtomicU64::new(0),
            }),
        }
    }

    /// Where receivers look.
    pub(super) fn head(&self) -> &Position {
        &self.head
    }

    /// Where senders look.
    pub(super) fn tail(&self) -> &Position {
        &self.tail
    }

    /// How many places lie between head and tail, as far as two looks tell.
    pub(super) fn distance(&self, places: u32) -> u32 {
        let head = self.head.load(places);
        let tail = self.tail.load(places);
        tail.ahead_of(head, places).clamp(0, i64::from(places)) as u32
    }

    /// From now on senders find it closed.
    pub(super) fn close(&self) {
        // Relaxed, with the fence below: it publishes nothing, it is to be seen in time.
        self.notes.0.closed.swap(1, Ordering::Relaxed);
        // ORDERING: F5, SeqCst; a sender that does not see it has its place seen by whoever looks
        // next (`is_closed`). Model: nothing_is_sent_behind_the_end.
        fence_after_rmw();
    }

    /// Whether it is closed; after a sender's exchange of a place, or twice by a receiver.
    pub(super) fn is_closed(&self) -> bool {
        // Relaxed: see the fence in `Fifo::offer` and in `Fifo::is_drained`.
        self.notes.0.closed.load(Ordering::Relaxed) != 0
    }

    /// Says that some place or hand is RETURNED.
    pub(super) fn count_returned(&self) {
        // ORDERING: F9, Release; the word is RETURNED before it counts (`returned`).
        // Model: a_returned_item_is_found.
        self.notes.0.returned.fetch_add(1, Ordering::Release);
    }

    /// A count of items that came back which no look has answered yet.
    pub(super) fn returned(&self) -> Option<u64> {
        // ORDERING: F9, Acquire; the look that follows sees each word counted (`count_returned`).
        // Model: a_returned_item_is_found.
        let returned = self.notes.0.returned.load(Ordering::Acquire);
        // Relaxed: an older value costs a look too many.
        (returned != self.notes.0.swept.load(Ordering::Relaxed)).then_some(returned)
    }

    /// A look through all places, begun after `returned` was read, found nothing.
    pub(super) fn swept(&self, returned: u64) {
        // Relaxed: it publishes nothing. A slower one may put an older value back, which costs
        // another look; the newest value is never there without a look that came after it.
        self.notes.0.swept.store(returned, Ordering::Relaxed);
    }

    /// One more item is lost.
    pub(super) fn count_lost(&self) {
        // Relaxed: a count, which publishes nothing.
        self.notes.0.lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lost(&self) -> u64 {
        // Relaxed: as above.
        self.notes.0.lost.load(Ordering::Relaxed)
    }
}

impl Position {
    pub(super) fn load(&self, places: u32) -> Place {
        // ORDERING: F3, Acquire; whoever moved it here saw the words of all places before it, so
        // that whoever sees our place used sees those used, too, after a fence (`pass`). The fence
        // of a sender, which follows, would do as well: no model tells it from Relaxed.
        let seen = Place::from_bits(self.0.0.load(Ordering::Acquire));
        // An index beyond the places was written by nobody honest; it must lead nowhere.
        match seen.index < places {
            true => seen,
            false => Place { index: 0, ..seen },
        }
    }

    /// Moves it past `place`, if it is there.
    pub(super) fn pass(&self, place: Place, places: u32) {
        // ORDERING: F3, Release; the words of the places before are seen (`load`); each exchange
        // carries on the release of those before it. Model:
        // nothing_is_sent_behind_one_who_stands_still.
        let _ = self.0.0.compare_exchange(
            place.to_bits(),
            place.next(places).to_bits(),
            Ordering::Release,
            Ordering::Relaxed,
        );
    }
}

#[cfg(all(test, not(gristmill_loom)))]
impl FifoHeader {
    /// All words, for those that run wild.
    pub(super) fn words(&self) -> [&AtomicU64; 6] {
        let Notes {
            closed,
            returned,
            swept,
            lost,
        } = &self.notes.0;
        [
            &self.head.0.0,
            &self.tail.0.0,
            closed,
            returned,
            swept,
            lost,
        ]
    }
}
