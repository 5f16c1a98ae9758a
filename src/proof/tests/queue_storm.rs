//! A storm over the queue: senders and receivers are killed where they happen to be, again and
//! again, and every item is accounted for.

#![expect(unsafe_code, reason = "forks, and views the region")]

use std::ptr::NonNull;

use libc::pid_t;

use crate::fifo::{Fifo, FifoHeader, Hand, Offer, Orphan, Row, Slot, Take};
use crate::memory::owner::Owner;
use crate::memory::region::{EXTENT_BYTES, Region};
use crate::primitive::atomic::{AtomicU32, AtomicU64, Ordering};

const PLACES: usize = 5;
const HANDS: usize = 4;
const SENDERS: usize = 2;
const PROCESSES: usize = 4;
const ITEMS: usize = 60_000;
const KILLS: usize = 120;
/// Steps from one kill to the next, at most.
const BETWEEN: u64 = 400;
/// How far senders go beyond the next kill: whoever kills may be held up, and must not find all
/// items sent.
const AHEAD: u64 = 200;

const _: () = assert!(KILLS as u64 * (BETWEEN + 2 * AHEAD) < ITEMS as u64 * 2);

const BEGUN: u32 = 1;
const SENT: u32 = 2;
/// A receipt, counted from here on.
const GOT: u32 = 4;

#[repr(C)]
struct Front {
    header: FifoHeader,
    slots: [Slot; PLACES],
    hands: [Hand; HANDS],
}

#[repr(C)]
struct Words {
    front: Front,
    next: [AtomicU64; SENDERS],
    progress: AtomicU64,
    /// Senders wait while there is this much progress.
    limit: AtomicU64,
    over: AtomicU64,
    items: [[AtomicU32; ITEMS]; SENDERS],
}

struct Sea {
    region: Region,
}

impl Sea {
    fn new() -> Self {
        let region = Region::create(EXTENT_BYTES).expect("memory");
        assert!(size_of::<Words>() <= EXTENT_BYTES as usize);
        let front = Front {
            header: FifoHeader::new(),
            slots: std::array::from_fn(|_| Slot::new()),
            hands: std::array::from_fn(|_| Hand::new()),
        };
        // SAFETY: in the mapping, which nobody else knows yet; the rest starts as zero, as a new
        // file is.
        unsafe { region.base().cast::<Front>().write(front) };
        Self { region }
    }

    fn words(&self) -> &Words {
        // SAFETY: all atomics, mapped as long as the region.
        unsafe { self.region.base().cast::<Words>().as_ref() }
    }

    fn fifo(&self) -> Fifo<'_> {
        let front = &self.words().front;
        let (slots, hands) = (NonNull::from(&front.slots), NonNull::from(&front.hands));
        // SAFETY: the slots lie one behind the other, as long as the borrow.
        let slots = unsafe { Row::new(slots.cast(), size_of::<Slot>(), PLACES as u32) };
        // SAFETY: as above.
        let hands = unsafe { Row::new(hands.cast(), size_of::<Hand>(), HANDS as u32) };
        Fifo::new(&front.header, slots, hands)
    }

    fn is_over(&self) -> bool {
        self.words().over.load(Ordering::Relaxed) != 0
    }

    fn item(&self, item: u64) -> &AtomicU32 {
        &self.words().items[(item >> 32) as usize][item as u32 as usize]
    }

    fn send_all(&self, me: Owner, sender: usize) {
        let next = &self.words().next[sender];
        while !self.is_over() {
            let words = self.words();
            if words.progress.load(Ordering::Relaxed) >= words.limit.load(Ordering::Relaxed) {
                std::thread::yield_now();
                continue;
            }
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number as usize >= ITEMS {
                return;
            }
            let item = (sender as u64) << 32 | number;
            self.item(item).fetch_or(BEGUN, Ordering::Relaxed);
            loop {
                match self.fifo().offer(me) {
                    Offer::Room(place) => {
                        let front = self.fifo().slots().front(place.index);
                        front.note().store(item, Ordering::Relaxed);
                        self.fifo().publish(place);
                        break;
                    }
                    _ if self.is_over() => return,
                    _ => std::thread::yield_now(),
                }
            }
            self.item(item).fetch_or(SENT, Ordering::Relaxed);
            self.words().progress.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn get(&self, item: u64) {
        self.item(item).fetch_add(GOT, Ordering::Relaxed);
        self.words().progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Receives; what it held when it was killed is lost, nothing is got twice.
    fn receive(&self, me: Owner) -> bool {
        match self.fifo().take(me) {
            Take::Item(place) => {
                let front = self.fifo().slots().front(place.index);
                let item = front.note().load(Ordering::Relaxed);
                self.fifo().vacate(place);
                self.get(item);
                true
            }
            _ => false,
        }
    }

    /// Receives into a hand, and lets go once it is done.
    fn hold(&self, me: Owner) -> bool {
        let fifo = self.fifo();
        let Some(mut grip) = fifo.grasp(me, 0) else {
            return false;
        };
        match fifo.take(me) {
            Take::Item(place) => {
                let item = fifo.slots().front(place.index).note();
                let hand = fifo.hands().front(grip.index).note();
                hand.store(item.load(Ordering::Relaxed), Ordering::Relaxed);
                fifo.hold(me, grip, place);
            }
            Take::Held(other) => {
                fifo.let_go(grip);
                grip = other;
            }
            Take::Empty | Take::Busy => {
                fifo.let_go(grip);
                return false;
            }
        }
        self.get(
            fifo.hands()
                .front(grip.index)
                .note()
                .load(Ordering::Relaxed),
        );
        fifo.let_go(grip);
        true
    }

    fn receive_all(&self, me: Owner, orphan: Orphan) {
        while !self.is_over() {
            let got = match orphan {
                Orphan::Lost => self.receive(me),
                Orphan::ComesBack => self.hold(me),
            };
            if !got {
                std::thread::yield_now();
            }
        }
    }

    fn start(&self, me: Owner, orphan: Orphan) -> pid_t {
        // SAFETY: the child touches shared atomics only, and leaves without unwinding.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: a plain system call: nobody outlives the test.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                match me.index() as usize {
                    sender if sender < SENDERS => self.send_all(me, sender),
                    _ => self.receive_all(me, orphan),
                }
                // SAFETY: ends the child.
                unsafe { libc::_exit(0) }
            }
            pid => {
                assert_ne!(pid, -1, "a process");
                pid
            }
        }
    }
}

