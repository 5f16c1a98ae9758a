//! Futures: who listens to the workers while tasks of a runtime wait.
//!
//! Under tokio each runtime gets one listener, a task that waits for the pool's eventfd in the
//! runtime's own poll: an outcome needs no hop through another thread. Under any other executor
//! the supervisor's thread listens. A future first looks for itself, and one that waits alone
//! spins for a while: most answers come sooner than a sleeping thread could be woken.
//!
//! Many callers on one thread would each find themselves alone, spin, and go on to their next call
//! before any other had its turn: one round trip after the other. So a future that waits alone
//! first lets others go, once. If any of them calls meanwhile, their tasks are under way together
//! from then on; if none does, the next 64 futures spin at once.

use core::task::{Context, Poll};
use std::sync::Arc;
use std::time::Duration;

use crate::pool::engine::Engine;
use crate::pool::entry::Entry;

#[cfg(feature = "tokio")]
use self::listener::Listeners;

/// How long a lone future spins in `poll` before it lets the reactor wait.
const SPIN: Duration = Duration::from_micros(20);
/// How many futures spin at once after one that let others go first, in vain.
const ALONE: u32 = 64;

/// The listeners there are, and how many futures wait.
#[derive(Debug, Default)]
pub(crate) struct Reactors {
    #[cfg(feature = "tokio")]
    listeners: Listeners,
    /// Set when the supervisor is to listen until nothing is pending: a future waits outside
    /// tokio, or there is work that nobody may ever wait for.
    pub(crate) supervisor_listens: bool,
    /// How many more futures that wait alone take it that nobody else is about to call.
    alone: u32,
}

impl Reactors {
    /// Whether a future that waits alone lets others go first.
    fn gives_way(&mut self) -> bool {
        let left = self.alone.checked_sub(1);
        self.alone = left.unwrap_or(0);
        left.is_none()
    }

    /// What came of it.
    fn learn(&mut self, others_called: bool) {
        self.alone = if others_called { 0 } else { ALONE };
    }

    /// Whether somebody listens who will wake the current task.
    fn hears_this_task(&self) -> bool {
        #[cfg(feature = "tokio")]
        if let Some(heard) = listener::is_heard(&self.listeners) {
            return heard;
        }
        self.supervisor_listens
    }
}

impl Engine {
    /// Polls an entry, and sees to it that somebody will wake the task.
    pub(crate) fn poll<T>(
        self: &Arc<Self>,
        entry: &Entry<T>,
        context: &mut Context<'_>,
    ) -> Poll<T> {
        let gave_way = entry.gave_way();
        if let Some(outcome) = entry.take() {
            if let Some(calls) = gave_way {
                let mut hub = self.hub();
                let others_called = hub.calls > calls;
                hub.reactors.learn(others_called);
            }
            return Poll::Ready(outcome);
        }
        let (is_alone, is_heard) = {
            let mut hub = self.hub();
            let ended = self.ended_place(entry);
            match gave_way {
                Some(calls) => {
                    let others_called = hub.calls > calls;
                    hub.reactors.learn(others_called);
                }
                None if hub.waits_alone() && ended.is_none() && hub.reactors.gives_way() => {
                    entry.give_way(hub.calls);
                    drop(hub);
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None => {}
            }
            // What waits alone is looked for where it is, below.
            if ended.is_some() || !hub.waits_alone() && self.sees_completions() {
                hub.harvest_with(self.control(), self, ended);
            }
            (hub.waits_alone(), hub.reactors.hears_this_task())
        };
        if is_alone {
            self.spin(entry, SPIN);
        }
        let polled = entry.poll(context);
        if polled.is_pending() {
            self.share_out();
            self.keep_watch();
        }
        if polled.is_pending() && !is_heard {
            self.listen();
        }
        polled
    }

    /// Has somebody listen on behalf of the current task. Whoever it is looks for what has
    /// finished before it sleeps, so nothing that finished meanwhile goes unheard.
    fn listen(self: &Arc<Self>) {
        #[cfg(feature = "tokio")]
        if listener::ensure(self) {
            return;
        }
        self.let_supervisor_listen();
    }

    /// Has the supervisor's thread deliver outcomes until nothing is pending any more.
    pub(crate) fn let_supervisor_listen(&self) {
        if self.check_process().is_err() {
            return;
        }
        self.keep_watch();
        let mut hub = self.hub();
        if !hub.reactors.supervisor_listens {
            hub.reactors.supervisor_listens = true;
            drop(hub);
            self.nudge_supervisor();
        }
    }
}

#[cfg(feature = "tokio")]
mod listener;
