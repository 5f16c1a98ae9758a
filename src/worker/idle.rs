//! Nothing to do: spin a while, then sleep in the kernel until somebody has work.

use core::hint;
use core::mem::replace;
use std::time::{Duration, Instant};

use crate::protocol::control::Control;
use crate::protocol::settings::Settings;
use crate::sync::kernel::KernelFutex;
use crate::sync::{Duty, Group};
use crate::sys::cpu;
use crate::worker::place::Place;

/// How long a worker looks for work before it sleeps: about what waking it would cost.
const SPIN: Duration = Duration::from_micros(50);
/// How long it looks at most while work keeps coming at shorter intervals, unless the program says
/// otherwise.
const LONGEST_SPIN: Duration = Duration::from_millis(2);
/// From one look at the clock to the next, when somebody else had the core in between.
const DISTURBED: Duration = Duration::from_micros(200);
/// The same, when that was another program's turn, which the kernel ends when it ticks.
const LONG_DISTURBED: Duration = Duration::from_millis(1);
/// For so long after that a worker gives up no core by yielding: who yields gets it back only when
/// the other program's turn is over, some milliseconds later, but who sleeps, when it is woken.
const BESIDE_OTHERS: Duration = Duration::from_millis(100);
/// Looks at shared memory between two looks at the clock.
const LOOKS: u32 = 16;
/// How long the sentry sleeps at a time: a task may wait for twice as long behind one that takes
/// long, while other workers sleep.
const WATCH: Duration = Duration::from_millis(2);
/// A worker that claims a task in less time is brisk: to wake another would cost as much as ten.
const BRISK: Duration = Duration::from_micros(4);
/// Those who end a job together each see the others look for work. The first of them looks for so
/// long until they are gone.
const SECOND_LOOK: Duration = Duration::from_micros(5);
/// Looks at the clock between two looks at who else wants this core.
const PATIENCE: u32 = 8;
/// From one offer of the core to whoever may want it to the next: it costs a microsecond.
const BETWEEN_OFFERS: Duration = Duration::from_micros(50);
/// How long tasks may gather while their submitter does not look for results: some four of them
/// come in this time, and then their lines come together, and leave him in peace meanwhile.
const GATHERING: Duration = Duration::from_nanos(1500);
/// So many claims at least tell how quick they are.
const FEW_CLAIMS: u64 = 16;

/// What else there is to do, and so who could do it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct More {
    /// Tasks of this worker's queue.
    pub(super) tasks: bool,
    /// Chunks, which any worker may take.
    pub(super) chunks: bool,
}

/// A worker's place among the idle.
pub(crate) struct Idle<'a> {
    control: &'a Control,
    me: u16,
    /// Those with whom this worker shares its queue.
    group: Group,
    is_spinning: bool,
    /// Results of some tasks wait for their caller, who has something else to do: so can a task
    /// that he submits now.
    gathers: bool,
    /// How many workers may spin at a time: one core fewer than there are is left for the
    /// submitter, who spins as well while it waits.
    ///
    /// And how many awake are enough while they are brisk, for the same reason.
    most_spinners: u32,
    /// How long this worker looks for work at most.
    longest: Duration,
    /// How long it looks next time, if it is the only one: twice what it waited for work last.
    patience: Duration,
    /// There are as many workers as cores: whoever spins may stand in somebody's way.
    yields: bool,
    /// There are more workers than cores: whether jobs need more of them, the parent sees.
    is_crowded: bool,
    /// When another program last had its core for long.
    disturbed: Option<Instant>,
    /// When it last got up, and what had been claimed by then.
    rose: Option<(Instant, u64)>,
    place: Place<'a>,
}

