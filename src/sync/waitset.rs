//! The wait set: who waits for an object that processes share, threads and tasks alike.
//!
//! ```text
//! seq        bumped by every wake-up; threads sleep on it in the kernel
//! blocked    1 if threads may sleep on `seq`
//! listening  one bit a member: tasks of that member wait, its listener is to be rung
//! everyone   bumped by every wake-up of all, before `seq`
//! ```
//!
//! All four are hints; the object's own word is the truth, and a waiter always looks at it (the
//! `attempt`). No wake-up is lost:
//! 1. A waker changes the truth, fences (W1), and looks at `blocked` and `listening`.
//! 2. A waiter reads `seq`, sets the flag or its bit, fences (W2), and looks at the truth. If W1
//!    comes before W2 it sees the change, else the waker sees the flag; then `seq` is bumped, and
//!    the kernel puts nobody to sleep who read it before.
//! 3. A waiter does not clear `blocked`: another may sleep. A waker that woke fewer than it wanted
//!    clears it, *then* bumps `seq` once more and wakes all. Whoever had set the flag before had
//!    read `seq` before that, so is woken or does not sleep; who sets it later finds it set.
//! 4. A member's bit is set and cleared by that member alone, under its lock. One that clears its
//!    bit fences and looks at `seq`: if it moved, the wake-up may have been meant for this member,
//!    which passes it on ([`WaitSet::retire`]).
//!
//! A wake-up of one goes to whoever comes first in the kernel's queue, or to one member's tasks; in
//! turn, so that neither kind starves. It dies with a process that was woken and did nothing: a
//! recovery wakes all.

use core::time::Duration;

use crate::primitive::atomic::{AtomicU32, AtomicU64, Ordering, fence_after_rmw};

/// How many members a wait set has bits for.
pub(crate) const MEMBERS: usize = 256;

/// What the algorithms need of the world: the kernel's wait queues and the members' bells.
pub(crate) trait Door {
    /// Sleeps if `word` holds `expected`, until woken, until `timeout` passed, or for no reason.
    /// Whether it was woken.
    fn wait(&self, word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> bool;

    /// Wakes up to `count` sleepers on `word`, and says how many those were.
    fn wake(&self, word: &AtomicU32, count: u32) -> u32;

    /// Tells the listener of `member` that one of the sets that it has a bit in was woken.
    fn ring(&self, member: u16);
}

/// What a waiter does that was woken alone and cannot use it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unused {
    /// Nothing: what it waited for was taken by another, who will wake the next.
    Dropped,
    /// Wakes all: another waiter might have been able to.
    PassedOn,
}

/// When a waiter looked last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tide {
    seq: u32,
    everyone: u32,
}

impl Tide {
    pub(crate) const ZERO: Self = Self {
        seq: 0,
        everyone: 0,
    };

    /// Whether all were woken since.
    pub(crate) fn is_of_same_flood(self, other: Self) -> bool {
        self.everyone == other.everyone
    }
}

/// For how many of a member's tasks a look at the set calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Call {
    UpTo(u32),
    All,
}

/// Who waits, in shared memory.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct WaitSet {
    seq: AtomicU32,
    blocked: AtomicU32,
    listening: [AtomicU64; MEMBERS / 64],
    everyone: AtomicU32,
    reserved: [u32; 21],
}

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<WaitSet>() == 128);

impl WaitSet {
    /// Nobody waits; to be written in place.
    pub(crate) fn new() -> Self {
        Self {
            seq: AtomicU32::new(0),
            blocked: AtomicU32::new(0),
            listening: core::array::from_fn(|_| AtomicU64::new(0)),
            everyone: AtomicU32::new(0),
            reserved: [0; 21],
        }
    }

    /// Whether anybody may wait. After a change of the truth and a fence.
    #[inline]
    pub(crate) fn anybody(&self) -> bool {
        // ORDERING: Relaxed, both; see the caller's fence W1.
        let listening = self.listening.each_ref();
        let bits = listening.map(|bits| bits.load(Ordering::Relaxed));
        self.blocked.load(Ordering::Relaxed) != 0 || bits != [0; MEMBERS / 64]
    }

    /// Wakes up to `count` waiters, if there are any. The caller has just changed the truth with a
    /// read-modify-write.
    #[inline]
    pub(crate) fn wake(&self, count: u32, door: &impl Door) {
        // ORDERING: W1, SeqCst; pairs with W2 in `announce` and `enlist`.
        // Models: a_blocked_waiter_is_woken_or_sees_it, a_listener_is_rung_or_sees_it.
        fence_after_rmw();
        if self.anybody() {
            self.wake_some(count, door);
        }
    }

    /// Wakes all waiters, if there are any. The caller has just changed the truth with a
    /// read-modify-write.
    #[inline]
    pub(crate) fn wake_all(&self, door: &impl Door) {
        // ORDERING: W1, SeqCst; as in `wake`.
        fence_after_rmw();
        if self.anybody() {
            self.rouse(door);
        }
    }

    /// Wakes all, whatever the hints say, as a death demands.
    #[cold]
    pub(crate) fn rouse(&self, door: &impl Door) {
        // ORDERING: SeqCst; seen by whoever sees the bump of `seq` that follows (`look`).
        self.everyone.fetch_add(1, Ordering::SeqCst);
        self.flush(door);
        self.ring_up_to(u32::MAX, 0, door);
    }

