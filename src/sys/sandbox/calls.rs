//! The filter: which system calls are left (seccomp).
//!
//! A list of what is allowed, not of what is forbidden: what is not named here is a violation, also
//! if a later kernel invents it. Three answers, each a filter of its own, of which the kernel obeys
//! the strictest:
//!
//! - *allowed*, for what computing takes;
//! - *refused*, always with an error: what runtime libraries try on their own and can do without,
//!   such as reading a file for a backtrace;
//! - *a violation*, an error or death as the [`Policy`] says: everything else.

use std::collections::BTreeMap;

use nix::errno::Errno;
use nix::unistd::getpid;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use super::super::failure::SysError;
use super::Policy;

const WHAT: &str = "filter the system calls of a process";

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;

/// Calls, each with the rules of which one must hold; none: any arguments.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Whatever the arguments are.
const ALLOWED: &[i64] = &[
    // A heap, and memory of one's own; the pool commits and protects parts of its region.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mlock,
    libc::SYS_munlock,
    // Clocks.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    // Threads, and waiting: for other threads and, on the pool's futexes, for work.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Who one is, what one has used, random numbers.
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
    // Handlers of one's own signals, such as that of a stack overflow.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // What is open: standard output and error, the pool's event, what the set-up left.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    // A runtime for futures, which waits on events of its own.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_dup,
    libc::SYS_close,
    libc::SYS_close_range,
];

/// The same for calls that only x86-64 has: older forms, and permission to use tile registers.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[i64] = &[
    libc::SYS_time,
    libc::SYS_getrlimit,
    libc::SYS_pause,
    libc::SYS_poll,
    libc::SYS_epoll_wait,
    libc::SYS_select,
    libc::SYS_arch_prctl,
];
#[cfg(target_arch = "aarch64")]
const ALLOWED_HERE: &[i64] = &[];

/// Looking at files and directories.
const READING: &[i64] = &[
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_fadvise64,
];
#[cfg(target_arch = "x86_64")]
const READING_HERE: &[i64] = &[
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
];
#[cfg(target_arch = "aarch64")]
const READING_HERE: &[i64] = &[];

/// Making, filling, renaming and removing files and directories.
const WRITING: &[i64] = &[
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
];
#[cfg(target_arch = "x86_64")]
const WRITING_HERE: &[i64] = &[
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_renameat,
];
#[cfg(target_arch = "aarch64")]
const WRITING_HERE: &[i64] = &[];

/// Calls that open a path, with the place of their flags.
#[cfg(target_arch = "x86_64")]
const OPENING: &[(i64, u8)] = &[(libc::SYS_open, 1), (libc::SYS_openat, 2)];
#[cfg(target_arch = "aarch64")]
const OPENING: &[(i64, u8)] = &[(libc::SYS_openat, 2)];

/// Calls whose arguments lie in memory, where no filter can look. The C library has an older form
/// of each and uses that when this one is "not implemented".
const OPAQUE: &[i64] = &[libc::SYS_clone3, libc::SYS_openat2];

/// Calls of which only some uses are left, told by an argument: its place, and what it may be.
/// Other uses are refused.
const SOME_USES: &[(i64, u8, &[i32])] = &[
    // Of its own thread, which is 0; numbers might name another process.
    (libc::SYS_sched_setaffinity, 0, &[0]),
    (libc::SYS_prlimit64, 0, &[0]),
    // Names of threads and of memory. Not the signal at the parent's death, which must stay.
    (
        libc::SYS_prctl,
        0,
        &[
            libc::PR_SET_NAME,
            libc::PR_GET_NAME,
            PR_SET_VMA,
            libc::PR_SET_NO_NEW_PRIVS,
        ],
    ),
    // Not the flags of open files, which are the parent's as well: its event must not block.
    (
        libc::SYS_fcntl,
        1,
        &[
            libc::F_GETFD,
            libc::F_SETFD,
            libc::F_GETFL,
            libc::F_DUPFD,
            libc::F_DUPFD_CLOEXEC,
            // Of a region's file.
            libc::F_GET_SEALS,
        ],
    ),
    // Whether standard output is a terminal, and how wide.
    (
        libc::SYS_ioctl,
        1,
        &[libc::TCGETS as i32, libc::TIOCGWINSZ as i32],
    ),
];

/// Names an anonymous mapping; not every flavour of libc has it.
const PR_SET_VMA: i32 = 0x5356_4d41;

