//! Futures: who listens to the workers while tasks of a runtime wait.
//!
//! Under tokio each runtime gets one listener, a task that waits for the pool's eventfd in the
//! runtime's own poll: an outcome needs no hop through another thread. Under any other executor
//! the supervisor's thread listens. A future first looks for itself, and one that waits alone
//! spins for a while: most answers come sooner than a sleeping thread could be woken. Under tokio
//! it makes way for others of its thread instead, if there are any that would call ([`company`]).

use core::task::{Context, Poll};
use std::sync::Arc;
use std::time::Duration;

use crate::pool::engine::Engine;
use crate::pool::entry::Entry;

use self::company::Company;
#[cfg(feature = "tokio")]
use self::listener::Listeners;

/// How long a lone future spins in `poll` before it lets the reactor wait.
const SPIN: Duration = Duration::from_micros(20);

/// The listeners there are, and whether lone futures have company.
#[derive(Debug, Default)]
pub(crate) struct Reactors {
    #[cfg(feature = "tokio")]
    listeners: Listeners,
    pub(super) company: Company,
    /// Set when the supervisor is to listen until nothing is pending: a future waits outside
    /// tokio, or there is work that nobody may ever wait for.
    pub(crate) supervisor_listens: bool,
}

/// Who will wake the current task.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ear {
    /// The supervisor, once it is asked to.
    Nobody,
    Supervisor,
    /// A listener of this runtime, once there is one.
    #[cfg(feature = "tokio")]
    Runtime,
    /// That one, which looks when it has its turn.
    #[cfg(feature = "tokio")]
    Listener,
}

impl Ear {
    /// Whether it is a task beside the current one, which lets others of the runtime run.
    const fn is_of_runtime(self) -> bool {
        #[cfg(feature = "tokio")]
        return matches!(self, Self::Runtime | Self::Listener);
        #[cfg(not(feature = "tokio"))]
        false
    }

    /// Whether it needs nothing from the current task to hear.
    const fn hears(self) -> bool {
        #[cfg(feature = "tokio")]
        return matches!(self, Self::Supervisor | Self::Listener);
        #[cfg(not(feature = "tokio"))]
        return matches!(self, Self::Supervisor);
    }
}

impl Reactors {
    fn ear_of_this_task(&self) -> Ear {
        #[cfg(feature = "tokio")]
        match listener::is_heard(&self.listeners) {
            Some(true) => return Ear::Listener,
            Some(false) => return Ear::Runtime,
            None => {}
        }
        match self.supervisor_listens {
            true => Ear::Supervisor,
            false => Ear::Nobody,
        }
    }
}

impl Engine {
    /// Polls an entry, and sees to it that somebody will wake the task.
    pub(crate) fn poll<T>(
        self: &Arc<Self>,
        entry: &Entry<T>,
        context: &mut Context<'_>,
    ) -> Poll<T> {
        if let Some(outcome) = entry.take() {
            return Poll::Ready(outcome);
        }
        let mut hub = self.hub();
        let ear = hub.reactors.ear_of_this_task();
        // Just submitted, beside others for which a listener looks, it has hardly ended. To look
        // would take from the workers the lines that they are about to write. But who polls once
        // and no more, after a while, has what there is.
        let is_heard = ear.is_of_runtime() && ear.hears() && entry.is_fresh();
        if !is_heard || hub.waits_alone() {
            let ended = self.ended_place(entry);
            // What waits alone is looked for where it is, below.
            if ended.is_some() || !hub.waits_alone() && self.sees_completions() {
                hub.harvest_with(self.control(), self, ended);
            }
        }
        let is_alone = hub.waits_alone();
        let makes_way = is_alone && ear.is_of_runtime() && hub.reactors.company.makes_way();
        drop(hub);
        if is_alone && !makes_way {
            self.spin(entry, SPIN);
        }
        let polled = entry.poll(context);
        if polled.is_ready() {
            return polled;
        }
        self.share_out();
        self.keep_watch();
        if !ear.hears() {
            self.listen();
        } else if makes_way {
            #[cfg(feature = "tokio")]
            listener::call(self);
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

mod company;
#[cfg(feature = "tokio")]
mod listener;
