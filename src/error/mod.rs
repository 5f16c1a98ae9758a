//! Everything that can go wrong, typed: what was wanted, what was found, what to do.
//!
//! [`Error`] is about the pool and its memory; [`TaskError`] about one piece of work, whose pool
//! lives on.

mod damage;
mod death;
mod meet;
#[cfg(feature = "named")]
mod named;
mod region;
mod remote;
mod scheduler;
mod share;
mod task;

pub use damage::Damage;
pub use death::{Cause, OomKill, TaskId, WorkerDeath};
pub use meet::{MeetError, MeetRefusal, PathUser};
#[cfg(feature = "named")]
pub use named::NameError;
pub use region::RegionError;
pub use remote::RemoteError;
pub use scheduler::SchedulerError;
pub use share::ShareError;
pub use task::{Failure, ItemError, Location, TaskError};

use crate::memory::{AllocError, OutOfMemory};
use crate::protocol::archive::ArchiveError;
use crate::protocol::context::ContextError;
pub use crate::protocol::control::Refusal;
use crate::protocol::envelope::EnvelopeError;
use crate::protocol::function::NotInImage;
use crate::sys::failure::SysError;
use crate::sys::process::SpawnError;

/// A [`Result`](core::result::Result) with this crate's [`Error`].
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// What a pool, or a call on it, can fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There was no shared memory for a buffer, a result or a task's arguments.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// The kernel refused a system call.
    #[error(transparent)]
    System(#[from] SysError),
    /// A region, or an object in one, is not to be had.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// A builder's setting makes no sense.
    #[error("the pool's `{setting}` was {found}; wanted {wanted}")]
    InvalidConfig {
        /// The builder's method.
        setting: &'static str,
        /// What it was given.
        found: String,
        /// What it takes.
        wanted: &'static str,
    },
    /// A call was given what it cannot work with, such as an output of another length than the
    /// input.
    #[error("the {what} was {found}; wanted {wanted}")]
    InvalidArgument {
        /// Which argument, and what about it.
        what: &'static str,
        /// What it was given.
        found: String,
        /// What it takes.
        wanted: String,
    },
    /// A function is no part of the executable that the workers run.
    #[error(
        "the function at {address:#x} is outside the executable, in a shared library or in code \
         generated at run time; workers run the executable alone, so call it from a closure that \
         is compiled into it"
    )]
    NotInImage {
        /// Where the function is, in this process.
        address: usize,
    },
    /// A worker turned out to run another program, or another build of this one.
    #[error(
        "worker {pid} did not come up as the same program: {refusal}; if the executable was \
         replaced while it ran, start it anew"
    )]
    Handshake {
        /// The worker's process.
        pid: u32,
        /// What it found to differ.
        refusal: Refusal,
    },
    /// A worker could not apply a setting of the pool to itself.
    #[error("a worker could not apply the pool's `{setting}`: {reason}")]
    SettingRefused {
        /// The builder's method.
        setting: &'static str,
        /// What the kernel said, or the panic of the program's own set-up.
        reason: String,
    },
    /// A worker was not ready in time, and was killed.
    #[error(
        "worker {pid} was not ready after {limit:?}; an initializer may hang, or need a longer \
         `start_timeout`"
    )]
    StartTimedOut {
        /// The worker's process.
        pid: u32,
        /// The time that it was given.
        limit: core::time::Duration,
    },
    /// A task borrows a state of another type than the workers have, or there is none.
    #[error(
        "the task borrows a worker state of type `{wanted}`, but the workers have {}; give \
         `Builder::worker_state` a function that makes one",
        found.map_or("none".into(), |found| format!("one of type `{found}`"))
    )]
    WrongState {
        /// What the task borrows.
        wanted: &'static str,
        /// What the workers have.
        found: Option<&'static str>,
    },
    /// The kernel lacks what a sandbox is made of; no worker was started.
    #[cfg(feature = "sandbox")]
    #[error("this kernel has no {facility}, without which workers are not confined; {wanted}")]
    SandboxUnavailable {
        /// What is missing.
        facility: &'static str,
        /// Which kernels have it.
        wanted: &'static str,
    },
    /// Workers die as soon as they start, so that replacing them any further is no use.
    #[error("{attempts} workers in a row died before their first task; the last one: {death}")]
    WorkersKeepDying {
        /// How many were started.
        attempts: u32,
        /// How the last one ended.
        death: WorkerDeath,
    },
    /// A thread of the pool's own could not be started.
    #[error("could not start the pool's supervisor thread: {0}")]
    Thread(std::io::Error),
    /// A worker process could not be started.
    #[error("could not start a worker process: {0}")]
    Spawn(String),
    /// A buffer lies in the memory of another pool, which these workers do not have.
    #[error("the buffer belongs to another pool; allocate it from the pool that works on it")]
    ForeignBuffer,
    /// The pool has been shut down.
    #[error("the pool is closed; make another, or keep it alive for as long as it has work")]
    PoolClosed,
    /// A pool that is open was joined, which would wait for ever.
    #[error("the pool is still open; close it, shut it down or terminate it before joining it")]
    PoolOpen,
    /// A process that was forked from the pool's owner used the pool, or one that was forked from a
    /// program that has started a [`Process`](crate::Process) used that or started another.
    #[error(
        "this process was forked from the one that owns the pool or the process; make one of its \
         own, or return what is to be done, so that the owner submits it (see `TaskSet`)"
    )]
    Forked,
    /// `task_done` was called more often than items were received.
    #[error("`task_done` was called more often than items were received")]
    NotOwed,
    /// A value could not cross as an archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The context could not be handed over to the workers.
    #[error(transparent)]
    Context(ContextError),
    /// The pool's scheduler has not placed the task.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    /// A map, a list, a value or an array that processes share does not do what it was asked for.
    #[error(transparent)]
    Share(Box<ShareError>),
    /// Two programs have not met, or do not understand each other.
    #[error(transparent)]
    Meet(#[from] MeetError),
    /// A region by name cannot be had.
    #[cfg(feature = "named")]
    #[error(transparent)]
    Name(#[from] NameError),
    /// The work itself failed.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// An item of a map failed.
    #[error(transparent)]
    Item(#[from] ItemError),
}

impl From<ContextError> for Error {
    fn from(error: ContextError) -> Self {
        match error {
            ContextError::Archive(error) => Self::Archive(error),
            error => Self::Context(error),
        }
    }
}

impl From<ShareError> for Error {
    fn from(error: ShareError) -> Self {
        match error {
            ShareError::Region(error) => *error,
            ShareError::Archive(error) => Self::Archive(error),
            error => Self::Share(Box::new(error)),
        }
    }
}

impl From<EnvelopeError> for Error {
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::Archive(error) => Self::Archive(error),
            EnvelopeError::System(error) => Self::System(error),
        }
    }
}

impl From<SpawnError> for Error {
    fn from(error: SpawnError) -> Self {
        match error {
            SpawnError::System(error) => Self::System(error),
            SpawnError::Executable(error) => Self::Spawn(error.to_string()),
        }
    }
}

impl From<NotInImage> for Error {
    fn from(NotInImage { address }: NotInImage) -> Self {
        Self::NotInImage { address }
    }
}

impl From<AllocError> for Error {
    fn from(error: AllocError) -> Self {
        match error {
            AllocError::OutOfMemory(error) => Self::OutOfMemory(error),
            AllocError::System(error) => Self::System(error),
            AllocError::Forked => Self::Forked,
            AllocError::Alignment { wanted } => Self::InvalidArgument {
                what: "alignment of an element",
                found: format!("{wanted} bytes"),
                wanted: "at most 2 MiB".into(),
            },
        }
    }
}

#[cfg(test)]
mod tests;