impl<'a> Idle<'a> {
    pub(crate) fn new(control: &'a Control, me: u16, group: Group, settings: &Settings) -> Self {
        let longest = settings.spin.map_or(LONGEST_SPIN, Duration::from_nanos);
        let quota = settings.quota.and_then(|quota| usize::try_from(quota).ok());
        let cores = cpu::allowed(quota);
        let most_spinners = u32::try_from(cores - 1).unwrap_or(u32::MAX).max(1);
        let yields = control.workers() >= cores;
        let is_crowded = control.workers() > cores;
        Self {
            control,
            me,
            group,
            is_spinning: false,
            gathers: false,
            most_spinners,
            longest,
            patience: SPIN.min(longest),
            yields,
            is_crowded,
            disturbed: None,
            rose: None,
            place: Place::new(control, me, cores),
        }
    }

    /// Waits until there seems to be work. Before it sleeps it calls `pass_on`, which sees to work
    /// that is there but not for this worker: a submitter may have counted on it. What has been
    /// `claimed` so far it asks for if it stands sentry; `None`: it may not.
    pub(crate) fn wait(
        &mut self,
        has_work: impl Fn() -> bool,
        pass_on: impl Fn(),
        claimed: impl Fn() -> Option<u64>,
    ) {
        let parking = self.control.parking();
        let mut began = Instant::now();
        if replace(&mut self.gathers, false) && !self.control.callers().has_waiter() {
            let limit = GATHERING.min(self.longest);
            while began.elapsed() < limit {
                hint::spin_loop();
            }
        }
        if self.stands_by(began) && self.stand_by(began, &has_work) {
            return;
        }
        loop {
            let limit = self.limit();
            parking.spin(self.me);
            self.is_spinning = true;
            if self.spin(&mut began, limit.unwrap_or_default(), &has_work) {
                return;
            }
            if limit.is_none()
                && self.place.goes_first()
                && (self.spin(&mut began, SECOND_LOOK.min(self.longest), &has_work)
                    || (self.limit()).is_some_and(|limit| self.spin(&mut began, limit, &has_work)))
            {
                return;
            }
            // Until it says so it counts as awake, so that work may come meanwhile.
            self.place.lie_down();
            parking.announce(self.me);
            let sleeps = !has_work();
            if sleeps {
                pass_on();
                if !(self.stand_sentry(&claimed) && has_work()) {
                    parking.sleep(self.me, &KernelFutex, None);
                }
            }
            self.learn(began.elapsed());
            self.place.get_up(sleeps);
            began = Instant::now();
            self.rose = claimed().map(|claims| (began, claims));
        }
    }

    /// After its part of a job, on the core of whoever waits for that: gives him the core, and asks
    /// for it back as long as it would look for work, so that he can let this worker have it for
    /// the next job without waking it. Whether work came.
    ///
    /// Meanwhile nobody counts on it, as if it were busy: it runs only when he lets it.
    fn stand_by(&mut self, began: Instant, has_work: impl Fn() -> bool) -> bool {
        let parking = self.control.parking();
        // Whoever counted on it before has published before: it sees that now, and passes on what
        // else there is once it has claimed (`claimed`).
        let _duty = parking.busy(self.me, self.group);
        let mut waited = began.elapsed();
        let mut is_called = has_work();
        while !is_called && waited < self.patience && self.stands_by(began) {
            cpu::yield_now();
            is_called = has_work();
            waited = began.elapsed();
        }
        if is_called && waited > SPIN {
            self.learn(waited);
        }
        self.is_spinning = is_called;
        is_called
    }

    /// Whether it does, instead of looking for work on that core: where each worker is wanted for
    /// a job, and this one has no other.
    fn stands_by(&self, now: Instant) -> bool {
        let is_wanted = self.place.shares() && self.yields && !self.is_crowded;
        is_wanted && !self.is_beside_others(now) && self.place.is_in_the_way()
    }

    /// How long it looks for work, if not too many others do.
    fn limit(&self) -> Option<Duration> {
        let spinners = self.control.parking().spinners();
        match spinners.saturating_sub(u32::from(self.is_spinning)) {
            0 => Some(self.patience),
            others if others < self.most_spinners => Some(SPIN.min(self.longest)),
            _ => None,
        }
    }

