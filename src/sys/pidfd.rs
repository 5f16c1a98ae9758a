//! A process by descriptor: a number that is never another process, and becomes readable at death.

use std::{
    fs, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr, thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::Pid,
};

use super::failure::SysError;
use super::sandbox;

/// How a process ended, and what it used.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Exit {
    /// What it passed to `_exit`, unless a signal ended it.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// Whether the kernel wrote a core dump.
    pub(crate) core_dumped: bool,
    /// Most memory it had resident at once, in bytes, pages of shared memory among them. `None` if
    /// it never had more than its parent had when it was started: at `exec` the kernel counts
    /// what is left behind, and a spawned child leaves its parent's memory behind.
    pub(crate) peak_rss: Option<u64>,
    /// Processor time in the program.
    pub(crate) user_time: Duration,
    /// Processor time in the kernel on its behalf.
    pub(crate) system_time: Duration,
}

/// A process, held by a descriptor.
#[derive(Debug)]
pub(crate) struct PidFd {
    fd: OwnedFd,
    pid: i32,
    /// Peak resident bytes below this may be somebody else's; see [`Exit::peak_rss`].
    inherited_rss: u64,
}

impl PidFd {
    /// Holds the process `pid`. The caller knows that the number is still that process: it is an
    /// unreaped child, or the parent, asked again afterwards.
    ///
    /// Fails with `ESRCH` if there is no such process, `EMFILE` if there is no descriptor left,
    /// `EPERM` without trying in a process that is confined.
    pub(crate) fn open(pid: i32) -> Result<Self, SysError> {
        const WHAT: &str = "open a descriptor for a process";
        if sandbox::is_confined() {
            return Err(SysError {
                attempt: WHAT,
                errno: Errno::EPERM,
            });
        }
        // SAFETY: takes two integers and touches no memory.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = RawFd::try_from(fd).unwrap_or(-1);
        if fd < 0 {
            return Err(SysError::last(WHAT));
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            fd,
            pid,
            inherited_rss: 0,
        })
    }

    /// Takes over a descriptor of the process `pid`, which somebody else opened.
    pub(crate) fn from_owned(fd: OwnedFd, pid: i32) -> Self {
        Self {
            fd,
            pid,
            inherited_rss: 0,
        }
    }

    /// The same, for a child that was just spawned by this process.
    pub(crate) fn open_child(pid: i32) -> Result<Self, SysError> {
        // The kernel counts resident pages a batch per processor behind: allow for it.
        const SLACK: u64 = 1 << 20;
        let inherited_rss = own_peak_rss() + SLACK;
        Ok(Self {
            inherited_rss,
            ..Self::open(pid)?
        })
    }

    /// The same, for a child that was just forked and has executed nothing. One that cannot be held
    /// is killed and reaped.
    pub(crate) fn open_forked(pid: i32) -> Result<Self, SysError> {
        Self::open(pid).inspect_err(|_| {
            let pid = Pid::from_raw(pid);
            // Nobody could ever watch it: it goes at once, and what it says does not matter.
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
        })
    }

    /// The number of the process. Another process may have it once this one is reaped.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Reaps the child: after `Some` all its threads are gone and no store of theirs can follow.
    /// `None` if it still runs; never so if `block`.
    ///
    /// If the program ignores `SIGCHLD`, or waits for any child and met ours, then the kernel no
    /// longer knows how it ended: that is an [`Exit`] without code and signal, as is reaping twice.
    pub(crate) fn reap(&self, block: bool) -> Result<Option<Exit>, SysError> {
        const WHAT: &str = "wait for a worker process";
        // SAFETY: both are plain C data, for which all zeros is a value.
        let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut usage: libc::rusage = unsafe { mem::zeroed() };
        let options = libc::WEXITED | if block { 0 } else { libc::WNOHANG };
        loop {
            // SAFETY: `info` and `usage` are valid for writes of their types through the call. It
            // is the raw call because libc's `waitid` does not pass the usage on.
            let answer = unsafe {
                libc::syscall(
                    libc::SYS_waitid,
                    libc::P_PIDFD,
                    self.fd.as_raw_fd(),
                    &raw mut info,
                    options,
                    &raw mut usage,
                )
            };
            if answer == 0 {
                break;
            }
            match Errno::last() {
                Errno::EINTR => {}
                Errno::ECHILD => return Ok(self.is_dead(block)?.then(Exit::default)),
                errno => {
                    return Err(SysError {
                        attempt: WHAT,
                        errno,
                    });
                }
            }
        }
        // SAFETY: `waitid` filled `info`, or left the zeros.
        let pid = unsafe { info.si_pid() };
        // SAFETY: as above.
        let status = unsafe { info.si_status() };
        let exited = info.si_code == libc::CLD_EXITED;
        let peak_rss = kib(usage.ru_maxrss);
        Ok((pid != 0).then(|| Exit {
            code: exited.then_some(status),
            signal: (!exited).then_some(status),
            core_dumped: info.si_code == libc::CLD_DUMPED,
            peak_rss: (peak_rss > self.inherited_rss).then_some(peak_rss),
            user_time: duration(usage.ru_utime),
            system_time: duration(usage.ru_stime),
        }))
    }

    /// Whether the process has ended, reaped or not; if `wait`, waits until it has.
    pub(crate) fn is_dead(&self, wait: bool) -> Result<bool, SysError> {
        let timeout = if wait {
            PollTimeout::NONE
        } else {
            PollTimeout::ZERO
        };
        loop {
            let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, timeout) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    return Err(SysError {
                        attempt: "watch a process",
                        errno,
                    });
                }
            }
        }
    }

    /// Sends `signal`. A process that has ended already is no error: [`reap`](Self::reap) tells.
    pub(crate) fn signal(&self, signal: i32) -> Result<(), SysError> {
        let fd = self.fd.as_raw_fd();
        let no_info = ptr::null::<libc::siginfo_t>();
        // SAFETY: a null `siginfo_t` means that the kernel fills in its own.
        let answer = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, no_info, 0) };
        match Errno::result(answer) {
            Ok(_) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(SysError {
                attempt: "send a signal to a process",
                errno,
            }),
        }
    }
}

