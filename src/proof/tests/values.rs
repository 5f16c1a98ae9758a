//! The paths of values and arrays: a process killed at every instruction of a change under the
//! latch, of a look, and of putting right what a dead writer left; and others that look, or want to
//! write, while it stands still there.

use super::sweep::VICTIM;
use super::tracee::Tracee;
use super::walk::{Checked, Shared, Walk};
use crate::cell::{Cell, CellHeader};
use crate::memory::owner::Owner;
use crate::primitive::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::latchword::LatchWord;
use crate::sync::waitset::{Door, WaitSet};

const SURVIVOR: Owner = Owner::new(1, 0);

/// No value: a look that saw two at once.
const TORN: u64 = u64::MAX;

/// A value and an array of two, both under the latch; whole is what is the same all over.
#[repr(C)]
struct Words {
    waiters: WaitSet,
    latch: LatchWord,
    header: CellHeader,
    copies: [AtomicU64; 6],
    array: [AtomicU64; 2],
    /// How often the survivor has changed it.
    survivors: AtomicU64,
    /// What the victim has seen last, and the survivor.
    seen: [AtomicU64; 2],
}

/// No thread sleeps here, and no task.
struct Nobody;

impl Door for Nobody {
    fn wake(&self, _: &AtomicU32, _: u32) -> u32 {
        0
    }

    fn ring(&self, _: &WaitSet, _: usize) {}
}

impl Words {
    fn shared() -> Shared<Self> {
        let words = Shared::new(Self {
            waiters: WaitSet::new(),
            latch: LatchWord::new(),
            header: CellHeader::new(),
            copies: [const { AtomicU64::new(0) }; 6],
            array: [const { AtomicU64::new(0) }; 2],
            survivors: AtomicU64::new(0),
            seen: [const { AtomicU64::new(0) }; 2],
        });
        // Somebody is about to sleep.
        words.get().waiters.enter(SURVIVOR);
        words
    }