    /// Stands sentry while claims go on briskly, if nobody does; whether it did.
    fn stand_sentry(&self, claimed: impl Fn() -> Option<u64>) -> bool {
        let parking = self.control.parking();
        let Some(mut before) = claimed() else {
            return false;
        };
        let awake = parking.awake() + 1;
        if !parking.mount_guard(self.me) {
            return false;
        }
        let mut began = Instant::now();
        // What it has seen while it was awake is as good as a first watch.
        if let Some((rose, claims)) = self.rose
            && let claims = before.wrapping_sub(claims)
            && claims >= FEW_CLAIMS
            && is_brisk(claims, began - rose, awake)
        {
            parking.report_brisk(self.me);
        }
        loop {
            parking.sleep(self.me, &KernelFutex, Some(WATCH));
            let claims = claimed().map_or(0, |now| now.wrapping_sub(replace(&mut before, now)));
            let passed = replace(&mut began, Instant::now()).elapsed();
            let is_brisk = is_brisk(claims, passed, parking.awake());
            if !is_brisk || !parking.report_brisk(self.me) {
                break;
            }
        }
        parking.leave_post(self.me);
        true
    }

    /// Work came after this time: whether it is worth looking longer for the next.
    fn learn(&mut self, waited: Duration) {
        let least = SPIN.min(self.longest);
        self.patience = match waited <= self.longest {
            true => (2 * waited).clamp(least, self.longest),
            false => least,
        };
    }

    /// Says, just before the end of a task is published, that this worker will look for work:
    /// whoever submits the next one in answer need not wake another worker for it.
    ///
    /// Not if more tasks wait already: it would take that back at once, and the word in which all
    /// workers say so would go from core to core twice a task.
    pub(crate) fn finishing(&mut self, more: impl FnOnce() -> bool) {
        if !self.is_spinning && !more() {
            self.is_spinning = true;
            self.control.parking().spin(self.me);
        }
    }

    /// The end of a task was published; whether others are `unread`.
    pub(crate) fn finished(&mut self, unread: bool) {
        self.gathers = unread;
    }

    /// Says, once something was claimed and before it is run, that this worker is busy; if nobody
    /// else is looking for work and there is more of it, wakes one who sleeps.
    pub(super) fn claimed(&mut self, more: impl FnOnce() -> More) {
        self.gathers = false;
        if !self.is_spinning {
            return;
        }
        self.is_spinning = false;
        let parking = self.control.parking();
        if parking.busy(self.me, self.group) == Duty::None {
            return;
        }
        self.wake_for(more());
    }

    /// Says that this worker looks for work from now on; a worker that starts counts as asleep.
    pub(crate) fn arrive(&self) {
        self.control.parking().reset(self.me);
    }

    /// Says that this worker looks for no work any more, and has others look at what is left.
    pub(super) fn leave(&mut self, more: impl FnOnce() -> More) {
        self.is_spinning = false;
        self.control.parking().leave(self.me);
        self.wake_for(more());
    }

    /// Wakes who could do that work.
    fn wake_for(&self, more: More) {
        let parking = self.control.parking();
        let More { tasks, chunks } = more;
        let woken = match (tasks, self.group == Group::ALL) {
            (true, true) => parking.wake_unless_enough(1, self.most_spinners, &KernelFutex),
            (true, false) => {
                parking.wake_among(self.group, 1, &KernelFutex);
                0
            }
            (false, _) => 0,
        };
        // A peer that was just woken for tasks takes chunks as well.
        if chunks && woken == 0 {
            parking.wake(1, &KernelFutex);
        }
    }

    /// Wakes one who sleeps for chunks that are worth it, where there is a core for each. Where
    /// there is not, the parent calls as many as are of use (`pool/reserve.rs`). Whether it did.
    pub(super) fn call_for_chunks(&self) -> bool {
        !self.is_crowded && self.control.parking().wake(1, &KernelFutex) > 0
    }

    /// What this worker does now is shared with other workers, or its own.
    pub(super) fn share(&mut self, shares: bool) {
        self.place.share(shares);
    }

    /// At the beginning of a job whose caller is at work as well: leaves him his core.
    pub(super) fn leave_caller(&mut self) {
        self.place.leave_caller();
    }

