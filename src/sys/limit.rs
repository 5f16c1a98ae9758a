//! What this process may use, and how urgently: set once, before there is work.

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use super::failure::SysError;

/// Room that must be left for a process to do anything at all.
const HEADROOM: usize = 1 << 20;

/// Limits private writable memory, beyond which allocation fails; shared mappings do not count.
/// Fails with `ENOMEM` if so much is in use already, `EPERM` above the limit of the user.
pub(crate) fn memory(size: u64) -> Result<(), SysError> {
    const WHAT: &str = "limit the memory of a process";
    setrlimit(Resource::RLIMIT_DATA, size, size).map_err(SysError::of(WHAT))?;
    // SAFETY: a new mapping at a place of the kernel's choice touches nothing that exists.
    let probe = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            HEADROOM,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if probe == libc::MAP_FAILED {
        return Err(SysError::last(WHAT));
    }
    // SAFETY: the mapping was just made, and nobody else knows it.
    unsafe { libc::munmap(probe, HEADROOM) };
    Ok(())
}

/// Limits processor time: `SIGXCPU`, and `SIGKILL` a second later for who does not listen. Fails
/// with `EPERM` above the limit of the user.
pub(crate) fn cpu_seconds(seconds: u64) -> Result<(), SysError> {
    const WHAT: &str = "limit the processor time of a process";
    let hard = getrlimit(Resource::RLIMIT_CPU)
        .map_err(SysError::of(WHAT))?
        .1;
    if seconds > hard {
        return Err(SysError::of(WHAT)(Errno::EPERM));
    }
    let last = seconds.saturating_add(1).min(hard);
    setrlimit(Resource::RLIMIT_CPU, seconds, last).map_err(SysError::of(WHAT))
}

/// Limits open descriptors; those beyond the limit stay open. Fails with `EPERM` above the limit
/// of the user or the kernel.
pub(crate) fn open_files(count: u64) -> Result<(), SysError> {
    setrlimit(Resource::RLIMIT_NOFILE, count, count)
        .map_err(SysError::of("limit the open files of a process"))
}

/// Sets how nice this thread, and those it starts, are to others: -20 to 19. Fails with `EACCES`
/// if that is less nice than the user may be.
pub(crate) fn nice(value: i32) -> Result<(), SysError> {
    // SAFETY: the call takes integers and touches no memory of ours.
    let answer = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, value) };
    Errno::result(answer)
        .map(drop)
        .map_err(SysError::of("set the priority of a process"))
}

/// Keeps this thread, and those it starts, to the cores whose bits are set. Fails with `EINVAL` if
/// none of them is there for this process.
pub(crate) fn cores(bits: &[u64]) -> Result<(), SysError> {
    const WHAT: &str = "bind a process to cores";
    let mut set = CpuSet::new();
    for core in (0..64 * bits.len()).filter(|core| bits[core / 64] >> (core % 64) & 1 != 0) {
        set.set(core).map_err(SysError::of(WHAT))?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).map_err(SysError::of(WHAT))
}
