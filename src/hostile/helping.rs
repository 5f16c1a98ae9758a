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