    /// Some time into a job: lets a peer have this core that was woken, but has none.
    pub(super) fn make_room(&mut self) {
        self.place.make_room();
    }

    /// Whether another program had this worker's core for long a moment ago.
    fn is_beside_others(&self, now: Instant) -> bool {
        let then = self.disturbed;
        then.is_some_and(|then| now.saturating_duration_since(then) < BESIDE_OTHERS)
    }

    /// Looks for work until there is some or the time since it `began` is up; at least once.
    /// What it takes to leave a core is no waiting, and `began` moves by it.
    fn spin(&mut self, began: &mut Instant, limit: Duration, has_work: impl Fn() -> bool) -> bool {
        let mut waited = Duration::ZERO;
        let mut offered = Duration::ZERO;
        for round in 1_u32.. {
            for _ in 0..LOOKS {
                if has_work() {
                    // As of the last look at the clock, which would cost as much as the work.
                    if waited > SPIN {
                        self.learn(waited);
                    }
                    return true;
                }
                hint::spin_loop();
            }
            let before = replace(&mut waited, began.elapsed());
            let away = waited - before;
            if away > LONG_DISTURBED && !self.place.is_in_the_way() {
                self.disturbed = Some(*began + waited);
            }
            if limit.is_zero() || waited >= limit || away > DISTURBED && waited > SPIN {
                return false;
            }
            if !round.is_multiple_of(PATIENCE) {
                continue;
            }
            let is_in_the_way = self.place.is_in_the_way();
            if !(self.yields || is_in_the_way) {
                continue;
            }
            if self.is_beside_others(*began + waited) {
                if is_in_the_way || waited >= SPIN {
                    return false;
                }
                continue;
            }
            let offers = waited - offered >= BETWEEN_OFFERS;
            if offers {
                offered = waited;
            }
            *began += self.place.make_way(offers);
        }
        false
    }
}

/// Whether so many workers that are awake have claimed so many tasks in less time than it takes to
/// wake another. One of them at least was there: somebody claimed.
fn is_brisk(claims: u64, passed: Duration, awake: u32) -> bool {
    let pace = BRISK.as_nanos() * u128::from(claims);
    claims > 0 && pace >= passed.as_nanos() * u128::from(awake.max(1))
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;
    use crate::memory::region::Region;
    use crate::protocol::control::CONTROL_SIZE;
    use crate::protocol::image::ImageId;
    use crate::protocol::lanes::Shape;

    #[test]
    fn nobody_counts_on_a_worker_that_stands_by() {
        let workers = 2;
        let region = Region::create(CONTROL_SIZE as u64).unwrap();
        let shape = Shape::new(workers, 1);
        Control::create(&region, workers, shape, &ImageId::current()).unwrap();
        let control = Control::of(&region).unwrap();
        let mut idle = Idle::new(control, 0, Group::ALL, &Settings::default());
        for index in 0..workers as u16 {
            control.parking().reset(index);
        }
        let has_work = || {
            assert_eq!(control.parking().spinners(), 0);
            true
        };
        idle.finishing(|| false);
        assert_eq!(control.parking().spinners(), 1);
        assert!(idle.stand_by(Instant::now(), has_work));
        // Somebody counted on it before: it passes on what else there is.
        let asked = Cell::new(false);
        idle.claimed(|| {
            asked.set(true);
            let (tasks, chunks) = (false, false);
            More { tasks, chunks }
        });
        assert!(asked.get() && !idle.is_spinning);
    }

    #[test]
    fn claims_are_brisk_by_the_workers_that_are_awake() {
        let time = BRISK * 1000;
        assert!(is_brisk(1000, time, 1) && !is_brisk(999, time, 1));
        assert!(is_brisk(2000, time, 2) && !is_brisk(1999, time, 2));
        // Nobody is awake just now.
        assert!(is_brisk(1000, time, 0) && !is_brisk(1, time, 0) && !is_brisk(0, time, 0));
        assert!(!is_brisk(0, Duration::ZERO, 1));
    }
}
