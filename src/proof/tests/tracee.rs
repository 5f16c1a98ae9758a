//! A process that takes one instruction at a time, and can be doubled where it stands.
//!
//! It is forked, stops itself, does what it was forked for, and is stopped on its way out. There is
//! no breakpoint instruction in it, so it is the same on every machine. A [twin](Tracee::twin) is
//! made by leading the stopped process through `clone` and back: it has the same registers and the
//! same private memory, and shares what is shared. So one walk over N instructions has a process to
//! kill at each of them.

#![expect(unsafe_code, reason = "forks, and asks the kernel to trace")]

use std::cell::Cell;
use std::mem::{size_of, zeroed};
use std::os::fd::RawFd;
use std::ptr::{null_mut, with_exposed_provenance_mut, without_provenance_mut};

use libc::{c_int, c_long, c_void, pid_t};

/// Exit code of a child that may not be traced.
const UNTRACEABLE: c_int = 90;

const FORKED: c_int = libc::SIGTRAP | libc::PTRACE_EVENT_FORK << 8;
const CALLING: c_int = libc::SIGTRAP | 0x80;
const EXITING: c_int = libc::SIGTRAP | libc::PTRACE_EVENT_EXIT << 8;

/// From the end of the system call instruction back to its start.
const CALL_BYTES: u64 = if cfg!(target_arch = "x86_64") { 2 } else { 4 };

/// The kernel (seccomp, yama) or the machine does not let this process be traced.
#[derive(Debug)]
pub(super) struct NotPermitted;

/// Where a step led.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// To the next instruction.
    Step,
    /// To its exit.
    Exit,
}

/// Which system call a child stands at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Call {
    /// Where workers sleep.
    Futex,
    Other,
}

/// A stopped child; killed and reaped on drop.
#[derive(Debug)]
pub(super) struct Tracee {
    /// 0 once it is reaped.
    pid: Cell<pid_t>,
    /// Where in this process's image a system call instruction ends.
    gate: u64,
}

impl Tracee {
    /// Forks a child that has stopped with `body` before it. It keeps one descriptor.
    ///
    /// The parent may have other threads: `body` takes no lock but the C library's allocator's,
    /// which `fork` keeps usable.
    pub(super) fn start(kept: RawFd, body: impl FnOnce()) -> Result<Self, NotPermitted> {
        // SAFETY: the child calls only what is safe after a fork of a threaded process (above).
        let pid = unsafe { libc::fork() };
        assert_ne!(pid, -1, "a process");
        if pid == 0 {
            live(kept, body);
        }
        let mut child = Self {
            pid: Cell::new(pid),
            gate: 0,
        };
        match child.wait() {
            Ended::Stopped(libc::SIGSTOP) => {}
            // Untraced, so its exit is no stop.
            Ended::Exited(UNTRACEABLE) => return Err(NotPermitted),
            other => panic!("a child began with {other:?}"),
        }
        let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACEFORK | libc::PTRACE_O_TRACEEXIT;
        child.request(libc::PTRACE_SETOPTIONS as _, options as usize);
        child.gate = counter(&mut child.registers());
        Ok(child)
    }

