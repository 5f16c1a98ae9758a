//! Workers that a job leaves asleep, and when it turns out to need them after all.
//!
//! Where there are more workers than cores, a job that keeps those it has busy gains nothing by
//! more: they would take turns on the same cores, each with page tables and caches of its own. So
//! it is given as many as there are cores, its *crew*; all others are its reserve.
//!
//! But a chunk may block, or wait for another one, and nobody knows beforehand. So as long as there
//! are chunks that nobody has begun, the supervisor looks now and then, and calls from the reserve,
//! one worker first and then twice as many each time,
//!
//! - when those that are awake have used less processor time than there was, and one of them sleeps
//!   in its chunk: on a busy machine they would only take each other's turns;
//! - when no chunk has been begun for long, however busy they are: they may wait for each other
//!   without sleeping. If they only take their time, more of them do no harm.
//!
//! Nobody is left behind: whoever waits for longer than a wake-up takes asks for the first look
//! ([`Hub::share_out`]), as does who posts a job for a caller that may be asleep; and from then on
//! there is a next one until all chunks are begun. A death calls everybody.

use core::time::Duration;

use crate::pool::deadline::NEVER;
use crate::pool::hub::Hub;
use crate::protocol::control::Control;
use crate::sys::clock;

/// From one look to the next: long enough to tell workers that sleep from those that are moved or
/// disturbed, short beside what it is to wait for a disk or another machine.
const WATCH: Duration = Duration::from_millis(2);
/// Busy workers that begin nothing for so long may wait for each other.
const LONG: Duration = Duration::from_millis(100);

/// How many workers jobs are given, and when to look whether that is enough.
#[derive(Debug)]
pub(crate) struct Reserve {
    /// As many as there are cores, or all.
    crew: u32,
    look: u64,
}

/// The workers that one job was given.
#[derive(Debug, Default)]
pub(super) struct Turnout {
    called: u32,
    /// Chunks that nobody had begun when it was looked at last, and when that changed.
    left: u32,
    begun: u64,
    /// How many are called next, less one.
    doubled: u32,
}

impl Reserve {
    /// Everybody is called at once.
    pub(crate) const NONE: Self = Self {
        crew: u32::MAX,
        look: NEVER,
    };

    /// Of so many workers, that have so many cores.
    pub(crate) fn new(workers: usize, cores: usize) -> Self {
        match workers > cores {
            true => Self {
                crew: u32::try_from(cores).unwrap_or(u32::MAX),
                look: NEVER,
            },
            false => Self::NONE,
        }
    }

    const fn is_kept(&self) -> bool {
        self.crew != u32::MAX
    }

    /// How many more workers to wake for so many chunks that nobody has begun.
    pub(super) fn call(&self, turnout: &mut Turnout, chunks: u32) -> u32 {
        if !self.is_kept() {
            return chunks;
        }
        let wanted = self.crew.min(chunks);
        let more = wanted.saturating_sub(turnout.called);
        turnout.called += more;
        more
    }

    /// Whether workers that have used so much processor time in a time `passed` left cores idle.
    pub(super) fn is_short(&self, used: Duration, passed: Duration) -> bool {
        // What is less than half a core tells nothing.
        used + passed / 2 < passed.saturating_mul(self.crew)
    }

    /// After a look that only notes how things stand.
    pub(super) fn look_later(&mut self) {
        self.look = clock::after(clock::now(), WATCH);
    }

    /// When to look next whether jobs need more workers.
    pub(super) const fn next_look(&self) -> u64 {
        self.look
    }
}

impl Turnout {
    /// How many more workers to wake, `left` chunks being left that nobody has begun. `idle`:
    /// whether those that are awake left cores idle; `None`: nobody knows.
    fn more(&mut self, left: u32, idle: Option<bool>, now: u64) -> u32 {
        let goes_on = left != self.left;
        if goes_on {
            self.left = left;
            self.begun = now;
        }
        let stalls = now >= clock::after(self.begun, LONG);
        if !(idle.unwrap_or(!goes_on) || stalls) {
            if goes_on {
                self.doubled = 0;
            }
            return 0;
        }
        self.begun = now;
        let more = self.doubled + 1;
        self.doubled = more.saturating_mul(2) - 1;
        more.min(left)
    }
}

