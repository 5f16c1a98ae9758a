//! The door to regions: how a program makes one, gives it to others, and opens what is in it.
//!
//! # Invariants
//! - Whoever gets a region through here knows every kind of object that there is, so that any
//!   survivor can take back what the dead had in any of them.

mod meeting;
#[cfg(feature = "named")]
mod naming;

use std::os::fd::AsFd;
use std::sync::Arc;

use crate::commons::{self, Kind, Object, Region};
use crate::error::Error;
use crate::lock;
use crate::manager;
use crate::pool::Builder;
use crate::process::ProcessBuilder;
use crate::protocol::name::Handle;
use crate::queue;
use crate::signal;

/// Every kind of object.
static KINDS: &[&Kind] = &[
    &queue::CHANNEL,
    &lock::MUTEX,
    &lock::CONDVAR,
    &lock::RWLOCK,
    &lock::REENTRANT,
    &signal::EVENT,
    &signal::SEMAPHORE,
    &signal::BARRIER,
    &queue::STREAM,
    &manager::MAP,
    &manager::LIST,
    &manager::VALUE,
    &manager::ARRAY,
];

impl Region {
    /// Makes a region of so many bytes, at least 2 MiB, which take no memory until they are used.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a size of zero or more than 32 GiB, [`Error::System`] when
    /// the kernel refuses what it consists of.
    ///
    /// # Examples
    ///
    /// ```
    /// use gristmill::{Pool, Queue, Region};
    ///
    /// let region = Region::new(16 << 20)?;
    /// let words = Queue::<[u64; 2]>::new(&region, 100)?;
    /// let pool = Pool::builder().workers(1).region(&region).build()?;
    /// let task = pool.spawn(words.handle().words(), |name| {
    ///     let handle = gristmill::Handle::from_words([name[0].into(), name[1].into()]);
    ///     let words: Queue<[u64; 2]> = handle.open().unwrap();
    ///     words.send_blocking([1, 2]).unwrap();
    /// })?;
    /// assert_eq!(words.recv_blocking().unwrap(), [1, 2]);
    /// task.wait()?;
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn new(size: u64) -> Result<Self, Error> {
        commons::know(KINDS);
        Self::create(size)
    }
}

impl<T: Object> Handle<T> {
    /// The object, if this process has its region.
    ///
    /// # Errors
    /// [`Error::Region`] if the region was not given to this process, if the object has ended, or
    /// is of another kind.
    pub fn open(self) -> Result<T, Error> {
        commons::know(KINDS);
        T::find(self.name())
    }
}

impl Builder {
    /// Gives the workers a region: they can open what is in it.
    pub fn region(self, region: &Region) -> Self {
        self.inherit(shared(region))
    }
}

impl ProcessBuilder {
    /// Gives the process a region: it can open what is in it.
    pub fn region(self, region: &Region) -> Self {
        self.inherit(shared(region))
    }
}

fn shared(region: &Region) -> Arc<dyn AsFd + Send + Sync> {
    Arc::new(region.clone())
}
