//! A caller that runs chunks of its job itself, between the steps of everybody else.

use super::oracle::Job;
use super::stage::Stage;
use crate::pool::helping::{Ended, Helper};
use crate::protocol::panic::PanicReport;

/// A caller at a chunk.
pub(super) struct Caller {
    /// Which of the play's jobs it is.
    number: usize,
    helper: Helper,
    chunk: u32,
}

impl Stage<'_> {
    /// One step of a caller: it begins to help with a job, or ends its chunk and takes another.
    /// Every eighth of them fails.
    pub(super) fn help(&mut self) {
        let Some(caller) = self.caller.take() else {
            let open = |(_, job): &(usize, &Job)| !job.entry.is_ready();
            let Some((number, job)) = self.jobs.iter().enumerate().rfind(open) else {
                return;
            };
            let mut hub = self.engine.hub();
            if let Some(helper) = hub.helper(&job.entry, 1) {
                let chunk = hub.help(self.engine.control(), &helper, None);
                drop(hub);
                self.go_on(number, helper, chunk);
            }
            return;
        };
        let Caller {
            number,
            helper,
            chunk,
        } = caller;
        self.turns += 1;
        let done = !self.turns.is_multiple_of(8);
        let (start, len) = helper.chunk(chunk);
        let job = &mut self.jobs[number];
        job.failed |= !done;
        for (_, is_done) in &mut job.elements[start as usize..(start + len) as usize] {
            *is_done |= done;
        }
        let result = done.then_some(()).ok_or_else(|| {
            Box::new(PanicReport {
                element: Some(start),
                ..PanicReport::default()
            })
        });
        let ended = Ended::new(result, len, 1);
        let control = self.engine.control();
        let next = self.engine.hub().help(control, &helper, Some(ended));
        self.go_on(number, helper, next);
    }

    /// Whether a caller is at a chunk.
    pub(super) fn is_helped(&self) -> bool {
        self.caller.is_some()
    }

    fn go_on(&mut self, number: usize, helper: Helper, chunk: Option<u32>) {
        let Some(chunk) = chunk else {
            return;
        };
        let (start, len) = helper.chunk(chunk);
        if !self.is_hostile() {
            let job = &mut self.jobs[number];
            for (begun, _) in &mut job.elements[start as usize..(start + len) as usize] {
                *begun += 1;
                assert!(job.pure_function || *begun == 1, "in place, and twice");
            }
        }
        self.caller = Some(Caller {
            number,
            helper,
            chunk,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::Ended;
    use crate::error::TaskError;
    use crate::hostile::source::replace;
    use crate::hostile::stage::{Manners, stage};
    use crate::primitive::atomic::AtomicU64;

    /// Two would write to the same elements if a job were begun again while its caller is at a
    /// chunk. What the caller has in hand then counts for nobody, nor for another job in its place.
    #[test]
    fn a_job_is_not_begun_again_while_its_caller_is_at_it() {
        // Twice 176 elements, pure, all of it asked of the workers.
        stage(&[175, 0, 0, 0, 175, 0, 0, 0], Manners::Hostile, |stage| {
            stage.launch();
            stage.help();
            let chunk = stage.caller.as_ref().expect("a chunk").chunk;
            assert_eq!(chunk, 0);
            let control = stage.engine.control();
            let board = control.board();
            let words = board.words(3);
            let detail = board.chunk(0, 2).detail().as_ptr();
            let last = |word: &&&AtomicU64| core::ptr::eq(word.as_ptr(), detail.wrapping_sub(1));
            replace(
                words.iter().find(last).expect("the word of a chunk"),
                u64::MAX,
            );
            stage.look_over();
            let outcome = stage.jobs[0].entry.peek(|outcome| outcome.result.clone());
            assert!(
                matches!(outcome, Some(Err(TaskError::Damaged(_)))),
                "{outcome:?}"
            );
            let before = stage.caller.take().expect("a caller at its chunk");

            // Another caller helps with another job in the same place.
            stage.launch();
            stage.help();
            assert_eq!(stage.caller.as_ref().map(|caller| caller.number), Some(1));
            let ended = Ended::new(Ok(()), 1, 1);
            let next = stage
                .engine
                .hub()
                .help(control, &before.helper, Some(ended));
            assert_eq!(next, None, "it is not its job");
        });
    }
}
