//! Starting a worker process, and the first steps of one.
//!
//! The child is `/proc/self/exe`, started by `posix_spawn`: a fork would copy the page tables of
//! a parent that has touched gigabytes. Between the two programs only descriptors that are named
//! here and one environment variable are handed over.

use std::{
    env,
    ffi::{CString, OsStr, OsString},
    fmt,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawnp},
    sys::{
        prctl,
        signal::{SigHandler, SigSet, Signal, kill, signal},
        wait::waitpid,
    },
    unistd::{Pid, getppid},
};

use super::{
    executable::{Executable, ExecutableError},
    failure::SysError,
    pidfd::PidFd,
};

/// Signals that a terminal sends to parent and workers alike. What they mean is the parent's
/// decision: a worker ignores them and dies with its parent, if that is what the parent does.
///
/// Not among them are
/// - `SIGTSTP`, `SIGTTIN`, `SIGTTOU`: Ctrl-Z asks for the processors back, so the workers stop and
///   continue with the job, unless the parent ignores these signals: then so do they;
/// - `SIGTERM`: whoever sends it to a worker wants this one process to end.
const TERMINAL: [Signal; 3] = [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP];

/// Signals whose disposition a worker takes over from its parent, if that ignores them.
const JOB_CONTROL: [Signal; 3] = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];

/// The signal that nothing survives.
pub(crate) const KILL: i32 = Signal::SIGKILL as i32;
/// The signal that asks a process to end.
pub(crate) const TERMINATE: i32 = Signal::SIGTERM as i32;
/// Signals that end a process that ran wild.
pub(crate) const WILD: [i32; 6] = [
    Signal::SIGSEGV as i32,
    Signal::SIGBUS as i32,
    Signal::SIGILL as i32,
    Signal::SIGFPE as i32,
    Signal::SIGABRT as i32,
    Signal::SIGTRAP as i32,
];
/// The signal that makes a stopped process go on.
pub(crate) const CONTINUE: i32 = Signal::SIGCONT as i32;

/// Why no process was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    /// This executable must not be started as a worker.
    #[error(transparent)]
    Executable(#[from] ExecutableError),
    /// The kernel refused.
    #[error(transparent)]
    System(#[from] SysError),
}

/// A worker process to be started.
#[derive(Clone, Copy)]
pub(crate) struct Spawn<'a> {
    /// Name of the environment variable that makes the process a worker.
    pub(crate) variable: &'a str,
    /// Its value.
    pub(crate) value: &'a str,
    /// Descriptors that the worker finds under the same numbers. They must not be 0, 1 or 2.
    pub(crate) passed: &'a [BorrowedFd<'a>],
    /// Descriptors above 2, each with the number under which the worker finds it.
    pub(crate) placed: &'a [(BorrowedFd<'a>, RawFd)],
}

impl fmt::Debug for Spawn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawn")
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

