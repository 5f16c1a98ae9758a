//! A range job before it runs, and after.

use crate::error::{Failure, TaskError};
use crate::pool::caller::Caller;
use crate::pool::chunking::Chunking;
use crate::pool::entry::Entry;
use crate::pool::flight::Keep;
use crate::pool::helping::Share;
use crate::pool::terms::{Grain, JobTerms};
use crate::protocol::range::{Kernel, RangeJob};

/// How a job ended, with what it kept alive meanwhile.
#[derive(Debug)]
pub(crate) struct JobOutcome {
    pub(crate) result: Result<(), TaskError>,
    pub(crate) failures: Vec<Failure>,
    pub(crate) keep: Keep,
}

impl JobOutcome {
    /// A job all of which is done.
    pub(crate) fn went_well(keep: Keep) -> Self {
        Self {
            result: Ok(()),
            failures: Vec::new(),
            keep,
        }
    }

    /// A job that failed as a whole.
    pub(crate) fn failed(error: TaskError, keep: Keep) -> Self {
        Self {
            result: Err(error),
            failures: Vec::new(),
            keep,
        }
    }
}

/// Where the outcome of a job is left.
pub(crate) type JobEntry = Entry<JobOutcome>;

/// All that is needed to run a job.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) job: RangeJob,
    /// What `job.kernel` names, for a caller that helps.
    pub(crate) function: Kernel,
    pub(crate) chunking: Chunking,
    /// Its chunks may be run again.
    pub(crate) pure_function: bool,
    pub(crate) grain: Grain,
    /// Worth waking everybody for at once, whatever an element costs.
    pub(crate) large: bool,
    pub(crate) terms: JobTerms,
    /// What its caller does of it.
    pub(crate) share: Option<Box<Share>>,
    /// The span that it was begun in.
    pub(crate) caller: Option<Box<Caller>>,
    /// Inputs, outputs and context; nobody frees them while a worker may touch them.
    pub(crate) keep: Keep,
}

impl Launch {
    /// Whether it may be ended for the time it takes.
    pub(super) fn has_limit(&self) -> bool {
        self.terms.deadline.is_some() || self.job.element_limit != 0
    }

    /// How the first round is cut.
    pub(super) fn cut(&self) -> Chunking {
        match self.job.trial {
            true => Chunking::single(self.chunking.len()),
            false => self.chunking,
        }
    }
}
