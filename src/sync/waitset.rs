//! Who waits for an object that processes share: threads in the kernel, tasks in a list of their
//! process.
//!
//! ```text
//! waiter   its member's bit | fence (W1) | look once more | sleep on `seq`, or pending
//! waker    change the object | fence (W1) | bits: nobody? done : `seq` + 1 | fence (W2) | wake
//! leaver   its member's bit, if it was the last task | fence (W2) | `seq` moved? wake another
//! ```
//! All of it is hints: the object's own word is the truth, and whoever waits looks at it again. No
//! wake-up is lost:
//! 1. Whichever fence W1 comes second sees what the other wrote before its own: the waker finds the
//!    bit, or the waiter the change.
//! 2. Threads sleep on `seq` itself, where the kernel forgets those that die. One that read it
//!    before it moved does not fall asleep.
//! 3. A member's bit in `listening` may be seen by a waker just when the last of its tasks leaves.
//!    Whichever fence W2 comes second: the waker finds no bit, or the member that `seq` has moved,
//!    and it passes the wake-up on ([`WaitSet::retire`]).
//!
//! A wake-up of one goes to the thread that sleeps longest, else to one member's tasks, in turn. It
//! dies with a process that dies before it acts; so a recovery wakes all. *Whoever gets on while
//! others wait and there is more to be had wakes the next*: two wake-ups may meet in one waiter.

#![cfg_attr(
    gristmill_loom,
    expect(
        unreachable_pub,
        reason = "the models build no locks, whose trait names it"
    )
)]

use crate::memory::owner::Owner;
use crate::primitive::atomic::{AtomicU32, AtomicU64, Ordering, fence_after_rmw};

/// How many members a wait set has bits for. (A model has too few to need more than a word.)
pub(crate) const MEMBERS: usize = if cfg!(gristmill_loom) { 64 } else { 256 };

type Bits = [AtomicU64; MEMBERS / 64];

/// What waking takes: the kernel's wait queue, and the members' bells.
pub(crate) trait Door {
    /// Wakes up to `count` threads that sleep on `word`, and says how many those were.
    fn wake(&self, word: &AtomicU32, count: u32) -> u32;

    /// Has a member see whether its tasks are called ([`WaitSet::call`]).
    fn ring(&self, set: &WaitSet, member: usize);
}

/// How far wake-ups had come when a member looked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tide {
    seq: u32,
    calls: u32,
}

/// What waits for one change of one object.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct WaitSet {
    /// Moved by each waker that sees somebody. What threads sleep on.
    seq: AtomicU32,
    /// Moved before `seq` when all are to wake.
    calls: AtomicU32,
    /// Members with threads that sleep here.
    blocked: Bits,
    /// Members with tasks that wait here.
    listening: Bits,
    unused: [u64; 7],
}

#[cfg(not(gristmill_loom))]
const _: () = assert!(size_of::<WaitSet>() == 128);

impl WaitSet {
    /// Nobody waits.
    pub(crate) fn new() -> Self {
        Self {
            seq: AtomicU32::new(0),
            calls: AtomicU32::new(0),
            blocked: core::array::from_fn(|_| AtomicU64::new(0)),
            listening: core::array::from_fn(|_| AtomicU64::new(0)),
            unused: [0; 7],
        }
    }

    /// Whether somebody seems to wait: after a fence, whoever waits and is not seen looks again.
    #[inline]
    pub(crate) fn has_waiters(&self) -> bool {
        is_any(&self.blocked) || is_any(&self.listening)
    }

    /// Wakes one waiter: the caller has just changed the object with a read-modify-write.
    #[inline]
    pub(crate) fn wake_one(&self, door: &impl Door) {
        // ORDERING: W1, SeqCst; whoever waits and is not seen here sees the change.
        // Models: a_sleeper_is_woken_or_sees_it, a_listener_is_rung_or_sees_it.
        fence_after_rmw();
        if self.has_waiters() {
            self.wake(1, door);
        }
    }

    /// Wakes all who wait: the caller has just changed the object with a read-modify-write.
    pub(crate) fn wake_all(&self, door: &impl Door) {
        // ORDERING: W1, SeqCst; as above.
        fence_after_rmw();
        if self.has_waiters() {
            self.wake(u32::MAX, door);
        }
    }

    #[cold]
    fn wake(&self, count: u32, door: &impl Door) {
        let all = count > 1;
        if all {
            // ORDERING: SeqCst; before `seq`, so that who sees that moved sees that all are meant.
            // Model: who_hears_a_call_of_all_knows_it.
            self.calls.fetch_add(1, Ordering::SeqCst);
        }
        // ORDERING: SeqCst; a thread that is about to sleep finds it moved.
        let seq = self.seq.fetch_add(1, Ordering::SeqCst);
        let woken = match is_any(&self.blocked) {
            true => door.wake(&self.seq, count),
            false => 0,
        };
        if woken > 0 && !all {
            return;
        }
        // ORDERING: W2, SeqCst; a member whose last task leaves is not seen below, or sees `seq`.
        // Model: a_ring_for_nobody_is_passed_on.
        fence_after_rmw();
        // In turn, so that no member is always the first.
        let first = seq as usize % MEMBERS;
        for member in members(&self.listening, first) {
            door.ring(self, member);
            if !all {
                return;
            }
        }
    }

