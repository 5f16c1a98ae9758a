//! Two threads behind a crossbeam channel: the pool that everybody has written once.

use std::thread;

use crossbeam_channel::{Sender, unbounded};

use crate::contest::WIDTH;

type Job = Box<dyn FnOnce() + Send>;

/// The threads. They end when this is dropped.
pub(crate) struct Gang {
    jobs: Sender<Job>,
}

impl Gang {
    pub(crate) fn new() -> Self {
        let (jobs, given) = unbounded::<Job>();
        for _ in 0..WIDTH {
            let given = given.clone();
            thread::spawn(move || given.iter().for_each(|job| job()));
        }
        Self { jobs }
    }

    /// Runs all jobs and waits for what they bring back, in any order.
    pub(crate) fn run<O: Send + 'static>(
        &self,
        jobs: impl Iterator<Item = impl FnOnce() -> O + Send + 'static>,
    ) -> Vec<O> {
        let (done, answers) = unbounded();
        for job in jobs {
            let done = done.clone();
            // Both fail only when a thread has died, and then an answer is missing.
            let job = Box::new(move || drop(done.send(job())));
            let _ = self.jobs.send(job);
        }
        drop(done);
        answers.iter().collect()
    }
}