/// Installs the filters, for all threads of this process.
///
/// Fails with `ESRCH` if a thread has a filter of its own that these cannot join, else with what
/// the kernel says.
pub(super) fn filter(policy: Policy) -> Result<(), SysError> {
    let violation = match policy.kills {
        true => SeccompAction::KillProcess,
        false => SeccompAction::Errno(Errno::EPERM as u32),
    };
    let opaque = OPAQUE.iter().map(|&call| (call, Vec::new())).collect();
    let all = [
        refuse(opaque, Errno::ENOSYS),
        refuse(refused(policy).map_err(unfit)?, Errno::EACCES),
        compile(
            allowed(policy).map_err(unfit)?,
            violation,
            SeccompAction::Allow,
        ),
    ];
    // The strictest last: it would forbid to install another.
    for program in all {
        install(&program?)?;
    }
    Ok(())
}

fn install(program: &BpfProgram) -> Result<(), SysError> {
    let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    seccompiler::apply_filter_all_threads(program).map_err(|error| {
        SysError::of(WHAT)(match error {
            seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => errno(error),
            seccompiler::Error::ThreadSync(_) => Errno::ESRCH,
            _ => Errno::EINVAL,
        })
    })
}

/// The lists above do not depend on input, so only a mistake in them gets here.
fn unfit(_: BackendError) -> SysError {
    SysError::of(WHAT)(Errno::EINVAL)
}

fn refuse(rules: Rules, errno: Errno) -> Result<BpfProgram, SysError> {
    compile(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno as u32),
    )
}

fn compile(
    rules: Rules,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, SysError> {
    SeccompFilter::new(rules, otherwise, matched, ARCH)
        .and_then(BpfProgram::try_from)
        .map_err(unfit)
}

/// What is no violation: what is allowed, and what another filter refuses.
fn allowed(policy: Policy) -> Result<Rules, BackendError> {
    let me = u64::from(getpid().as_raw().cast_unsigned());
    let mut rules = Rules::new();
    let plain = [ALLOWED, ALLOWED_HERE, READING, READING_HERE, OPAQUE];
    let writing = [WRITING, WRITING_HERE];
    let writing = writing.into_iter().filter(|_| policy.writes);
    for &call in plain.into_iter().chain(writing).flatten() {
        rules.insert(call, Vec::new());
    }
    for &(call, _, _) in SOME_USES {
        rules.insert(call, Vec::new());
    }
    // A thread of this process, in its namespaces; not a process.
    let thread = (libc::CLONE_THREAD | libc::CLONE_VM) as u32;
    let apart = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    let mask = u64::from(thread | apart as u32);
    let clone = masked(0, mask, u64::from(thread))?;
    rules.insert(libc::SYS_clone, vec![rule([clone])?]);
    // Signals to oneself: `abort`, `raise`.
    for call in [libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill] {
        rules.insert(call, vec![rule([equal(0, me)?])?]);
    }
    for &(call, flags) in OPENING {
        let change = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;
        let looks = vec![rule([masked(flags, change as u64, 0)?])?];
        let either = vec![
            rule([masked(flags, (libc::O_ACCMODE | libc::O_TRUNC) as u64, 0)?])?,
            rule([masked(
                flags,
                libc::O_ACCMODE as u64,
                libc::O_WRONLY as u64,
            )?])?,
            rule([masked(flags, libc::O_ACCMODE as u64, libc::O_RDWR as u64)?])?,
        ];
        rules.insert(call, if policy.writes { either } else { looks });
    }
    Ok(rules)
}

/// What is refused with an error, whatever becomes of violations.
fn refused(policy: Policy) -> Result<Rules, BackendError> {
    let mut rules = Rules::new();
    if !policy.reads && !policy.writes {
        let opening = OPENING.iter().map(|(call, _)| call);
        for &call in READING.iter().chain(READING_HERE).chain(opening) {
            rules.insert(call, Vec::new());
        }
    }
    for &(call, place, uses) in SOME_USES {
        let others = uses
            .iter()
            .map(|&value| differs(place, u64::from(value.cast_unsigned())))
            .collect::<Result<Vec<_>, _>>()?;
        rules.insert(call, vec![SeccompRule::new(others)?]);
    }
    // Limits may be read: there is no new one where its address is null.
    let new_limit = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    let limits = rules.entry(libc::SYS_prlimit64).or_default();
    limits.push(rule([new_limit])?);
    Ok(rules)
}

fn rule<const N: usize>(conditions: [SeccompCondition; N]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into())
}

// The arguments that are looked at are 32 bits wide, and the kernel ignores the rest of them.

fn equal(place: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(place, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

fn differs(place: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(place, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value)
}

fn masked(place: u8, mask: u64, value: u64) -> Result<SeccompCondition, BackendError> {
    let masked = SeccompCmpOp::MaskedEq(mask);
    SeccompCondition::new(place, SeccompCmpArgLen::Dword, masked, value)
}
