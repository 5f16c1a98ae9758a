//! A job whose caller runs parts of it.

use super::Job;
use crate::error::{Error, TaskError};

impl<O> Job<'_, O> {
    /// Blocks until the work is done, and does some of it meanwhile, on this thread.
    ///
    /// As fast as threads where work is short: a call that is known to take some microseconds is
    /// not handed over at all, longer ones are shared with a worker that is awake, and only long
    /// ones, or many in close succession, wake workers that sleep. With as many workers as cores,
    /// this thread takes the place of one.
    ///
    /// **What it runs is not isolated.** A crash in the function ends this process, one that hangs
    /// hangs this thread, and nobody can end it. A panic is an error as in a worker and names the
    /// element, but not the place in the source: that is for the program's own panic hook, which
    /// sees it. Under `panic = "abort"` it aborts this process. Nothing holds for it that workers
    /// were given: initializer and setup, limits, sandbox, captured output.
    ///
    /// Left to workers are all of a job with a [`timeout`](Job::timeout) or an
    /// [`element_timeout`](Job::element_timeout); what is left of one once a worker has died over
    /// it; one that cannot be divided; and one that waits because 64 others run. [`Job::wait`]
    /// isolates everything.
    ///
    /// A job that was [started](Job::start) before is helped with from now on.
    ///
    /// # Errors
    /// As [`Job::wait`].
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = gristmill::Pool::new()?;
    /// let xs = pool.copy_from_slice(&[3.0, 4.0])?.freeze();
    /// let squares = pool.par_map(&xs, |x: &f64| x * x).wait_helping()?;
    /// assert_eq!(*squares, [9.0, 16.0]);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn wait_helping(mut self) -> Result<O, Error> {
        self.helped = true;
        self.block(None)
            .unwrap_or(Err(Error::Task(TaskError::Cancelled)))
    }
}
