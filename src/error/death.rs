//! How a worker ended, and what it took along.

use core::fmt;
use core::num::NonZeroU16;
use core::ops::Range;

use crate::sys::oom::OomKills;

/// A worker process that ended while it ran a task, and what is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerDeath {
    /// Its process id; another process may have it by now.
    pub pid: u32,
    /// What it was called, if it was a [`Process`](crate::Process) or a
    /// [`Worker`](crate::Worker) of its own; `None` for a worker of a pool, which is replaced.
    pub name: Option<Box<str>>,
    /// What ended it.
    pub cause: Cause,
    /// The most physical memory it ever held, in bytes, if the kernel said so.
    pub peak_memory: Option<u64>,
    /// Whether the kernel killed it because memory ran out, as far as can be told.
    pub oom_kill: OomKill,
    /// How many workers ran the task, this one included, each of which died.
    pub attempts: u32,
    /// The task that it ran; of a map, the batch. `None` for other work.
    pub task: Option<TaskId>,
    /// The elements that it was working on, when the work was a range.
    pub elements: Option<Range<u64>>,
    /// The elements that are in an undefined state, because an in-place job is never run twice.
    /// Ascending and disjoint; empty for all other work.
    pub undefined: Vec<Range<u64>>,
}

impl WorkerDeath {
    /// A death of which nothing but the cause is known.
    pub(crate) fn new(pid: u32, cause: Cause) -> Self {
        Self {
            pid,
            name: None,
            cause,
            peak_memory: None,
            oom_kill: OomKill::No,
            attempts: 1,
            task: None,
            elements: None,
            undefined: Vec::new(),
        }
    }
}

impl core::error::Error for WorkerDeath {}

impl fmt::Display for WorkerDeath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            None => write!(f, "worker {} {}", self.pid, self.cause)?,
            Some(name) => write!(f, "process '{name}' ({}) {}", self.pid, self.cause)?,
        }
        if let Some(task) = self.task {
            write!(f, " in task {task}")?;
        }
        if let Some(range) = &self.elements {
            write!(
                f,
                " while it worked on elements {}..{}",
                range.start, range.end
            )?;
        }
        if let Some(bytes) = self.peak_memory {
            write!(
                f,
                ", having used at most {} MiB of memory",
                bytes.div_ceil(1 << 20)
            )?;
        }
        f.write_str(match self.oom_kill {
            OomKill::No | OomKill::Unknown => "",
            OomKill::Possible => {
                "; memory may have run out, for the machine killed a process for it"
            }
            OomKill::Likely => "; memory probably ran out, for its group lost a process for it",
        })?;
        if self.attempts > 1 {
            write!(
                f,
                "; it was attempt {}, all others ended likewise",
                self.attempts
            )?;
        }
        write_undefined(f, &self.undefined)
    }
}

/// Tells tasks of a pool apart, as [`WorkerState::Task`](crate::WorkerState::Task) and the field
/// `task` of what is told to `tracing` do.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TaskId {
    // In six bytes, none of them wasted on `None`, so that errors stay small.
    slot_and_one: NonZeroU16,
    generation: [u16; 2],
}

impl TaskId {
    pub(crate) fn new(slot: u32, generation: u32) -> Option<Self> {
        let slot_and_one = u16::try_from(slot).ok()?.checked_add(1)?;
        Some(Self {
            slot_and_one: NonZeroU16::new(slot_and_one)?,
            generation: [(generation >> 16) as u16, generation as u16],
        })
    }

    /// The number of its slot, and how often that was used before.
    #[must_use]
    pub fn parts(self) -> (u32, u32) {
        let [high, low] = self.generation.map(u32::from);
        (u32::from(self.slot_and_one.get()) - 1, high << 16 | low)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (slot, generation) = self.parts();
        write!(f, "{slot}.{generation}")
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({self})")
    }
}

/// Names the elements that are neither old nor new.
pub(super) fn write_undefined(f: &mut fmt::Formatter<'_>, ranges: &[Range<u64>]) -> fmt::Result {
    let Some((first, rest)) = ranges.split_first() else {
        return Ok(());
    };
    write!(
        f,
        "; undefined are now elements {}..{}",
        first.start, first.end
    )?;
    match rest {
        [] => Ok(()),
        [range] => write!(f, " and {}..{}", range.start, range.end),
        _ => write!(f, " and {} more ranges", rest.len()),
    }
}

/// How sure it is that the kernel killed a worker because memory ran out.
///
/// The kernel kills with `SIGKILL`, as anybody may, and counts. The counters are compared with
/// what they were when the pool began, or when a worker was killed last; somebody else may have
/// been meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OomKill {
    /// No: it was no `SIGKILL`, or the pool's own, or nobody was killed for lack of memory.
    No,
    /// It was a `SIGKILL`, and the kernel shows no counter.
    Unknown,
    /// A process of the machine was killed, though none of the pool's control group as far as that
    /// is counted.
    Possible,
    /// A process of the pool's control group was killed.
    Likely,
}

impl OomKill {
    /// What the counters say about a process that was ended by `SIGKILL` in between.
    pub(crate) fn between(before: OomKills, now: OomKills) -> Self {
        if now.group > before.group {
            Self::Likely
        } else if now.machine > before.machine {
            Self::Possible
        } else if now.group.or(now.machine).is_some() {
            Self::No
        } else {
            Self::Unknown
        }
    }
}

/// What ended a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// A signal, by its number.
    Signal(i32),
    /// It exited, with this status.
    Exit(i32),
    /// The kernel did not say.
    Unknown,
}

impl Cause {
    /// The name of the signal, such as `SIGSEGV`, if it was one of the standard ones.
    pub fn signal_name(&self) -> Option<&'static str> {
        match self {
            // Linux numbers them alike on x86-64 and aarch64.
            Self::Signal(number) => usize::try_from(*number)
                .ok()
                .and_then(|number| SIGNALS.get(number.checked_sub(1)?))
                .copied(),
            _ => None,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Signal(number) => {
                match self.signal_name() {
                    Some(name) => write!(f, "was ended by {name} (signal {number})")?,
                    None => write!(f, "was ended by signal {number}")?,
                }
                match self.signal_name() {
                    Some("SIGKILL") => {
                        f.write_str(", sent by somebody or by the kernel when memory ran out")
                    }
                    Some("SIGABRT") => f.write_str(
                        ", as after a panic with `panic = \"abort\"`, a panic while panicking, or \
                         a stack overflow",
                    ),
                    Some("SIGSEGV" | "SIGBUS") => f.write_str(
                        ", as after a wild pointer, a write to memory that is read-only in \
                         workers, or a stack overflow",
                    ),
                    Some("SIGSYS") => {
                        f.write_str(", as after a system call that its sandbox does not allow")
                    }
                    _ => Ok(()),
                }
            }
            Self::Exit(status) => write!(f, "exited with status {status}"),
            Self::Unknown => f.write_str("ended for an unknown reason"),
        }
    }
}

/// The standard signals, from number 1 on.
const SIGNALS: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];
