//! A lock that its owner may have again: the owner is a task or a thread of a process.
//!
//! The word names the process, as any lock's. Which of its tasks has it, and how often, stands
//! beside it, written by that process only; so after a death the word alone decides.
//!
//! ```text
//! word   FREE ─ lock ─▶ HELD(me, g)      task = mine      depth = (g, 1)
//!                       HELD(me, g), depth is of g, task is mine: depth (g, n) ─▶ (g, n + 1)
//!        FREE ◀─ unlock                  ◀─ depth (g, 0)  ◀─ (g, 1)
//! ```
//! The depth names the hold, so that a guard that was dropped by another thread meanwhile, and a
//! hold that began since, are told apart; and it is written after `task`, which counts only beside
//! the depth of the hold. Before that it may be the number of who had the lock last, and so be a
//! task's that has it no more, or a dead process's that a task of this one has, too.

use crate::memory::owner::Owner;
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::sync::lockword::{Hold, LockWord};

/// The words of the lock.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct ReentrantWords {
    pub(crate) word: LockWord,
    task: AtomicU64,
    depth: AtomicU64,
}

const fn depth(hold: Hold, count: u32) -> u64 {
    (hold.generation as u64) << 32 | count as u64
}

impl ReentrantWords {
    /// Free; to be written in place.
    pub(crate) fn new() -> Self {
        Self {
            word: LockWord::new(),
            task: AtomicU64::new(0),
            depth: AtomicU64::new(0),
        }
    }

    /// Locks it, or once more if `task`, which is not 0, has it. `None`: somebody else has.
    #[inline]
    pub(crate) fn try_lock(&self, me: Owner, task: u64) -> Option<Hold> {
        if let Some(hold) = self.word.try_lock(me) {
            // ORDERING: Relaxed; the depth publishes it.
            self.task.store(task, Ordering::Relaxed);
            // ORDERING: O1, Release; publishes whose the hold is. Models:
            // a_task_that_shares_a_number_with_the_dead_is_kept_out,
            // a_task_that_looks_late_is_kept_out.
            self.depth.store(depth(hold, 1), Ordering::Release);
            return Some(hold);
        }
        let hold = self.word.hold_of(me)?;
        // ORDERING: O1, Acquire; if the depth is of this hold, so is the task.
        let seen = self.depth.load(Ordering::Acquire);
        if seen >> 32 != u64::from(hold.generation) {
            return None;
        }
        // ORDERING: Relaxed; see above. It may be of a later hold, and of a task elsewhere that has
        // our number: `deepen` then finds the depth of that hold, or none, and fails. Model:
        // a_task_that_shares_a_number_with_a_living_owner_is_kept_out.
        let is_mine = self.task.load(Ordering::Relaxed) == task;
        (is_mine && self.deepen(hold)).then_some(hold)
    }

    fn deepen(&self, hold: Hold) -> bool {
        let one_more = |seen: u64| {
            let count = seen as u32;
            let can = seen >> 32 == u64::from(hold.generation) && count > 0 && count < u32::MAX;
            can.then_some(seen + 1)
        };
        // ORDERING: Relaxed; nothing is published: the task has the lock already.
        self.depth
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
    }

    /// Once less. True: it is free now, and the next is to be woken.
    #[inline]
    pub(crate) fn unlock(&self, hold: Hold, poisons: bool) -> bool {
        let one_less = |seen: u64| {
            let is_held = seen >> 32 == u64::from(hold.generation) && seen as u32 > 0;
            is_held.then_some(seen - 1)
        };
        // While the guard still counts: afterwards another may unlock it, unpoisoned. Model:
        // poison_of_an_inner_guard_stays.
        if poisons {
            self.word.poison(hold);
        }
        // ORDERING: O2, AcqRel; what was done under guards that were dropped elsewhere comes before
        // the unlock. Model: guards_that_are_dropped_apart_unlock_once.
        let before = self
            .depth
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_less);
        before == Ok(depth(hold, 1)) && self.word.unlock(hold, false)
    }
}

#[cfg(all(test, not(gristmill_loom)))]
mod tests {
    use super::*;
    use crate::sync::rwlock::Readers;

    #[test]
    fn wild_words_make_no_call_panic_or_hang() {
        let (me, dead) = (Owner::new(1, 0), Owner::new(2, 0));
        let mut random = 7_u64;
        for _ in 0..50_000 {
            let words = ReentrantWords::new();
            for word in [&words.task, &words.depth, words.word.bits()] {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                // Often a few bits only, or those of somebody who is there.
                let wild = match random >> 61 {
                    0 => random >> 60 << 60 | random & 3,
                    1 => random & 0xf000_0000_0000_0003 | 1 << 48,
                    2 => random & 0xf000_0000_0000_0003 | 2 << 48,
                    _ => random,
                };
                word.store(wild, Ordering::Relaxed);
            }
            let readers = Readers::new();
            let _ = readers.enter(&words.word, me);
            readers.leave(&words.word, me);
            if let Some(hold) = words.try_lock(me, 1) {
                words.unlock(hold, random & 1 == 0);
                words.unlock(hold, false);
            }
            words.word.clear_poison();
            words.word.recover(dead);
            words.word.recover(me);
            assert!(words.word.hold_of(me).is_none());
            assert!(words.word.hold_of(dead).is_none());
        }
    }
}
