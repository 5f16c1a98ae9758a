//! Items on their way in and out: one attempt at a time, and whom to wake afterwards.

#![expect(unsafe_code, reason = "items are copied within shared memory")]

use super::channel::Channel;
use super::error::RecvError;
use super::item::{Held, Item, Keep, PackError, read_note};
use super::received::Parcel;
use crate::commons::BlockName;
use crate::error::Error;
use crate::fifo::{Fifo, Grip, Offer, Place, Take};
use crate::memory::owner::Owner;
use crate::primitive::atomic::Ordering;

/// One attempt to send.
#[must_use]
pub(super) enum Sent {
    Done,
    Full,
    Closed,
    Failed(Error),
}

/// What became of the item after those that were sent.
#[must_use]
pub(super) enum Next {
    Sent(Sent),
    NotPacked(PackError),
}

/// One attempt to receive.
#[must_use]
pub(super) enum Got<R> {
    Item(Result<R, RecvError>),
    Empty,
    Closed,
}

impl Channel {
    /// One attempt to put an item; it is taken only if that is done.
    #[inline]
    pub(super) fn put<T: Item + ?Sized>(&self, packed: &mut Option<T::Packed>) -> Sent {
        let me = match self.seat.me() {
            Ok(me) => me,
            Err(error) => return Sent::Failed(error),
        };
        let fifo = self.fifo();
        let sent = self.put_quietly::<T>(fifo, me, packed);
        if let Sent::Done = sent {
            self.after_send(fifo);
        }
        sent
    }

    /// Puts one item after another while there is room; how many, and what became of the next.
    pub(super) fn put_many<T: Item + ?Sized>(&self, items: &[T::Given<'_>]) -> (usize, Next) {
        let me = match self.seat.me() {
            Ok(me) => me,
            Err(error) => return (0, Next::Sent(Sent::Failed(error))),
        };
        let fifo = self.fifo();
        let mut next = Next::Sent(Sent::Done);
        let mut count = 0;
        for item in items {
            next = match T::pack(item, &self.seat) {
                Ok(packed) => Next::Sent(self.put_quietly::<T>(fifo, me, &mut Some(packed))),
                Err(error) => Next::NotPacked(error),
            };
            if !matches!(next, Next::Sent(Sent::Done)) {
                break;
            }
            count += 1;
        }
        if count > 0 {
            self.after_send(fifo);
        }
        (count, next)
    }

    #[inline]
    fn put_quietly<T: Item + ?Sized>(
        &self,
        fifo: Fifo<'_>,
        me: Owner,
        packed: &mut Option<T::Packed>,
    ) -> Sent {
        let Some(item) = packed.as_ref() else {
            return Sent::Done;
        };
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

    pub(super) fn wake_receivers(&self) {
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
        let got = self.take_quietly::<T>(fifo, me);
        if let Got::Item(Ok(_) | Err(RecvError::Archive(_))) = got {
            self.after_receive(fifo);
        }
        got
    }

    /// Takes one item after another while there are some, at most `limit`; what stopped it.
    pub(super) fn take_many<T: Item + ?Sized>(
        self: &std::sync::Arc<Self>,
        into: &mut Vec<T::Taken>,
        limit: usize,
    ) -> Option<Got<T::Taken>> {
        let me = match self.seat.me() {
            Ok(me) => me,
            Err(error) => return Some(Got::Item(Err(RecvError::Region(error)))),
        };
        let fifo = self.fifo();
        let before = into.len();
        let stopped = loop {
            if into.len() - before >= limit {
                break None;
            }
            match self.take_quietly::<T>(fifo, me) {
                Got::Item(Ok(item)) => into.push(item),
                other => break Some(other),
            }
        };
        let is_moved =
            into.len() > before || matches!(stopped, Some(Got::Item(Err(RecvError::Archive(_)))));
        if is_moved {
            self.after_receive(fifo);
        }
        stopped
    }

    #[inline]
    fn take_quietly<T: Item + ?Sized>(
        self: &std::sync::Arc<Self>,
        fifo: Fifo<'_>,
        me: Owner,
    ) -> Got<T::Taken> {
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
}
