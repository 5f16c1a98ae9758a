//! What is known of the tasks and jobs of a play, and what their outcomes may be.

use std::sync::Arc;

use super::stage::Manners;
use crate::error::TaskError;
use crate::pool::flight::TaskHalf;
use crate::pool::launch::{JobEntry, JobOutcome};
use crate::ring::Outcome;

/// A task, and what is known of it.
pub(super) struct Call {
    pub(super) entry: TaskHalf,
    pub(super) attempts: u32,
    pub(super) claims: u32,
    pub(super) deaths: u32,
    pub(super) end: Option<Outcome>,
    pub(super) cancelled: bool,
}

/// A job, and what is known of it.
pub(super) struct Job {
    pub(super) entry: Arc<JobEntry>,
    pub(super) pure_function: bool,
    pub(super) cancelled: bool,
    pub(super) failed: bool,
    pub(super) deaths: u32,
    /// By element: how often it was begun, and whether it was done.
    pub(super) elements: Vec<(u32, bool)>,
}

impl Call {
    pub(super) fn check(&self) {
        assert!(self.entry.is_ready(), "a task has no outcome");
    }

    pub(super) fn judge(&self, manners: Manners, outcome: Result<(), TaskError>) {
        if manners == Manners::Hostile {
            return;
        }
        let right = match &outcome {
            Ok(()) => self.end == Some(Outcome::Done),
            Err(TaskError::Panicked { .. }) => self.end == Some(Outcome::Failed),
            Err(TaskError::Cancelled) => self.cancelled,
            Err(TaskError::WorkerDied(_)) => self.deaths == self.attempts && self.end.is_none(),
            Err(_) => false,
        };
        assert!(
            right,
            "{outcome:?} after {} of {}",
            self.deaths, self.attempts
        );
    }
}

impl Job {
    pub(super) fn check(&self) {
        assert!(self.entry.is_ready(), "a job has no outcome");
    }

    pub(super) fn judge(&self, manners: Manners, outcome: &JobOutcome) {
        if manners == Manners::Hostile {
            return;
        }
        let failures = &outcome.failures;
        let right = match &outcome.result {
            Ok(()) => (0..).zip(&self.elements).all(|(element, &(_, done))| {
                done || failures
                    .iter()
                    .any(|failure| failure.elements.contains(&element))
            }),
            Err(TaskError::Panicked { .. }) => self.failed,
            Err(TaskError::Cancelled) => self.cancelled,
            Err(TaskError::WorkerDied(_)) => self.deaths > 0,
            Err(_) => false,
        };
        assert!(
            right,
            "{outcome:?}, pure: {}, elements: {:?}",
            self.pure_function, self.elements
        );
    }
}