impl Hub {
    /// Calls workers for the chunks that nobody has begun, because their jobs turn out to take
    /// time: a small job was left to one worker.
    pub(crate) fn share_out(&mut self, control: &Control) {
        let mut is_left = false;
        for job in self.jobs.active() {
            let Some(running) = self.jobs.get(job) else {
                continue;
            };
            let left = control.board().unclaimed(&running.posted);
            is_left |= left > 0;
            let more = self.reserve.call(&mut running.turnout, left);
            self.wake_workers(more);
        }
        if is_left {
            self.watch_reserve();
        }
    }

    /// Has the supervisor look whether jobs need more workers.
    pub(super) fn watch_reserve(&mut self) {
        if self.reserve.is_kept() && self.reserve.look == NEVER {
            self.reserve.look = clock::after(clock::now(), WATCH);
            self.aftermath.nudge = true;
        }
    }

    /// By the supervisor, when it is time to: calls workers to jobs that need more. `idle`:
    /// whether those that are awake left cores idle; `None`: nobody knows.
    pub(super) fn call_reserve(&mut self, control: &Control, idle: Option<bool>) {
        let now = clock::now();
        self.reserve.look = NEVER;
        for job in self.jobs.active() {
            let Some(running) = self.jobs.get(job) else {
                continue;
            };
            let left = control.board().unclaimed(&running.posted);
            if left > 0 {
                let more = running.turnout.more(left, idle, now);
                self.wake_workers(more);
                self.reserve.look = clock::after(now, WATCH);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    #[test]
    fn a_job_is_given_a_worker_for_each_core_once() {
        let reserve = Reserve::new(64, 2);
        let mut turnout = Turnout::default();
        assert_eq!(reserve.call(&mut turnout, 1), 1);
        assert_eq!(reserve.call(&mut turnout, 700), 1);
        assert_eq!(reserve.call(&mut turnout, 600), 0);
        // With a core for each, all are called, again and again.
        let all = Reserve::new(2, 2);
        assert_eq!(all.call(&mut turnout, 700), 700);
        assert_eq!(all.call(&mut turnout, 600), 600);
    }

    #[test]
    fn idle_cores_call_more_and_more_workers() {
        let mut turnout = Turnout::default();
        let mut at = |left, idle, now| turnout.more(left, idle, now * MILLISECOND);
        assert_eq!(at(500, Some(false), 2), 0);
        assert_eq!(at(490, Some(true), 4), 1);
        assert_eq!(at(480, Some(true), 6), 2);
        assert_eq!(at(480, Some(true), 8), 4);
        assert_eq!(at(470, Some(false), 10), 0, "now they are busy");
        assert_eq!(at(460, Some(true), 12), 1);
        assert_eq!(at(1, Some(true), 14), 1, "no more than there are chunks");
    }

    #[test]
    fn busy_workers_that_begin_nothing_for_long_get_company() {
        let mut turnout = Turnout::default();
        let mut called = Vec::new();
        for now in (2..=1000).step_by(2) {
            called.push(turnout.more(62, Some(false), now * MILLISECOND));
        }
        called.retain(|&more| more > 0);
        assert_eq!(called, [1, 2, 4, 8, 16, 32, 62, 62, 62]);
    }

    #[test]
    fn where_nobody_knows_claims_tell() {
        let mut turnout = Turnout::default();
        assert_eq!(turnout.more(9, None, 2 * MILLISECOND), 0);
        assert_eq!(turnout.more(8, None, 4 * MILLISECOND), 0);
        assert_eq!(turnout.more(8, None, 6 * MILLISECOND), 1);
        assert_eq!(turnout.more(8, None, 8 * MILLISECOND), 2);
    }
}
