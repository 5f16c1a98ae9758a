//! What may be asked of a process before it is started.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};

use crate::error::Error;
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::process::function;
use crate::process::handle::{Handle, Process};
use crate::process::keeper::{Keeper, Plan};
use crate::process::worker::Worker;
use crate::protocol::archive::Payload;
use crate::protocol::closure::require_no_captures;
use crate::protocol::envelope::{Envelope, Order};
use crate::protocol::function::FunctionId;
use crate::protocol::image::ImageId;
use crate::protocol::inherited::Inheritance;
use crate::protocol::solo::{SoloFunction, function_id};
use crate::sys::environment::Variables;

/// Settings of a [`Process`] or [`Worker`], all optional; made by [`Process::builder`].
///
/// A working directory is none of them: the function may change its own.
///
/// # Examples
///
/// ```
/// use gristmill::Process;
///
/// let builder = Process::builder().name("sum").env("THREADS", "1");
/// let worker = builder.spawn_worker((), |()| std::env::var("THREADS").unwrap())?;
/// assert_eq!(worker.name(), "sum");
/// assert_eq!(*worker.wait()?, *"1");
/// # Ok::<(), gristmill::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ProcessBuilder {
    name: Option<String>,
    daemon: bool,
    kill_on_drop: bool,
    variables: Variables,
    regions: Inheritance,
    #[cfg(feature = "tokio")]
    runtime: Option<function::Runtime>,
}

impl ProcessBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: None,
            daemon: true,
            kill_on_drop: false,
            variables: Variables::default(),
            regions: Inheritance::default(),
            #[cfg(feature = "tokio")]
            runtime: None,
        }
    }

    /// What it is called, in errors and by `ps`. Default: `gristmill-p` and a number.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether it dies with this program, however that ends. Default: it does.
    ///
    /// One that does not lives on with nobody to wait for it, ignores the terminal's Ctrl-C and
    /// hang-up, and keeps nothing of this program's but its standard output and error.
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// Whether it is killed when its handle is dropped, and each [`Join`](crate::Join) of it.
    /// Default: it is not.
    pub fn kill_on_drop(mut self, kill: bool) -> Self {
        self.kill_on_drop = kill;
        self
    }

    /// Gives it a memory file.
    pub(crate) fn inherit(mut self, file: Arc<dyn AsFd + Send + Sync>) -> Self {
        self.regions.add(file);
        self
    }

    /// Sets a variable of its environment, besides those of this process.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables.set(name.as_ref(), value.as_ref());
        self
    }

    /// What builds the runtime that an async function runs on. Default: tokio's, with one thread,
    /// I/O and time. `f` runs in the process and must capture nothing; if it fails or panics, so
    /// does the process.
    ///
    /// # Examples
    ///
    /// ```
    /// use gristmill::Process;
    /// use tokio::runtime::Builder;
    ///
    /// let builder = Process::builder()
    ///     .runtime(|| Builder::new_multi_thread().worker_threads(2).enable_all().build());
    /// let worker = builder.spawn_worker_async((), async |()| {
    ///     tokio::spawn(async { 42_u64 }).await.unwrap()
    /// })?;
    /// assert_eq!(*worker.wait()?, 42);
    /// # Ok::<(), gristmill::Error>(())
    /// ```
    #[cfg(feature = "tokio")]
    pub fn runtime<F>(mut self, f: F) -> Self
    where
        F: Fn() -> std::io::Result<tokio::runtime::Runtime> + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        self.runtime = Some(function::runtime::<F>);
        self
    }

    /// Starts the process; see [`Process::spawn`].
    ///
    /// # Errors
    /// As [`Process::spawn`], and [`Error::InvalidArgument`] for a variable that no environment
    /// can hold.
    pub fn spawn<A, R, F>(self, arguments: A, f: F) -> Result<Process, Error>
    where
        A: Payload + 'static,
        R: 'static,
        F: Fn(&A::Archived) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        self.start(function::plain::<A, R, F>, &arguments)
    }

    /// Starts the process; see [`Worker::spawn`].
    ///
    /// # Errors
    /// As [`ProcessBuilder::spawn`].
    pub fn spawn_worker<A, R, F>(self, arguments: A, f: F) -> Result<Worker<R>, Error>
    where
        A: Payload + 'static,
        R: Payload + 'static,
        F: Fn(&A::Archived) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        self.start(function::replying::<A, R, F>, &arguments)
            .map(Worker::new)
    }

    /// Starts the process; see [`Process::spawn_async`].
    ///
    /// # Errors
    /// As [`ProcessBuilder::spawn`].
    #[cfg(feature = "tokio")]
    pub fn spawn_async<A, R, F>(self, arguments: A, f: F) -> Result<Process, Error>
    where
        A: Payload + 'static,
        R: 'static,
        F: AsyncFn(&A::Archived) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        self.start(function::plain_async::<A, R, F>, &arguments)
    }

    /// Starts the process; see [`Worker::spawn_async`].
    ///
    /// # Errors
    /// As [`ProcessBuilder::spawn`].
    #[cfg(feature = "tokio")]
    pub fn spawn_worker_async<A, R, F>(self, arguments: A, f: F) -> Result<Worker<R>, Error>
    where
        A: Payload + 'static,
        R: Payload + 'static,
        F: AsyncFn(&A::Archived) -> R + Copy + Send + Sync + 'static,
    {
        const { require_no_captures::<F>() };
        let _ = f;
        self.start(function::replying_async::<A, R, F>, &arguments)
            .map(Worker::new)
    }

    fn start<A: Payload>(self, function: SoloFunction, arguments: &A) -> Result<Process, Error> {
        static IMAGE: OnceLock<ImageId> = OnceLock::new();
        self.check_variables()?;
        let keeper = Keeper::get()?;
        let runtime = self.runtime_id()?;
        let name = self.name.unwrap_or_else(default_name);
        let order = Order {
            function: function_id(function)?,
            runtime,
            name: &name,
        };
        let image = IMAGE.get_or_init(ImageId::current);
        let envelope = Envelope::seal(&order, image, arguments)?;
        let record = keeper.start(Plan {
            name,
            daemon: self.daemon,
            variables: self.variables,
            regions: self.regions,
            envelope,
        })?;
        Ok(Process {
            handle: Arc::new(Handle {
                record,
                kill_on_drop: self.kill_on_drop,
            }),
        })
    }

    #[cfg(feature = "tokio")]
    fn runtime_id(&self) -> Result<Option<FunctionId>, Error> {
        Ok(self.runtime.map(function::runtime_id).transpose()?)
    }

    #[cfg(not(feature = "tokio"))]
    fn runtime_id(&self) -> Result<Option<FunctionId>, Error> {
        Ok(None)
    }

    fn check_variables(&self) -> Result<(), Error> {
        match self.variables.impossible() {
            None => Ok(()),
            Some((name, value)) => Err(Error::InvalidArgument {
                what: "environment variable",
                found: format!("{name:?}={value:?}"),
                wanted: "a name without `=`, and no zero byte".into(),
            }),
        }
    }
}

fn default_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // ORDERING: Relaxed; a number that differs from others.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("gristmill-p{number}")
}