fn reap(pid: pid_t, kill: bool) {
    if kill {
        // SAFETY: our own child, not reaped yet.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    // SAFETY: our own child.
    let reaped = unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    assert_eq!(reaped, pid);
}

/// Kills all along; gives how often a receiver was killed.
fn storm(orphan: Orphan) -> (Sea, u32) {
    let sea = Sea::new();
    let mut owners: [Owner; PROCESSES] = std::array::from_fn(|at| Owner::new(at as u16, 0));
    let mut pids = owners.map(|owner| sea.start(owner, orphan));
    // A linear congruential generator: any order will do.
    let mut random = 12345_u64;
    let mut receivers = 0;
    for _ in 0..KILLS {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let wanted = sea.words().progress.load(Ordering::Relaxed) + (random >> 40) % BETWEEN;
        sea.words().limit.store(wanted + AHEAD, Ordering::Relaxed);
        while sea.words().progress.load(Ordering::Relaxed) < wanted {
            std::thread::yield_now();
        }
        let victim = (random >> 33) as usize % PROCESSES;
        receivers += u32::from(victim >= SENDERS);
        reap(pids[victim], true);
        sea.fifo().recover(owners[victim], orphan, |_| ());
        owners[victim] = owners[victim].next();
        pids[victim] = sea.start(owners[victim], orphan);
    }
    sea.words().over.store(1, Ordering::Relaxed);
    for (pid, owner) in pids.into_iter().zip(owners) {
        reap(pid, false);
        sea.fifo().recover(owner, orphan, |_| ());
    }
    let me = Owner::new(PROCESSES as u16, 0);
    while sea.receive(me) || sea.hold(me) {}
    for place in 0..PLACES {
        assert!(
            matches!(sea.fifo().offer(me), Offer::Room(_)),
            "place {place}"
        );
    }
    assert!(sea.fifo().grasp(me, 0).is_some());
    (sea, receivers)
}

fn all(sea: &Sea) -> impl Iterator<Item = u32> + '_ {
    let items = sea.words().items.iter().flatten();
    items.map(|item| item.load(Ordering::Relaxed))
}

#[test]
fn a_storm_of_kills_loses_what_was_in_dead_hands_and_doubles_nothing() {
    let (sea, kills) = storm(Orphan::Lost);
    let mut lost = 0;
    let mut sent = 0;
    for item in all(&sea) {
        assert!(item / GOT <= 1, "received {} times", item / GOT);
        assert!(item / GOT == 0 || item & BEGUN != 0, "never sent");
        sent += u32::from(item & SENT != 0);
        lost += u32::from(item & SENT != 0 && item / GOT == 0);
    }
    assert!(sent > KILLS as u32);
    // Killed between taking an item and saying so.
    assert!(lost <= kills, "{lost} items of {kills} killed receivers");
}

#[test]
fn a_storm_of_kills_loses_nothing_that_comes_back() {
    let (sea, kills) = storm(Orphan::ComesBack);
    let mut again = 0;
    for item in all(&sea) {
        assert!(item & SENT == 0 || item / GOT >= 1, "lost");
        assert!(item / GOT == 0 || item & BEGUN != 0, "never sent");
        again += (item / GOT).saturating_sub(1);
    }
    // Killed between saying so and letting go.
    assert!(
        again <= kills,
        "{again} items again, {kills} killed receivers"
    );
}