impl Spawn<'_> {
    /// Starts the process: the same executable with the same name and no arguments; the same
    /// environment and the variable; nothing to read from standard input; of this program's
    /// descriptors those passed, and those that are inheritable anyway.
    ///
    /// The worker dies with the *thread* that calls this: let it be one that stays.
    ///
    /// Its environment has some more variables.
    pub(crate) fn start_in(&self, variables: &[(OsString, OsString)]) -> Result<PidFd, SpawnError> {
        let name = env::args_os().next();
        let name = name.unwrap_or_else(|| "gristmill-worker".into());
        self.execute(OsStr::new("/proc/self/exe"), &[name], variables)
    }

    /// The same through a command, a program and its arguments, that executes the program named by
    /// one more argument: this one. Without a command, directly.
    pub(crate) fn start_through(
        &self,
        command: &[OsString],
        variables: &[(OsString, OsString)],
    ) -> Result<PidFd, SpawnError> {
        let Some((program, _)) = command.split_first() else {
            return self.start_in(variables);
        };
        let own = env::current_exe().map_err(refused("find this executable"))?;
        self.execute(program, &[command, &[own.into()]].concat(), variables)
    }

    fn execute(
        &self,
        program: &OsStr,
        arguments: &[OsString],
        variables: &[(OsString, OsString)],
    ) -> Result<PidFd, SpawnError> {
        // Without the hook the child would be a second run of the program.
        Executable::current().constructors_after_hook()?;
        let nothing = File::open("/dev/null").map_err(refused("open /dev/null"))?;
        let duplicates = self.duplicates()?;
        let actions = self.file_actions(&nothing, &duplicates);
        let actions = actions.map_err(SysError::of("plan a process"))?;
        let attributes = attributes().map_err(SysError::of("plan a process"))?;
        let text = |text: &OsStr| CString::new(text.as_bytes());
        let arguments: Result<Vec<_>, _> = arguments.iter().map(|one| text(one)).collect();
        let (Ok(program), Ok(arguments)) = (text(program), arguments) else {
            return Err(SysError::of("pass a zero byte to a process")(Errno::EINVAL).into());
        };
        // A program without a slash is looked for as a shell would.
        let pid = posix_spawnp(
            &program,
            &actions,
            &attributes,
            &arguments,
            &self.environment(variables),
        );
        let pid = pid.map_err(SysError::of("start a process"))?;
        // The child is not reaped yet, so the number is still its own.
        PidFd::open_child(pid.as_raw()).map_err(|error| {
            // Nobody could ever watch it: it goes at once, and what it says does not matter.
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
            error.into()
        })
    }

    /// Second descriptors of those passed. The child duplicates each onto the number of the
    /// original, which is the one way to make that number inheritable in the child alone: a
    /// duplicate onto *itself* does nothing in older C libraries. `exec` closes the second ones.
    fn duplicates(&self) -> Result<Vec<OwnedFd>, SysError> {
        let duplicate = |fd: &BorrowedFd<'_>| match fd.as_raw_fd() {
            0..=2 => Err(SysError {
                attempt: "pass a standard stream on",
                errno: Errno::EINVAL,
            }),
            _ => fd
                .try_clone_to_owned()
                .map_err(refused("duplicate a descriptor")),
        };
        self.passed.iter().map(duplicate).collect()
    }

    fn file_actions(
        &self,
        nothing: &File,
        duplicates: &[OwnedFd],
    ) -> nix::Result<PosixSpawnFileActions> {
        let mut actions = PosixSpawnFileActions::init()?;
        actions.add_dup2(nothing.as_raw_fd(), 0)?;
        for (duplicate, original) in duplicates.iter().zip(self.passed) {
            actions.add_dup2(duplicate.as_raw_fd(), original.as_raw_fd())?;
        }
        for (fd, number) in self.placed {
            actions.add_dup2(fd.as_raw_fd(), *number)?;
        }
        Ok(actions)
    }

    fn environment(&self, variables: &[(OsString, OsString)]) -> Vec<CString> {
        let pair = |name: &OsStr, value: &OsStr| {
            CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
        };
        let is_set = |name: &OsStr| {
            name == self.variable || variables.iter().any(|(another, _)| another == name)
        };
        let inherited = env::vars_os().filter(|(name, _)| !is_set(name));
        let all = inherited.chain(variables.iter().cloned());
        all.filter_map(|(name, value)| pair(&name, &value))
            .chain(pair(self.variable.as_ref(), self.value.as_ref()))
            .collect()
    }
}

/// For `map_err` of the standard library's calls: names what was asked for.
pub(crate) fn refused(what: &'static str) -> impl FnOnce(io::Error) -> SysError {
    move |error| SysError {
        attempt: what,
        errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
    }
}

/// Signals to their defaults. The terminal's are blocked, and [`settle_signals`] unblocks them
/// once they are ignored, so that a Ctrl-C on the way there kills no worker.
fn attributes() -> nix::Result<PosixSpawnAttr> {
    let mut defaults = SigSet::all();
    JOB_CONTROL
        .into_iter()
        .for_each(|signal| defaults.remove(signal));
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_sigdefault(&defaults)?;
    attributes.set_sigmask(&TERMINAL.into_iter().collect())?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
    )?;
    Ok(attributes)
}