impl PidFd {
    /// Stops the child and waits until it stands still, or has ended: then `true`. `false` if it
    /// is still on its way after some milliseconds, inside of the kernel. `CONTINUE` lets it go on.
    pub(crate) fn hold(&self) -> Result<bool, SysError> {
        const PATIENCE: Duration = Duration::from_millis(20);
        const PAUSE: Duration = Duration::from_micros(20);
        self.signal(Signal::SIGSTOP as i32)?;
        let began = Instant::now();
        // The report is left where it is, also for a later call.
        let states = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED;
        let manner = WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        loop {
            match waitid(Id::PIDFd(self.fd.as_fd()), states | manner) {
                Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(errno) => {
                    return Err(SysError {
                        attempt: "wait until a process stands still",
                        errno,
                    });
                }
            }
            if began.elapsed() > PATIENCE {
                return Ok(false);
            }
            thread::sleep(PAUSE);
        }
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for PidFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Most memory this process had resident at once in this program, in bytes. `getrusage` would
/// answer for what it inherited as well.
fn own_peak_rss() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
    peak.and_then(|peak| peak.trim().parse().ok())
        .map_or(0, kib)
}

fn kib(count: libc::c_long) -> u64 {
    u64::try_from(count).unwrap_or(0).saturating_mul(1024)
}

fn duration(time: libc::timeval) -> Duration {
    let part = |value| u64::try_from(value).unwrap_or(0);
    Duration::from_secs(part(time.tv_sec)) + Duration::from_micros(part(time.tv_usec))
}

/// Waits for the first of several descriptors to become readable: those of processes, and others.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: Epoll,
}

impl AsFd for Poller {
    /// Readable while something that is watched is.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl Poller {
    /// Fails with `EMFILE` if there is no descriptor left.
    pub(crate) fn new() -> Result<Self, SysError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC);
        Ok(Self {
            epoll: epoll.map_err(SysError::of("create an epoll instance"))?,
        })
    }

    /// Watches `fd`, level-triggered, under the name `token`. Remove it before it is closed.
    pub(crate) fn add(&self, fd: impl AsFd, token: u64) -> Result<(), SysError> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token);
        self.epoll
            .add(fd, event)
            .map_err(SysError::of("watch a descriptor"))
    }

    /// Watches `fd` until it can be read from, or written to if `for_room`, and then no longer;
    /// also until the other end is gone.
    pub(crate) fn add_once(
        &self,
        fd: impl AsFd,
        token: u64,
        for_room: bool,
    ) -> Result<(), SysError> {
        let interest = if for_room {
            EpollFlags::EPOLLOUT
        } else {
            EpollFlags::EPOLLIN
        };
        let event = EpollEvent::new(interest | EpollFlags::EPOLLONESHOT, token);
        self.epoll
            .add(fd, event)
            .map_err(SysError::of("watch a descriptor once"))
    }

    /// Watches `fd` no longer.
    pub(crate) fn remove(&self, fd: impl AsFd) -> Result<(), SysError> {
        self.epoll
            .delete(fd)
            .map_err(SysError::of("stop watching a descriptor"))
    }

    /// Waits up to `timeout`, for ever without one, and puts the tokens of what is readable into
    /// `ready`. A signal or the timeout end the wait early, with nothing ready.
    pub(crate) fn wait(
        &self,
        timeout: Option<Duration>,
        ready: &mut Vec<u64>,
    ) -> Result<(), SysError> {
        ready.clear();
        let timeout = timeout.map_or(EpollTimeout::NONE, |limit| {
            // Rounded up: a wait that ends too early would be repeated in a busy loop.
            let limit = limit.as_nanos().div_ceil(1_000_000);
            EpollTimeout::try_from(limit).unwrap_or(EpollTimeout::MAX)
        });
        let mut events = [EpollEvent::empty(); 32];
        match self.epoll.wait(&mut events, timeout) {
            Ok(count) => ready.extend(events.iter().take(count).map(EpollEvent::data)),
            Err(Errno::EINTR) => {}
            Err(errno) => {
                return Err(SysError {
                    attempt: "wait for descriptors",
                    errno,
                });
            }
        }
        Ok(())
    }
}
