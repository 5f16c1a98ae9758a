//! Looking everything over, and beginning anew where that finds damage.
//!
//! A worker that runs wild may overwrite the words by which the parent learns of anything, so that
//! nothing happens any more. All is looked over
//!
//! * after a death that a wild store may have caused, and when something was met that nobody
//!   honest wrote;
//! * while somebody waits: a tenth of a second after the last outcome, then in pauses that double
//!   up to a second, and once a second however much is delivered. When nothing is pending the
//!   supervisor sleeps without a time, and the next waiter that goes to sleep wakes it.

use std::time::{Duration, Instant};

use super::Watch;
use crate::error::{Cause, TaskError, WorkerDeath};
use crate::pool::audit::Finding;
use crate::pool::dispatch::Event;
use crate::sys::process::{KILL, WILD};

/// The first pause.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest one.
const LONGEST: Duration = Duration::from_secs(1);
/// How often the pool is rebuilt without an outcome in between, before it gives up.
const REBUILDS: u32 = 5;

/// When to look everything over, and what came of it before.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// Somebody died as if it had run wild.
    alarmed: bool,
    /// The next look, while somebody waits.
    due: Option<Instant>,
    pause: Duration,
    looked: Option<Instant>,
    /// Outcomes that had been delivered by the last look at them.
    outcomes: u64,
    /// Rebuilds since the last outcome, and the outcomes before the last of them.
    rebuilds: u32,
    outcomes_before: u64,
}

impl Default for Watchdog {
    fn default() -> Self {
        Self {
            alarmed: false,
            due: None,
            pause: SHORTEST,
            looked: None,
            outcomes: 0,
            rebuilds: 0,
            outcomes_before: 0,
        }
    }
}

impl Watchdog {
    /// Hears of a death.
    pub(super) fn note(&mut self, death: &WorkerDeath) {
        self.alarmed |= matches!(death.cause, Cause::Signal(signal) if WILD.contains(&signal));
    }

    /// How long there is nothing to look over, unless somebody dies.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.due
            .map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// Whether to look now, by the clock. Sets the next time.
    fn is_due(&mut self, outcomes: u64, now: Instant) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        let stalled = outcomes == self.outcomes;
        self.outcomes = outcomes;
        self.pause = match stalled {
            true => (self.pause * 2).min(LONGEST),
            false => SHORTEST,
        };
        self.due = Some(now + self.pause);
        stalled || self.looked.is_none_or(|looked| now - looked >= LONGEST)
    }
}

impl Watch<'_> {
    /// Looks everything over if there is a reason to, and begins anew if need be; why the pool
    /// cannot go on.
    pub(super) fn look_over_if_due(&mut self) -> Option<TaskError> {
        let engine = self.engine;
        let now = Instant::now();
        let (outcomes, pending, suspects) = {
            let hub = engine.hub();
            (hub.outcomes, hub.pending(), hub.suspects)
        };
        let watchdog = &mut self.watchdog;
        if watchdog.due.is_none() && engine.is_watched() {
            watchdog.due = Some(now + SHORTEST);
            watchdog.pause = SHORTEST;
            watchdog.outcomes = outcomes;
        }
        let over = pending == 0 && watchdog.due.is_some_and(|due| due <= now);
        if over && outcomes == watchdog.outcomes && engine.stop_watch() {
            watchdog.due = None;
        }
        let due = watchdog.is_due(outcomes, now);
        if !(due && pending > 0 || suspects || watchdog.alarmed) {
            return None;
        }
        watchdog.alarmed = false;
        watchdog.looked = Some(now);
        let findings = engine.look_over();
        let first = findings.first()?;
        self.begin_anew(*first)
    }

    /// Ends all workers, writes the control area anew, and has others started.
    fn begin_anew(&mut self, finding: Finding) -> Option<TaskError> {
        let engine = self.engine;
        let outcomes = engine.hub().outcomes;
        let watchdog = &mut self.watchdog;
        if outcomes != watchdog.outcomes_before {
            watchdog.rebuilds = 0;
        }
        watchdog.outcomes_before = outcomes;
        watchdog.rebuilds += 1;
        let rebuilds = watchdog.rebuilds;
        let damage = finding.to_damage();
        if rebuilds > REBUILDS {
            return Some(TaskError::DamagedTooOften {
                rebuilds: REBUILDS,
                last: damage,
            });
        }
        for index in 0..self.charges.len() {
            // Those that have ended by themselves did so for reasons of their own.
            self.check(index);
        }
        self.watchdog.alarmed = false;
        let mut ended = Vec::new();
        for index in 0..self.charges.len() {
            let charge = &mut self.charges[index];
            let Some(process) = charge.process.take() else {
                continue;
            };
            // Dead already is as good.
            let _ = process.signal(KILL);
            let _ = self.poller.remove(&process);
            let _ = process.reap(true);
            let (place, pid) = (charge.owner.index(), process.pid() as u32);
            engine.tell_scheduler(place, pid, Event::Ended);
            ended.push(charge.owner);
            charge.owner = charge.owner.next();
            self.start_over(index);
        }
        engine.rebuild(&damage, &ended);
        None
    }
}