/// Makes this process die when the thread of `parent` that started it ends, and gives that parent
/// to watch as well. `None` if the parent is gone already.
pub(crate) fn bind_to_parent(parent: i32) -> Result<Option<PidFd>, SysError> {
    let is_parent = || getppid() == Pid::from_raw(parent);
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(SysError::of("be told of a parent's end"))?;
    // A parent that ended before the call above sent nothing.
    if !is_parent() {
        return Ok(None);
    }
    match PidFd::open(parent) {
        // Still our parent, so the number was not another's in between.
        Ok(descriptor) => Ok(is_parent().then_some(descriptor)),
        Err(SysError {
            errno: Errno::ESRCH,
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Ignores what is the parent's to decide, and `SIGPIPE` as Rust's own start does; then receives
/// every signal. A task that starts a program should know that what is ignored stays so there.
pub(crate) fn settle_signals() -> Result<(), SysError> {
    const WHAT: &str = "ignore a signal";
    for ignored in TERMINAL.into_iter().chain([Signal::SIGPIPE]) {
        // SAFETY: ignoring installs no handler, so no code runs in a signal's context.
        unsafe { signal(ignored, SigHandler::SigIgn) }.map_err(SysError::of(WHAT))?;
    }
    SigSet::empty()
        .thread_set_mask()
        .map_err(SysError::of("unblock signals"))
}

/// Names this thread, and with it the process, for `ps` and `top`; the kernel keeps 15 bytes.
pub(crate) fn set_name(name: &str) {
    if let Ok(name) = CString::new(name) {
        // Only a bad address can fail it, and a name is a courtesy.
        let _ = prctl::set_name(&name);
    }
}

/// Takes over the descriptor `fd`, which the parent passed; programs that a task starts do not
/// inherit it. Fails with `EBADF` if it is not open.
///
/// # Safety
///
/// Nobody else in this process owns `fd`.
pub(crate) unsafe fn adopt(fd: RawFd) -> Result<OwnedFd, SysError> {
    if fd < 0 {
        return Err(SysError {
            attempt: "take over a descriptor",
            errno: Errno::EBADF,
        });
    }
    // SAFETY: not -1; if it is not open the call below says so, and nothing has happened.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
        .map_err(SysError::of("take over a descriptor"))?;
    // SAFETY: it is open, and the caller vouches that it has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Ends the process here; nothing goes out that was printed before.
pub(crate) fn exit_at_once(code: i32) -> ! {
    // SAFETY: ends the process; nothing is left to uphold.
    unsafe { libc::_exit(code) }
}

/// Closes what came through `exec`: descriptors above 2 that programs that this process starts
/// would inherit in turn. Those that a library opened before this call carry the mark that keeps
/// them.
///
/// To be called before there is code that may open one without the mark. Fails without `/proc`.
pub(crate) fn close_inherited() -> Result<(), SysError> {
    const WHAT: &str = "close what was inherited";
    let entries = fs::read_dir("/proc/self/fd").map_err(refused(WHAT))?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    for fd in numbers.filter(|&fd: &RawFd| fd > 2) {
        // SAFETY: positive; whether it is open is what the call tells.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        if fcntl(borrowed, FcntlArg::F_GETFD) == Ok(0) {
            // SAFETY: it was open when this program began, so nobody in it is its owner.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    Ok(())
}

/// Ends the process here: no destructor of a static, no `atexit`. What tasks printed goes out.
pub(crate) fn exit_now(code: i32) -> ! {
    use std::io::Write;
    // A closed stream is nothing to report on the way out.
    let _ = std::io::stdout().flush();
    // SAFETY: null flushes every stream of the C library.
    unsafe { libc::fflush(std::ptr::null_mut()) };
    exit_at_once(code)
}
