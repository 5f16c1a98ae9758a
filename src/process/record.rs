//! What is known about one process: that it runs, or how it ended.

use core::task::Waker;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::error::{Cause, Damage, OomKill, TaskError, WorkerDeath};
use crate::memory::{MemoryLimit, OutOfMemory};
use crate::process::keeper::Keeper;
use crate::protocol::archive::{self, ArchiveError};
use crate::protocol::envelope::{Enclosure, Envelope, Verdict};
use crate::sys::pidfd::{Exit, PidFd};
use crate::sys::process::KILL;

/// One process, for all who hold it or wait for it.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) daemon: bool,
    pub(super) keeper: &'static Keeper,
    state: Mutex<State>,
    /// Told when the process has ended.
    over: Condvar,
}

#[derive(Debug)]
enum State {
    Running(Running),
    Ended(Outcome),
}

#[derive(Debug)]
struct Running {
    process: Arc<PidFd>,
    envelope: Envelope,
    wakers: Vec<(u64, Waker)>,
    /// We have sent it `SIGKILL`.
    killed: bool,
}

/// How it ended.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) cause: Cause,
    /// That the function has returned, and the result, if it has bytes.
    pub(super) answer: Result<Option<Arc<Enclosure>>, TaskError>,
    death: WorkerDeath,
}

impl Outcome {
    /// For whoever wanted no result.
    pub(super) fn without_result(&self) -> Result<(), TaskError> {
        match (&self.answer, self.cause) {
            (Ok(_) | Err(TaskError::WorkerDied(_)), Cause::Exit(0)) => Ok(()),
            (Ok(_), _) => Err(self.death.clone().into()),
            (Err(error), _) => Err(error.clone()),
        }
    }
}

impl Record {
    pub(super) fn new(
        name: String,
        daemon: bool,
        keeper: &'static Keeper,
        process: Arc<PidFd>,
        envelope: Envelope,
    ) -> Self {
        Self {
            name,
            pid: process.pid() as u32,
            daemon,
            keeper,
            state: Mutex::new(State::Running(Running {
                process,
                envelope,
                wakers: Vec::new(),
                killed: false,
            })),
            over: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change of the state is one assignment, so a poisoned lock guards a sound one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it ended, if it has: looked up in the kernel, not only here.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let mut state = self.lock();
        let running = match &mut *state {
            State::Ended(outcome) => return Some(outcome.clone()),
            State::Running(running) => running,
        };
        let exit = running.process.reap(false).ok().flatten()?;
        let wakers = core::mem::take(&mut running.wakers);
        let killed = running.killed;
        let died = self.death(&exit, killed);
        let before = core::mem::replace(&mut *state, State::Ended(died.clone()));
        let outcome = match before {
            State::Running(running) => Outcome {
                answer: self.read(running.envelope, &died.death),
                ..died
            },
            State::Ended(outcome) => outcome,
        };
        *state = State::Ended(outcome.clone());
        drop(state);
        self.over.notify_all();
        wakers.into_iter().for_each(|(_, waker)| waker.wake());
        Some(outcome)
    }

    fn death(&self, exit: &Exit, killed: bool) -> Outcome {
        let cause = match (exit.signal, exit.code) {
            (Some(signal), _) => Cause::Signal(signal),
            (None, Some(code)) => Cause::Exit(code),
            (None, None) => Cause::Unknown,
        };
        let oom_kill = match exit.signal == Some(KILL) && !killed {
            true => self.keeper.was_oom(),
            false => OomKill::No,
        };
        let death = WorkerDeath {
            name: Some(self.name.as_str().into()),
            peak_memory: exit.peak_rss,
            oom_kill,
            ..WorkerDeath::new(self.pid, cause)
        };
        Outcome {
            cause,
            answer: Err(death.clone().into()),
            death,
        }
    }

    /// What a process that was reaped has left.
    fn read(
        &self,
        envelope: Envelope,
        death: &WorkerDeath,
    ) -> Result<Option<Arc<Enclosure>>, TaskError> {
        match envelope.verdict() {
            Verdict::Silent => Err(death.clone().into()),
            Verdict::Returned { size: 0 } => Ok(None),
            Verdict::Returned { size } => match envelope.into_enclosure(size) {
                Ok(Some(enclosure)) => Ok(Some(Arc::new(enclosure))),
                Ok(None) => Err(damaged("the size of a result", format!("{size} bytes"))),
                Err(_) => Err(TaskError::OutOfMemory(OutOfMemory {
                    wanted: size,
                    available: 0,
                    limit: MemoryLimit::AddressSpace,
                })),
            },
            Verdict::Panicked(report) => Err(report.into()),
            Verdict::BadArguments => {
                Err(damaged("the arguments of a process", "no archive".into()))
            }
            Verdict::TooLarge => Err(TaskError::Archive(ArchiveError::TooLarge {
                type_name: "process's result",
                limit: archive::LIMIT,
            })),
            Verdict::Unserialised(reason) => Err(TaskError::Archive(ArchiveError::Refused {
                type_name: "process's result",
                reason,
            })),
            Verdict::NoRoom { wanted, available } => Err(TaskError::OutOfMemory(OutOfMemory {
                wanted,
                available,
                limit: MemoryLimit::Machine,
            })),
            Verdict::Refused(refusal) => Err(TaskError::Handshake {
                pid: self.pid,
                refusal,
            }),
            Verdict::Nonsense => Err(damaged("the verdict of a process", "another number".into())),
        }
    }

    /// Sends a signal, unless the process has ended.
    pub(super) fn signal(&self, signal: i32) -> Result<(), crate::error::Error> {
        self.keeper.check()?;
        match &mut *self.lock() {
            State::Running(running) => {
                running.killed |= signal == KILL;
                Ok(running.process.signal(signal)?)
            }
            State::Ended(_) => Ok(()),
        }
    }

    /// Blocks until the process has ended or the deadline has passed.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> Option<Outcome> {
        let mut state = self.lock();
        loop {
            if let State::Ended(outcome) = &*state {
                return Some(outcome.clone());
            }
            state = match deadline {
                None => self
                    .over
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.checked_duration_since(Instant::now())?;
                    let waited = self.over.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// The outcome, or leaves the waker of the waiter `id`.
    pub(super) fn poll(&self, id: u64, waker: &Waker) -> Option<Outcome> {
        match &mut *self.lock() {
            State::Ended(outcome) => Some(outcome.clone()),
            State::Running(running) => {
                match running.wakers.iter_mut().find(|(other, _)| *other == id) {
                    Some((_, old)) => old.clone_from(waker),
                    None => running.wakers.push((id, waker.clone())),
                }
                None
            }
        }
    }

    /// Forgets the waiter `id`.
    pub(super) fn forget(&self, id: u64) {
        let gone = match &mut *self.lock() {
            State::Running(Running { wakers, .. }) => {
                let place = wakers.iter().position(|(other, _)| *other == id);
                place.map(|place| wakers.swap_remove(place))
            }
            State::Ended(_) => None,
        };
        drop(gone);
    }
}

/// What a process left that wrote where it must not.
fn damaged(what: &'static str, found: String) -> TaskError {
    Damage::new(what, "what a process of this program leaves", found).into()
}
