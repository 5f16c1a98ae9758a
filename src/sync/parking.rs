//! Parking: idle workers spin, then sleep; a submitter wakes one, unless one is awake anyway.
//!
//! ```text
//! word of each worker: AWAKE -> PARKED -> AWAKE (itself, or a waker); see `parkword.rs`
//! spinning, parked: one bit a worker
//! ```
//!
//! The word says whether a worker must be woken: whoever moves it from PARKED to AWAKE does so. The
//! bits only say where to look. A worker's bits are its own to set and clear, and the parent's once
//! it is dead; a waker clears none, or it might clear that of the next sleep.
//!
//! No submission goes unseen while a worker idles:
//! 1. A submitter makes work visible, fences (F1), and reads the spinning bits. If it sees none it
//!    wakes one parked worker.
//! 2. A worker that goes to sleep sets PARKED and its bits, fences (F2), and looks for work once
//!    more. If F1 comes before F2, it sees the work; else the submitter sees it parked.
//! 3. A worker that stops spinning because it found work clears its bit, fences (F3), and reads
//!    the bits of the others. If there are none it looks for more work, and wakes one if there is
//!    any ([`Duty`]): a submitter that counted on it read its bit before it was cleared, so F1
//!    comes before F3 and the work is seen. If it sees another's bit, that worker is still to
//!    clear it, and to fence after F3: the same holds of that one.
//!
//! The same holds for work that only a [`Group`] of workers may do, with the bits of that group
//! alone; and for work of one worker ([`Parking::wake_worker`]), where 1 and 2 suffice, since
//! nobody else is counted on: what it does first is its own business, and it looks at all its work
//! before it sleeps.
//!
//! A worker may die awake, with its bit set or with a wake-up swallowed: the parent then calls
//! [`Parking::vacate`] and [`Parking::wake_all`].

use core::time::Duration;

use crate::primitive::atomic::{AtomicU64, Ordering, fence_after_rmw};
use crate::primitive::prefetch;

use super::Futex;
use super::parkword::{AWAKE, PARKED, ParkWord};
use super::sentry::SentryWord;

/// What a worker owes when it stops being idle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Duty {
    /// Nothing: another idle worker is awake.
    None,
    /// If there is more work, wake one: nobody else may know.
    WakeAnother,
}

/// Which workers may do some work: those whose index divided by `of` leaves `rest`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Group {
    rest: u16,
    of: u16,
}

impl Group {
    /// Every worker.
    pub(crate) const ALL: Self = Self { rest: 0, of: 1 };

    /// One of `of` groups, at least one, into which the workers are dealt in turn.
    pub(crate) const fn new(rest: u16, of: u16) -> Self {
        Self { rest, of }
    }

    /// Which of these bits, the first of them worker `base`'s, are of the group.
    fn among(self, base: usize, bits: u64) -> u64 {
        if self.of == 1 {
            return bits;
        }
        let belongs = |bit: &usize| (base + bit) % self.of as usize == self.rest as usize;
        (0..64).filter(belongs).fold(0, |mask, bit| mask | 1 << bit) & bits
    }
}

/// Which parked workers the kernel is told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tell {
    /// Those whose word we moved to AWAKE.
    Moved,
    /// All of them.
    All,
}

/// The parking place over its borrowed memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parking<'a> {
    words: &'a [ParkWord],
    spinning: &'a [AtomicU64],
    parked: &'a [AtomicU64],
    sentry: &'a SentryWord,
}

impl<'a> Parking<'a> {
    /// A view of a parking place that lies in the four.
    ///
    /// # Panics
    /// Unless each bitmap has a bit for each word.
    pub(crate) fn new(
        words: &'a [ParkWord],
        spinning: &'a [AtomicU64],
        parked: &'a [AtomicU64],
        sentry: &'a SentryWord,
    ) -> Self {
        let needed = words.len().div_ceil(64);
        assert!(spinning.len() == needed && parked.len() == needed);
        Self {
            words,
            spinning,
            parked,
            sentry,
        }
    }

