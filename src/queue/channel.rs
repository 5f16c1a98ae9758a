//! A queue in a region, as one process has it, whatever its items: one attempt at each operation,
//! and whom to wake afterwards.

#![expect(unsafe_code, reason = "items are copied within shared memory")]

use core::ptr::NonNull;

use super::error::RecvError;
use super::item::{Held, Item, Keep, read_note};
use super::layout::{self, QueueFront, Terms};
use super::received::Parcel;
use crate::commons::{BlockName, Kind, Region, Seat};
use crate::error::{Error, RegionError};
use crate::fifo::{Ends, Fifo, Grip, Hand, Offer, Place, Row, Side, Slot, Take};
use crate::memory::owner::Owner;
use crate::primitive::atomic::{AtomicU32, Ordering};
use crate::protocol::name::Name;

/// One attempt to send.
#[must_use]
pub(super) enum Sent {
    Done,
    Full,
    Closed,
    Failed(Error),
}

/// One attempt to receive.
#[must_use]
pub(super) enum Got<R> {
    Item(Result<R, RecvError>),
    Empty,
    Closed,
}

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
    hand: AtomicU32,
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

    /// One attempt to put an item; it is taken only if that is done.
    #[inline]
    pub(super) fn put<T: Item + ?Sized>(&self, packed: &mut Option<T::Packed>) -> Sent {
        let me = match self.seat.me() {
            Ok(me) => me,
            Err(error) => return Sent::Failed(error),
        };
        let Some(item) = packed.as_ref() else {
            return Sent::Done;
        };
        let fifo = self.fifo();
        loop {
            match fifo.offer(me) {
                Offer::Room(place) => {
                    let body = fifo.slots().body(place.index);
                    // SAFETY: the place is being filled by this call, and has that many bytes
                    // behind its front of 16, in a row that is aligned to 64.
                    let note = unsafe { T::write(item, body) };
                    // Relaxed: published by the place's word.
                    let front = fifo.slots().front(place.index);
                    front.note().store(note, Ordering::Relaxed);
                    fifo.publish(place);
                    if let Some(item) = packed.take() {
                        T::sent(item);
                    }
                    self.after_send(fifo);
                    return Sent::Done;
                }
                Offer::Full => return Sent::Full,
                Offer::Closed => {
                    // Whoever waits behind the place that we left void.
                    self.wake_receivers();
                    return Sent::Closed;
                }
                Offer::Busy => std::thread::yield_now(),
            }
        }
    }

    fn after_send(&self, fifo: Fifo<'_>) {
        let front = self.front();
        self.seat.wake_one(&front.receivers);
        // A sender that was woken for this place may have found the one before it still taken, or
        // there are more places than one: whoever gets on wakes the next.
        if self.seat.anybody(&front.senders) && fifo.looks_free() {
            self.seat.wake_one(&front.senders);
        }
    }

    fn after_receive(&self, fifo: Fifo<'_>) {
        let front = self.front();
        self.seat.wake_one(&front.senders);
        if self.seat.anybody(&front.receivers) && fifo.looks_ready() {
            self.seat.wake_one(&front.receivers);
        }
    }

    fn wake_receivers(&self) {
        self.seat.wake_all(&self.front().receivers);
    }

    /// One attempt to take an item.
    #[inline]
    pub(super) fn take<T: Item + ?Sized>(self: &std::sync::Arc<Self>) -> Got<T::Taken> {
        let me = match self.seat.me() {
            Ok(me) => me,
            Err(error) => return Got::Item(Err(RecvError::Region(error))),
        };
        let fifo = self.fifo();
        loop {
            let taken = match T::KEEP {
                Keep::Copied => self.take_copied::<T>(fifo, me),
                Keep::InHand => self.take_in_hand::<T>(fifo, me),
            };
            match taken {
                Some(Got::Empty) if fifo.is_closed() => {
                    if fifo.is_drained() {
                        return Got::Closed;
                    }
                    if !fifo.looks_ready() {
                        // A sender that was faster than the end is still at it, and will wake us.
                        return Got::Empty;
                    }
                }
                Some(got) => return got,
                None => std::thread::yield_now(),
            }
        }
    }

    fn take_copied<T: Item + ?Sized>(&self, fifo: Fifo<'_>, me: Owner) -> Option<Got<T::Taken>> {
        let place = match fifo.take(me) {
            Take::Item(place) => place,
            Take::Empty => return Some(Got::Empty),
            // There are no hands in such a queue.
            Take::Held(_) | Take::Busy => return None,
        };
        let item = T::unpack(Held::Copied(fifo.slots().body(place.index)));
        if self.terms().is_joinable() {
            self.owe(me);
        }
        fifo.vacate(place);
        self.after_receive(fifo);
        Some(Got::Item(item))
    }

    fn take_in_hand<T: Item + ?Sized>(
        self: &std::sync::Arc<Self>,
        fifo: Fifo<'_>,
        me: Owner,
    ) -> Option<Got<T::Taken>> {
        if !fifo.looks_ready() {
            return Some(Got::Empty);
        }
        // Relaxed: a hint.
        let start = self.hand.load(Ordering::Relaxed);
        let Some(grip) = fifo.grasp(me, start) else {
            let limit = self.terms().hands;
            return Some(Got::Item(Err(RecvError::TooManyHeld { limit })));
        };
        let grip = match fifo.take(me) {
            Take::Item(place) => {
                self.move_to_hand(fifo, place, grip);
                if self.terms().is_joinable() {
                    self.owe(me);
                }
                fifo.hold(me, grip, place);
                // Relaxed: a hint.
                self.hand.store(grip.index + 1, Ordering::Relaxed);
                grip
            }
            Take::Held(other) => {
                fifo.let_go(grip);
                if self.terms().is_joinable() {
                    self.owe(me);
                }
                other
            }
            Take::Empty => {
                fifo.let_go(grip);
                return Some(Got::Empty);
            }
            Take::Busy => {
                fifo.let_go(grip);
                return None;
            }
        };
        self.after_receive(fifo);
        let parcel = Parcel::new(std::sync::Arc::clone(self), grip);
        Some(Got::Item(T::unpack(Held::InHand(parcel))))
    }

    fn move_to_hand(&self, fifo: Fifo<'_>, place: Place, grip: Grip) {
        let (slot, hand) = (
            fifo.slots().front(place.index),
            fifo.hands().front(grip.index),
        );
        // Relaxed: read after the claim of the place, published with the hand.
        let note = slot.note().load(Ordering::Relaxed);
        hand.note().store(note, Ordering::Relaxed);
        let size = match read_note(note) {
            (_, true) => size_of::<BlockName>(),
            (size, false) => size,
        };
        let size = size
            .min(fifo.slots().body_size())
            .min(fifo.hands().body_size());
        let from = fifo.slots().body(place.index);
        // SAFETY: both have that many bytes, in different rows; the place is claimed by this call,
        // the hand grasped by it.
        unsafe {
            fifo.hands()
                .body(grip.index)
                .copy_from_nonoverlapping(from, size)
        };
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
