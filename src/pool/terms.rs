//! What a caller asks of a task, or of a job over a range, beyond running it.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use crate::pool::sticky::Bucket;
use crate::protocol::lanes::Priority;

/// What was asked of a task; plain ones have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskTerms {
    /// How many workers may try it; more than one only for idempotent tasks.
    pub(crate) attempts: u32,
    /// How many of them have died.
    pub(crate) deaths: u32,
    /// How long one attempt may run.
    pub(crate) timeout: Option<Duration>,
    /// When this attempt was seen running first, on the clock that all processes share.
    pub(crate) seen: u64,
    /// When it must have ended because it was cancelled.
    pub(crate) end: u64,
    /// Its worker is being killed for it.
    pub(crate) condemned: bool,
    pub(crate) priority: Priority,
    /// The bucket of its key, if it is sticky.
    pub(crate) bucket: Option<Bucket>,
    /// It is a future: its worker is asked to drop it, and killed after this time only.
    pub(crate) grace: Option<Duration>,
    /// When its worker was asked.
    pub(crate) asked: u64,
}

impl TaskTerms {
    /// Those of a task of which nothing was asked.
    pub(crate) const PLAIN: Self = Self {
        attempts: 1,
        deaths: 0,
        timeout: None,
        seen: u64::MAX,
        end: u64::MAX,
        condemned: false,
        priority: Priority::Normal,
        bucket: None,
        grace: None,
        asked: u64::MAX,
    };

    /// Whether its worker holds it beside other work, and may sleep while it waits.
    pub(crate) fn is_future(&self) -> bool {
        self.grace.is_some()
    }
}

/// What was asked of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct JobTerms {
    /// How many workers may try a chunk; the pool's setting unless set.
    pub(crate) attempts: Option<NonZeroU32>,
    /// When it must have ended, on the clock that all processes share, and the time that was.
    pub(crate) deadline: Option<(u64, Duration)>,
    /// How many nanoseconds one element may take.
    pub(crate) element_limit: Option<NonZeroU64>,
    /// Failures are kept, and the rest is done.
    pub(crate) isolate: bool,
}

impl JobTerms {
    /// How long one element may take.
    pub(crate) fn element_timeout(&self) -> Option<Duration> {
        self.element_limit
            .map(|limit| Duration::from_nanos(limit.get()))
    }
}

/// What a kernel can be asked to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grain {
    /// Any range: each element has a result of its own.
    Elements,
    /// Any range, but a result belongs to a chunk, so that another cut spoils what is there.
    Partials,
    /// The chunks as they are.
    Parts,
}
