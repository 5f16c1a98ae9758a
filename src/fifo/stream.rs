//! A stream of bytes in a ring: one writes at a time and one reads at a time, each by a turn that
//! names who has it.
//!
//! ```text
//! byte 0 [ read     | reader: word | 48 bytes unused ]
//!     64 [ written  | writer: word | 48 bytes unused ]
//!    128 [ closed                  | 56 bytes unused ]
//!
//! word: FREE(g) -> HELD(o, g) -> FREE(g + 1)
//! ```
//!
//! `read` and `written` count bytes for ever; byte `n` lies at `n % size`. Whoever has the writer's
//! turn copies first and moves `written` afterwards, in one store: a writer that dies half-way has
//! written nothing of what it had not yet counted. A reader likewise leaves what it had not counted
//! to the next.

use crate::memory::owner::{Owner, Word};
use crate::primitive::atomic::{AtomicU64, Ordering, fence_after_rmw};
use crate::primitive::line::Line;

const FREE: u8 = 0;
const HELD: u8 = 1;

#[derive(Debug)]
#[repr(C)]
struct Side {
    count: AtomicU64,
    turn: AtomicU64,
}

/// Drawn above.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct StreamHeader {
    reader: Line<Side>,
    writer: Line<Side>,
    closed: Line<AtomicU64>,
}

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<StreamHeader>() == 192);

/// The right to write, or to read, until it is ended.
#[derive(Debug)]
#[must_use]
pub(crate) struct Turn {
    generation: u32,
}

/// Bytes that lie in one piece: where, and how many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    pub(crate) start: usize,
    pub(crate) size: usize,
}

impl StreamHeader {
    /// An empty stream, to be written in place.
    pub(crate) fn new() -> Self {
        let side = || {
            Line(Side {
                count: AtomicU64::new(0),
                turn: AtomicU64::new(Word::new(FREE, Owner::NONE, 0).to_bits()),
            })
        };
        Self {
            reader: side(),
            writer: side(),
            closed: Line(AtomicU64::new(0)),
        }
    }

    /// The writer's turn, unless somebody has it.
    pub(crate) fn begin_write(&self, me: Owner) -> Option<Turn> {
        self.writer.0.begin(me)
    }

    /// Where to write next, in a ring of `size` bytes, and how much room is there in one piece;
    /// none if it is full. For who has the turn.
    pub(crate) fn room(&self, _: &Turn, size: usize) -> Run {
        // Relaxed: only who has the turn moves it, and the turn hands it on.
        let written = self.writer.0.count.load(Ordering::Relaxed);
        // ORDERING: S2, Acquire; the bytes have been read before they count as read (`advance`).
        // Model: bytes_are_not_overwritten_before_they_are_read.
        let read = self.reader.0.count.load(Ordering::Acquire);
        let waiting = written.wrapping_sub(read).min(size as u64) as usize;
        run(written, size - waiting, size)
    }

    /// Counts what has been written. Then wake a reader.
    pub(crate) fn wrote(&self, _: &Turn, size: usize) {
        self.writer.0.advance(size);
    }

    pub(crate) fn end_write(&self, turn: Turn) {
        self.writer.0.end(turn);
    }

    /// Whether there is room in a ring of `size` bytes; for who has no turn: it may be otherwise by
    /// now.
    pub(crate) fn has_room(&self, size: usize) -> bool {
        // Relaxed, this one first: what is full by an earlier count of what was written is full.
        let written = self.writer.0.count.load(Ordering::Relaxed);
        // Relaxed: who finds room asks again when it has the turn.
        let read = self.reader.0.count.load(Ordering::Relaxed);
        written.wrapping_sub(read) < size as u64
    }

    /// Whether there is room that the last writer left, who has ended its turn a moment ago: others
    /// who found the turn taken may wait for a wake-up that came before. Then wake writers.
    pub(crate) fn left_room(&self, size: usize) -> bool {
        // ORDERING: S5, SeqCst; as in `left_bytes`.
        fence_after_rmw();
        self.has_room(size)
    }

    /// Whether there are bytes; for who has no turn: it may be otherwise by now.
    pub(crate) fn has_bytes(&self) -> bool {
        // Relaxed, this one first: what is empty by an earlier count of what was read is empty.
        let read = self.reader.0.count.load(Ordering::Relaxed);
        // Relaxed: who finds bytes asks again when it has the turn.
        let written = self.writer.0.count.load(Ordering::Relaxed);
        written != read
    }

