//! Which element it was: what becomes of a job's chunks that failed.
//!
//! When the chunks of a round are settled, the failed ones are cut into pieces that the next round
//! runs, until a piece is one element. All rounds are the same job to whoever waits for it. A job
//! that may have failures keeps them and goes on; any other follows its first failure only, to
//! name the element. Each piece that contains a killer costs one worker, so with pieces of a
//! sixteenth a chunk of a million elements costs five, and some for the last proof.

use core::num::NonZeroU32;
use core::ops::Range;

use crate::error::{Failure, TaskError};
use crate::pool::job::Running;
use crate::pool::terms::Grain;
use crate::protocol::range::Beat;

/// Into how many pieces a range is cut.
const PIECES: u64 = 16;
/// A job with more failures than this has failed as a whole.
pub(crate) const FAILURES: usize = 1000;

/// What is known of a job after the rounds so far.
#[derive(Debug, Default)]
pub(crate) struct Inquiry {
    /// The ranges of this round by chunk; none in the first round, which is the job's own cut.
    ranges: Vec<Range<u64>>,
    /// What later rounds are to run.
    pending: Vec<Range<u64>>,
    failures: Vec<Failure>,
    /// The failure whose element is looked for.
    suspect: Option<TaskError>,
    /// Elements done in earlier rounds.
    done: u64,
    /// How often a round was begun again because its words were lost.
    pub(super) restarts: u32,
    /// Chunks of the first round, as many as there are places for partial results.
    places: usize,
}

/// What to do with a job whose chunks are settled.
#[derive(Debug)]
pub(crate) enum Next {
    /// Run another round.
    Round,
    /// Tell whoever waits.
    Over(Result<(), TaskError>, Vec<Failure>),
}

/// What is known of a range that failed.
enum Finding {
    /// This is all there is to know.
    Known(Range<u64>),
    /// The culprit is in one of these.
    Within(Vec<Range<u64>>),
}

impl Inquiry {
    /// Whether this is the job as it was cut at first.
    pub(crate) fn is_first_round(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges of this round by chunk, unless it is the first.
    pub(crate) fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// Elements that earlier rounds have done.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }
}

impl Running {
    /// The elements of a chunk, by the parent's own books.
    pub(crate) fn range(&self, chunk: u32) -> Range<u64> {
        if self.inquiry.is_first_round() {
            let bounds = self.launch.cut().chunks().nth(chunk as usize);
            bounds.map_or(0..0, |(start, len)| start..start + len)
        } else {
            let range = self.inquiry.ranges.get(chunk as usize);
            range.cloned().unwrap_or_default()
        }
    }

    /// Draws the conclusion of a round. `found` are the failures by chunk, ascending, with what
    /// the worker last said where it was; `done` how many elements this round has done.
    pub(crate) fn conclude(&mut self, found: Vec<(u32, TaskError, Beat)>, done: u64) -> Next {
        if found.is_empty() && self.inquiry.is_first_round() {
            return Next::Over(Ok(()), Vec::new());
        }
        if self.inquiry.is_first_round() {
            self.inquiry.places = self.posted.chunks() as usize;
        }
        self.inquiry.done += done;
        if let Some(error) = &self.cancelled {
            let first = found.into_iter().next();
            let error = first.map_or_else(|| error.clone(), |(_, error, _)| error);
            return Next::Over(Err(error), Vec::new());
        }
        if self.launch.terms.isolate {
            self.keep_failures(found)
        } else {
            self.follow_first(found)
        }
    }

    /// The rest of a job that is not as short as it was thought, cut for all.
    pub(crate) fn go_on(&mut self, rest: Range<u64>) -> Next {
        if let Some(error) = &self.cancelled {
            return Next::Over(Err(error.clone()), Vec::new());
        }
        self.inquiry.done += rest.start;
        let cut = self.launch.chunking.with_len(rest.end - rest.start);
        let ranges = cut
            .chunks()
            .map(|(start, len)| rest.start + start..rest.start + start + len);
        self.inquiry.pending = ranges.collect();
        self.next_round()
    }