    /// A member has a thread that is about to sleep; under the member's lock.
    pub(crate) fn enter(&self, me: Owner) {
        set(&self.blocked, me, true);
    }

    /// What that thread sleeps on, if it finds nothing when it looks now.
    pub(crate) fn prepare(&self) -> u32 {
        // ORDERING: SeqCst; before the last look: a waker that comes after it moves `seq`.
        let seq = self.seq.load(Ordering::SeqCst);
        // ORDERING: W1, SeqCst; either the waker sees our bit, or we see its change.
        // Model: a_sleeper_is_woken_or_sees_it.
        fence_after_rmw();
        seq
    }

    /// The word that threads sleep on.
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.seq
    }

    /// The last thread of a member has ceased to sleep; under the member's lock.
    pub(crate) fn exit(&self, me: Owner) {
        set(&self.blocked, me, false);
    }

    /// How far wake-ups have come.
    pub(crate) fn tide(&self) -> Tide {
        // ORDERING: SeqCst, `seq` first: see `wake`. Model: who_hears_a_call_of_all_knows_it.
        let seq = self.seq.load(Ordering::SeqCst);
        let calls = self.calls.load(Ordering::SeqCst);
        Tide { seq, calls }
    }

    /// A member has a task that waits; under the member's lock. It looks once more now.
    pub(crate) fn enlist(&self, me: Owner) {
        set(&self.listening, me, true);
        // ORDERING: W1, SeqCst; either the waker sees our bit, or we see its change.
        // Model: a_listener_is_rung_or_sees_it.
        fence_after_rmw();
    }

    /// How many of a member's tasks are called that was there at `seen`, and what to note as seen.
    pub(crate) fn call(&self, seen: Tide) -> (usize, Tide) {
        let now = self.tide();
        let count = match now.calls == seen.calls {
            true => now.seq.wrapping_sub(seen.seq) as usize,
            false => usize::MAX,
        };
        (count, now)
    }

    /// A member's last task waits no more; under the member's lock. True: a wake-up since `seen`
    /// may have been meant for it, and is to be passed on.
    #[must_use]
    pub(crate) fn retire(&self, me: Owner, seen: Tide) -> bool {
        set(&self.listening, me, false);
        // ORDERING: W2, SeqCst; pairs with `wake`. Model: a_ring_for_nobody_is_passed_on.
        fence_after_rmw();
        self.tide() != seen
    }

    /// A dead member waits no more.
    pub(crate) fn forget(&self, dead: Owner) {
        set(&self.blocked, dead, false);
        set(&self.listening, dead, false);
    }
}

/// Whether any bit is set: a hint, after the caller's fence.
#[inline]
fn is_any(bits: &Bits) -> bool {
    // ORDERING: Relaxed; the caller's fence W1 orders it.
    bits.iter().any(|word| word.load(Ordering::Relaxed) != 0)
}

/// Sets or clears a member's bit.
fn set(bits: &Bits, member: Owner, to: bool) {
    let index = usize::from(member.index()) % MEMBERS;
    let bit = 1 << (index % 64);
    // ORDERING: Relaxed; a fence follows wherever the order matters.
    match to {
        true => bits[index / 64].fetch_or(bit, Ordering::Relaxed),
        false => bits[index / 64].fetch_and(!bit, Ordering::Relaxed),
    };
}

/// The members whose bits are set, those from `first` on first.
fn members(bits: &Bits, first: usize) -> impl Iterator<Item = usize> + '_ {
    // The first word comes again at the end, for what is before the first place.
    (0..=bits.len()).flat_map(move |step| {
        let number = (first / 64 + step) % bits.len();
        let behind = u64::MAX << (first % 64);
        let part = match step {
            0 => behind,
            step if step == bits.len() => !behind,
            _ => u64::MAX,
        };
        // ORDERING: Relaxed; hints, after the caller's fence W2.
        let mut left = bits[number].load(Ordering::Relaxed) & part;
        core::iter::from_fn(move || {
            let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(number * 64 + bit)
        })
    })
}

#[cfg(all(test, not(gristmill_loom)))]
mod tests {
    use super::*;

    #[test]
    fn members_come_in_turn_and_each_once() {
        let set_of = WaitSet::new();
        let some = [0, 1, 63, 64, 127, 130, 255];
        for index in some {
            set(&set_of.listening, Owner::new(index, 0), true);
        }
        for first in 0..MEMBERS {
            let found: Vec<_> = members(&set_of.listening, first).collect();
            let (before, after): (Vec<_>, Vec<_>) = some
                .into_iter()
                .map(usize::from)
                .partition(|&index| index < first);
            assert_eq!(found, [after, before].concat(), "from {first} on");
        }
    }
}
