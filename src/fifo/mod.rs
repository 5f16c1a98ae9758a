//! A bounded queue between processes: first in, first out, and no loss when one of them dies.
//!
//! An item has a place, and the place's word is the truth about it ([`slot`]): who writes it, that
//! it waits, who has it. Places are used in turn, lap after lap; where the queue begins and ends is
//! a hint ([`header`]) that anybody moves on. So items of one sender, and of any senders that wait
//! for each other, come out in their order.
//!
//! What a receiver keeps for longer than a copy takes is moved to a hand ([`hand`]), so that a slow
//! receiver holds up nobody. What comes back from the dead waits where it is, out of turn, and is
//! taken before anything else.
//!
//! The steps, each one atomic operation; a process may die between any two:
//!
//! ```text
//! send     place FILLING | tail | closed? | write | place READY
//! receive  place CLAIMED (linearises) | head | read | place FREE
//! hold     hand TAKING | place CLAIMED | head | copy | origin | hand HELD | place FREE
//! recover  for each hand of the dead, then for each place: word | count of returned
//! ```
//!
//! The place of an item that was dropped, because its sender died over it, is in use until its turn
//! comes. A sender that stands still between FILLING and READY, for as long as it takes to copy an
//! item, holds up the receivers of what comes after it; so nothing else is done in between.

#![expect(unsafe_code, reason = "finds words and bytes that lie a stride apart")]

mod ends;
mod hand;
mod header;
#[cfg(all(test, gristmill_loom))]
mod model;
mod row;
mod slot;
mod stream;
#[cfg(all(test, not(gristmill_loom)))]
mod tests;

use crate::memory::owner::Owner;
use crate::primitive::atomic::fence_after_rmw;

pub(crate) use ends::{Ends, Side};
pub(crate) use hand::Hand;
pub(crate) use header::{FifoHeader, Place};
pub(crate) use row::Row;
pub(crate) use slot::Slot;
pub(crate) use stream::{Run, StreamHeader};

use hand::Grasped;
use slot::{Recovered, Stand};

/// How often an operation follows others' progress before it says so, in rounds of the queue.
const ROUNDS: u32 = 4;

/// What a sender finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Offer {
    /// A place to write to, then to `publish` or to `withdraw`.
    Room(Place),
    /// Every place is taken.
    Full,
    /// Nothing may be sent any more. A place may be void for that: wake the receivers.
    Closed,
    /// Too much went on, or somebody wrote wildly: yield, and try again.
    Busy,
}

/// What a receiver finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Take {
    /// The oldest item, to be read, then to `vacate` or `hold`.
    Item(Place),
    /// An item that came back in this hand, which is now ours.
    Held(Grip),
    /// Nothing waits.
    Empty,
    /// Too much went on, or somebody wrote wildly: yield, and try again.
    Busy,
}

/// A hand that this process has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) struct Grip {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// What becomes of an item in the hand of a process that died.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Orphan {
    /// Somebody else gets it.
    ComesBack,
    /// It is dropped, and counted.
    Lost,
}

/// The queue over its borrowed memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fifo<'a> {
    header: &'a FifoHeader,
    slots: Row<'a, Slot>,
    hands: Row<'a, Hand>,
}

impl<'a> Fifo<'a> {
    /// A view of the queue that lies in the three.
    pub(crate) fn new(header: &'a FifoHeader, slots: Row<'a, Slot>, hands: Row<'a, Hand>) -> Self {
        Self {
            header,
            slots,
            hands,
        }
    }