    /// Whether there are bytes that the last reader left, who has ended its turn a moment ago:
    /// others who found the turn taken may wait for a wake-up that came before. Then wake readers.
    pub(crate) fn left_bytes(&self) -> bool {
        // ORDERING: S5, SeqCst; after the end of the turn. Whoever waits fences before it looks at
        // the turn (`WaitSet::prepare`): it finds the turn ended, or we find what it was woken for.
        // Model: who_found_the_turn_taken_does_not_sleep_beside_bytes.
        fence_after_rmw();
        self.has_bytes()
    }

    /// The reader's turn, unless somebody has it.
    pub(crate) fn begin_read(&self, me: Owner) -> Option<Turn> {
        self.reader.0.begin(me)
    }

    /// What to read next in one piece; none if it is empty. For who has the turn.
    pub(crate) fn waiting(&self, _: &Turn, size: usize) -> Run {
        // Relaxed: as in `room`.
        let read = self.reader.0.count.load(Ordering::Relaxed);
        // ORDERING: S1, Acquire; the bytes are there before they count as written (`advance`).
        // Model: bytes_are_there_before_they_are_read.
        let written = self.writer.0.count.load(Ordering::Acquire);
        run(
            read,
            written.wrapping_sub(read).min(size as u64) as usize,
            size,
        )
    }

    /// Counts what has been read. Then wake a writer.
    pub(crate) fn consumed(&self, _: &Turn, size: usize) {
        self.reader.0.advance(size);
    }

    pub(crate) fn end_read(&self, turn: Turn) {
        self.reader.0.end(turn);
    }

    /// Nobody will write, or nobody will read, any more. Then wake all.
    pub(crate) fn close(&self) {
        // Relaxed, with the fence below: it publishes nothing, it is to be seen in time.
        self.closed.0.swap(1, Ordering::Relaxed);
        fence_after_rmw();
    }

    /// Whether it is closed. A reader that finds it so looks for bytes once more.
    pub(crate) fn is_closed(&self) -> bool {
        // ORDERING: S3, Acquire; what its writers wrote before the end is seen: an end is closed
        // after its last handle has gone (`close` by whoever let go of it, or by the recovery).
        self.closed.0.load(Ordering::Acquire) != 0
    }

    /// Takes from a dead process the turns that it had. Then wake all.
    pub(crate) fn recover(&self, dead: Owner) {
        self.reader.0.recover(dead);
        self.writer.0.recover(dead);
    }
}

fn run(count: u64, size: usize, ring: usize) -> Run {
    let start = (count % ring as u64) as usize;
    Run {
        start,
        size: size.min(ring - start),
    }
}

impl Side {
    fn begin(&self, me: Owner) -> Option<Turn> {
        // Relaxed: a guess, proved by the exchange.
        let seen = Word::from_bits(self.turn.load(Ordering::Relaxed));
        let generation = seen.generation();
        // ORDERING: S4, Acquire; sees what the one before has counted (`end`).
        // Model: turns_hand_on_the_count.
        (seen.state() == FREE
            && self
                .turn
                .compare_exchange(
                    seen.to_bits(),
                    Word::new(HELD, me, generation).to_bits(),
                    Ordering::Acquire,
                    Ordering::Relaxed,
                )
                .is_ok())
        .then_some(Turn { generation })
    }

    fn advance(&self, size: usize) {
        // Relaxed: only who has the turn moves it.
        let count = self.count.load(Ordering::Relaxed);
        // ORDERING: S1, S2, Release; the bytes were copied before they count (`waiting`, `room`). A
        // read-modify-write, so that waking may follow without a fence.
        self.count
            .swap(count.wrapping_add(size as u64), Ordering::Release);
    }

    fn end(&self, turn: Turn) {
        let next = Word::new(FREE, Owner::NONE, turn.generation.wrapping_add(1));
        // ORDERING: S4, Release; hands the count on (`begin`). Model: turns_hand_on_the_count.
        self.turn.swap(next.to_bits(), Ordering::Release);
    }

    fn recover(&self, dead: Owner) {
        // Relaxed: the dead change nothing any more.
        let seen = Word::from_bits(self.turn.load(Ordering::Relaxed));
        if seen.owner() == dead && seen.state() == HELD {
            let next = Word::new(FREE, Owner::NONE, seen.generation().wrapping_add(1));
            // ORDERING: S4, Release; what the dead counted is seen, because its end was.
            let _ = self.turn.compare_exchange(
                seen.to_bits(),
                next.to_bits(),
                Ordering::Release,
                Ordering::Relaxed,
            );
        }
    }
}
