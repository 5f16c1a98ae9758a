//! Who works: one pool and one set of rayon's threads for the whole run, and what rows are told.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use gristmill::Pool;
use rayon::ThreadPool;
use tokio::runtime::{Builder, Runtime};

use crate::contest::WIDTH;
use crate::machine;

/// What a row is told when it is set up.
pub(crate) struct Crew {
    pub(crate) smoke: bool,
    pool: OnceCell<Arc<Pool>>,
    rayon: OnceCell<Arc<ThreadPool>>,
}

impl Crew {
    pub(crate) fn new(smoke: bool) -> Self {
        Self {
            smoke,
            pool: OnceCell::new(),
            rayon: OnceCell::new(),
        }
    }

    /// The pool. Two workers against two threads.
    pub(crate) fn pool(&self) -> Arc<Pool> {
        Arc::clone(self.pool.get_or_init(|| Arc::new(pool(WIDTH))))
    }

    /// Rayon's threads.
    pub(crate) fn rayon(&self) -> Arc<ThreadPool> {
        Arc::clone(self.rayon.get_or_init(|| Arc::new(threads())))
    }

    /// The full size, or a tiny one when only answers matter.
    pub(crate) fn pick(&self, full: usize, tiny: usize) -> usize {
        if self.smoke { tiny } else { full }
    }

    /// Bytes of a large buffer: 1 GiB, or less so that `buffers` of them leave room for others.
    pub(crate) fn large(&self, buffers: u64) -> usize {
        let mut size = self.pick(1 << 30, 1 << 20) as u64;
        let room = machine::available_memory() / 10 * 7;
        while size * buffers > room && size > 1 << 20 {
            size /= 2;
        }
        size as usize
    }

    /// Gives back what a row's buffers took.
    pub(crate) fn tidy_up(&self) {
        if let Some(pool) = self.pool.get() {
            pool.trim_memory();
        }
    }
}

/// A pool of so many workers.
pub(crate) fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().expect("a pool")
}

fn threads() -> ThreadPool {
    let builder = rayon::ThreadPoolBuilder::new().num_threads(WIDTH);
    builder.build().expect("threads")
}

/// A runtime of tokio's on the caller's thread.
pub(crate) fn one_thread() -> Rc<Runtime> {
    let mut builder = Builder::new_current_thread();
    Rc::new(builder.enable_all().build().expect("a runtime"))
}

/// A runtime of tokio's with two threads of its own.
pub(crate) fn two_threads() -> Rc<Runtime> {
    let mut builder = Builder::new_multi_thread();
    let builder = builder.worker_threads(WIDTH).max_blocking_threads(WIDTH);
    Rc::new(builder.enable_all().build().expect("a runtime"))
}