    fn cell(&self) -> Cell<'_> {
        Cell::new(&self.header, &self.copies)
    }

    fn look(&self) -> u64 {
        let mut value = [0; 3];
        self.cell().load(&mut value);
        match value {
            [one, two, three] if one == two && two == three => one,
            _ => TORN,
        }
    }

    fn release(&self, me: Owner) {
        if self.latch.release(me, false) {
            self.waiters.wake_one(&Nobody);
        }
    }

    /// Changes the value, waiting for nobody; whether it did.
    fn add(&self, me: Owner) -> bool {
        let taken = self.latch.try_take(me).is_some();
        if taken {
            self.cell().store(&[self.look().wrapping_add(1); 3]);
            self.release(me);
        }
        taken
    }

    fn step(&self, index: usize) {
        self.array[index].fetch_add(1, Ordering::Relaxed);
    }

    fn halves(&self) -> [u64; 2] {
        [0, 1].map(|index| self.array[index].load(Ordering::Relaxed))
    }

    /// Changes the array, and puts it right before where it must; whether it did.
    fn write(&self, me: Owner) -> bool {
        let taken = self.latch.try_take(me).is_some();
        if taken {
            if self.latch.has_died() {
                let [one, _] = self.halves();
                self.array[1].store(one, Ordering::Relaxed);
                self.latch.clear(me);
            }
            self.step(0);
            self.step(1);
            self.release(me);
        }
        taken
    }

    /// The survivor looks, and changes both if it can.
    fn others(&self) {
        self.seen[1].store(self.look(), Ordering::Relaxed);
        if self.add(SURVIVOR) {
            self.survivors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Nobody has seen halves of a value, and it is what the survivor has made of it, and so many
    /// changes more.
    fn is_value(&self, more: impl Fn(u64) -> bool) -> Checked {
        let seen = [&self.seen[0], &self.seen[1]].map(|seen| seen.load(Ordering::Relaxed));
        let (found, survivors) = (self.look(), self.survivors.load(Ordering::Relaxed));
        match found {
            _ if seen.contains(&TORN) => Err("somebody saw a torn value".into()),
            TORN => Err("the value is torn".into()),
            _ if more(found.wrapping_sub(survivors)) => Ok(()),
            _ => Err(format!("it is {found} after {survivors} changes of others")),
        }
    }

    /// What the region does after a death, which may be done twice.
    fn recover(&self) -> Checked {
        let before = self.waiters.prepare();
        for _ in 0..2 {
            self.latch.release(VICTIM, true);
            self.waiters.forget(VICTIM);
            self.waiters.wake_all(&Nobody);
        }
        match self.waiters.prepare() != before {
            true => Ok(()),
            false => Err("who is about to sleep is not woken".into()),
        }
    }

    /// After the death of one that changes the value: it did or did not, and others go on.
    fn after_death(&self) -> Checked {
        self.recover()?;
        self.is_value(|more| more <= 1)?;
        let before = self.look();
        match self.add(SURVIVOR) && self.look() == before + 1 {
            true => Ok(()),
            false => Err("the value can be changed no more".into()),
        }
    }

    /// After the death of one that changes the array: whoever comes next finds it whole, or is
    /// told, and then puts it right for good.
    fn after_array_death(&self) -> Checked {
        self.recover()?;
        if self.latch.try_take(SURVIVOR).is_none() {
            return Err("the array can be written no more".into());
        }
        let ([one, other], told) = (self.halves(), self.latch.has_died());
        self.release(SURVIVOR);
        if one != other && !told {
            return Err(format!("nobody is told of the halves {one} and {other}"));
        }
        let is_right = self.write(SURVIVOR) && self.halves()[0] == self.halves()[1];
        match is_right && self.latch.try_take(SURVIVOR).is_some() && !self.latch.has_died() {
            true => Ok(()),
            false => Err("it is not put right".into()),
        }
    }
}

fn value_walk<'a>(name: &'static str, words: &'a Shared<Words>) -> Walk<'a, Words> {
    Walk {
        name,
        floor: 200,
        words,
        death: &|words, _| words.after_death(),
        meanwhile: &Words::others,
        living: &|words| words.is_value(|more| more == 1),
    }
}

fn array_walk<'a>(name: &'static str, words: &'a Shared<Words>) -> Walk<'a, Words> {
    Walk {
        name,
        floor: 100,
        words,
        death: &|words, _| words.after_array_death(),
        meanwhile: &|words| {
            words.write(SURVIVOR);
        },
        living: &|words| match words.halves() {
            [one, other] if one == other => Ok(()),
            halves => Err(format!("halves: {halves:?}")),
        },
    }
}

#[test]
fn one_that_changes_a_value_dies() {
    let words = Words::shared();
    let walk = value_walk("change of a value", &words);
    // Twice, so that each of the copies is the one that is filled.
    walk.holds(|words| assert!(words.add(VICTIM)));
    words.get().add(SURVIVOR);
    words.get().survivors.fetch_add(1, Ordering::Relaxed);
    walk.holds(|words| assert!(words.add(VICTIM)));
}

#[test]
fn one_that_looks_at_a_value_dies() {
    let words = Words::shared();
    let walk = Walk {
        floor: 60,
        meanwhile: &|words: &Words| {
            // So often that the copy that is read is written again.
            words.others();
            words.others();
        },
        living: &|words| words.is_value(|more| more == 0),
        ..value_walk("look at a value", &words)
    };
    walk.holds(|words| words.seen[0].store(words.look(), Ordering::Relaxed));
}

#[test]
fn one_that_writes_an_array_dies() {
    let words = Words::shared();
    let walk = array_walk("write of an array", &words);
    walk.holds(|words| assert!(words.write(VICTIM)));
}

/// It finds what another that died has left half written, and dies while it puts that right.
#[test]
fn one_that_puts_an_array_right_dies() {
    let words = Words::shared();
    words.get().step(0);
    assert!(words.get().latch.try_take(VICTIM).is_some());
    words.get().latch.release(VICTIM, true);
    let walk = array_walk("putting an array right", &words);
    // Once more if another has put it right meanwhile, which looks like one that writes.
    walk.holds(|words| while !words.write(VICTIM) {});
}

fn is_caught(found: Result<(), (usize, String)>, reasons: &[&str]) {
    match found {
        Err((_, why)) => assert!(reasons.iter().any(|reason| why.contains(reason)), "{why}"),
        Ok(()) => assert!(
            Tracee::start(2, || ()).is_err(),
            "nothing was wrong anywhere"
        ),
    }
}

/// The wrong way: the copy that is the value is overwritten.
#[test]
fn a_value_that_is_changed_in_place_is_caught() {
    let words = Words::shared();
    let walk = Walk {
        floor: 0,
        meanwhile: &|words: &Words| words.seen[1].store(words.look(), Ordering::Relaxed),
        ..value_walk("change in place", &words)
    };
    let found = walk.run(|words| {
        if words.latch.try_take(VICTIM).is_some() {
            for word in &words.copies[..3] {
                word.fetch_add(1, Ordering::Relaxed);
            }
            words.release(VICTIM);
        }
    });
    is_caught(found, &["torn"]);
}

/// The wrong way round: the latch is given back before all is written.
#[test]
fn a_latch_that_is_given_back_too_early_is_caught() {
    let words = Words::shared();
    let walk = Walk {
        floor: 0,
        ..array_walk("release first", &words)
    };
    let found = walk.run(|words| {
        if words.latch.try_take(VICTIM).is_some() {
            words.step(0);
            words.release(VICTIM);
            words.step(1);
        }
    });
    is_caught(found, &["halves", "put right"]);
}

/// The wrong way: what the dead left is forgotten before it is put right, and outside of the latch.
#[test]
fn a_notice_that_is_forgotten_too_early_is_caught() {
    let words = Words::shared();
    words.get().step(0);
    assert!(words.get().latch.try_take(VICTIM).is_some());
    words.get().latch.release(VICTIM, true);
    let walk = Walk {
        floor: 0,
        ..array_walk("forget first", &words)
    };
    let found = walk.run(|words| {
        if words.latch.try_take(VICTIM).is_some() {
            words.latch.clear(VICTIM);
            words.release(VICTIM);
            if words.latch.try_take(VICTIM).is_some() {
                words.array[1].store(1, Ordering::Relaxed);
                words.release(VICTIM);
            }
        }
    });
    is_caught(found, &["halves", "put right"]);
}