    fn keep_failures(&mut self, found: Vec<(u32, TaskError, Beat)>) -> Next {
        for (chunk, error, beat) in found {
            let range = self.range(chunk);
            // A part that changes its data in place is never run again, and lost as it is.
            let finding = match self.launch.pure_function {
                true => self.narrow(&range, &error, beat),
                false => Finding::Known(range.clone()),
            };
            match finding {
                Finding::Within(pieces) => self.inquiry.pending.extend(pieces),
                Finding::Known(elements) => {
                    // What lies around it may be unwritten: it is run again.
                    let around = [range.start..elements.start, elements.end..range.end];
                    let around = around.into_iter().filter(|range| !range.is_empty());
                    self.inquiry.pending.extend(around);
                    let error = error.at(&elements);
                    self.inquiry.failures.push(Failure { elements, error });
                }
            }
        }
        let failures = &mut self.inquiry.failures;
        failures.sort_by_key(|failure| failure.elements.start);
        if failures.len() > FAILURES {
            return Next::Over(Err(failures.swap_remove(0).error), Vec::new());
        }
        self.next_round()
    }

    fn follow_first(&mut self, found: Vec<(u32, TaskError, Beat)>) -> Next {
        if let Some((chunk, error, beat)) = found.into_iter().next() {
            let range = self.range(chunk);
            match self.narrow(&range, &error, beat) {
                Finding::Known(elements) => {
                    return Next::Over(Err(error.at(&elements)), Vec::new());
                }
                Finding::Within(pieces) => {
                    self.inquiry.pending = pieces;
                    self.inquiry.suspect = Some(error);
                }
            }
        }
        self.next_round()
    }

    fn next_round(&mut self) -> Next {
        let Inquiry {
            ranges,
            pending,
            failures,
            suspect,
            places,
            ..
        } = &mut self.inquiry;
        if pending.is_empty() {
            // A failure that does not come again in pieces has no element, but it was one.
            let result = suspect.take().map_or(Ok(()), Err);
            return Next::Over(result, core::mem::take(failures));
        }
        let room = match self.launch.grain {
            Grain::Partials => (*places).max(1),
            Grain::Elements | Grain::Parts => crate::board::CHUNKS,
        };
        // From the end: what was cut last is finished first, so that little is pending.
        *ranges = pending.split_off(pending.len().saturating_sub(room));
        Next::Round
    }

    /// What is known of the culprit in a range.
    fn narrow(&self, range: &Range<u64>, error: &TaskError, beat: Beat) -> Finding {
        let whole = || Finding::Known(range.clone());
        if self.launch.grain == Grain::Parts {
            return whole();
        }
        match error {
            TaskError::Panicked { element, .. } => match element {
                Some(element) if range.contains(element) => Finding::Known(*element..*element + 1),
                _ => whole(),
            },
            TaskError::WorkerDied(_) | TaskError::TimedOut { .. } => {
                let again = self.launch.terms.attempts != Some(NonZeroU32::MIN);
                if range.end - range.start <= 1 || !self.launch.pure_function || !again {
                    return whole();
                }
                // Where the worker said it was, if it makes sense.
                let inside = beat.within(range).unwrap_or_else(|| range.clone());
                if inside.end - inside.start == 1 && matches!(error, TaskError::TimedOut { .. }) {
                    return Finding::Known(inside);
                }
                let size = (inside.end - inside.start).div_ceil(PIECES).max(1);
                let cuts = (inside.start..inside.end).step_by(size as usize);
                let pieces = cuts.map(|start| start..(start + size).min(inside.end));
                let around = [range.start..inside.start, inside.end..range.end];
                let around = around.into_iter().filter(|range| !range.is_empty());
                Finding::Within(pieces.chain(around).collect())
            }
            _ => whole(),
        }
    }
}
