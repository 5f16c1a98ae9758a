//! The locks' paths: a process killed at every instruction of locking, writing and unlocking; and
//! others that try to have the lock while it stands still there.

#![expect(unsafe_code, reason = "views the region, saves and restores its bytes")]

use std::ptr::NonNull;

use super::sweep::{VICTIM, say};
use super::tracee::{NotPermitted, Stop, Tracee};
use crate::memory::owner::Owner;
use crate::memory::region::{EXTENT_BYTES, Region};
use crate::primitive::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::lockword::LockWord;
use crate::sync::reentrant::ReentrantWords;
use crate::sync::rwlock::{Read, Readers};
use crate::sync::waitset::{Door, WaitSet};

const SURVIVOR: Owner = Owner::new(1, 0);
/// As in `sweep`.
const LONGEST: usize = 200_000;

/// Everything that the paths use.
#[repr(C)]
struct Words {
    waiters: WaitSet,
    word: LockWord,
    reentrant: ReentrantWords,
    readers: Readers,
    /// The same but for who is between the two steps.
    data: [AtomicU64; 2],
}

/// No thread sleeps here, and no task.
struct Nobody;

impl Door for Nobody {
    fn wake(&self, _: &AtomicU32, _: u32) -> u32 {
        0
    }

    fn ring(&self, _: &WaitSet, _: usize) {}
}

type Checked = Result<(), String>;

struct Stage(Region);

impl Stage {
    fn new() -> Self {
        let region = Region::create(EXTENT_BYTES).expect("memory");
        let words = Words {
            waiters: WaitSet::new(),
            word: LockWord::new(),
            reentrant: ReentrantWords::new(),
            readers: Readers::new(),
            data: [const { AtomicU64::new(0) }; 2],
        };
        // SAFETY: in the mapping, aligned to an extent, and nobody else knows it yet.
        unsafe { region.base().cast::<Words>().write(words) };
        let stage = Self(region);
        // Somebody is about to sleep.
        stage.words().waiters.enter(SURVIVOR);
        stage
    }

    fn words(&self) -> &Words {
        // SAFETY: written in `new`, all atomics, mapped as long as the region.
        unsafe { self.0.base().cast::<Words>().as_ref() }
    }

    fn save(&self) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<Words>()];
        let to = NonNull::from(&mut bytes[..]).cast();
        // SAFETY: both are that large, apart, and nobody writes meanwhile.
        unsafe { self.0.base().copy_to_nonoverlapping(to, bytes.len()) };
        bytes
    }

    fn restore(&self, saved: &[u8]) {
        let from = NonNull::from(saved).cast();
        // SAFETY: both are that large, apart, and nobody reads or writes meanwhile.
        unsafe { self.0.base().copy_from_nonoverlapping(from, saved.len()) };
    }

    fn step(&self, number: usize) {
        self.words().data[number].fetch_add(1, Ordering::Relaxed);
    }

    fn data(&self) -> [u64; 2] {
        let data = &self.words().data;
        [0, 1].map(|number| data[number].load(Ordering::Relaxed))
    }

    fn wake(&self) {
        self.words().waiters.wake_one(&Nobody);
    }

    /// Locks, writes and unlocks, waiting for nobody; whether it did.
    fn add(&self, me: Owner) -> bool {
        let Some(hold) = self.words().word.try_lock(me) else {
            return false;
        };
        self.step(0);
        self.step(1);
        self.words().word.unlock(hold, false);
        self.wake();
        true
    }

    /// The same for a writer among readers.
    fn write(&self, me: Owner) -> bool {
        let words = self.words();
        let Some(claim) = words.word.try_claim(me) else {
            return false;
        };
        let can = words.readers.are_gone();
        if can {
            words.word.confirm(claim);
            self.step(0);
            self.step(1);
        }
        words.word.unlock(claim, false);
        self.wake();
        can
    }

    fn read(&self, me: Owner) -> Option<[u64; 2]> {
        let words = self.words();
        let entered = matches!(words.readers.enter(&words.word, me), Read::Entered { .. });
        entered.then(|| {
            let data = self.data();
            if words.readers.leave(&words.word, me) {
                self.wake();
            }
            data
        })
    }

    /// Locks twice, and unlocks twice.
    fn add_twice(&self, me: Owner) -> bool {
        let lock = &self.words().reentrant;
        let Some(outer) = lock.try_lock(me, 7) else {
            return false;
        };
        let inner = lock.try_lock(me, 7).expect("it is ours");
        self.step(0);
        assert!(!lock.unlock(inner, false));
        self.step(1);
        if lock.unlock(outer, false) {
            self.wake();
        }
        true
    }

    /// What the region does after a death, which may be done twice.
    fn recover(&self) {
        let words = self.words();
        for _ in 0..2 {
            words.word.recover(VICTIM);
            words.reentrant.word.recover(VICTIM);
            words.readers.forget(VICTIM);
            words.waiters.forget(VICTIM);
            words.waiters.wake_all(&Nobody);
        }
    }

    /// Nothing is stuck, and whoever finds halves is told.
    fn is_whole(&self, before: u32) -> Checked {
        let words = self.words();
        let locks = [&words.word, &words.reentrant.word];
        let free: Vec<_> = locks.iter().filter_map(|lock| lock.free()).collect();
        let [first, second] = free[..] else {
            return Err("a lock is held for ever".into());
        };
        let [one, other] = self.data();
        if one != other && !(first || second) {
            return Err(format!("nobody is told of the halves {one} and {other}"));
        }
        if words.readers.len() > 0 {
            return Err("a dead reader is waited for".into());
        }
        if words.waiters.prepare() == before {
            return Err("who is about to sleep is not woken".into());
        }
        match self.add(SURVIVOR) && self.write(SURVIVOR) && self.add_twice(SURVIVOR) {
            true => Ok(()),
            false => Err("a lock cannot be had".into()),
        }
    }
}