    #[cold]
    fn wake_some(&self, count: u32, door: &impl Door) {
        // ORDERING: SeqCst; who read `seq` before does not sleep, and a member that retires sees
        // it, or its bit is not seen below (`retire`).
        let before = self.seq.fetch_add(count, Ordering::SeqCst);
        let mut left = count;
        let threads_first = before.is_multiple_of(2);
        if !threads_first {
            left -= self.ring_up_to(left, before, door);
        }
        // Relaxed: see the fence of the caller.
        if left > 0 && self.blocked.load(Ordering::Relaxed) != 0 {
            let woken = door.wake(&self.seq, left).min(left);
            left -= woken;
            if left > 0 {
                self.flush(door);
            }
        }
        if left > 0 && threads_first {
            self.ring_up_to(left, before, door);
        }
    }

    /// Wakes every thread, and makes the flag that of a set where none sleeps.
    fn flush(&self, door: &impl Door) {
        // ORDERING: W3, SeqCst; before the bump. Who set the flag before has read `seq` before the
        // bump (`announce`). Model: a_flag_that_is_cleared_hides_nobody.
        self.blocked.swap(0, Ordering::SeqCst);
        self.seq.fetch_add(1, Ordering::SeqCst);
        door.wake(&self.seq, u32::MAX);
    }

    /// Rings up to `count` members, from one on that `turn` chooses; how many it rang.
    fn ring_up_to(&self, count: u32, turn: u32, door: &impl Door) -> u32 {
        // Relaxed, with a fence: either a member's bit is seen, or it sees the bump.
        fence_after_rmw();
        let first = turn as usize % MEMBERS;
        let mut rung = 0;
        for place in (first..MEMBERS).chain(0..first) {
            if rung >= count {
                break;
            }
            // ORDERING: Relaxed; see the fences.
            let bits = self.listening[place / 64].load(Ordering::Relaxed);
            if bits == 0 {
                continue;
            }
            if bits >> (place % 64) & 1 == 1 {
                door.ring(place as u16);
                rung += 1;
            }
        }
        rung
    }

    /// A thread that is about to sleep: look at the truth once more, then sleep on what this
    /// returns.
    fn announce(&self) -> Tide {
        let tide = self.tide();
        // ORDERING: W3, Release; `seq` was read before the flag is set (`flush`).
        self.blocked.swap(1, Ordering::SeqCst);
        // ORDERING: W2, SeqCst; pairs with W1. Model: a_blocked_waiter_is_woken_or_sees_it.
        fence_after_rmw();
        tide
    }

    /// Sleeps until `attempt` gives something, or `left` says that the time is over.
    pub(crate) fn block<R>(
        &self,
        door: &impl Door,
        unused: Unused,
        mut left: impl FnMut() -> Option<Duration>,
        mut attempt: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        loop {
            let tide = self.announce();
            if let Some(got) = attempt() {
                return Some(got);
            }
            let limit = left();
            if limit == Some(Duration::ZERO) {
                return None;
            }
            let woken = door.wait(&self.seq, tide.seq, limit);
            if let Some(got) = attempt() {
                return Some(got);
            }
            if woken && unused == Unused::PassedOn && self.tide().is_of_same_flood(tide) {
                self.rouse(door);
            }
        }
    }

    /// How far wake-ups have come.
    pub(crate) fn tide(&self) -> Tide {
        // ORDERING: Acquire; who sees a bump sees what it was made for, and `everyone` is read
        // first, so that a wake-up of all is seen late rather than never.
        let everyone = self.everyone.load(Ordering::Acquire);
        let seq = self.seq.load(Ordering::Acquire);
        Tide { seq, everyone }
    }

    /// A member whose first task begins to wait, under its lock: `tide` was read before. Look at
    /// the truth once more.
    pub(crate) fn enlist(&self, member: u16) {
        // Relaxed: the fence publishes it.
        self.listening[member as usize / 64].fetch_or(1 << (member % 64), Ordering::Relaxed);
        // ORDERING: W2, SeqCst; pairs with W1. Model: a_listener_is_rung_or_sees_it.
        fence_after_rmw();
    }

    /// A member whose last task has ceased to wait, under its lock. True: it may have been rung
    /// since `seen`, for nobody; the wake-up is to be passed on.
    #[must_use]
    pub(crate) fn retire(&self, member: u16, seen: Tide) -> bool {
        // Relaxed, with the fence: either a waker does not see the bit, or its bump is seen.
        self.listening[member as usize / 64].fetch_and(!(1 << (member % 64)), Ordering::Relaxed);
        // ORDERING: W4, SeqCst; pairs with the bump in `wake_some`, and the fence after it.
        // Model: a_ring_for_nobody_is_passed_on.
        fence_after_rmw();
        self.tide() != seen
    }

    /// What a member that was rung owes its tasks, and when it has looked.
    pub(crate) fn look(&self, seen: Tide) -> (Call, Tide) {
        let now = self.tide();
        let call = if now.everyone != seen.everyone {
            Call::All
        } else {
            Call::UpTo(now.seq.wrapping_sub(seen.seq))
        };
        (call, now)
    }

    /// Takes a dead member's bit away.
    pub(crate) fn bury(&self, member: u16) {
        // Relaxed: a hint; nobody else has this member's place.
        self.listening[member as usize / 64].fetch_and(!(1 << (member % 64)), Ordering::Relaxed);
    }
}
