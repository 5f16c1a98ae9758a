//! The span that work was submitted in: what workers say of the work belongs there.
//!
//! A span is held open from the submission until everything that was said of the work has been
//! told. When the work has ended, the supervisor reads what its worker has said (it said so before
//! it ended), and then lets go of the span behind that (`echo.rs`).

#[cfg(feature = "tracing")]
pub(crate) use told::{Caller, Callers, Held};

/// Without anybody who listens there are none.
#[cfg(not(feature = "tracing"))]
#[derive(Debug)]
pub(crate) enum Caller {}

#[cfg(not(feature = "tracing"))]
impl Caller {
    pub(super) fn begin(&mut self, _: crate::protocol::gauge::Work) {
        match *self {}
    }
}

#[cfg(feature = "tracing")]
mod told {
    use core::fmt;
    use std::collections::HashMap;
    use std::process;
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    use tracing_core::Dispatch;
    use tracing_core::span::Id;

    use crate::protocol::gauge::Work;
    use crate::sys::eventfd::Bell;

    /// Spans of the program in which work was submitted.
    #[derive(Debug)]
    pub(crate) struct Callers {
        state: Mutex<State>,
        /// The supervisor's.
        bell: Arc<Bell>,
    }

    #[derive(Debug, Default)]
    struct State {
        /// By the work.
        spans: HashMap<u64, Id>,
        /// Those whose work has ended, until the supervisor has read what was said of it.
        left: Vec<Held>,
        /// There is no supervisor any more.
        over: bool,
    }

    impl Callers {
        pub(crate) fn new(bell: Arc<Bell>) -> Self {
            Self {
                state: Mutex::default(),
                bell,
            }
        }

        /// Holds the span that the calling thread is in, if it is in one.
        pub(crate) fn enter(self: &Arc<Self>, dispatch: &Dispatch) -> Option<Caller> {
            let current = dispatch.current_span();
            let held = Held {
                callers: Arc::clone(self),
                dispatch: dispatch.clone(),
                span: dispatch.clone_span(current.id()?),
                works: Vec::new(),
            };
            Some(Caller {
                held: Some(held),
                process: process::id(),
            })
        }

        /// The span that this work was submitted in.
        pub(crate) fn span_of(&self, work: u64) -> Option<Id> {
            self.lock().spans.get(&key(Work::from_bits(work))).cloned()
        }

        /// Those whose work has ended since the last time.
        pub(crate) fn take_left(&self) -> Vec<Held> {
            core::mem::take(&mut self.lock().left)
        }

        /// Nobody will ask for them any more.
        pub(crate) fn end(&self) {
            self.lock().over = true;
            drop(self.take_left());
        }

        fn leave(&self, held: Held) {
            let mut state = self.lock();
            if state.over {
                drop(state);
                drop(held);
                return;
            }
            let is_first = state.left.is_empty();
            state.left.push(held);
            drop(state);
            if is_first {
                // A full counter means that a wake-up is pending already.
                let _ = self.bell.ring();
            }
        }

        fn lock(&self) -> MutexGuard<'_, State> {
            // Nothing in here panics half-way, so a poisoned lock guards a sound state.
            self.state.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// What work is known by, whichever part of it is meant.
    fn key(work: Work) -> u64 {
        match work {
            Work::Chunk {
                job, generation, ..
            } => {
                let chunk = 0;
                let whole = Work::Chunk {
                    job,
                    generation,
                    chunk,
                };
                whole.to_bits()
            }
            work => work.to_bits(),
        }
    }

    /// Goes with the work, and is dropped when that has ended; by then nothing is said of it.
    pub(crate) struct Caller {
        /// There until it is dropped.
        held: Option<Held>,
        process: u32,
    }

    impl Caller {
        /// From now on this is what the work is called: before any worker can find it.
        pub(crate) fn begin(&mut self, work: Work) {
            if let Some(held) = &mut self.held {
                let work = key(work);
                held.works.push(work);
                held.callers.lock().spans.insert(work, held.span.clone());
            }
        }
    }

    impl Drop for Caller {
        fn drop(&mut self) {
            let Some(held) = self.held.take() else {
                return;
            };
            if self.process == process::id() {
                Arc::clone(&held.callers).leave(held);
            } else {
                // A forked child's copy: its subscriber has nothing to do with it.
                core::mem::forget(held);
            }
        }
    }

    impl fmt::Debug for Caller {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_tuple("Caller").field(&self.held).finish()
        }
    }

    /// A span that is open until this is dropped: with no lock held, as a subscriber runs then.
    pub(crate) struct Held {
        callers: Arc<Callers>,
        dispatch: Dispatch,
        span: Id,
        works: Vec<u64>,
    }

    impl Drop for Held {
        fn drop(&mut self) {
            let mut state = self.callers.lock();
            for work in &self.works {
                state.spans.remove(work);
            }
            drop(state);
            self.dispatch.try_close(self.span.clone());
        }
    }

    impl fmt::Debug for Held {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_tuple("Held").field(&self.span).finish()
        }
    }
}