    /// Worker: idle, and looking for work. Look at once: a submitter may have seen us busy.
    pub(crate) fn spin(&self, me: u16) {
        self.awaken(me);
        set(self.spinning, me);
    }

    /// Whether a worker is idle and awake, and whether it is parked: hints. The bit alone would be
    /// set also at a place whose worker has not come to work yet ([`Parking::vacate`]).
    pub(crate) fn seen(&self, index: u16) -> (bool, bool) {
        // Relaxed: hints.
        let is_set = |bits: &[AtomicU64]| {
            let word = bits.get(index as usize / 64);
            word.is_some_and(|word| word.load(Ordering::Relaxed) >> (index % 64) & 1 == 1)
        };
        let is_parked = is_set(self.parked) && self.is_asleep(index);
        (is_set(self.spinning), is_parked)
    }

    /// How many workers are idle and awake: a hint.
    pub(crate) fn spinners(&self) -> u32 {
        // Relaxed: a hint; `wake` and `busy` fence where it matters.
        let count = |bits: &AtomicU64| bits.load(Ordering::Relaxed).count_ones();
        self.spinning.iter().map(count).sum()
    }

    /// Worker: found work. Before running it, do the duty.
    /// `group` is with whom it shares what it may do.
    pub(crate) fn busy(&self, me: u16, group: Group) -> Duty {
        self.awaken(me);
        clear(self.spinning, me);
        // ORDERING: P1, SeqCst; fence F3 above. Model: the_last_spinner_passes_the_wake_on.
        fence_after_rmw();
        // Relaxed: see the fence.
        let others = (0..)
            .step_by(64)
            .zip(self.spinning)
            .any(|(base, bits)| group.among(base, bits.load(Ordering::Relaxed)) != 0);
        if others {
            Duty::None
        } else {
            Duty::WakeAnother
        }
    }

    /// Worker: on this core it will go to sleep, if it does.
    pub(crate) fn lie_down(&self, me: u16, core: Option<u32>) {
        let core = core.map_or(0, |core| core.wrapping_add(1));
        // Relaxed: a hint.
        self.words[me as usize].core.store(core, Ordering::Relaxed);
    }

    /// Whether this worker sleeps, and went to sleep on this core: a hint.
    pub(crate) fn sleeps_on(&self, index: u16, core: u32) -> bool {
        let word = self.words.get(index as usize);
        // Relaxed: a hint.
        word.is_some_and(|word| {
            let lies = word.core.load(Ordering::Relaxed);
            lies != 0 && lies == core.wrapping_add(1) && word.is_parked()
        })
    }

