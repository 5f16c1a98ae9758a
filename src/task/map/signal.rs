//! Which batches, or tasks of a set, have ended, and whom to tell.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use crate::pool::entry::Entry;
use crate::pool::flight::TaskEntry;

/// One map's list of batches that have ended. Whoever waits for the map waits for its next round,
/// which ends with the next batch that does.
#[derive(Debug, Default)]
pub(in crate::task) struct Signal(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    ended: Vec<u64>,
    round: Option<Arc<Entry<()>>>,
}

impl Signal {
    /// Has the end of a batch noted here, now if it has ended.
    pub(in crate::task) fn listen(self: &Arc<Self>, batch: u64, entry: &TaskEntry) {
        let note = Arc::new(Note {
            batch,
            signal: Arc::clone(self),
        });
        if !entry.register(&Waker::from(Arc::clone(&note))) {
            note.wake();
        }
    }

    /// Takes the batches that have ended since the last time.
    pub(in crate::task) fn take(&self) -> Vec<u64> {
        mem::take(&mut self.lock().ended)
    }

    /// What to wait for; `None` when a batch has ended already.
    pub(in crate::task) fn round(&self) -> Option<Arc<Entry<()>>> {
        let mut state = self.lock();
        if !state.ended.is_empty() {
            return None;
        }
        let round = state.round.get_or_insert_with(|| Arc::new(Entry::new()));
        Some(Arc::clone(round))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way, so a poisoned lock guards a sound state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes the end of one batch.
struct Note {
    batch: u64,
    signal: Arc<Signal>,
}

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        let round = {
            let mut state = self.signal.lock();
            state.ended.push(self.batch);
            state.round.take()
        };
        if let Some(waker) = round.and_then(|round| round.deliver(())) {
            waker.wake();
        }
    }
}