    /// For a child between fork and exec: asks to be traced, and to stop after `exec`.
    pub(super) fn ask() -> std::io::Result<()> {
        let nothing: *mut c_void = null_mut();
        // SAFETY: asks to be traced by the parent; no memory is passed.
        match unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, nothing, nothing) } {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// Takes over a child that was just started; if it asked to be traced, once it has stopped.
    pub(super) fn adopt(pid: pid_t, traced: bool) -> Self {
        let child = Self {
            pid: Cell::new(pid),
            gate: 0,
        };
        if traced {
            match child.wait() {
                Ended::Stopped(libc::SIGTRAP) => {}
                other => panic!("a program began with {other:?}"),
            }
            let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
            child.request(libc::PTRACE_SETOPTIONS as _, options as usize);
        }
        child
    }

    pub(super) fn pid(&self) -> pid_t {
        self.pid.get()
    }

    /// Goes on to the beginning of a system call, or to its end.
    pub(super) fn to_call(&self) -> Call {
        self.request(libc::PTRACE_SYSCALL as _, 0);
        match self.wait() {
            Ended::Stopped(CALLING) => {}
            other => panic!("between two system calls: {other:?}"),
        }
        match call_number(&self.registers()) == libc::SYS_futex as u64 {
            true => Call::Futex,
            false => Call::Other,
        }
    }

    /// Takes one instruction.
    pub(super) fn step(&self) -> Stop {
        self.request(libc::PTRACE_SINGLESTEP as _, 0);
        match self.wait() {
            Ended::Stopped(libc::SIGTRAP) => Stop::Step,
            Ended::Stopped(EXITING) => Stop::Exit,
            other => panic!("a step ended with {other:?}"),
        }
    }

    /// Goes on to its exit.
    pub(super) fn resume(&self) {
        self.request(libc::PTRACE_CONT as _, 0);
        match self.wait() {
            Ended::Stopped(EXITING) => {}
            other => panic!("it did not come to its end: {other:?}"),
        }
    }

    /// Another process that stands where this one stands.
    pub(super) fn twin(&self) -> Self {
        let here = self.registers();
        let mut call = here;
        // The tracer becomes the parent of the twin, too: who waits for it, and nobody else.
        lead_to_clone(&mut call, self.gate - CALL_BYTES);
        self.set_registers(call);
        self.request(libc::PTRACE_CONT as _, 0);
        match self.wait() {
            Ended::Stopped(FORKED) => {}
            other => panic!("no twin: {other:?}"),
        }
        let mut pid: libc::c_ulong = 0;
        self.request(
            libc::PTRACE_GETEVENTMSG as _,
            (&raw mut pid).expose_provenance(),
        );
        let twin = Self {
            pid: Cell::new(pid as pid_t),
            gate: self.gate,
        };
        match twin.wait() {
            Ended::Stopped(libc::SIGSTOP) => {}
            other => panic!("a twin began with {other:?}"),
        }
        twin.set_registers(here);
        // Out of the system call, then back to where it stood.
        assert_eq!(self.step(), Stop::Step);
        self.set_registers(here);
        twin
    }

    /// SIGKILL, where it stands.
    pub(super) fn kill(self) {
        drop(self);
    }

    fn wait(&self) -> Ended {
        let mut status = 0;
        // SAFETY: the place is ours.
        while unsafe { libc::waitpid(self.pid.get(), &raw mut status, libc::__WALL) }
            != self.pid.get()
        {
            let error = std::io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::EINTR), "wait: {error}");
        }
        if libc::WIFSTOPPED(status) {
            return Ended::Stopped(status >> 8);
        }
        self.pid.set(0);
        if libc::WIFSIGNALED(status) {
            Ended::Killed(libc::WTERMSIG(status))
        } else {
            Ended::Exited(libc::WEXITSTATUS(status))
        }
    }

    fn request(&self, what: i64, data: usize) {
        let nothing: *mut c_void = null_mut();
        let data: *mut c_void = with_exposed_provenance_mut(data);
        // SAFETY: a stopped child of ours; the requests made here read or write no memory of this
        // process but what `data` is the address of, which outlives the call.
        let result = unsafe { libc::ptrace(what as _, self.pid.get(), nothing, data) };
        let error = std::io::Error::last_os_error();
        assert_ne!(result, -1, "ptrace request {what:#x}: {error}");
    }

    fn registers(&self) -> libc::user_regs_struct {
        // SAFETY: plain numbers.
        let mut registers: libc::user_regs_struct = unsafe { zeroed() };
        self.exchange(libc::PTRACE_GETREGSET as _, &mut registers);
        registers
    }

    fn set_registers(&self, mut registers: libc::user_regs_struct) {
        self.exchange(libc::PTRACE_SETREGSET as _, &mut registers);
    }

    fn exchange(&self, what: i64, registers: &mut libc::user_regs_struct) {
        const NT_PRSTATUS: usize = 1;
        let mut vector = libc::iovec {
            iov_base: (&raw mut *registers).cast(),
            iov_len: size_of::<libc::user_regs_struct>(),
        };
        let kind: *mut c_void = without_provenance_mut(NT_PRSTATUS);
        // SAFETY: a stopped child of ours, and a vector over a structure that is large enough.
        let result = unsafe { libc::ptrace(what as _, self.pid.get(), kind, &raw mut vector) };
        let error = std::io::Error::last_os_error();
        assert_ne!(result, -1, "registers: {error}");
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        while self.pid.get() != 0 {
            // SAFETY: our own child, not reaped yet, so the number is no other process's.
            unsafe { libc::kill(self.pid.get(), libc::SIGKILL) };
            let (go_on, nothing) = (libc::PTRACE_CONT, null_mut::<c_void>());
            // On its way out it stops once more, and no signal moves it on.
            // SAFETY: no memory is passed; that it has gone meanwhile is as good.
            unsafe { libc::ptrace(go_on, self.pid.get(), nothing, nothing) };
            self.wait();
        }
    }
}

