//! A walk along one path over a few words: a process killed at every instruction of it, and others
//! that act while it stands still there, before it goes on or is killed.

#![expect(unsafe_code, reason = "writes, views, saves and restores shared bytes")]

use std::marker::PhantomData;
use std::ptr::NonNull;

use super::sweep::say;
use super::tracee::{NotPermitted, Stop, Tracee};
use crate::memory::region::{EXTENT_BYTES, Region};

/// As in `sweep`.
const PAUSES: usize = 8;
const LONGEST: usize = 200_000;

pub(super) type Checked = Result<(), String>;

/// Words in memory that a forked process shares.
pub(super) struct Shared<W> {
    region: Region,
    words: PhantomData<W>,
}

impl<W> Shared<W> {
    /// `W` is made of atomics, and needs no drop.
    pub(super) fn new(words: W) -> Self {
        assert!(size_of::<W>() <= EXTENT_BYTES as usize && !std::mem::needs_drop::<W>());
        let region = Region::create(EXTENT_BYTES).expect("memory");
        // SAFETY: in the mapping, aligned to an extent, and nobody else knows it yet.
        unsafe { region.base().cast::<W>().write(words) };
        Self {
            region,
            words: PhantomData,
        }
    }

    pub(super) fn get(&self) -> &W {
        // SAFETY: written in `new`, all atomics, mapped as long as the region.
        unsafe { self.region.base().cast::<W>().as_ref() }
    }

    pub(super) fn save(&self) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<W>()];
        let to = NonNull::from(&mut bytes[..]).cast();
        // SAFETY: both are that large, apart, and nobody writes meanwhile.
        unsafe { self.region.base().copy_to_nonoverlapping(to, bytes.len()) };
        bytes
    }

    pub(super) fn restore(&self, saved: &[u8]) {
        let from = NonNull::from(saved).cast();
        // SAFETY: both are that large, apart, and nobody reads or writes meanwhile.
        unsafe {
            self.region
                .base()
                .copy_from_nonoverlapping(from, saved.len())
        };
    }
}

/// What is walked, and what must hold.
pub(super) struct Walk<'a, W> {
    pub(super) name: &'static str,
    /// How many instructions there are at least, when they are not optimised.
    pub(super) floor: usize,
    pub(super) words: &'a Shared<W>,
    /// Recovers from the death, and judges what is left; told whether others acted before it.
    pub(super) death: &'a dyn Fn(&W, bool) -> Checked,
    /// What others do while it stands still.
    pub(super) meanwhile: &'a dyn Fn(&W),
    /// Judges after it went on to its end.
    pub(super) living: &'a dyn Fn(&W) -> Checked,
}

impl<W> Walk<'_, W> {
    /// The instruction at which something did not hold, and what.
    pub(super) fn run(&self, path: impl FnOnce(&W)) -> Result<(), (usize, String)> {
        let words = self.words;
        let start = words.save();
        let mut tracee = match Tracee::start(2, || path(words.get())) {
            Ok(tracee) => tracee,
            Err(NotPermitted) => {
                let name = self.name;
                say(&format!("walk of {name}: SKIPPED, ptrace is not permitted"));
                return Ok(());
            }
        };
        let full = std::env::var_os("GRISTMILL_SWEEP").is_some_and(|form| form == "full");
        let mut before = None;
        for instruction in 0..LONGEST {
            let saved = words.save();
            let changed = before.as_ref() != Some(&saved);
            if full || changed || instruction % PAUSES == 0 {
                let judge = |checked: Checked| checked.map_err(|why| (instruction, why));
                judge(self.pause(&mut tracee, &saved))?;
                let twin = tracee.twin();
                tracee.kill();
                judge((self.death)(words.get(), false))?;
                words.restore(&saved);
                tracee = twin;
            }
            before = Some(saved);
            if tracee.step() == Stop::Exit {
                let floor = match cfg!(debug_assertions) {
                    true => self.floor,
                    false => self.floor / 15,
                };
                assert!(instruction >= floor, "{}: {instruction} points", self.name);
                let name = self.name;
                say(&format!("walk of {name}: killed at {instruction} points"));
                words.restore(&start);
                return Ok(());
            }
        }
        panic!("{}: no end after {LONGEST} instructions", self.name);
    }

    /// It stands still while others act; then it goes on, and, from the same place, is killed.
    fn pause(&self, tracee: &mut Tracee, saved: &[u8]) -> Checked {
        let words = self.words;
        let twin = tracee.twin();
        (self.meanwhile)(words.get());
        let standing = words.save();
        tracee.resume();
        (self.living)(words.get())?;
        std::mem::replace(tracee, twin).kill();
        words.restore(&standing);
        (self.death)(words.get(), true)?;
        words.restore(saved);
        Ok(())
    }

    pub(super) fn holds(&self, path: impl FnOnce(&W)) {
        if let Err((instruction, why)) = self.run(path) {
            panic!("{}, instruction {instruction}: {why}", self.name);
        }
    }
}
