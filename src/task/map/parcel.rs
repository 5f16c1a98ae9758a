//! The outcomes of neighbouring items, on their way to the caller.

use crate::error::{Damage, TaskError};
use crate::memory::OutOfMemory;
use crate::pool::engine::Engine;
use crate::pool::reply::{ReplyBytes, Whole};
use crate::protocol::archive::{self, ArchiveError, Payload};
use crate::protocol::batch::{Summary, expect_results, find_result};
use crate::protocol::panic::PanicReport;
use crate::protocol::reply::Verdict;
use crate::task::output::{TaskOutput, TinyOutput};

/// Outcomes of items, in the order of the input.
#[derive(Debug)]
pub(super) struct Parcel {
    first: u64,
    next: usize,
    count: usize,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Their results, in a block that was made for `room` items.
    Results { block: Whole, room: usize },
    /// That of one item, which was a task of its own.
    One(Option<ReplyBytes>),
    /// The same for all.
    Failed(TaskError),
}

impl Parcel {
    /// The first `count` results of a block for `room` items.
    pub(super) fn of_results(first: u64, count: usize, block: ReplyBytes, room: usize) -> Self {
        let block = Whole::new(block);
        Self {
            first,
            next: 0,
            count,
            content: Content::Results { block, room },
        }
    }

    /// The result of an item that was a task of its own.
    pub(super) fn of_one(first: u64, result: ReplyBytes) -> Self {
        Self {
            first,
            next: 0,
            count: 1,
            content: Content::One(Some(result)),
        }
    }

    /// The same error for `count` items.
    pub(super) fn of_failures(first: u64, count: usize, error: TaskError) -> Self {
        Self {
            first,
            next: 0,
            count,
            content: Content::Failed(error),
        }
    }

    /// The index of its next item.
    pub(super) fn index(&self) -> u64 {
        self.first + self.next as u64
    }

    /// The next item's index and result, if it is a tiny one: what most maps give.
    #[inline(always)]
    pub(super) fn next_tiny<R: Payload>(&mut self) -> Option<(u64, TinyOutput<'_, R>)> {
        let Content::Results { block, room } = &self.content else {
            return None;
        };
        if self.next == self.count {
            return None;
        }
        let (range, Verdict::Value) = find_result(block, *room, self.next)? else {
            return None;
        };
        expect_results(block, self.next, range.end);
        let result = TinyOutput::find(block, &range)?;
        let index = self.first + self.next as u64;
        self.next += 1;
        Some((index, result))
    }

    /// The next item's index and outcome.
    pub(super) fn next<R: Payload>(
        &mut self,
        engine: &Engine,
    ) -> Option<(u64, Result<TaskOutput<R>, TaskError>)> {
        if self.next == self.count {
            return None;
        }
        let index = self.index();
        let within = self.next;
        self.next += 1;
        let outcome = match &mut self.content {
            Content::One(result) => result
                .take()
                .map_or(Err(TaskError::Cancelled), TaskOutput::new),
            Content::Results { block, room } => open(engine, block, *room, within),
            Content::Failed(error) => Err(error.clone()),
        };
        let outcome = outcome.map_err(|error| name_item(error, index));
        Some((index, outcome))
    }
}

/// Reads one result, which nobody has looked at yet.
fn open<R: Payload>(
    engine: &Engine,
    block: &Whole,
    room: usize,
    within: usize,
) -> Result<TaskOutput<R>, TaskError> {
    let bytes: &[u8] = block;
    let spoilt = || Damage::of_batch("the results of a batch");
    let (range, verdict) = find_result(bytes, room, within).ok_or_else(spoilt)?;
    let report = || PanicReport::decode(&bytes[range.clone()]);
    Err(match verdict {
        Verdict::Value => return TaskOutput::new(ReplyBytes::part(block, range)),
        Verdict::Panicked => report().into(),
        // No item is a future.
        Verdict::BadArguments | Verdict::Cancelled => {
            Damage::of_batch("the arguments of a batch").into()
        }
        Verdict::Refused => TaskError::Archive(ArchiveError::Refused {
            type_name: core::any::type_name::<R>(),
            reason: report().message,
        }),
        Verdict::TooLarge => TaskError::Archive(ArchiveError::TooLarge {
            type_name: core::any::type_name::<R>(),
            limit: archive::LIMIT,
        }),
        Verdict::NoRoom => {
            let summary = Summary::read(bytes).ok_or_else(spoilt)?;
            TaskError::OutOfMemory(OutOfMemory {
                wanted: summary.wanted,
                available: summary.available,
                limit: engine.arena_limit(summary.wanted <= summary.available),
            })
        }
    })
}

/// Adds the item's index where the error has a place for it.
fn name_item(mut error: TaskError, index: u64) -> TaskError {
    match &mut error {
        TaskError::Panicked { element, .. } => *element = Some(index),
        TaskError::WorkerDied(death) => death.elements = Some(index..index + 1),
        _ => {}
    }
    error
}
