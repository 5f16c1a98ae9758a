//! Entries of tasks that are over, for the next ones: an allocator's way to hundreds of them in
//! flight is longer than the rest of a submission.

use std::cell::RefCell;
use std::sync::Arc;

use crate::error::TaskError;
use crate::pool::entry::Entry;
use crate::pool::flight::TaskEntry;
use crate::pool::reply::ReplyBytes;

/// How many a thread keeps.
const MOST: usize = 512;

/// The entries that this thread keeps.
#[derive(Debug)]
pub(crate) struct Spare(Vec<Arc<TaskEntry>>);

thread_local! {
    static SPARE: RefCell<Spare> = const { RefCell::new(Spare(Vec::new())) };
}

impl Spare {
    /// An entry without an outcome.
    pub(crate) fn entry() -> Arc<TaskEntry> {
        let kept = SPARE.try_with(|spare| spare.borrow_mut().0.pop());
        kept.ok()
            .flatten()
            .unwrap_or_else(|| Arc::new(Entry::new()))
    }

    /// Keeps an entry, if nobody else has it.
    pub(crate) fn keep(entry: Arc<TaskEntry>) {
        // What is dropped here may run the program's own code, which may come back.
        drop(Self::finish(entry));
    }

    /// The same, and gives the outcome that is in it.
    pub(crate) fn finish(mut entry: Arc<TaskEntry>) -> Option<Result<ReplyBytes, TaskError>> {
        // Nobody else has it, so nobody need be kept out.
        let Some(place) = Arc::get_mut(&mut entry) else {
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

    #[test]
    fn a_kept_entry_knows_nothing_of_its_past() {
        let entry = Spare::entry();
        let address = Arc::as_ptr(&entry);
        entry.deliver(Err(TaskError::Cancelled));
        Spare::keep(entry);
        let again = Spare::entry();
        assert_eq!(Arc::as_ptr(&again), address);
        assert!(!again.is_ready() && again.take().is_none());
    }

    #[test]
    fn an_entry_that_somebody_has_is_not_kept() {
        let entry = Spare::entry();
        let other = Arc::clone(&entry);
        Spare::keep(entry);
        assert_ne!(Arc::as_ptr(&Spare::entry()), Arc::as_ptr(&other));
    }

    #[test]
    fn what_is_finished_gives_its_outcome_once_and_is_kept_if_nobody_else_has_it() {
        for is_shared in [false, true] {
            let entry = Spare::entry();
            let address = Arc::as_ptr(&entry);
            let other = is_shared.then(|| Arc::clone(&entry));
            entry.deliver(Err(TaskError::Cancelled));
            assert!(matches!(
                Spare::finish(entry),
                Some(Err(TaskError::Cancelled))
            ));
            let again = Spare::entry();
            assert_eq!(Arc::as_ptr(&again) == address, !is_shared);
            assert!(other.is_none_or(|other| other.is_ready() && other.take().is_none()));
        }
    }
}
