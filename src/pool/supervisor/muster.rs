//! How busy the workers keep their cores, for jobs that left some of them asleep.

use std::time::Duration;

use super::Watch;
use crate::pool::deadline::NEVER;
use crate::sys::clock;

/// Processor time as it was looked at last.
#[derive(Debug, Default)]
pub(super) struct Muster {
    /// When; 0: not at all.
    looked: u64,
    /// By the worker: which process that was, and what it had used.
    used: Vec<Option<(u32, Duration)>>,
}

impl Muster {
    /// Processor time that workers used since the last look, and how long ago that was. `awake`
    /// are their indices and processes; whoever sleeps uses none. `None` if the kernel does not
    /// say.
    fn look(&mut self, awake: &[(usize, u32)], now: u64) -> (Option<Duration>, Duration) {
        let passed = Duration::from_nanos(now.saturating_sub(self.looked));
        self.looked = now;
        let mut sum = Some(Duration::ZERO);
        for &(index, pid) in awake {
            let Some(used) = clock::processor_time(pid) else {
                sum = None;
                continue;
            };
            if self.used.len() <= index {
                self.used.resize(index + 1, None);
            }
            // Who has just come is taken for busy until the next look.
            let more = match self.used[index].replace((pid, used)) {
                Some((known, before)) if known == pid => used.saturating_sub(before).min(passed),
                _ => passed,
            };
            sum = sum.map(|sum| sum + more);
        }
        (sum, passed)
    }

    /// What is known is out of date.
    fn forget(&mut self) {
        self.looked = 0;
        self.used.clear();
    }
}

impl Watch<'_> {
    /// Calls workers to jobs that need more, if it is time to look.
    pub(super) fn call_reserve(&mut self) {
        let look = self.engine.hub().reserve.next_look();
        let now = clock::now();
        let is_first = self.muster.looked == 0;
        if look == NEVER || !is_first && now < look {
            return;
        }
        let parking = self.engine.parking();
        let charges = self.charges.iter().enumerate();
        let awake = charges.filter_map(|(index, charge)| {
            let process = charge.process.as_ref()?;
            (!parking.is_asleep(index as u16)).then_some((index, process.pid() as u32))
        });
        let awake: Vec<_> = awake.collect();
        let (used, passed) = self.muster.look(&awake, now);
        if is_first {
            self.engine.hub().reserve.look_later();
            return;
        }
        let is_short = |used| self.engine.hub().reserve.is_short(used, passed);
        // Not under the lock: it takes some microseconds a worker.
        let sleeps = |&(_, pid): &(usize, u32)| clock::sleeps(pid) != Some(false);
        let idle = used.map(|used| is_short(used) && awake.iter().any(sleeps));
        let mut hub = self.engine.hub();
        hub.call_reserve(self.engine.control(), idle);
        if hub.reserve.next_look() == NEVER {
            self.muster.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_counted_from_look_to_look() {
        let mut muster = Muster::default();
        let me = std::process::id();
        let mut now = clock::now();
        muster.look(&[(3, me)], now);
        // Nobody sleeps less than not at all.
        let before = clock::processor_time(me).unwrap();
        while clock::processor_time(me).unwrap() == before {}
        now += 1_000_000_000;
        let (used, passed) = muster.look(&[(3, me)], now);
        assert_eq!(passed, Duration::from_secs(1));
        assert!(used.is_some_and(|used| !used.is_zero() && used <= passed));
        let (used, passed) = muster.look(&[(3, me), (0, me)], now + 1000);
        assert!(used.unwrap() >= passed, "who has just come counts as busy");
        let nobody = muster.look(&[(0, 1 << 22)], now + 2000);
        assert_eq!(nobody.0, None);
    }
}
