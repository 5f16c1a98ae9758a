//! Waiting for an object to change: threads in the kernel, tasks in a list of their process.
//!
//! ```text
//! waiter   its member's bit | fence (W1) | look once more | sleep on `seq`, or pending
//! waker    change the object | fence (W1) | bits: nobody? done : `seq` + 1 | wake
//! ```
//! Whichever fence comes second sees what the other wrote before its own. Threads sleep on `seq`
//! itself, where the kernel forgets those that die; tasks are woken by a thread of their process,
//! which sleeps on its member's bell, however many tasks there are.

use core::mem::size_of;

use crate::commons::layout::{Bits, MEMBERS};
use crate::memory::owner::Owner;
use crate::primitive::atomic::{AtomicU32, AtomicU64, Ordering};

/// What waits for one change of one object.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct WaitSet {
    /// Moved by each waker that sees somebody. What threads sleep on.
    pub(super) seq: AtomicU32,
    /// Moved before `seq` when all are to wake.
    pub(super) calls: AtomicU32,
    /// Members with threads that sleep here.
    pub(super) blocked: Bits,
    /// Members with tasks that wait here.
    pub(super) listening: Bits,
    unused: [u64; 7],
}

const _: () = assert!(size_of::<WaitSet>() == 128);

impl WaitSet {
    /// Nobody waits.
    pub(crate) fn new() -> Self {
        Self {
            seq: AtomicU32::new(0),
            calls: AtomicU32::new(0),
            blocked: [const { AtomicU64::new(0) }; MEMBERS / 64],
            listening: [const { AtomicU64::new(0) }; MEMBERS / 64],
            unused: [0; 7],
        }
    }

    /// Whether somebody seems to wait: after a fence, whoever waits and is not seen looks again.
    #[inline]
    pub(super) fn has_waiters(&self) -> bool {
        is_any(&self.blocked) || is_any(&self.listening)
    }

    /// A dead member waits no more.
    pub(super) fn forget(&self, dead: Owner) {
        set(&self.blocked, dead, false);
        set(&self.listening, dead, false);
    }
}

/// Whether any bit is set: a hint, after the caller's fence.
#[inline]
pub(super) fn is_any(bits: &Bits) -> bool {
    // ORDERING: Relaxed; the caller's fence W1 orders it.
    bits.iter().any(|word| word.load(Ordering::Relaxed) != 0)
}

/// Sets or clears a member's bit.
pub(super) fn set(bits: &Bits, member: Owner, to: bool) {
    let index = usize::from(member.index()) % MEMBERS;
    let bit = 1 << (index % 64);
    // ORDERING: SeqCst; it stands before the waiter's fence W1.
    match to {
        true => bits[index / 64].fetch_or(bit, Ordering::SeqCst),
        false => bits[index / 64].fetch_and(!bit, Ordering::SeqCst),
    };
}

/// The members whose bits are set, those from `first` on first.
pub(super) fn members(bits: &Bits, first: usize) -> impl Iterator<Item = usize> + '_ {
    let all = (0..MEMBERS).map(move |step| (first + step) % MEMBERS);
    // ORDERING: Relaxed; hints.
    all.filter(|&index| bits[index / 64].load(Ordering::Relaxed) >> (index % 64) & 1 == 1)
}
