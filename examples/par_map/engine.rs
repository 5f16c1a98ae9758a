//! All that this program asks of gristmill.

use std::error::Error;
use std::thread;
use std::time::Duration;

use gristmill::{Pool, Progress, SharedSlice, SharedVec};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::element::Element;
use crate::progress::Bar;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A buffer that this process and all workers see.
pub(crate) type Shared<T> = SharedSlice<T>;

pub(crate) struct Engine {
    pool: Pool,
    workers: usize,
}

impl Engine {
    /// Starts so many workers, or one a core.
    pub(crate) fn start(workers: Option<usize>) -> Outcome<Self> {
        let pool = match workers {
            Some(count) => Pool::builder().workers(count).build()?,
            None => Pool::new()?,
        };
        let workers = pool.worker_pids().len();
        Ok(Self { pool, workers })
    }

    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// A buffer to be read into.
    pub(crate) fn buffer<T: Element>(&self, len: usize) -> Outcome<SharedVec<T>> {
        Ok(self.pool.alloc_zeroed(len)?)
    }

    /// A buffer of `value(0)`, `value(1)` and so on.
    pub(crate) fn fill(&self, len: usize, value: fn(usize) -> f64) -> Outcome<Shared<f64>> {
        Ok(self.pool.alloc_from_fn(len, value)?.freeze())
    }

    /// Prices every element. With `strike`, a worker gets SIGKILL once a quarter is done; what
    /// became of it is told in the second value.
    pub(crate) fn price<T: Element>(
        &self,
        input: &Shared<T>,
        bar: &Bar,
        mut strike: bool,
    ) -> Outcome<(SharedVec<T>, Option<String>)> {
        if !strike && !bar.is_visible() {
            return Ok((self.pool.par_map(input, |x| T::price(x)).wait()?, None));
        }
        let wanted = strike;
        let mut killed = None;
        let job = self.pool.par_map(input, |x| T::price(x)).start()?;
        while !job.is_finished() {
            let Some(Progress { done, total, .. }) = job.progress() else {
                continue;
            };
            bar.set(done as usize);
            if strike && done >= total / 4 {
                let pid = self.pool.worker_pids()[0];
                kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL)?;
                killed = Some(format!(
                    "worker {pid} got SIGKILL with {done} of {total} elements done"
                ));
                strike = false;
            }
            thread::sleep(Duration::from_micros(200));
        }
        if wanted && killed.is_none() {
            return Err(
                "all was done before a worker could be killed: give more --elements".into(),
            );
        }
        Ok((job.wait()?, killed))
    }
}
