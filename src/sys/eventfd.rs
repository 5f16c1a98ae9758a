//! Event descriptors: a doorbell that several processes may ring and one may wait for.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::failure::SysError;

/// A nonblocking, close-on-exec event descriptor: readable from a ring until it is cleared.
#[derive(Debug)]
pub(crate) struct Bell(EventFd);

impl Bell {
    /// A silent bell. Fails when the process may have no more descriptors.
    pub(crate) fn new() -> Result<Self, SysError> {
        EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)
            .map(Self)
            .map_err(SysError::of("create an event descriptor"))
    }

    /// Takes over a bell that another process made.
    ///
    /// # Safety
    /// `fd` is an event descriptor opened nonblocking.
    pub(crate) unsafe fn from_owned(fd: OwnedFd) -> Self {
        // SAFETY: the caller's promise is the callee's.
        Self(unsafe { EventFd::from_owned_fd(fd) })
    }

    /// Makes the descriptor readable, if it is not yet. Never blocks: a counter that is full has
    /// been rung already.
    pub(crate) fn ring(&self) -> Result<(), SysError> {
        loop {
            match self.0.write(1) {
                Ok(_) | Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(SysError::of("ring an event descriptor")(errno)),
            }
        }
    }

    /// Silences the bell and says whether it had been rung.
    pub(crate) fn clear(&self) -> Result<bool, SysError> {
        loop {
            match self.0.read() {
                Ok(_) => return Ok(true),
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(SysError::of("clear an event descriptor")(errno)),
            }
        }
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of `fds` is readable (or hung up), or until `timeout`; says which are.
///
/// `None` waits without end. A signal ends the wait early with nothing readable, so the caller
/// re-checks what it waits for, as it must anyway.
pub(crate) fn wait_readable<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    timeout: Option<Duration>,
) -> Result<[bool; N], SysError> {
    let mut polled = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    // Rounded up, so that a caller who asks for 0.3 ms does not turn into a busy loop.
    let timeout = timeout.map_or(PollTimeout::NONE, |limit| {
        let millis = limit.as_nanos().div_ceil(1_000_000);
        PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut polled, timeout) {
        Ok(_) => Ok(polled.map(|fd| fd.any().unwrap_or(true))),
        Err(Errno::EINTR) => Ok([false; N]),
        Err(errno) => Err(SysError::of("wait for a descriptor")(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_is_readable_from_ring_to_clear() {
        let bell = Bell::new().unwrap();
        let silent = Bell::new().unwrap();
        let now = Some(Duration::ZERO);
        let both = || wait_readable([bell.as_fd(), silent.as_fd()], now).unwrap();
        assert_eq!(both(), [false, false]);
        assert!(!bell.clear().unwrap());
        bell.ring().unwrap();
        bell.ring().unwrap();
        assert_eq!(both(), [true, false]);
        assert!(bell.clear().unwrap());
        assert!(!bell.clear().unwrap());
        assert_eq!(both(), [false, false]);
    }

    #[test]
    fn a_full_counter_is_a_rung_bell() {
        let bell = Bell::new().unwrap();
        bell.0.write(u64::MAX - 1).unwrap();
        bell.ring().unwrap();
        assert!(bell.clear().unwrap());
    }

    #[test]
    fn a_waiter_hears_a_ring_from_another_thread() {
        let bell = Bell::new().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| bell.ring().unwrap());
            while !wait_readable([bell.as_fd()], None).unwrap()[0] {}
        });
        assert!(bell.clear().unwrap());
    }
}
