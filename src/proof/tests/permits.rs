//! The semaphore's paths: a process killed at every instruction of acquire, release and their kin;
//! also the one that recovers what another left.

use super::sweep::VICTIM;
use super::tracee::Tracee;
use super::walk::{Checked, Shared, Walk};
use crate::gate::{Account, Change, Entered, Made, PermitHead, Permits};
use crate::memory::owner::Owner;
use crate::primitive::atomic::{AtomicU64, Ordering};

const SURVIVOR: Owner = Owner::new(1, 0);
/// Who died before, in the walk of a recovery.
const DEAD: Owner = Owner::new(2, 0);
const PERMITS: u32 = 5;
const LIMIT: u32 = 8;

#[repr(C)]
struct Words {
    head: PermitHead,
    accounts: [Account; 3],
    /// How many the victim says that it has got.
    got: AtomicU64,
}

impl Words {
    fn new() -> Shared<Self> {
        Shared::new(Self {
            head: PermitHead::new(PERMITS, LIMIT),
            accounts: std::array::from_fn(|_| Account::new()),
            got: AtomicU64::new(0),
        })
    }

    fn permits(&self) -> Permits<'_> {
        Permits::new(&self.head, &self.accounts)
    }

    fn make(&self, me: Owner, change: Change, count: u32) -> Made {
        self.permits().make(me, change, count)
    }

    fn say_got(&self, count: u64) {
        self.got.store(count, Ordering::Relaxed);
    }

    fn got(&self) -> u32 {
        self.got.load(Ordering::Relaxed) as u32
    }

    /// Every permit is somebody's or free, and there are as many as there may be.
    fn adds_up(&self, totals: &[u32]) -> Checked {
        let permits = self.permits();
        let held: u32 = [VICTIM, SURVIVOR, DEAD]
            .map(|who| permits.held(who))
            .iter()
            .sum();
        let (free, total) = (permits.free(), permits.total());
        match free + held == total && totals.contains(&total) {
            true => Ok(()),
            false => Err(format!("{free} free, {held} held, {total} in all")),
        }
    }

    /// The dead have nothing, and whoever lives gets everything.
    fn is_whole(&self, totals: &[u32]) -> Checked {
        // Who recovers first may die, too.
        for dead in [VICTIM, VICTIM, DEAD] {
            self.permits().recover(dead);
        }
        self.adds_up(totals)?;
        let permits = self.permits();
        let held = permits.held(SURVIVOR);
        if permits.held(VICTIM) + permits.held(DEAD) > 0 || permits.has_first() {
            return Err("the dead have something left".into());
        }
        let rest = permits.total() - held;
        if permits.take_at_once(SURVIVOR, rest) != Made::Done {
            return Err(format!("not all of {rest} permits are to be had"));
        }
        match self.make(SURVIVOR, Change::Give, rest + held) {
            Made::Done => self.adds_up(totals),
            other => Err(format!("{other:?} at giving all")),
        }
    }
}

/// Others take, keep and give, so that they carry out what it has begun, and what they begin is
/// over before it goes on.
fn take_and_give(words: &Words) {
    if words.make(SURVIVOR, Change::Take, 2) == Made::Done {
        assert_eq!(words.make(SURVIVOR, Change::Give, 1), Made::Done);
    }
}

fn walk<'a>(
    name: &'static str,
    words: &'a Shared<Words>,
    death: &'a dyn Fn(&Words, bool) -> Checked,
    living: &'a dyn Fn(&Words) -> Checked,
) -> Walk<'a, Words> {
    Walk {
        name,
        floor: 300,
        words,
        death,
        meanwhile: &take_and_give,
        living,
    }
}

/// What it had at the end, and that nothing else is amiss.
fn has(words: &Words, held: u32, totals: &[u32]) -> Checked {
    match words.permits().held(VICTIM) == held {
        true => words.adds_up(totals),
        false => Err(format!("it has {}", words.permits().held(VICTIM))),
    }
}

#[test]
fn one_that_acquires_dies() {
    let words = Words::new();
    let walk = walk(
        "acquire",
        &words,
        &|words, _| words.is_whole(&[PERMITS]),
        &|words| has(words, words.got(), &[PERMITS]),
    );
    walk.holds(|words| {
        if words.make(VICTIM, Change::Take, 3) == Made::Done {
            words.say_got(3);
        }
    });
}

#[test]
fn one_that_releases_dies() {
    let words = Words::new();
    assert_eq!(words.get().make(VICTIM, Change::Take, 3), Made::Done);
    let walk = walk(
        "release",
        &words,
        &|words, _| words.is_whole(&[PERMITS]),
        &|words| has(words, 1, &[PERMITS]),
    );
    walk.holds(|words| {
        let _ = words.make(VICTIM, Change::Give, 2);
    });
}

#[test]
fn one_that_forgets_dies() {
    let words = Words::new();
    assert_eq!(words.get().make(VICTIM, Change::Take, 3), Made::Done);
    let walk = walk(
        "forget",
        &words,
        &|words, _| words.is_whole(&[PERMITS, PERMITS - 2]),
        &|words| has(words, 1, &[PERMITS - 2]),
    );
    walk.holds(|words| {
        let _ = words.make(VICTIM, Change::Forget, 2);
    });
}

#[test]
fn one_that_adds_dies() {
    let words = Words::new();
    let walk = walk(
        "add",
        &words,
        &|words, _| words.is_whole(&[PERMITS, PERMITS + 2]),
        &|words| has(words, 0, &[PERMITS + 2]),
    );
    walk.holds(|words| {
        let _ = words.make(VICTIM, Change::Add, 2);
    });
}

#[test]
fn one_that_is_first_in_line_dies() {
    let words = Words::new();
    let walk = walk(
        "wait in line",
        &words,
        &|words, _| words.is_whole(&[PERMITS]),
        &|words| match words.permits().has_first() {
            true => Err("it is still in line".into()),
            false => has(words, 0, &[PERMITS]),
        },
    );
    walk.holds(|words| {
        if words.permits().enter(VICTIM, 3, PERMITS + 1) == Entered::First {
            words.permits().leave(VICTIM, 3);
        }
    });
}

/// Who takes care of the dead dies at it, and the next one does it again.
#[test]
fn one_that_recovers_dies() {
    let words = Words::new();
    assert_eq!(words.get().make(DEAD, Change::Take, 3), Made::Done);
    let walk = walk(
        "recover",
        &words,
        &|words, _| words.is_whole(&[PERMITS]),
        &|words| match words.permits().held(DEAD) {
            0 => words.adds_up(&[PERMITS]),
            held => Err(format!("the dead still have {held}")),
        },
    );
    walk.holds(|words| words.permits().recover(DEAD));
}

/// The wrong way: what is free and who has it are two steps, with nothing noted between them.
#[test]
fn permits_that_are_counted_in_two_steps_are_caught() {
    let words = Words::new();
    let mut walk = walk(
        "acquire, free ones first",
        &words,
        &|words, _| words.is_whole(&[PERMITS]),
        &|_| Ok(()),
    );
    walk.floor = 0;
    let found = walk.run(|words| {
        // Taken out, and only then put to its account.
        assert_eq!(words.make(SURVIVOR, Change::Take, 1), Made::Done);
        assert_eq!(words.make(SURVIVOR, Change::Forget, 1), Made::Done);
        assert_eq!(words.make(VICTIM, Change::Add, 1), Made::Done);
        let _ = words.make(VICTIM, Change::Take, 1);
    });
    if found.is_ok() {
        let is_permitted = Tracee::start(2, || ()).is_ok();
        assert!(!is_permitted, "nothing was wrong anywhere");
    }
}
