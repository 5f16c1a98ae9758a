//! How long workers look for work.

use std::time::Duration;

use super::Builder;

impl Builder {
    /// How long a worker that has just been busy looks for work before it sleeps, at most.
    /// Default: 2 milliseconds.
    ///
    /// Waking a worker that sleeps takes tens of microseconds; a call after a pause shorter than
    /// this is answered some microseconds later than one without. The price is a core that is busy
    /// during the pauses. It is paid by one worker, only while work keeps coming at intervals
    /// shorter than this, and not where others want the core: after a longer pause, and in a pool
    /// without work, workers look for 50 microseconds, or this if it is less, and sleep.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// // Calls come every 10 milliseconds, and a core is there for them alone.
    /// let pool = gristmill::Pool::builder()
    ///     .spin(Duration::from_millis(30))
    ///     .build()?;
    /// let squares = pool.par_generate(100, |i| (i * i) as u64).wait()?;
    /// assert_eq!(squares[9], 81);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn spin(mut self, time: Duration) -> Self {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.settings.spin = Some(time.min(u64::MAX - 1));
        self
    }
}
