//! A queue in a region, as one process has it, whatever its items.

#![expect(unsafe_code, reason = "items are copied within shared memory")]

use core::ptr::NonNull;

use super::item::read_note;
use super::layout::{self, QueueFront, Terms};
use crate::commons::{BlockName, Kind, Region, Seat};
use crate::error::{Error, RegionError};
use crate::fifo::{Ends, Fifo, Grip, Hand, Row, Side, Slot};
use crate::memory::owner::Owner;
use crate::primitive::atomic::{AtomicU32, Ordering};
use crate::protocol::name::Name;

/// What the region must know of queues.
pub(crate) static CHANNEL: Kind = Kind {
    id: 1,
    recover: |seat, dead| {
        if let Some(channel) = Channel::of(seat.clone()) {
            channel.recover(dead);
        }
    },
    blocks: |seat, name| {
        if let Some(channel) = Channel::of(seat.clone()) {
            channel.each_block(name);
        }
    },
};

/// A queue as this process has it.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(super) seat: Seat,
    /// Where a free hand was found last: a hint.
    pub(super) hand: AtomicU32,
}

impl Channel {
    /// Makes an empty queue.
    pub(super) fn create(region: &Region, terms: Terms) -> Result<Self, Error> {
        let seat = Seat::create(region, &CHANNEL, terms.size(), |start| {
            // SAFETY: a new object of that size, which nobody else knows yet.
            unsafe { layout::write(start, terms) };
        })?;
        Ok(Self {
            seat,
            hand: AtomicU32::new(0),
        })
    }

    /// The queue of this name, if its items are of this signature.
    pub(super) fn open(
        name: Name,
        kind: super::layout::Kind,
        signature: u64,
        body_bytes: usize,
    ) -> Result<Self, Error> {
        let seat = Seat::open(name, &CHANNEL)?;
        let foreign = || {
            let found = "a queue whose parts lead out of it".into();
            Error::from(RegionError::Foreign { found })
        };
        let channel = Self::of(seat).ok_or_else(foreign)?;
        if !channel.terms().is(kind, signature) || !channel.terms().have_room_for(body_bytes) {
            let found = "a queue of another kind, or of other items".into();
            return Err(RegionError::Foreign { found }.into());
        }
        Ok(channel)
    }

    /// The queue in this seat; `None` if its terms do not fit its size.
    fn of(seat: Seat) -> Option<Self> {
        let size = seat.size();
        if size < layout::FRONT_BYTES as u64 {
            return None;
        }
        let channel = Self {
            seat,
            hand: AtomicU32::new(0),
        };
        (channel.terms().are_sound() && channel.terms().size() <= size).then_some(channel)
    }

    /// What others call it.
    pub(super) fn name(&self) -> Name {
        self.seat.name()
    }

    #[inline]
    pub(super) fn front(&self) -> &QueueFront {
        // SAFETY: written when the queue was made, and mapped as long as the seat.
        unsafe { self.seat.at(0).cast().as_ref() }
    }

    pub(super) fn terms(&self) -> &Terms {
        &self.front().terms
    }