/// Kills a process that runs `path` at each of its instructions, `meanwhile` being tried before;
/// where that goes wrong, if anywhere.
fn walk(
    name: &str,
    floor: usize,
    meanwhile: impl Fn(&Stage),
    path: impl FnOnce(&Stage),
) -> Result<(), (usize, String)> {
    let stage = Stage::new();
    let before = stage.words().waiters.prepare();
    let mut tracee = match Tracee::start(2, || path(&stage)) {
        Ok(tracee) => tracee,
        Err(NotPermitted) => {
            say(&format!("walk of {name}: SKIPPED, ptrace is not permitted"));
            return Ok(());
        }
    };
    for instruction in 0..LONGEST {
        let saved = stage.save();
        // It stands still, others try, and it goes on to its end.
        let twin = tracee.twin();
        meanwhile(&stage);
        let standing = stage.save();
        tracee.resume();
        let [one, other] = stage.data();
        if one != other {
            return Err((instruction, format!("{one} and {other} after a pause")));
        }
        tracee.kill();
        // It dies where it stands, with or without what others have done.
        for bytes in [&standing, &saved] {
            stage.restore(bytes);
            stage.recover();
            let checked = stage.is_whole(before);
            checked.map_err(|why| (instruction, why))?;
        }
        stage.restore(&saved);
        tracee = twin;
        if tracee.step() == Stop::Exit {
            let floor = match cfg!(debug_assertions) {
                true => floor,
                false => floor / 15,
            };
            assert!(instruction >= floor, "{name}: {instruction} points");
            say(&format!("walk of {name}: killed at {instruction} points"));
            return Ok(());
        }
    }
    panic!("{name}: no end after {LONGEST} instructions");
}

fn holds(name: &str, floor: usize, meanwhile: impl Fn(&Stage), path: impl FnOnce(&Stage)) {
    if let Err((instruction, why)) = walk(name, floor, meanwhile, path) {
        panic!("{name}, instruction {instruction}: {why}");
    }
}

#[test]
fn a_holder_dies() {
    holds(
        "lock, write, unlock",
        150,
        |stage| {
            stage.add(SURVIVOR);
        },
        |stage| assert!(stage.add(VICTIM)),
    );
}

#[test]
fn a_writer_among_readers_dies() {
    holds(
        "claim, write, unlock",
        150,
        |stage| {
            if let Some([one, other]) = stage.read(SURVIVOR) {
                assert_eq!(one, other, "read while it is written");
            }
            stage.write(SURVIVOR);
        },
        |stage| assert!(stage.write(VICTIM)),
    );
}

#[test]
fn a_reader_dies() {
    holds(
        "read",
        100,
        |stage| {
            stage.write(SURVIVOR);
        },
        |stage| {
            if let Some([one, other]) = stage.read(VICTIM)
                && one != other
            {
                // Halves for good, which the walk finds.
                stage.step(0);
            }
        },
    );
}

#[test]
fn a_holder_that_locked_twice_dies() {
    holds(
        "lock twice, write, unlock twice",
        200,
        |stage| {
            stage.add_twice(SURVIVOR);
        },
        |stage| assert!(stage.add_twice(VICTIM)),
    );
}

/// The wrong way round: the lock is given back before all is written.
#[test]
fn an_unlock_that_comes_too_early_is_caught() {
    let found = walk(
        "unlock first",
        0,
        |_| (),
        |stage| {
            let word = &stage.words().word;
            let hold = word.try_lock(VICTIM).expect("it is free");
            stage.step(0);
            word.unlock(hold, false);
            stage.step(1);
        },
    );
    match found {
        Err((_, why)) => assert!(why.contains("halves"), "{why}"),
        Ok(()) => assert!(
            Tracee::start(2, || ()).is_err(),
            "nothing was wrong anywhere"
        ),
    }
}
