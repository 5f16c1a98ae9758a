//! What comes back: batches that are done, that were handed over half-done, or whose worker died.

use core::ops::Range;
use std::sync::Arc;

use super::{Batch, Flow, InFlight, task_error};
use crate::error::{Damage, TaskError};
use crate::memory::AllocError;
use crate::memory::block::Block;
use crate::pool::reply::{ReplyBytes, Torn};
use crate::pool::submit::span_of;
use crate::protocol::batch::{Items, Summary};
use crate::protocol::range::bytes_of;
use crate::task::map::parcel::Parcel;

impl<A> Flow<A> {
    /// Takes back what the workers have done.
    pub(super) fn gather(&mut self) {
        if self.engine.sees_completions() {
            self.engine.harvest();
        }
        for number in self.signal.take() {
            let Some(flight) = self.flights.remove(&number) else {
                continue;
            };
            let outcome = flight.entry.take().unwrap_or(Err(TaskError::Cancelled));
            let Batch { first, count, .. } = *flight.batch;
            match outcome {
                Ok(ReplyBytes::Torn(torn)) => self.mend(&flight, *torn),
                Ok(result) if self.plan.futures => {
                    self.parcels.insert(first, Parcel::of_one(first, result));
                }
                Ok(block) => self.sort(&flight, block),
                Err(error) => self.fail(first, count, error),
            }
        }
    }

    /// Files the results of a batch; what its worker left undone is for all.
    fn sort(&mut self, flight: &InFlight, block: ReplyBytes) {
        let Batch { first, count, .. } = *flight.batch;
        let (finished, time) =
            Summary::read(block.bytes()).map_or((0, 0), |summary| (summary.finished, summary.time));
        let finished = usize::try_from(finished).unwrap_or(count).min(count);
        if finished == 0 {
            let damage = Damage::of_batch("the results of a batch");
            return self.fail(first, count, damage.into());
        }
        self.pace.note(finished, time);
        let parcel = Parcel::of_results(first, finished, block, count);
        self.parcels.insert(first, parcel);
        self.again(&flight.batch, finished..count, 0);
    }

    /// Files what a batch came to whose worker died. What had not been begun is for the others.
    fn mend(&mut self, flight: &InFlight, torn: Torn) {
        let Torn { results, mut error } = torn;
        let overran = self.name_limit(&mut error);
        let Batch { first, count, .. } = *flight.batch;
        let unbegun = |flow: &mut Self, error| {
            let deaths = flight.deaths + 1;
            match deaths < flow.engine.config().attempts {
                true => flow.again(&flight.batch, 0..count, deaths),
                false => flow.fail(first, count, error),
            }
        };
        let Some(results) = results else {
            return unbegun(self, error);
        };
        let found = results.and_then(|loan| Some((Summary::read(loan.bytes())?, loan)));
        let Some((summary, loan)) = found else {
            // Overwritten: each may have been begun.
            return self.fail(first, count, error);
        };
        let number = |value: u64| usize::try_from(value).unwrap_or(count).min(count);
        let begun = number(summary.begun);
        if overran && begun == 0 {
            // Its time was over before it came to the first item.
            return unbegun(self, error);
        }
        let finished = match number(summary.finished) {
            0 => begun.saturating_sub(1),
            all => all,
        };
        if finished > 0 {
            let block = ReplyBytes::Lent(loan);
            let parcel = Parcel::of_results(first, finished, block, count);
            self.parcels.insert(first, parcel);
        }
        if begun > finished {
            let deaths = if count == 1 { flight.deaths + 1 } else { 1 };
            if deaths < self.plan.attempts && !overran {
                self.again(&flight.batch, finished..begun, deaths);
            } else {
                self.fail(first + finished as u64, 1, with_attempts(error, deaths));
            }
        }
        self.again(&flight.batch, begun.max(finished)..count, 0);
    }

    /// Whether the worker was ended because an item took too long; the error names its limit
    /// instead of the batch's.
    fn name_limit(&self, error: &mut TaskError) -> bool {
        let TaskError::TimedOut { limit, .. } = error else {
            return false;
        };
        *limit = self.plan.timeout.unwrap_or(*limit);
        true
    }

    /// Submits some items of a batch again, in batches of their own.
    fn again(&mut self, batch: &Arc<Batch>, range: Range<usize>, deaths: u32) {
        if range == (0..batch.count) {
            return self.launch(Arc::clone(batch), deaths);
        }
        let size = self.pace.size();
        for start in range.clone().step_by(size) {
            let piece = start..range.end.min(start + size);
            let (first, count) = (batch.first + start as u64, piece.len());
            match self.carve(batch, &piece) {
                Ok(block) => self.launch(
                    Arc::new(Batch {
                        block,
                        first,
                        count,
                    }),
                    deaths,
                ),
                Err(error) => self.fail(first, count, error),
            }
        }
    }

    fn carve(&self, batch: &Batch, piece: &Range<usize>) -> Result<Block, TaskError> {
        let bytes = bytes_of(self.engine.region(), span_of(&batch.block));
        let carved = Items::read(bytes).and_then(|items| items.carve(piece));
        let carved = carved.ok_or_else(|| Damage::of_batch("the arguments of a batch"))?;
        let size = carved.size();
        let block = self.engine.place_bytes(size, |place| {
            carved.write(place);
            Ok::<_, AllocError>(())
        });
        block.map_err(|error| task_error(error.into(), size))
    }
}

fn with_attempts(mut error: TaskError, attempts: u32) -> TaskError {
    if let TaskError::WorkerDied(death) = &mut error {
        death.attempts = attempts;
    }
    error
}
