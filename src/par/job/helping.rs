//! A job whose caller runs parts of it.

use super::Job;
use crate::error::{Error, TaskError};

impl<O> Job<'_, O> {
    /// Blocks until the work is done, and does some of it meanwhile, on this thread.
    ///
    /// As fast as threads where work is short: a call that takes a microsecond or two is not handed
    /// over at all, longer ones are shared with a worker that is awake, and only long ones wake
    /// workers that sleep. With as many workers as cores, this thread takes the place of one.
    ///
    /// **What it runs is not isolated.** A crash in the function ends this process, one that hangs
    /// hangs this thread, and nobody can end it. A panic is an error as in a worker, which names
    /// the element; the program's own panic hook sees it, and under `panic = "abort"` it aborts
    /// this process. Two things are left to workers: all of a job with a
    /// [`timeout`](Job::timeout) or an [`element_timeout`](Job::element_timeout), and the rest of
    /// one over which a worker has died. [`Job::wait`] isolates everything.
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