/// What `waitpid` told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ended {
    /// By a signal, with an event above it.
    Stopped(c_int),
    Killed(c_int),
    Exited(c_int),
}

/// The life of the child.
fn live(kept: RawFd, body: impl FnOnce()) -> ! {
    let (kept, nothing) = (kept as c_long, 0 as c_long);
    // Other tests wait for the other ends of their pipes to close, and must not wait for us.
    for (first, last) in [(3, kept - 1), (kept + 1, c_long::from(u32::MAX))] {
        if first <= last {
            // SAFETY: no owner of one of these descriptors will ever run in this process.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, nothing) };
        }
    }
    // SAFETY: asks to be traced by the parent; no memory is passed.
    let refused = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, nothing, nothing) } == -1;
    if refused {
        // SAFETY: ends the process.
        unsafe { libc::_exit(UNTRACEABLE) };
    }
    // SAFETY: no memory is passed.
    let me = unsafe { libc::getpid() };
    // SAFETY: as above.
    unsafe { libc::kill(me, libc::SIGSTOP) };
    body();
    // SAFETY: ends the process; nobody lets it come further than to this call.
    unsafe { libc::_exit(0) }
}

#[cfg(target_arch = "x86_64")]
fn counter(registers: &mut libc::user_regs_struct) -> u64 {
    registers.rip
}

#[cfg(target_arch = "aarch64")]
fn counter(registers: &mut libc::user_regs_struct) -> u64 {
    registers.pc
}

#[cfg(target_arch = "x86_64")]
fn call_number(registers: &libc::user_regs_struct) -> u64 {
    registers.orig_rax
}

#[cfg(target_arch = "aarch64")]
fn call_number(registers: &libc::user_regs_struct) -> u64 {
    registers.regs[8]
}

const TWIN: u64 = (libc::CLONE_PARENT | libc::SIGCHLD) as u64;

#[cfg(target_arch = "x86_64")]
fn lead_to_clone(registers: &mut libc::user_regs_struct, call: u64) {
    registers.rip = call;
    registers.rax = libc::SYS_clone as u64;
    registers.rdi = TWIN;
    (registers.rsi, registers.rdx, registers.r10, registers.r8) = (0, 0, 0, 0);
    // Not in a system call that would have to be begun again.
    registers.orig_rax = u64::MAX;
}

#[cfg(target_arch = "aarch64")]
fn lead_to_clone(registers: &mut libc::user_regs_struct, call: u64) {
    registers.pc = call;
    registers.regs[8] = libc::SYS_clone as u64;
    registers.regs[..5].copy_from_slice(&[TWIN, 0, 0, 0, 0]);
}
