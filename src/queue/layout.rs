//! What a queue is, byte by byte.
//!
//! ```text
//! byte   0 [ signature: u64 | places: u32 | hands: u32 | place stride: u32 | hand stride: u32 |
//!            orphan: u32 | kind: u32 | 32 bytes unused ]
//!       64 [ the header of the fifo                       ] 192
//!      256 [ senders wait here                            ] 128
//!      384 [ receivers wait here                          ] 128
//!      512 [ joiners wait here                            ] 128
//!      640 [ owed: u32, one for each member               ] 1024
//!     1664 [ places, each with its item's bytes           ]
//!          [ hands, each with its item's bytes            ]
//! ```

#![expect(unsafe_code, reason = "writes a new queue into its memory")]

use core::ptr::NonNull;

use crate::commons::{MEMBERS, WaitSet};
use crate::fifo::{FifoHeader, Hand, Orphan, Slot};
use crate::primitive::atomic::AtomicU32;

/// The front of a queue; drawn above.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct QueueFront {
    pub(super) terms: Terms,
    pub(super) fifo: FifoHeader,
    pub(super) senders: WaitSet,
    pub(super) receivers: WaitSet,
    pub(super) joiners: WaitSet,
    /// Of joinable queues, how many items each member has received and not called done; of pipes,
    /// how often it has opened each end.
    pub(super) owed: [AtomicU32; MEMBERS],
}

const _: () = assert!(size_of::<QueueFront>() == FRONT_BYTES);
const _: () = assert!(size_of::<Terms>() == 64);

pub(super) const FRONT_BYTES: usize = 1664;

/// What was agreed when the queue was made; never written again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(64))]
pub(super) struct Terms {
    pub(super) signature: u64,
    pub(super) places: u32,
    pub(super) hands: u32,
    pub(super) place_stride: u32,
    pub(super) hand_stride: u32,
    orphan: u32,
    kind: u32,
}

/// What the object is to its users.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(super) enum Kind {
    Queue = 1,
    Joinable = 2,
    Simple = 3,
    Pipe = 4,
}

impl Terms {
    /// `None` if the queue would be larger than any region.
    pub(super) fn new(
        kind: Kind,
        signature: u64,
        places: u32,
        hands: u32,
        body_bytes: usize,
        orphan: Orphan,
    ) -> Option<Self> {
        let stride = |front: usize| {
            let bytes = front.checked_add(body_bytes)?;
            u32::try_from(bytes.checked_next_multiple_of(64)?).ok()
        };
        Some(Self {
            signature,
            places,
            hands,
            place_stride: stride(size_of::<Slot>())?,
            hand_stride: stride(size_of::<Hand>())?,
            orphan: match orphan {
                Orphan::ComesBack => 1,
                Orphan::Lost => 2,
            },
            kind: kind as u32,
        })
    }

    #[allow(dead_code)]
    pub(super) fn orphan(&self) -> Orphan {
        match self.orphan {
            1 => Orphan::ComesBack,
            _ => Orphan::Lost,
        }
    }

    /// Whether these are terms of such a queue.
    pub(super) fn is(&self, kind: Kind, signature: u64) -> bool {
        self.kind == kind as u32 && self.signature == signature
    }

    /// Whether its parts have a size.
    pub(super) fn are_sound(&self) -> bool {
        let place = self.place_stride as usize;
        let hand = self.hand_stride as usize;
        let is_whole = place.is_multiple_of(64) && hand.is_multiple_of(64);
        is_whole && place >= size_of::<Slot>() && hand >= size_of::<Hand>() && self.places > 0
    }

    pub(super) fn is_pipe(&self) -> bool {
        self.kind == Kind::Pipe as u32
    }

    /// Whether each place has so many bytes for its item.
    pub(super) fn have_room_for(&self, body_bytes: usize) -> bool {
        self.place_stride as usize - size_of::<Slot>() >= body_bytes
    }

    pub(super) fn is_joinable(&self) -> bool {
        self.kind == Kind::Joinable as u32
    }

    /// Where the places begin.
    pub(super) const fn places_at(&self) -> u64 {
        FRONT_BYTES as u64
    }

    /// Where the hands begin.
    pub(super) const fn hands_at(&self) -> u64 {
        self.places_at() + self.places as u64 * self.place_stride as u64
    }

    /// How many bytes the queue has in all.
    pub(super) const fn size(&self) -> u64 {
        self.hands_at() + self.hands as u64 * self.hand_stride as u64
    }
}

/// Writes an empty queue.
///
/// # Safety
/// `start` is aligned to 64 and valid for writes of `terms.size()` bytes, and nobody else knows it.
pub(super) unsafe fn write(start: NonNull<u8>, terms: Terms) {
    let front = QueueFront {
        terms,
        fifo: FifoHeader::new(),
        senders: WaitSet::new(),
        receivers: WaitSet::new(),
        joiners: WaitSet::new(),
        owed: core::array::from_fn(|_| AtomicU32::new(0)),
    };
    // SAFETY: the first of the bytes.
    unsafe { start.cast().write(front) };
    for place in 0..u64::from(terms.places) {
        let at = terms.places_at() + place * u64::from(terms.place_stride);
        // SAFETY: inside, as the terms say.
        let at = unsafe { start.add(at as usize) };
        // SAFETY: as above; aligned, because strides are multiples of 64.
        unsafe { at.cast().write(Slot::new()) };
    }
    for hand in 0..u64::from(terms.hands) {
        let at = terms.hands_at() + hand * u64::from(terms.hand_stride);
        // SAFETY: as for places.
        let at = unsafe { start.add(at as usize) };
        // SAFETY: as for places.
        unsafe { at.cast().write(Hand::new()) };
    }
}
