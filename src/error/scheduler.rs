//! What a program's own scheduler can do wrong.

/// Why a [`Scheduler`](crate::Scheduler) has not placed a task. The task was not submitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchedulerError {
    /// It panicked, when it was asked for a queue or told of something before.
    #[error("the pool's scheduler panicked: {message}; it is asked again for the next task")]
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// It named a queue that the pool does not have.
    #[error("the pool's scheduler chose queue {found}; there are {queues}, numbered from 0")]
    NoSuchQueue {
        /// The queue's number.
        found: usize,
        /// How many there are.
        queues: usize,
    },
    /// It submitted a task itself, which would have to be placed while it places one.
    #[error("the pool's scheduler submitted a task to its own pool; do that outside of it")]
    Reentered,
}
