//! Entries of tasks that are over, for the next ones: an allocator's way to hundreds of them in
//! flight is longer than the rest of a submission.

use std::cell::RefCell;

use crate::error::TaskError;
use crate::pool::entry::Entry;
use crate::pool::flight::TaskHalf;
use crate::pool::reply::ReplyBytes;
use crate::primitive::pair::Half;

/// How many a thread keeps.
const MOST: usize = 512;

/// The entries that this thread keeps.
#[derive(Debug)]
pub(crate) struct Spare(Vec<TaskHalf>);

thread_local! {
    static SPARE: RefCell<Spare> = const { RefCell::new(Spare(Vec::new())) };
}

impl Spare {
    /// Both halves of an entry without an outcome.
    pub(crate) fn entry() -> (TaskHalf, TaskHalf) {
        let kept = SPARE.try_with(|spare| spare.borrow_mut().0.pop());
        let mut entry = kept.ok().flatten();
        loop {
            let mut entry = entry.take().unwrap_or_else(|| Half::new(Entry::new()));
            // Nobody has the other half of what is kept, or new.
            if let Some(other) = entry.share() {
                return (entry, other);
            }
        }
    }

    /// Keeps an entry, if nobody has the other half.
    pub(crate) fn keep(entry: TaskHalf) {
        // What is dropped here may run the program's own code, which may come back.
        drop(Self::finish(entry));
    }

    /// The same, and gives the outcome that is in it.
    pub(crate) fn finish(mut entry: TaskHalf) -> Option<Result<ReplyBytes, TaskError>> {
        // Nobody else has it, so nobody need be kept out.
        let Some(place) = entry.get_mut() else {
            return entry.take();
        };
        let outcome = place.renew();
        // A thread that ends keeps nothing.
        let _ = SPARE.try_with(|spare| {
            let kept = &mut spare.borrow_mut().0;
            if kept.len() < MOST {
                kept.push(entry);
            }
        });
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(entry: &TaskHalf) -> *const Entry<Result<ReplyBytes, TaskError>> {
        &raw const **entry
    }

    #[test]
    fn a_kept_entry_knows_nothing_of_its_past() {
        let (entry, other) = Spare::entry();
        let before = address(&entry);
        drop(other);
        entry.deliver(Err(TaskError::Cancelled));
        Spare::keep(entry);
        let (again, _) = Spare::entry();
        assert_eq!(address(&again), before);
        assert!(!again.is_ready() && again.take().is_none());
    }

    #[test]
    fn an_entry_that_somebody_has_is_not_kept() {
        let (entry, other) = Spare::entry();
        Spare::keep(entry);
        assert_ne!(address(&Spare::entry().0), address(&other));
    }

    #[test]
    fn what_is_finished_gives_its_outcome_once_and_is_kept_if_nobody_else_has_it() {
        for is_shared in [false, true] {
            let (entry, other) = Spare::entry();
            let before = address(&entry);
            let other = is_shared.then_some(other);
            entry.deliver(Err(TaskError::Cancelled));
            assert!(matches!(
                Spare::finish(entry),
                Some(Err(TaskError::Cancelled))
            ));
            let (again, _) = Spare::entry();
            assert_eq!(address(&again) == before, !is_shared);
            assert!(other.is_none_or(|other| other.is_ready() && other.take().is_none()));
        }
    }
}