    #[inline]
    pub(super) fn fifo(&self) -> Fifo<'_> {
        let (front, terms) = (self.front(), self.terms());
        let places = self.seat.at(terms.places_at());
        // SAFETY: written when the queue was made, by the terms that this process has checked
        // against the object's size, and mapped as long as the seat.
        let places: Row<'_, Slot> =
            unsafe { Row::new(places, terms.place_stride as usize, terms.places) };
        let hands = self.seat.at(terms.hands_at());
        // SAFETY: as above.
        let hands: Row<'_, Hand> =
            unsafe { Row::new(hands, terms.hand_stride as usize, terms.hands) };
        Fifo::new(&front.fifo, places, hands)
    }

    /// Where the bytes of a held item lie; `None` if what stands in the hand leads out of the
    /// region.
    pub(super) fn held_bytes(&self, grip: Grip) -> Option<(NonNull<u8>, usize)> {
        let hands = self.fifo().hands();
        // Relaxed: the hand is ours.
        let note = hands.front(grip.index).note().load(Ordering::Relaxed);
        match read_note(note) {
            (size, false) if size <= hands.body_size() => Some((hands.body(grip.index), size)),
            (_, false) => None,
            (size, true) => {
                // SAFETY: the hand is ours, and a name is plain words that fit there.
                let name = unsafe { hands.body(grip.index).cast::<BlockName>().read() };
                Some((self.seat.bytes_of(name, size)?, size))
            }
        }
    }

    /// The item in this hand is done with: its block is free, and then the hand.
    pub(super) fn finish(&self, grip: Grip) {
        let Ok(me) = self.seat.me() else {
            // A forked child, or a region that has gone: nothing here is ours.
            return;
        };
        if let Some(name) = self.block_in_hand(grip.index) {
            // From now on the item does not come back, whoever dies.
            self.fifo().begin_drop(me, grip);
            self.seat.free(name);
        }
        self.fifo().let_go(grip);
    }

    /// The item in this hand goes to somebody else.
    pub(super) fn give_back(&self, grip: Grip) {
        let Ok(me) = self.seat.me() else {
            return;
        };
        if self.terms().is_joinable() {
            self.settle(me);
        }
        self.fifo().give_back(grip);
        self.seat.wake_one(&self.front().receivers);
    }

    fn block_in_hand(&self, hand: u32) -> Option<BlockName> {
        let hands = self.fifo().hands();
        // Relaxed: the hand is ours, or its holder is dead.
        let note = hands.front(hand).note().load(Ordering::Relaxed);
        // SAFETY: a name is plain words, and fits there.
        read_note(note)
            .1
            .then(|| unsafe { hands.body(hand).cast().read() })
    }

    fn block_at_place(&self, place: u32) -> Option<BlockName> {
        let slots = self.fifo().slots();
        // Relaxed: whoever asks looks at words that do not change, or does not mind.
        let note = slots.front(place).note().load(Ordering::Relaxed);
        // SAFETY: a name is plain words, and fits there.
        read_note(note)
            .1
            .then(|| unsafe { slots.body(place).cast().read() })
    }

    /// Names every block that belongs to an item: to be adopted from a dead sender, which had no
    /// time to hand it over, or to be freed when the queue goes.
    fn each_block(&self, visit: &mut dyn FnMut(BlockName)) {
        if self.terms().hands == 0 {
            // Plain values own nothing.
            return;
        }
        let mut names = Vec::new();
        self.fifo()
            .each_item(|place| names.extend(self.block_at_place(place)), |_| ());
        self.fifo()
            .each_item(|_| (), |hand| names.extend(self.block_in_hand(hand)));
        names.into_iter().for_each(visit);
    }

    pub(super) fn close(&self) {
        self.fifo().close();
        self.seat.wake_all(&self.front().senders);
        self.wake_receivers();
        self.seat.wake_all(&self.front().joiners);
    }

    /// The ends of a pipe.
    fn ends(&self) -> Ends<'_> {
        Ends(&self.front().owed)
    }

    /// This process has an end of the pipe once more.
    pub(super) fn hold_end(&self, side: Side) -> Result<(), Error> {
        match self.ends().add(self.seat.me()?, side) {
            true => Ok(()),
            false => Err(Error::InvalidArgument {
                what: "number of times that a process opens an end of a pipe",
                found: "65536".into(),
                wanted: "at most 65535 at a time; clone a handle that is open".into(),
            }),
        }
    }

    /// This process has it once less; the last one ends the pipe.
    pub(super) fn let_go_of_end(&self, side: Side) {
        // A forked child never had it.
        let Ok(me) = self.seat.me() else {
            return;
        };
        if self.ends().remove(me, side) {
            self.close();
        }
    }

    /// Takes from a dead member what it had here, then wakes everybody: the region's hook for
    /// objects of this kind.
    pub(crate) fn recover(&self, dead: Owner) {
        self.fifo().recover(dead, self.terms().orphan(), |hand| {
            if let Some(name) = self.block_in_hand(hand) {
                self.seat.free(name);
            }
        });
        if self.terms().is_pipe() {
            if self.ends().bury(dead) {
                self.close();
            }
        } else {
            // Relaxed: the dead count no more.
            self.owed(dead).store(0, Ordering::Relaxed);
        }
        let front = self.front();
        for waiting in [&front.senders, &front.receivers, &front.joiners] {
            self.seat.bury(waiting, dead);
        }
    }
}
