//! Counts the system calls of a program and of all processes and threads it starts, by ptrace.
//!
//! What is counted lies between pairs of marks that the program sets. The kernel stops a process
//! for its tracer at each system call and nowhere else, so where there are few of them the program
//! runs at its own speed. A count has no noise of a clock.

use std::collections::BTreeMap;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

use libc::{c_long, c_void, pid_t};

/// What no system call means: an option of `prctl` that there is not.
const MARK: u64 = 0x6772_6973;
const BEGIN: u64 = 1;
const END: u64 = 2;

/// Counts, by the numbers of system calls.
pub(crate) type Counts = BTreeMap<i64, u64>;

fn mark(phase: u64) {
    // SAFETY: an option that the kernel does not know: it refuses, and does nothing.
    unsafe { libc::prctl(MARK as i32, phase, 0, 0, 0) };
}

/// Runs the work between two marks.
pub(crate) fn marked<O>(work: impl FnOnce() -> O) -> O {
    mark(BEGIN);
    let output = work();
    mark(END);
    output
}

/// Whether a system call is how a runtime looks for what its reactor has.
pub(crate) fn is_poll(number: i64) -> bool {
    #[cfg(target_arch = "x86_64")]
    if number == libc::SYS_epoll_wait {
        return true;
    }
    [libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2].contains(&number)
}

/// Runs the program to its end and counts between its marks, each pair for itself. No other child
/// of this process may end meanwhile.
///
/// # Errors
/// What the kernel says, or that the program did not end well.
pub(crate) fn count(command: &mut Command) -> io::Result<Vec<Counts>> {
    let ask_for_it = || {
        // SAFETY: without pointers.
        match unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure makes one system call and nothing else.
    unsafe { command.pre_exec(ask_for_it) };
    let first = command.spawn()?.id() as pid_t;
    let mut tracer = Tracer {
        first,
        phase: 0,
        counts: Vec::new(),
    };
    // It has stopped itself at its first instruction.
    wait(first)?;
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_EXITKILL;
    request(libc::PTRACE_SETOPTIONS, first, options as usize)?;
    request(libc::PTRACE_SYSCALL, first, 0)?;
    let ended = tracer.follow()?;
    match libc::WIFEXITED(ended) && libc::WEXITSTATUS(ended) == 0 && tracer.phase == END {
        true => Ok(tracer.counts),
        false => Err(io::Error::other("the program did not end well")),
    }
}

struct Tracer {
    first: pid_t,
    phase: u64,
    counts: Vec<Counts>,
}

impl Tracer {
    /// Until the program ends; then the kernel kills what it started.
    fn follow(&mut self) -> io::Result<i32> {
        loop {
            let (pid, status) = wait(-1)?;
            if !libc::WIFSTOPPED(status) {
                if pid == self.first {
                    return Ok(status);
                }
                continue;
            }
            let signal = match libc::WSTOPSIG(status) {
                // A system call begins or ends.
                stop if stop == libc::SIGTRAP | 0x80 => {
                    self.look_at(pid);
                    0
                }
                // A fork, a clone, an exec; or a new process, before its first instruction.
                libc::SIGTRAP | libc::SIGSTOP => 0,
                signal => signal,
            };
            // Who was killed meanwhile is not there any more, which its end will tell.
            let _ = request(libc::PTRACE_SYSCALL, pid, signal as usize);
        }
    }

    fn look_at(&mut self, pid: pid_t) {
        let Some((number, arguments)) = entered(pid) else {
            return;
        };
        if number == libc::SYS_prctl && arguments[0] == MARK {
            self.phase = arguments[1];
            if self.phase == BEGIN {
                self.counts.push(Counts::new());
            }
        } else if self.phase == BEGIN
            && let Some(counts) = self.counts.last_mut()
        {
            *counts.entry(number).or_default() += 1;
        }
    }
}

/// The system call that begins, and its first arguments; nothing if it ends.
fn entered(pid: pid_t) -> Option<(i64, [u64; 2])> {
    let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    let size = size_of::<libc::ptrace_syscall_info>();
    let request = libc::PTRACE_GET_SYSCALL_INFO;
    // SAFETY: writes at most `size` bytes to where there are as many.
    let filled = unsafe { libc::ptrace(request, pid, size, info.as_mut_ptr().cast::<c_void>()) };
    // SAFETY: zeroed before, and any bits are a value.
    let info = unsafe { info.assume_init() };
    if filled <= 0 || info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: by `op` it is this one.
    let entry = unsafe { info.u.entry };
    Some((entry.nr as i64, [entry.args[0], entry.args[1]]))
}

fn wait(pid: pid_t) -> io::Result<(pid_t, i32)> {
    let mut status = 0;
    // SAFETY: writes to a number of ours.
    match unsafe { libc::waitpid(pid, &mut status, libc::__WALL) } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok((pid, status)),
    }
}

fn request(request: libc::c_uint, pid: pid_t, data: usize) -> io::Result<()> {
    let nowhere = ptr::null_mut::<c_void>();
    // SAFETY: `data` is a number in all requests that are made here.
    match unsafe { libc::ptrace(request, pid, nowhere, data as c_long) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
