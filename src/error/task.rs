//! How one piece of work can fail.

use core::fmt;
use core::ops::Range;

use super::{Damage, RemoteError, WorkerDeath};
use crate::memory::OutOfMemory;
use crate::protocol::archive::ArchiveError;
use crate::protocol::context::ContextError;
use crate::protocol::control::Refusal;
use crate::protocol::panic::PanicReport;

/// Why a task, or a job over a range, has no result. The pool itself goes on working.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The function panicked. The worker survived.
    #[error("{}", describe_panic(message, location.as_ref(), *element, backtrace.as_deref()))]
    Panicked {
        /// What the panic said, cut off after some KiB.
        message: String,
        /// Where it said so.
        location: Option<Location>,
        /// The index of the element that the function was called with, if it was called with one.
        element: Option<u64>,
        /// The stack, if `RUST_BACKTRACE` asks for it; cut off after some KiB.
        backtrace: Option<String>,
    },
    /// It returned an error; see [`Pool::spawn_result`](crate::Pool::spawn_result).
    #[error("the task failed: {0}")]
    Failed(#[source] Box<RemoteError>),
    /// Its worker died, and so did those that tried again, as often as the pool was told to.
    #[error("{}", describe_death(.0))]
    WorkerDied(#[from] WorkerDeath),
    /// The process that was started for it turned out to run another program, or another build of
    /// this one.
    #[error(
        "process {pid} did not come up as the same program: {refusal}; if the executable was \
         replaced while it ran, start it anew"
    )]
    Handshake {
        /// Its process id.
        pid: u32,
        /// What it found to differ.
        refusal: Refusal,
    },
    /// It ran longer than it was allowed to, and its worker was ended for it.
    #[error(
        "{} ran longer than its limit of {limit:?} and was ended; give it more time or less to do",
        element.map_or("the task".into(), |index| format!("element {index}"))
    )]
    TimedOut {
        /// The time it was given.
        limit: core::time::Duration,
        /// The index of the element whose time it was, if each had its own.
        element: Option<u64>,
    },
    /// It was cancelled.
    #[error("the task was cancelled before it was done")]
    Cancelled,
    /// Workers could not be started any more, so the pool has given up.
    #[error(
        "the pool has no workers: {attempts} in a row could not be started or died before their \
         first task{}{}",
        last.as_ref().map_or(String::new(), |death| format!("; the last that died: {death}")),
        reason.as_ref().map_or(String::new(), |why| format!("; the last attempt: {why}"))
    )]
    NoWorkers {
        /// How many were tried.
        attempts: u32,
        /// How the last one ended, if any began at all.
        last: Option<Box<WorkerDeath>>,
        /// Why the last one did not come to be, if that is known: what the kernel said when it
        /// refused one, or what the worker said, such as the panic of an initializer.
        reason: Option<String>,
    },
    /// The pool was shut down first.
    #[error("the pool was closed before the task was done; keep it alive until then")]
    PoolClosed,
    /// A process that was forked from the pool's owner asked for the outcome.
    #[error(
        "this process was forked from the one that owns the pool or the process; make one of its \
         own, or return what is to be done, so that the owner submits it (see `TaskSet`)"
    )]
    Forked,
    /// The result could not be written as an archive, or read back.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The worker could not read what the job took along.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// There was no shared memory for the result.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// A worker ran wild, and this task or job was hurt: by what it wrote, or because it was
    /// running when all workers had to be replaced.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The bookkeeping that workers share was overwritten again and again, without any outcome in
    /// between, so the pool has given up.
    #[error(
        "the pool was rebuilt {rebuilds} times in a row and has given up; the last time, {last}"
    )]
    DamagedTooOften {
        /// How often it was rebuilt.
        rebuilds: u32,
        /// What was found the last time.
        last: Damage,
    },
}

impl TaskError {
    /// The same about exactly these elements.
    pub(crate) fn at(mut self, elements: &Range<u64>) -> Self {
        match &mut self {
            Self::WorkerDied(death) => death.elements = Some(elements.clone()),
            Self::TimedOut { element, .. } if elements.end - elements.start == 1 => {
                *element = Some(elements.start);
            }
            _ => {}
        }
        self
    }
}

/// An item of a map that has no result. The others go on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("item {index}: {error}")]
#[non_exhaustive]
pub struct ItemError {
    /// Its place in the input, from 0 on.
    pub index: u64,
    /// What became of it.
    #[source]
    pub error: TaskError,
}

/// What failed in a job that went on without it; see [`Job::isolate`](crate::Job::isolate).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Failure {
    /// The elements without a result: one, unless more could not be told apart.
    pub elements: Range<u64>,
    /// What became of them.
    pub error: TaskError,
}

/// A place in source code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Location {
    /// The file, as the compiler was given it.
    pub file: String,
    /// The line, from 1 on.
    pub line: u32,
    /// The column, from 1 on.
    pub column: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl From<PanicReport> for TaskError {
    fn from(report: PanicReport) -> Self {
        let PanicReport {
            message,
            file,
            line,
            column,
            element,
            backtrace,
        } = report;
        let location = (line != 0).then_some(Location { file, line, column });
        let backtrace = (!backtrace.is_empty()).then_some(backtrace);
        Self::Panicked {
            message,
            location,
            element,
            backtrace,
        }
    }
}

fn describe_death(death: &WorkerDeath) -> String {
    match death.name {
        // Nobody replaces a process of its own.
        Some(_) => death.to_string(),
        None => format!("{death}; the worker has been replaced"),
    }
}

fn describe_panic(
    message: &str,
    location: Option<&Location>,
    element: Option<u64>,
    backtrace: Option<&str>,
) -> String {
    let element = element
        .map(|index| format!(" at element {index}"))
        .unwrap_or_default();
    let location = location
        .map(|place| format!(", in {place}"))
        .unwrap_or_default();
    let backtrace = backtrace
        .map(|stack| format!("\n{stack}"))
        .unwrap_or_default();
    format!("the function panicked{element}{location}: {message}{backtrace}")
}
