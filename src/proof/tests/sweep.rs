//! From instruction to instruction: at each, a death and what the living do meanwhile.

use core::fmt;
use std::io::Write;
use std::os::fd::RawFd;

use super::audit::{Audited, Books, SURVIVOR, audit};
use super::stage::{Saved, Stage};
use super::tracee::{NotPermitted, Stop, Tracee};
use crate::board::ChunkOutcome;
use crate::memory::owner::Owner;
use crate::ring::Verdict;

/// The process that dies: worker 0.
pub(super) const VICTIM: Owner = Owner::new(0, 0);

/// A path that takes longer runs in a circle: as load and store exclusive do when single-stepped
/// on an aarch64 machine without atomic instructions.
const LONGEST: usize = 200_000;

/// In the short form others act at every change of the shared bytes, and at every so manieth
/// instruction besides; with `GRISTMILL_SWEEP=full` in the environment at each.
const PAUSES: usize = 8;

/// What others do while the path stands still between two of its instructions.
pub(super) type Meanwhile<'a> = &'a dyn Fn(&Stage, &mut Books) -> Audited;

/// A path to sweep, and what is to be tried at each of its instructions.
pub(super) struct Sweep<'a> {
    pub(super) name: &'static str,
    /// The test fails when the path has fewer instructions, in a build without optimisations.
    pub(super) floor: usize,
    pub(super) stage: &'a Stage,
    pub(super) books: Books,
    pub(super) meanwhile: Vec<Meanwhile<'a>>,
    /// Looked at when the path has ended after a pause, nobody having died.
    pub(super) afterwards: Meanwhile<'a>,
    /// Looked at after each death, once it was recovered from.
    pub(super) besides: Meanwhile<'a>,
    /// A descriptor that the path needs.
    pub(super) kept: RawFd,
}

/// How much was tried.
#[derive(Default)]
struct Counts {
    deaths: usize,
    audits: usize,
    pauses: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            deaths,
            audits,
            pauses,
        } = self;
        write!(f, "killed at {deaths} instructions, ")?;
        write!(f, "{audits} remains audited, {pauses} pauses")
    }
}

/// What is wrong, and at which instruction.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) instruction: usize,
    pub(super) what: String,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(name: &'static str, floor: usize, stage: &'a Stage, books: Books) -> Self {
        Self {
            name,
            floor,
            stage,
            books,
            meanwhile: Vec::new(),
            afterwards: &|_, _| Ok(()),
            besides: &|_, _| Ok(()),
            kept: 2,
        }
    }

    /// Sweeps the path, which must hold everywhere.
    pub(super) fn holds(self, path: impl FnOnce()) {
        let name = self.name;
        if let Err(Finding { instruction, what }) = self.run(path) {
            panic!("{name}, instruction {instruction}: {what}");
        }
    }

    /// Sweeps the path, which must be caught; `None` when nothing can be traced here.
    pub(super) fn caught(self, path: impl FnOnce()) -> Option<Finding> {
        let name = self.name;
        match self.run(path) {
            Ok(Some(points)) => panic!("{name}: nothing was wrong at {points} points"),
            Ok(None) => None,
            Err(finding) => Some(finding),
        }
    }

    /// How many points were tried; `None` when nothing can be traced here.
    fn run(self, path: impl FnOnce()) -> Result<Option<usize>, Finding> {
        let mut tracee = match Tracee::start(self.kept, path) {
            Ok(tracee) => tracee,
            Err(NotPermitted) => {
                say(&format!(
                    "sweep of {}: SKIPPED, ptrace is not permitted",
                    self.name
                ));
                return Ok(None);
            }
        };
        let full = std::env::var_os("GRISTMILL_SWEEP").is_some_and(|form| form == "full");
        let mut counts = Counts::default();
        let mut before = None;
        for instruction in 0..LONGEST {
            let at = |what| Finding { instruction, what };
            let saved = self.stage.save();
            let changed = before.as_ref() != Some(&saved);
            if full || changed || instruction % PAUSES == 0 {
                counts.pauses += self.meanwhile.len();
                tracee = self.pauses(tracee, &saved).map_err(at)?;
            }
            let twin = tracee.twin();
            tracee.kill();
            counts.deaths += 1;
            // The same bytes were audited an instruction ago.
            if full || changed {
                counts.audits += 1;
                self.deaths(&saved).map_err(at)?;
            }
            tracee = twin;
            before = Some(saved);
            if tracee.step() == Stop::Exit {
                let Self { name, floor, .. } = self;
                say(&format!("sweep of {name}: {counts}"));
                let points = counts.deaths;
                let floor = if cfg!(debug_assertions) {
                    floor
                } else {
                    floor / 15
                };
                assert!(points >= floor, "{name}: {points} points, expected {floor}");
                return Ok(Some(points));
            }
        }
        panic!("{}: no end after {LONGEST} instructions", self.name);
    }

    /// What others may do here; gives the process that goes on from here.
    fn pauses(&self, mut tracee: Tracee, saved: &Saved) -> Result<Tracee, String> {
        for meanwhile in &self.meanwhile {
            let twin = tracee.twin();
            let mut books = self.books.clone();
            meanwhile(self.stage, &mut books)?;
            tracee.resume();
            self.living(&mut books)
                .map_err(|why| format!("after a pause: {why}"))?;
            tracee.kill();
            self.death(books, Verdict::Retry)
                .map_err(|why| format!("after a pause and a death: {why}"))?;
            self.stage.restore(saved);
            tracee = twin;
        }
        Ok(tracee)
    }

    /// What was left here by a death.
    fn deaths(&self, saved: &Saved) -> Audited {
        for verdict in [Verdict::Retry, Verdict::Fail] {
            self.death(self.books.clone(), verdict)
                .map_err(|why| format!("after a death ({verdict:?}): {why}"))?;
            self.stage.restore(saved);
        }
        Ok(())
    }

    /// The path has come to its end, and nobody has died: no task is hidden.
    fn living(&self, books: &mut Books) -> Audited {
        (self.afterwards)(self.stage, books)?;
        let view = self.stage.view();
        // What it submitted is there now.
        books.adopt_submission();
        view.drain(SURVIVOR);
        books.drain_board(view, SURVIVOR);
        for posted in &books.jobs {
            let left = |&chunk: &u32| view.board.outcome(posted, chunk) == ChunkOutcome::Unclaimed;
            if let Some(chunk) = (0..posted.chunks()).find(left) {
                return Err(format!("chunk {chunk} is found by nobody"));
            }
        }
        match books.waiting(view) {
            0 => Ok(()),
            hidden => Err(format!("{hidden} READY tasks are found by nobody")),
        }
    }

    fn death(&self, mut books: Books, verdict: Verdict) -> Audited {
        let view = self.stage.view();
        let kernel = self.stage.kernel();
        books.recover(view, VICTIM, verdict, &kernel)?;
        if kernel.is_asleep(SURVIVOR.index()) {
            return Err("the survivor sleeps on".into());
        }
        (self.besides)(self.stage, &mut books)?;
        audit(view, &mut books, VICTIM, verdict, &kernel)
    }
}

/// To the terminal, past the harness that keeps what passing tests print.
pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
