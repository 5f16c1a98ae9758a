//! Settings about how workers come into being.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::sync::Arc;

use super::{Builder, invalid, setup};
use crate::error::Error;
use crate::pool::start::{Manner, StartMethod};
use crate::protocol::closure::require_no_captures;
use crate::protocol::function::FunctionId;

impl Builder {
    /// Gives the workers a memory file.
    pub(crate) fn inherit(mut self, file: Arc<dyn AsFd + Send + Sync>) -> Self {
        self.regions.add(file);
        self
    }

    /// Sets a variable of the workers' environment, besides those of this process: also how
    /// libraries that start threads of their own are told to start none, as each worker has one
    /// core to itself.
    ///
    /// With [`Builder::fork`], whose workers have the environment of the program, it is refused.
    ///
    /// # Examples
    ///
    /// ```
    /// use gristmill::Pool;
    ///
    /// let pool = Pool::builder()
    ///     .workers(1)
    ///     .worker_env("OMP_NUM_THREADS", "1")
    ///     .worker_env("RAYON_NUM_THREADS", "1")
    ///     .build()?;
    /// let threads = pool.spawn((), |()| std::env::var("OMP_NUM_THREADS").unwrap())?;
    /// assert_eq!(*threads.wait()?, *"1");
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn worker_env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables.set(name.as_ref(), value.as_ref());
        self
    }

    pub(super) fn check_variables(&self) -> Result<(), Error> {
        if let Some((name, value)) = self.variables.impossible() {
            let wanted = "a name without `=`, and no zero byte";
            return Err(invalid("worker_env", wanted, format!("{name:?}={value:?}")));
        }
        if self.forks && !self.variables.is_empty() {
            let wanted =
                "workers that are not forked from the program, whose environment they have";
            return Err(invalid("worker_env", wanted, "fork"));
        }
        Ok(())
    }

    /// How workers come into being. Default: [`StartMethod::Spawn`].
    ///
    /// With [`StartMethod::ForkServer`] a worker, and what replaces one, is there without `exec`,
    /// loader and constructors. The server is one process more, `gristmill-fork`, which sleeps
    /// until it is asked; it ends with the pool, and one that was killed is replaced. Where it
    /// cannot fork, because a constructor has started a thread in it or the kernel refuses
    /// `clone3`, workers are started anew, as by default.
    ///
    /// # Examples
    ///
    /// ```
    /// use gristmill::{Pool, StartMethod};
    ///
    /// let pool = Pool::builder().workers(2).start_method(StartMethod::ForkServer).build()?;
    /// assert_eq!(*pool.spawn(20_u64, |n| n.to_native() + 1)?.wait()?, 21);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.start_method = method;
        self
    }

    /// Runs `f` once, in the server of [`StartMethod::ForkServer`], before it forks workers: what
    /// it leaves in statics is there in each of them, in memory that they share until they write to
    /// it. `f` must capture nothing, and start no threads that go on.
    ///
    /// If it panics there is no server, and workers are started anew, without it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::OnceLock;
    ///
    /// use gristmill::{Pool, StartMethod};
    ///
    /// static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
    ///
    /// let builder = Pool::builder().workers(2).start_method(StartMethod::ForkServer);
    /// let load = || TABLE.set((0..1000).collect()).expect("once");
    /// let pool = builder.preload(load).build()?;
    /// let sum = pool.spawn((), |()| TABLE.get().map(|table| table.iter().sum::<u64>()))?;
    /// assert_eq!(sum.wait()?.as_ref().map(|sum| sum.to_native()), Some(499_500));
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn preload<F>(mut self, f: F) -> Self
    where
        F: Fn() + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        self.preload = Some(setup::<F>);
        self
    }

    /// Makes workers by forking this process, whatever the start method: closures then find in
    /// statics what this process has put there before, in memory that is copied when it is written.
    /// A replacement finds what is there when it is made.
    ///
    /// # Safety
    ///
    /// In a worker only the thread that forked it exists, but the memory of all. Until the pool is
    /// dropped the caller has to vouch that
    /// - nothing that a worker runs, closures and [`worker_setup`](Builder::worker_setup) included,
    ///   uses a lock, a runtime, a connection or a library's state that another thread of this
    ///   process may hold or change at that moment: it would wait for ever, or find it torn. The C
    ///   library's allocator is an exception. A panic, and printing, take locks of the standard
    ///   library;
    /// - nothing that it runs uses descriptors, sockets or files of this process as its own: they
    ///   are shared, with their positions;
    /// - no code with an `atfork` handler of its own is disturbed by it.
    ///
    /// Pools, processes and runtimes of this process are not to be used in a worker; those of this
    /// crate refuse. The memory of this pool is as much out of a worker's reach as with the other
    /// methods; that of the program's other pools and processes is not.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::OnceLock;
    ///
    /// use gristmill::Pool;
    ///
    /// static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
    ///
    /// TABLE.set((0..1000).collect()).expect("once");
    /// // SAFETY: what the workers run reads the table, which is complete, and nothing else.
    /// let builder = unsafe { Pool::builder().workers(2).fork() };
    /// let pool = builder.build()?;
    /// let sum = pool.spawn((), |()| TABLE.get().map_or(0, |table| table.iter().sum::<u64>()))?;
    /// assert_eq!(*sum.wait()?, 499_500);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub unsafe fn fork(mut self) -> Self {
        self.forks = true;
        self
    }

    /// Starts each worker through a command: a program, looked for as a shell does, and its
    /// arguments, to which the path of this executable is added. It has to execute that in the end,
    /// in the same process and with the same environment and descriptors, as `nice`, `taskset` and
    /// `numactl` do.
    ///
    /// It is for [`StartMethod::Spawn`]; the others do without.
    ///
    /// # Examples
    ///
    /// ```
    /// use gristmill::Pool;
    ///
    /// let pool = Pool::builder().workers(1).command(["env", "THREADS=1"]).build()?;
    /// let threads = pool.spawn((), |()| std::env::var("THREADS").unwrap())?;
    /// assert_eq!(*threads.wait()?, *"1");
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    pub fn command<S: Into<OsString>>(mut self, command: impl IntoIterator<Item = S>) -> Self {
        self.command = command.into_iter().map(Into::into).collect();
        self
    }

    pub(super) fn manner(&self) -> Result<Manner, Error> {
        Ok(match self.start_method {
            _ if self.forks => Manner::Fork,
            StartMethod::ForkServer => Manner::ForkServer {
                preload: match self.preload {
                    Some(preload) => Some(FunctionId::of(preload as *const ())?),
                    None => None,
                },
            },
            StartMethod::Spawn if self.command.is_empty() => Manner::Spawn,
            StartMethod::Spawn => Manner::Command(self.command.clone()),
        })
    }
}
