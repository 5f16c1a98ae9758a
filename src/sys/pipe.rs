//! Pipes: what a worker writes, the parent reads when it is there.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, read};

use super::failure::SysError;

/// The reading end, which never blocks.
#[derive(Debug)]
pub(crate) struct Receiver(OwnedFd);

/// What a look into a pipe gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing just now.
    Nothing,
    /// Nothing, and nobody is left who could write.
    Closed,
}

/// A pipe. Neither end is inherited by programs that are started; the writing end is no standard
/// stream. It blocks while the pipe is full, unless `keeps_going`.
///
/// Fails with `EMFILE` if there is no descriptor left.
pub(crate) fn pipe(keeps_going: bool) -> Result<(Receiver, OwnedFd), SysError> {
    let (receiver, sender) = pipe2(OFlag::O_CLOEXEC).map_err(SysError::of("create a pipe"))?;
    fcntl(&receiver, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .map_err(SysError::of("make a pipe nonblocking"))?;
    if keeps_going {
        fcntl(&sender, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .map_err(SysError::of("make a pipe nonblocking"))?;
    }
    // A duplicate has a number above 2, also where a program has closed its standard streams.
    let sender = sender.try_clone().map_err(|error| SysError {
        attempt: "duplicate a descriptor",
        errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
    })?;
    Ok((Receiver(receiver), sender))
}

/// Writes all of at most 4 KiB to a pipe that does not block, in one piece; whether there was room.
#[cfg(feature = "tracing")]
pub(crate) fn send(pipe: impl AsFd, bytes: &[u8]) -> bool {
    loop {
        match nix::unistd::write(&pipe, bytes) {
            Err(Errno::EINTR) => {}
            answer => return answer == Ok(bytes.len()),
        }
    }
}

impl Receiver {
    /// Takes what is there, as far as `buffer` reaches.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Received {
        loop {
            match read(&self.0, buffer) {
                Ok(0) => return Received::Closed,
                Ok(size) => return Received::Bytes(size),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Received::Nothing,
                // No error that a pipe knows: nothing will ever come.
                Err(_) => return Received::Closed,
            }
        }
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;

    #[test]
    fn a_pipe_says_what_is_in_it_and_when_it_ends() {
        let (receiver, sender) = pipe(false).unwrap();
        let mut buffer = [0; 4];
        assert_eq!(receiver.receive(&mut buffer), Received::Nothing);
        let mut sender = File::from(sender);
        sender.write_all(b"abcdef").unwrap();
        assert_eq!(receiver.receive(&mut buffer), Received::Bytes(4));
        assert_eq!(receiver.receive(&mut buffer), Received::Bytes(2));
        assert_eq!(buffer[..2], *b"ef");
        drop(sender);
        assert_eq!(receiver.receive(&mut buffer), Received::Closed);
    }
}
