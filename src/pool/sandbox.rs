//! What a program asks of its workers' sandbox.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Error;
use crate::sys::sandbox::{self, Policy, Rights, Unprepared};

/// What workers may do besides computing: by default nothing. For [`Builder::sandbox`].
///
/// A confined worker reads its inputs, writes its results, allocates, starts and ends threads, asks
/// for the time and for random numbers, and writes to standard output and standard error. It panics
/// and is reported like any other. It can **not**
///
/// - open, make, change, remove or look at files, except beneath the paths that were allowed;
/// - use the network or any other socket, or make pipes;
/// - start a program or a process;
/// - send a signal to another process, trace one, or read or write its memory;
/// - change its limits or privileges, mount, load into the kernel, or anything else that is not on
///   a short list: what a later kernel invents is forbidden, too.
///
/// Besides shared memory, standard streams and what the [set-up](crate::Builder::worker_setup) or
/// [`preload`](crate::Builder::preload) left open, a confined worker has no descriptor: those that
/// the program made inheritable are closed. The server that forks workers is not confined itself,
/// nor is a program that starts them ([`command`](crate::Builder::command)).
///
/// [Regions](crate::Builder::region) that the pool was given are shared with it, as with any
/// worker. That a process which shares one has died is found out by those that are not confined.
///
/// An operation that is not allowed fails, as [`std::io::ErrorKind::PermissionDenied`], or ends the
/// worker with `SIGSYS`: see [`Violation`]. The pool lives in either case, and each replacement is
/// confined in the same way.
///
/// It protects everything outside the pool from the code in a worker, also if that code is hostile.
/// It does **not** protect the pool's own shared memory from such code: see "What is not promised"
/// in `docs/reliability.md`. Nor does it hide what the process has in memory: the environment.
///
/// The kernel does it, by [Landlock](https://docs.kernel.org/userspace-api/landlock.html) and a
/// system call filter, without privileges, and nothing undoes it. Where it cannot,
/// [`Builder::build`] fails with [`Error::SandboxUnavailable`]; no pool is built that is confined
/// in part.
///
/// The [set-up](crate::Builder::worker_setup) runs before; the initializer and what makes the
/// workers' state run confined, as tasks and futures do. The default runtime for futures works in
/// it; a tokio with its feature `signal` wants a pair of sockets, which it does not get, and needs
/// an `async_runtime` without I/O.
///
/// A worker's start takes about a millisecond longer; but where backtraces are wanted
/// (`RUST_BACKTRACE`), the symbols that they need are read before the files are closed, which takes
/// the time of a first backtrace at each start: a tenth of a second and more.
///
/// [`Builder::sandbox`]: crate::Builder::sandbox
/// [`Builder::build`]: crate::Builder::build
///
/// # Examples
///
/// ```
/// use gristmill::{Pool, Sandbox};
///
/// let pool = Pool::builder().workers(2).sandbox(Sandbox::compute_only()).build()?;
/// let read = pool.spawn((), |()| std::fs::read("/etc/hostname").is_ok())?;
/// assert!(!*read.wait()?);
/// let listen = pool.spawn((), |()| std::net::TcpListener::bind("127.0.0.1:0").is_ok())?;
/// assert!(!*listen.wait()?);
/// # Ok::<(), gristmill::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Sandbox {
    paths: Vec<(PathBuf, Rights)>,
    violation: Violation,
}

/// What becomes of a worker that tries what its [`Sandbox`] forbids.
///
/// Under either, **looking** at files (opening one for reading, listing a directory, asking whether
/// there is one) fails with an error and kills nobody: runtime libraries do it on their own and do
/// without the answer. The same goes for harmless calls with arguments that are not allowed, such
/// as pinning another thread to a core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Violation {
    /// The operation fails, the worker goes on.
    #[default]
    Deny,
    /// The worker ends: [`Cause::Signal`](crate::Cause::Signal) with `SIGSYS` (31).
    Kill,
}

impl Sandbox {
    /// No files, no network, no other processes; violations are denied.
    pub fn compute_only() -> Self {
        Self {
            paths: Vec::new(),
            violation: Violation::Deny,
        }
    }

    /// Lets workers read the file at `path`, or list and read all beneath the directory.
    ///
    /// The path is looked up when the pool is built, also for replacements of workers: one that
    /// does not exist is [`Error::InvalidConfig`]. With any path allowed, workers can also ask for
    /// the size, times and owner of *every* file that this process could, for the kernel does not
    /// tell these questions apart by path; contents and directories stay closed.
    ///
    /// A set-up, or a library, that starts threads in the worker before it is confined makes
    /// [`Builder::build`](crate::Builder::build) fail: such threads cannot be kept to paths.
    pub fn allow_read(self, path: impl AsRef<Path>) -> Self {
        self.allow(path, Rights::Read)
    }

    /// Lets workers read, write, make and remove files and directories beneath the directory
    /// `path`, or read and write the file. Otherwise as [`allow_read`](Self::allow_read).
    ///
    /// Links, sockets, pipes and devices cannot be made, nor files moved between directories.
    pub fn allow_write(self, path: impl AsRef<Path>) -> Self {
        self.allow(path, Rights::Write)
    }

    /// Whether a violation is an error or ends the worker. Default: [`Violation::Deny`].
    pub fn on_violation(mut self, violation: Violation) -> Self {
        self.violation = violation;
        self
    }

    fn allow(mut self, path: impl AsRef<Path>, rights: Rights) -> Self {
        self.paths.push((path.as_ref().to_owned(), rights));
        self
    }

    /// Looks the paths up, and whether this kernel can do it all.
    pub(crate) fn prepare(&self) -> Result<(Arc<OwnedFd>, Policy), Error> {
        let ruleset = sandbox::prepare(&self.paths).map_err(|reason| match reason {
            Unprepared::NoLandlock => Error::SandboxUnavailable {
                facility: "Landlock",
                wanted: "Linux has it since 5.13, where it is built in (CONFIG_SECURITY_LANDLOCK) \
                         and switched on (`landlock` among the `lsm=` of the boot line), and where \
                         no container forbids it",
            },
            Unprepared::NoFilter => Error::SandboxUnavailable {
                facility: "filter for system calls",
                wanted: "Linux has it since 4.14, where it is built in (CONFIG_SECCOMP_FILTER) and \
                         where no container forbids it",
            },
            Unprepared::Path(path, error) => Error::InvalidConfig {
                setting: "sandbox",
                found: format!("{}: {error}", path.display()),
                wanted: "paths that this process can open",
            },
            Unprepared::System(error) => error.into(),
        })?;
        let has = |wanted| self.paths.iter().any(|&(_, rights)| rights == wanted);
        let policy = Policy {
            reads: has(Rights::Read),
            writes: has(Rights::Write),
            kills: self.violation == Violation::Kill,
        };
        Ok((Arc::new(ruleset), policy))
    }
}
