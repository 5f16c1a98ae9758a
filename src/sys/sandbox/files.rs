//! The ruleset: which paths may be reached (Landlock).

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    PathFdError, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};
use nix::errno::Errno;
use nix::sys::prctl;

use super::super::failure::SysError;

/// What every kernel with Landlock holds (5.13); later rights close what the filter closes too.
const LEAST: ABI = ABI::V1;
/// The rights that are asked for where the kernel knows them.
const MOST: ABI = ABI::V7;

const PREPARE: &str = "prepare a sandbox";

/// What may be done beneath a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Files may be read, directories listed.
    Read,
    /// Besides, files and directories may be written, made, renamed in place and removed.
    Write,
}

impl Rights {
    fn flags(self) -> BitFlags<AccessFs> {
        let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
        let write = make_bitflags!(AccessFs::{
            WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir
        });
        match self {
            Self::Read => read,
            Self::Write => read | write,
        }
    }
}

/// Why there is no sandbox.
#[derive(Debug)]
pub(crate) enum Unprepared {
    /// The kernel has no Landlock, or it is switched off.
    NoLandlock,
    /// The kernel cannot filter system calls, or may not kill for them.
    NoFilter,
    /// A path cannot be opened.
    Path(PathBuf, io::Error),
    /// The kernel refused something else.
    System(SysError),
}

/// Makes a ruleset, and finds out whether this kernel can do all that [`super::confine`] needs.
pub(crate) fn prepare(paths: &[(PathBuf, Rights)]) -> Result<OwnedFd, Unprepared> {
    if !can_filter() {
        return Err(Unprepared::NoFilter);
    }
    // The crate asks the kernel when it is told of the first right; a kernel without Landlock knows
    // none.
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(LEAST))
        .map_err(|_| Unprepared::NoLandlock)?;
    let mut ruleset = ruleset
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(MOST))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(MOST)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(MOST)))
        .and_then(Ruleset::create)
        .map_err(refused)?;
    for (path, rights) in paths {
        let place = PathFd::new(path).map_err(|error| match error {
            PathFdError::OpenCall { source, path, .. } => Unprepared::Path(path, source),
            _ => Unprepared::System(SysError::of(PREPARE)(Errno::EINVAL)),
        })?;
        let is_directory = fs::metadata(path)
            .map_err(|error| Unprepared::Path(path.clone(), error))?
            .is_dir();
        let flags = match is_directory {
            true => rights.flags(),
            false => rights.flags() & AccessFs::from_file(MOST),
        };
        ruleset = ruleset
            .add_rule(PathBeneath::new(place, flags))
            .map_err(refused)?;
    }
    Option::<OwnedFd>::from(ruleset).ok_or(Unprepared::NoLandlock)
}

/// The crate's error, as the number that is at its root.
fn refused(error: RulesetError) -> Unprepared {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let mut errno = Errno::EINVAL;
    while let Some(one) = cause {
        let io = one.downcast_ref::<io::Error>();
        if let Some(number) = io.and_then(io::Error::raw_os_error) {
            errno = Errno::from_raw(number);
        }
        cause = one.source();
    }
    Unprepared::System(SysError::of(PREPARE)(errno))
}

/// Whether the kernel filters system calls and can end a process for one (4.14).
fn can_filter() -> bool {
    let action: u32 = libc::SECCOMP_RET_KILL_PROCESS;
    // SAFETY: the call reads one `u32`, which lives until it has returned.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        )
    };
    answer == 0
}

/// Fails with `EBUSY` if this process has more threads than this one.
pub(super) fn require_one_thread() -> Result<(), SysError> {
    const WHAT: &str = "confine a process that has started threads";
    let tasks = fs::read_dir("/proc/self/task")
        .map_err(|error| SysError::of(WHAT)(Errno::from_raw(error.raw_os_error().unwrap_or(0))))?;
    match tasks.count() {
        1 => Ok(()),
        _ => Err(SysError::of(WHAT)(Errno::EBUSY)),
    }
}

/// Binds the calling thread, and those it will start, to the ruleset, and to never gaining rights
/// by running a program.
pub(super) fn restrict(ruleset: OwnedFd) -> Result<(), SysError> {
    prctl::set_no_new_privs().map_err(SysError::of("give up new privileges"))?;
    // SAFETY: the call takes integers and touches no memory of ours.
    let answer = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
    Errno::result(answer)
        .map(drop)
        .map_err(SysError::of("restrict a process to its ruleset"))
}