    /// The places.
    pub(crate) fn slots(&self) -> Row<'a, Slot> {
        self.slots
    }

    /// The hands.
    pub(crate) fn hands(&self) -> Row<'a, Hand> {
        self.hands
    }

    fn places(&self) -> u32 {
        self.slots.count()
    }

    fn slot(&self, place: Place) -> &'a Slot {
        self.slots.front(place.index)
    }

    /// FREE -> FILLING(me) at the end of the queue.
    pub(crate) fn offer(&self, me: Owner) -> Offer {
        for _ in 0..ROUNDS.saturating_mul(self.places()) {
            let place = self.header.tail().load(self.places());
            let slot = self.slot(place);
            match slot.stand(place.lap) {
                // ORDERING: F5; after a fence of a sender that is about to sleep, either it sees
                // that the queue is closed, or whoever closed it finds it asleep.
                Stand::Before if self.header.is_closed() => return Offer::Closed,
                Stand::Before => return Offer::Full,
                Stand::VoidBefore => slot.pass_void(place.lap.wrapping_sub(1)),
                Stand::Free => {
                    if slot.fill(me, place.lap) {
                        self.header.tail().pass(place, self.places());
                        // ORDERING: F5, SeqCst; either we see that it is closed, or whoever closed
                        // it sees our place (`FifoHeader::close`). And F2, Acquire; who freed the
                        // place has read its bytes. Models: nothing_is_sent_behind_the_end,
                        // a_freed_place_may_be_refilled.
                        fence_after_rmw();
                        if self.header.is_closed() {
                            slot.withdraw(place.lap);
                            return Offer::Closed;
                        }
                        return Offer::Room(place);
                    }
                }
                Stand::Filling | Stand::Ready | Stand::Void | Stand::Past => {
                    self.header.tail().pass(place, self.places());
                }
            }
        }
        Offer::Busy
    }

    /// FILLING(me) -> READY. Then wake a receiver.
    pub(crate) fn publish(&self, place: Place) {
        self.slot(place).publish(place.lap);
    }

    /// FILLING(me) -> VOID, as `offer` does by itself for a queue that was closed meanwhile.
    #[cfg(test)]
    pub(crate) fn withdraw(&self, place: Place) {
        self.slot(place).withdraw(place.lap);
    }

    /// READY -> CLAIMED(me) at the beginning of the queue, or what came back.
    pub(crate) fn take(&self, me: Owner) -> Take {
        if let Some(found) = self.take_returned(me) {
            return found;
        }
        for _ in 0..ROUNDS.saturating_mul(self.places()) {
            let place = self.header.head().load(self.places());
            let slot = self.slot(place);
            match slot.stand(place.lap) {
                Stand::Before | Stand::VoidBefore | Stand::Free | Stand::Filling => {
                    return Take::Empty;
                }
                Stand::Ready => {
                    if slot.claim(me, place.lap) {
                        self.header.head().pass(place, self.places());
                        return Take::Item(place);
                    }
                }
                Stand::Void => {
                    slot.pass_void(place.lap);
                    self.header.head().pass(place, self.places());
                }
                Stand::Past => self.header.head().pass(place, self.places()),
            }
        }
        Take::Busy
    }

    fn take_returned(&self, me: Owner) -> Option<Take> {
        let returned = self.header.returned()?;
        let found = self.hands.find(|index, hand| {
            let generation = hand.take_returned(me)?;
            Some(Take::Held(Grip { index, generation }))
        });
        let found = found.or_else(|| {
            self.slots.find(|index, slot| {
                let lap = slot.claim_returned(me)?;
                Some(Take::Item(Place { index, lap }))
            })
        });
        if found.is_none() {
            self.header.swept(returned);
        }
        found
    }

    /// CLAIMED(me) -> FREE. Then wake a sender.
    pub(crate) fn vacate(&self, place: Place) {
        self.slot(place).vacate(place.lap);
    }

    /// CLAIMED(me) -> RETURNED: somebody else shall have it, before anything that waits. Then wake
    /// a receiver.
    #[cfg(all(test, gristmill_loom))]
    pub(crate) fn put_back(&self, place: Place) {
        self.slot(place).put_back(place.lap);
        self.header.count_returned();
    }

    /// A hand for this process, looked for from `start` on; `None` if none is free.
    pub(crate) fn grasp(&self, me: Owner, start: u32) -> Option<Grip> {
        self.hands.find_from(start, |index, hand| {
            let generation = hand.grasp(me)?;
            Some(Grip { index, generation })
        })
    }

    /// Moves the item, whose bytes have been copied, from its place to a hand. Then wake a sender.
    pub(crate) fn hold(&self, me: Owner, grip: Grip, place: Place) {
        self.hands
            .front(grip.index)
            .hold(me, grip.generation, place);
        self.vacate(place);
    }

    /// HELD(me) -> DROPPING(me): what belongs to the item may be freed, then `let_go`.
    pub(crate) fn begin_drop(&self, me: Owner, grip: Grip) {
        self.hands.front(grip.index).begin_drop(me, grip.generation);
    }

    /// Names the places and hands in which there are items, for who looks after what belongs to
    /// them; while others send and receive, an item that goes from a place to a hand may be named
    /// twice, but never missed.
    pub(crate) fn each_item(&self, mut place: impl FnMut(u32), mut hand: impl FnMut(u32)) {
        self.slots.each(|index, slot| {
            if slot.has_item() {
                place(index);
            }
        });
        self.hands.each(|index, front| {
            if front.is_occupied() {
                hand(index);
            }
        });
    }

    /// Empties a hand, whether there was an item in it or not.
    pub(crate) fn let_go(&self, grip: Grip) {
        self.hands.front(grip.index).let_go(grip.generation);
    }

    /// HELD(me) -> RETURNED: somebody else shall have it. Then wake a receiver.
    pub(crate) fn give_back(&self, grip: Grip) {
        self.hands.front(grip.index).give_back(grip.generation);
        self.header.count_returned();
    }

    /// From now on nothing is sent; what is there may be received. Then wake all.
    pub(crate) fn close(&self) {
        self.header.close();
    }

    /// Whether it was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.header.is_closed()
    }

    /// Whether it is closed and nothing waits or is being written. What comes back later from the
    /// hand of a dead process is not foreseen.
    pub(crate) fn is_drained(&self) -> bool {
        if !self.header.is_closed() {
            return false;
        }
        // ORDERING: F5, SeqCst; a place that looks free now is filled by nobody who does not see
        // that it is closed (`offer`). Model: nothing_is_sent_behind_the_end.
        fence_after_rmw();
        if self.header.returned().is_some() {
            return false;
        }
        let place = self.header.head().load(self.places());
        matches!(
            self.slot(place).stand(place.lap),
            Stand::Before | Stand::VoidBefore | Stand::Free
        )
    }

    /// How many items wait or are being written, as far as a look tells.
    pub(crate) fn len(&self) -> u32 {
        let mut waiting = match self.header.is_closed() {
            false => self.header.distance(self.places()),
            // Places that late senders left void lie between head and tail, too.
            true => {
                let mut found = 0;
                self.slots
                    .each(|_, slot| found += u32::from(slot.is_waiting()));
                found
            }
        };
        if self.header.returned().is_some() {
            self.hands
                .each(|_, hand| waiting += u32::from(hand.is_returned()));
            self.slots
                .each(|_, slot| waiting += u32::from(slot.is_returned()));
        }
        waiting
    }

    /// Whether the next receiver may find something: cheap enough to spin on.
    pub(crate) fn looks_ready(&self) -> bool {
        let place = self.header.head().load(self.places());
        let waits = !matches!(
            self.slot(place).stand(place.lap),
            Stand::Before | Stand::VoidBefore | Stand::Free | Stand::Filling
        );
        waits || self.header.returned().is_some()
    }

    /// Whether the next sender may find room: cheap enough to spin on.
    pub(crate) fn looks_free(&self) -> bool {
        let place = self.header.tail().load(self.places());
        self.slot(place).stand(place.lap) != Stand::Before
    }

    /// Whether no item waits, is written, is read, is in a hand or has come back; `owed` says so of
    /// what left the hands without being done, and is asked last.
    ///
    /// An item that goes from place to hand to `owed` is counted in the next before it leaves the
    /// one, and they are looked through in that order. One that was sent meanwhile has moved the
    /// tail, before its sender could do anything else; then the look is worth nothing.
    pub(crate) fn is_done(&self, owed: impl FnOnce() -> bool) -> bool {
        let before = self.header.tail().load(self.places());
        let occupied = self
            .slots
            .find(|_, slot| slot.is_occupied().then_some(()))
            .or_else(|| self.hands.find(|_, hand| hand.is_occupied().then_some(())));
        // Model: an_item_is_always_counted.
        occupied.is_none() && !owed() && self.header.tail().load(self.places()) == before
    }

    /// How many items went down with a receiver that had them in hand.
    pub(crate) fn lost(&self) -> u64 {
        self.header.lost()
    }

    /// Takes from a dead process what it had. A half-written item is dropped, one whose receiver
    /// had not finished taking it comes back, and one in a hand is dealt with as `orphan` says:
    /// `drop_item(hand)` is called before it is lost, again if the one that recovers dies itself.
    /// Then wake all.
    pub(crate) fn recover(&self, dead: Owner, orphan: Orphan, mut drop_item: impl FnMut(u32)) {
        // Hands first: while the item is at its place, the place decides.
        self.hands.each(|index, hand| {
            let at_place = |place: Place| {
                place.index < self.places() && self.slot(place).is_claimed(dead, place.lap)
            };
            let comes_back = orphan == Orphan::ComesBack;
            match hand.grasped(dead, at_place) {
                Grasped::Nothing | Grasped::Emptied => {}
                Grasped::Dropping(generation) => {
                    drop_item(index);
                    hand.end_drop(dead, generation);
                }
                Grasped::Item(generation) => {
                    if !comes_back {
                        drop_item(index);
                    }
                    if hand.recover(dead, generation, comes_back) {
                        match comes_back {
                            true => self.header.count_returned(),
                            false => self.header.count_lost(),
                        }
                    }
                }
            }
        });
        self.slots.each(|_, slot| {
            if slot.recover(dead) == Recovered::Returned {
                self.header.count_returned();
            }
        });
        // One that recovered before us may have died before it counted.
        if self
            .hands
            .find(|_, hand| hand.is_returned().then_some(()))
            .is_some()
            || self
                .slots
                .find(|_, slot| slot.is_returned().then_some(()))
                .is_some()
        {
            self.header.count_returned();
        }
    }
}