    /// The core that this worker lay down on, if it has been woken and has not done anything since:
    /// a hint.
    pub(crate) fn rises_from(&self, index: u16) -> Option<u32> {
        let bits = self.parked.get(index as usize / 64)?;
        let word = self.words.get(index as usize)?;
        // Relaxed, both: hints.
        if bits.load(Ordering::Relaxed) >> (index % 64) & 1 == 0 || word.is_parked() {
            return None;
        }
        // Nobody lay down in a vacant place.
        word.core.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Worker: about to sleep. Look for work once more, then `sleep`, or be `busy`.
    pub(crate) fn announce(&self, me: u16) {
        self.words[me as usize].park();
        set(self.parked, me);
        clear(self.spinning, me);
        // ORDERING: P1, SeqCst; fence F2 above. Model: a_parked_worker_is_woken_or_sees_the_work.
        fence_after_rmw();
    }

    /// Worker, after `announce`: stands sentry, unless somebody does, or nobody is awake whom it
    /// could spare a wake-up. Whether it does; then it sleeps for a short time only, reports, and
    /// in the end leaves its post.
    pub(crate) fn mount_guard(&self, me: u16) -> bool {
        self.awake() > 0 && self.sentry.mount(me)
    }

    /// The sentry: claims go on briskly. False: it was woken or relieved, and leaves its post.
    pub(crate) fn report_brisk(&self, me: u16) -> bool {
        self.words[me as usize].is_parked() && self.sentry.report_brisk(me)
    }

    /// The sentry leaves its post. It looks for work afterwards, and sleeps or is `busy`.
    pub(crate) fn leave_post(&self, me: u16) {
        self.sentry.leave(me);
        // ORDERING: P3, SeqCst; fence F2 above: whoever relied on the sentry published before it.
        // Model: a_sentry_that_lies_down_sees_the_work.
        fence_after_rmw();
    }

    /// How many workers do not sleep: a hint.
    pub(crate) fn awake(&self) -> u32 {
        // Relaxed: a hint.
        let count = |bits: &AtomicU64| bits.load(Ordering::Relaxed).count_ones();
        let asleep: u32 = self.parked.iter().map(count).sum();
        (self.words.len() as u32).saturating_sub(asleep)
    }

    /// Worker: sleeps until woken or until `timeout` passed. Then `spin`.
    pub(crate) fn sleep(&self, me: u16, futex: &impl Futex, timeout: Option<Duration>) {
        let word = &self.words[me as usize];
        if timeout.is_some() {
            futex.wait(&word.word, PARKED, timeout);
            return;
        }
        while word.is_parked() {
            futex.wait(&word.word, PARKED, None);
        }
    }

    /// Asks for what `wake` looks at.
    pub(crate) fn expect_wake(&self) {
        for bits in self.spinning.first().into_iter().chain(self.parked.first()) {
            prefetch::to_read(bits);
        }
    }

    /// Wakes workers for `tasks` new tasks: as many as are not met by idle ones that are awake.
    /// How many it woke. The caller has just published the work with a read-modify-write.
    pub(crate) fn wake(&self, tasks: u32, futex: &impl Futex) -> u32 {
        self.wake_among(Group::ALL, tasks, futex)
    }

    /// As `wake`, for tasks that only this group may do.
    pub(crate) fn wake_among(&self, group: Group, tasks: u32, futex: &impl Futex) -> u32 {
        // ORDERING: P1, SeqCst; fence F1 above. Model: a_parked_worker_is_woken_or_sees_the_work,
        // the_last_spinner_passes_the_wake_on.
        fence_after_rmw();
        // Relaxed: see the fence.
        let awake: u32 = (0..)
            .step_by(64)
            .zip(self.spinning)
            .map(|(base, bits)| {
                let bits = bits.load(Ordering::Relaxed);
                group.among(base, bits).count_ones()
            })
            .sum();
        self.unpark(group, tasks.saturating_sub(awake), Tell::Moved, futex)
    }

    /// Wakes one of this group that sleeps, whoever is awake: for work that those have left lying.
    pub(crate) fn wake_more(&self, group: Group, futex: &impl Futex) -> u32 {
        self.unpark(group, 1, Tell::Moved, futex)
    }

    /// As `wake`, but wakes nobody while `enough` workers are awake, busy or not, and a sentry
    /// says that they claim tasks briskly: it looks after what is left to them.
    pub(crate) fn wake_unless_enough(&self, tasks: u32, enough: u32, futex: &impl Futex) -> u32 {
        // ORDERING: P1, SeqCst; fence F1 above. Models: a_sentry_that_lies_down_sees_the_work,
        // a_sentry_that_finds_work_passes_the_wake_on.
        fence_after_rmw();
        let missing = tasks.saturating_sub(self.spinners());
        if missing > 0 && self.sentry.is_brisk() && self.awake() >= enough {
            return 0;
        }
        self.unpark(Group::ALL, missing, Tell::Moved, futex)
    }

    /// Wakes this worker if it sleeps, for work that nobody else may do. The caller has just
    /// published the work with a read-modify-write.
    pub(crate) fn wake_worker(&self, index: u16, futex: &impl Futex) -> bool {
        // ORDERING: P1, SeqCst; fence F1 above. Model: a_named_worker_is_woken_or_sees_its_work.
        fence_after_rmw();
        let Some(word) = self.words.get(index as usize) else {
            return false;
        };
        let moved = word.unpark();
        if moved {
            futex.wake(&word.word, 1);
        }
        moved
    }

    /// Wakes a worker if all of them sleep: for work that one can do, and that may wait for one
    /// that is about to be idle. The caller has just published it with a read-modify-write, and
    /// sees to it that somebody calls `wake` if it waits for too long.
    pub(crate) fn wake_if_all_sleep(&self, futex: &impl Futex) -> bool {
        // ORDERING: P1, SeqCst; fence F1 above: a worker that we do not see parked looks for work
        // after its own fence. Model: if_all_sleep_one_is_woken.
        fence_after_rmw();
        let asleep: u32 = self
            .parked
            .iter()
            // Relaxed: see the fence.
            .map(|bits| bits.load(Ordering::Relaxed).count_ones())
            .sum();
        asleep as usize >= self.words.len() && self.unpark(Group::ALL, 1, Tell::Moved, futex) > 0
    }

    /// Wakes every parked worker, as a death or the end demands. Also one whose word says AWAKE:
    /// whoever moved it may have died before it told the kernel.
    pub(crate) fn wake_all(&self, futex: &impl Futex) -> u32 {
        // ORDERING: P1, SeqCst; fence F1 above.
        fence_after_rmw();
        self.unpark(Group::ALL, u32::MAX, Tell::All, futex)
    }

    /// Makes a vacant place that of an awake worker: by the worker that comes there.
    pub(crate) fn reset(&self, index: u16) {
        if let Some(word) = self.words.get(index as usize) {
            self.sentry.leave(index);
            word.unpark();
            clear(self.spinning, index);
            clear(self.parked, index);
        }
    }

    /// Worker: looks for no work any more. If there is some, the caller wakes another, as one that
    /// is about to sleep would see it and stay.
    pub(crate) fn leave(&self, me: u16) {
        self.vacate(me);
        // ORDERING: P1, SeqCst; fence F2 above: whoever counted on this worker published before it.
        fence_after_rmw();
    }

    /// Parent: a place where nobody is, or nobody who would look for work, counts as asleep: a
    /// submitter that sees all asleep turns to those who are.
    pub(crate) fn vacate(&self, index: u16) {
        if let Some(word) = self.words.get(index as usize) {
            self.lie_down(index, None);
            self.sentry.leave(index);
            word.unpark();
            set(self.parked, index);
            clear(self.spinning, index);
        }
    }

    /// How many places there are.
    #[cfg(feature = "tokio")]
    pub(crate) fn places(&self) -> u16 {
        self.words.len() as u16
    }

    /// Whether a worker says that it sleeps. One that does holds no task or chunk but futures that
    /// wait, and it may have been woken a moment ago.
    pub(crate) fn is_asleep(&self, index: u16) -> bool {
        let word = self.words.get(index as usize);
        // ORDERING: P2, Acquire; pairs with the Release in `park`.
        word.is_some_and(|word| word.word.load(Ordering::Acquire) == PARKED)
    }

    /// Wakes this worker if it is parked. The caller has just told it something with a
    /// read-modify-write.
    pub(crate) fn rouse(&self, index: u16, futex: &impl Futex) {
        // ORDERING: P1, SeqCst; fence F1 above: a worker looks at its orders after its own fence.
        fence_after_rmw();
        if let Some(word) = self.words.get(index as usize) {
            word.unpark();
            futex.wake(&word.word, 1);
        }
    }

    /// Parent: wakes everybody, whatever the bits and words say, and lets nobody count as awake
    /// until it says so again. For a wake-up that may be lost: in a waker that is stopped before
    /// it told the kernel, or under a wild store.
    ///
    /// A worker may be anywhere meanwhile. One without its spinning bit is only woken too often,
    /// for whoever relied on the bit sees none now and wakes another; one that is about to sleep
    /// finds its word moved, and looks again. A place that is vacant stays so; one that is taken
    /// for it has its bit cleared by the worker that comes to work there.
    pub(crate) fn rouse_all(&self, futex: &impl Futex, is_vacant: impl Fn(u16) -> bool) {
        for bits in self.spinning.iter().chain(self.parked) {
            // Relaxed: a guess that saves an exchange.
            if bits.load(Ordering::Relaxed) != 0 {
                // ORDERING: Relaxed; the exchanges of the words below are what wakes.
                bits.swap(0, Ordering::Relaxed);
            }
        }
        self.sentry.clear();
        // Whoever relied on a bit or on the sentry published before, or sees none by now.
        fence_after_rmw();
        for (index, word) in (0..).zip(self.words) {
            // Relaxed: the kernel orders it before the sleeper's own look at the word.
            word.word.swap(AWAKE, Ordering::Relaxed);
            futex.wake(&word.word, 1);
            if is_vacant(index) {
                set(self.parked, index);
            }
        }
    }

    /// Parent: all places are vacant, when no worker lives.
    pub(crate) fn renew(&self) {
        // ORDERING: Relaxed throughout; the workers that read this are created afterwards.
        for bits in self.spinning.iter().chain(self.parked) {
            bits.store(0, Ordering::Relaxed);
        }
        self.sentry.clear();
        for (index, word) in (0..).zip(self.words) {
            word.word.store(AWAKE, Ordering::Relaxed);
            set(self.parked, index);
        }
    }

    /// Wakes as many as are wanted: first those who went to sleep each on a core of its own, and
    /// not on the caller's. The kernel wakes a sleeper where he lay if that core has nothing to do,
    /// and mostly also if it has: the caller, and who was woken on the same one before, are in his
    /// way.
    fn unpark(&self, group: Group, wanted: u32, tell: Tell, futex: &impl Futex) -> u32 {
        if wanted == 0 {
            return 0;
        }
        let here = (tell == Tell::Moved).then(|| futex.here()).flatten();
        let first = here.map_or(0, |here| {
            let mut cores = 1 << (here.wrapping_add(1) % 64);
            self.unpark_those(group, wanted, tell, futex, |word| word.joins(&mut cores))
        });
        first + self.unpark_those(group, wanted - first, tell, futex, |_| true)
    }

    fn unpark_those(
        &self,
        group: Group,
        wanted: u32,
        tell: Tell,
        futex: &impl Futex,
        mut are: impl FnMut(&ParkWord) -> bool,
    ) -> u32 {
        let mut woken = 0;
        for (base, bits) in (0..).step_by(64).zip(self.parked) {
            // Relaxed: see the fence of the caller.
            let mut bits = group.among(base, bits.load(Ordering::Relaxed));
            while bits != 0 && woken < wanted {
                let index: usize = base + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let Some(word) = self.words.get(index).filter(|word| are(word)) else {
                    continue;
                };
                let moved = word.unpark();
                if moved || tell == Tell::All {
                    futex.wake(&word.word, 1);
                }
                woken += u32::from(moved);
            }
        }
        woken
    }

    /// No longer parked, whether woken or not.
    fn awaken(&self, me: u16) {
        if self.parked[me as usize / 64].load(Ordering::Relaxed) >> (me % 64) & 1 == 1 {
            self.words[me as usize].unpark();
            clear(self.parked, me);
        }
    }
}

fn set(bits: &[AtomicU64], index: u16) {
    // Relaxed: the fences publish it.
    bits[index as usize / 64].fetch_or(1 << (index % 64), Ordering::Relaxed);
}

fn clear(bits: &[AtomicU64], index: u16) {
    // Relaxed: the fences publish it.
    bits[index as usize / 64].fetch_and(!(1 << (index % 64)), Ordering::Relaxed);
}

#[cfg(test)]
impl<'a> Parking<'a> {
    /// The bitmaps, for those that run wild.
    pub(crate) fn bits(&self) -> impl Iterator<Item = &'a AtomicU64> + use<'a> {
        self.spinning.iter().chain(self.parked)
    }

    /// What workers sleep on, and who stands sentry, for the same.
    pub(crate) fn words(
        &self,
    ) -> impl Iterator<Item = &'a crate::primitive::atomic::AtomicU32> + use<'a> {
        let words = self.words.iter().map(|word| &word.word);
        words.chain([self.sentry.word()])
    }
}
