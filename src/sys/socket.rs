//! Unix sockets between programs: whole messages, descriptors beside them, and the kernel's word on
//! who is at the other end.

use std::fs::{File, TryLockError};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind,
    connect, getsockopt, listen, recvmsg, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};
use nix::sys::time::{TimeVal, TimeValLike};

use super::failure::SysError;
use super::process::refused;

/// The kernel passes no more descriptors at once; with room for all none is ever lost in between.
const MOST_DESCRIPTORS: usize = 253;

/// How many may wait to be accepted.
const BACKLOG: i32 = 128;

/// One end of a connection, or what others connect to. Never inherited, and calls on it never wait.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

/// Who is at the other end, by the kernel's word: as it was when it connected, or began to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// `None` if it has no number here, because it lives in another namespace.
    pub(crate) pid: Option<i32>,
    /// Its effective user.
    pub(crate) uid: u32,
    /// Its effective group.
    pub(crate) gid: u32,
}

/// What a look into a socket gave.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// One message of this many bytes, cut off if `whole` is not set, and what came beside it.
    Message {
        /// How many bytes of the buffer it fills.
        bytes: usize,
        /// Whether it fitted.
        whole: bool,
        /// In the order in which they were sent; closed on exec.
        descriptors: Vec<OwnedFd>,
    },
    /// Nothing just now.
    Nothing,
    /// Nothing, and the other end is gone.
    Closed,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Sent {
    /// It is on its way, whole.
    Whole,
    /// There is no room now.
    Full,
    /// The other end is gone.
    Closed,
}

impl Socket {
    fn new(flags: SockFlag) -> Result<Self, SysError> {
        let flags = flags | SockFlag::SOCK_CLOEXEC;
        socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
            .map(Self)
            .map_err(SysError::of("create a socket"))
    }

    /// Makes `path` a socket that others may connect to, if `mode` lets them; it has that mode from
    /// its first instant on, less what the umask forbids.
    ///
    /// Fails with `EADDRINUSE` if there is anything at `path`.
    pub(crate) fn listen(path: &Path, mode: u32) -> Result<Self, SysError> {
        const WHAT: &str = "listen on a socket's path";
        let socket = Self::new(SockFlag::SOCK_NONBLOCK)?;
        // The kernel gives a path the mode of the socket that is bound to it.
        fchmod(&socket.0, Mode::from_bits_truncate(mode)).map_err(SysError::of(WHAT))?;
        let address = UnixAddr::new(path).map_err(SysError::of(WHAT))?;
        bind(socket.0.as_raw_fd(), &address).map_err(SysError::of(WHAT))?;
        let backlog = Backlog::new(BACKLOG).map_err(SysError::of(WHAT))?;
        listen(&socket.0, backlog).map_err(SysError::of(WHAT))?;
        Ok(socket)
    }

    /// The next that has connected; `None` if there is none now, or it has gone again.
    pub(crate) fn accept(&self) -> Result<Option<Self>, SysError> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        match accept4(self.0.as_raw_fd(), flags) {
            // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
            Ok(fd) => Ok(Some(Self(unsafe { OwnedFd::from_raw_fd(fd) }))),
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNABORTED) => Ok(None),
            Err(errno) => Err(SysError::of("accept a connection")(errno)),
        }
    }

    /// Connects to the socket at `path`. While as many wait there as may, waits for up to
    /// `patience`; not at all without.
    ///
    /// Fails with `ENOENT` or `ECONNREFUSED` if nobody listens there, `EACCES` if its mode forbids
    /// it, `EPROTOTYPE` if it is a socket of another kind, `EAGAIN` if there is no room.
    pub(crate) fn connect(path: &Path, patience: Option<Duration>) -> Result<Self, SysError> {
        const WHAT: &str = "connect to a socket's path";
        let address = UnixAddr::new(path).map_err(SysError::of(WHAT))?;
        let flags = match patience {
            Some(_) => SockFlag::empty(),
            None => SockFlag::SOCK_NONBLOCK,
        };
        let socket = Self::new(flags)?;
        if let Some(patience) = patience {
            // No time at all would mean for ever.
            let limit = i64::try_from(patience.as_micros())
                .unwrap_or(i64::MAX)
                .max(1);
            let limit = TimeVal::microseconds(limit.min(1 << 50));
            setsockopt(&socket.0, sockopt::SendTimeout, &limit).map_err(SysError::of(WHAT))?;
        }
        loop {
            match connect(socket.0.as_raw_fd(), &address) {
                Err(Errno::EINTR) => {}
                outcome => break outcome.map_err(SysError::of(WHAT))?,
            }
        }
        if patience.is_some() {
            fcntl(&socket.0, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(SysError::of(WHAT))?;
        }
        Ok(socket)
    }

    /// Two that are connected with each other.
    #[cfg(test)]
    pub(crate) fn pair() -> (Self, Self) {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (one, other) =
            nix::sys::socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
                .unwrap();
        (Self(one), Self(other))
    }

    /// Sends the parts as one message, with a descriptor beside it. Wants at least one byte.
    ///
    /// Fails with `EMSGSIZE` if the message is larger than the socket's buffer, `ETOOMANYREFS` if
    /// too many descriptors are on their way.
    pub(crate) fn send(
        &self,
        parts: [&[u8]; 2],
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<Sent, SysError> {
        let parts = parts.map(IoSlice::new);
        let fds = descriptor.map(|fd| [fd.as_raw_fd()]);
        let beside = fds.as_ref().map(|fds| [ControlMessage::ScmRights(fds)]);
        let beside = beside.as_ref().map_or(&[][..], |beside| &beside[..]);
        let flags = MsgFlags::MSG_NOSIGNAL;
        loop {
            match sendmsg::<()>(self.0.as_raw_fd(), &parts, beside, flags, None) {
                Ok(_) => return Ok(Sent::Whole),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(Sent::Full),
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Ok(Sent::Closed),
                Err(errno) => return Err(SysError::of("send a message")(errno)),
            }
        }
    }

    /// Takes one message, if there is one. Descriptors beside it are taken if `with_descriptors`,
    /// and closed unseen otherwise.
    pub(crate) fn receive(
        &self,
        buffer: &mut [u8],
        with_descriptors: bool,
    ) -> Result<Arrival, SysError> {
        let mut space = with_descriptors.then(|| cmsg_space!([RawFd; MOST_DESCRIPTORS]));
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let (bytes, flags) = loop {
            let space = space.as_deref_mut();
            match recvmsg::<()>(self.0.as_raw_fd(), &mut parts, space, flags) {
                Ok(taken) => break (taken.bytes, taken.flags),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(Arrival::Nothing),
                Err(Errno::ECONNRESET) => return Ok(Arrival::Closed),
                Err(errno) => return Err(SysError::of("receive a message")(errno)),
            }
        };
        // First of all: whatever becomes of the message, they are this process's now.
        let descriptors = space.as_deref().map(descriptors_in).unwrap_or_default();
        if bytes == 0 {
            // An empty message cannot be told from the end, and none is ever sent.
            return Ok(Arrival::Closed);
        }
        Ok(Arrival::Message {
            bytes,
            whole: !flags.contains(MsgFlags::MSG_TRUNC),
            descriptors,
        })
    }

    /// Who is at the other end.
    pub(crate) fn credentials(&self) -> Result<Credentials, SysError> {
        let found = getsockopt(&self.0, sockopt::PeerCredentials)
            .map_err(SysError::of("ask who is at the other end of a socket"))?;
        Ok(Credentials {
            pid: Some(found.pid()).filter(|&pid| pid > 0),
            uid: found.uid(),
            gid: found.gid(),
        })
    }

    /// A descriptor for the very process that connected, or began to listen (6.5); `None` if this
    /// kernel has none to give, or the process is gone.
    pub(crate) fn peer(&self) -> Option<OwnedFd> {
        getsockopt(&self.0, sockopt::PeerPidfd).ok()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What the kernel has put beside a message: at most one list of descriptors, for nothing else was
/// asked for. Where this process may have no more of them it is shorter than what was sent.
///
/// ```text
/// 0        8        12      16
/// [ bytes ][ level ][ type ][ descriptors, of 4 bytes each ]
/// ```
fn descriptors_in(beside: &[u8]) -> Vec<OwnedFd> {
    let part = |at: usize| beside.get(at..at + 4)?.first_chunk().copied();
    let number = |at| part(at).map_or(0, i32::from_ne_bytes);
    if (number(8), number(12)) != (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
        return Vec::new();
    }
    // The upper half of the count is zero.
    let list = beside.get(16..number(0) as usize).unwrap_or_default();
    // SAFETY: the kernel has just given us these descriptors, and nobody else knows them.
    let own = |fd: &[u8; 4]| unsafe { OwnedFd::from_raw_fd(RawFd::from_ne_bytes(*fd)) };
    list.as_chunks().0.iter().map(own).collect()
}

/// Waits until `fd` can be read from, or written to if `for_room`, or the other end is gone; at
/// most for `timeout`. A signal ends the wait early, so the caller looks again.
pub(crate) fn wait(
    fd: BorrowedFd<'_>,
    for_room: bool,
    timeout: Option<Duration>,
) -> Result<(), SysError> {
    let interest = if for_room {
        PollFlags::POLLOUT
    } else {
        PollFlags::POLLIN
    };
    // Rounded up, so that a short rest does not turn into a busy loop.
    let timeout = timeout.map_or(PollTimeout::NONE, |limit| {
        let millis = limit.as_nanos().div_ceil(1_000_000);
        PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut [PollFd::new(fd, interest)], timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(SysError::of("wait for a socket")(errno)),
    }
}

/// A directory in which nobody else of this crate makes or removes sockets, while this lives. The
/// kernel frees it with its last descriptor, however its holder ends.
#[derive(Debug)]
pub(crate) struct Claimed(File);

impl Drop for Claimed {
    fn drop(&mut self) {
        // Closing would not do while a child that was forked meanwhile has it, too.
        let _ = self.0.unlock();
    }
}

/// Claims `directory`; `None` if somebody else has it at the moment.
pub(crate) fn claim_directory(directory: &Path) -> Result<Option<Claimed>, SysError> {
    const WHAT: &str = "claim the socket's directory";
    let directory = File::open(directory).map_err(refused(WHAT))?;
    match directory.try_lock() {
        Ok(()) => Ok(Some(Claimed(directory))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(refused(WHAT)(error)),
    }
}

/// What is at a path: which file, of whom, and whether it is a socket. `None`: nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Device and number: no two files have the same at a time.
    pub(crate) file: (u64, u64),
    /// Its owner.
    pub(crate) uid: u32,
    /// Whether it is a socket.
    pub(crate) is_socket: bool,
}

/// Looks at `path`, and not at where it may point to.
pub(crate) fn entry(path: &Path) -> Option<Entry> {
    use std::os::unix::fs::FileTypeExt;
    let found = path.symlink_metadata().ok()?;
    Some(Entry {
        file: (found.dev(), found.ino()),
        uid: found.uid(),
        is_socket: found.file_type().is_socket(),
    })
}

/// The user as whom this process acts.
pub(crate) fn own_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(socket: &Socket, with_descriptors: bool) -> (Vec<u8>, Vec<OwnedFd>) {
        let mut buffer = [0; 64];
        match socket.receive(&mut buffer, with_descriptors).unwrap() {
            Arrival::Message {
                bytes,
                whole: true,
                descriptors,
            } => (buffer[..bytes].to_vec(), descriptors),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_stay_whole_and_carry_descriptors() {
        let (one, other) = Socket::pair();
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(one.send([b"ab", b"c"], None).unwrap(), Sent::Whole);
        assert_eq!(
            one.send([b"d", b""], Some(file.as_fd())).unwrap(),
            Sent::Whole
        );
        assert_eq!(receive(&other, true).0, b"abc");
        let (bytes, descriptors) = receive(&other, true);
        assert_eq!((bytes.as_slice(), descriptors.len()), (&b"d"[..], 1));
        let flags = fcntl(&descriptors[0], FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, libc::FD_CLOEXEC);
        assert!(matches!(
            other.receive(&mut [0; 8], true).unwrap(),
            Arrival::Nothing
        ));
        drop(one);
        assert!(matches!(
            other.receive(&mut [0; 8], true).unwrap(),
            Arrival::Closed
        ));
        assert_eq!(other.send([b"x", b""], None).unwrap(), Sent::Closed);
    }

    #[test]
    fn what_is_not_asked_for_is_closed_and_what_does_not_fit_is_told() {
        let (one, other) = Socket::pair();
        let (reading, writing) = std::io::pipe().unwrap();
        let sent = one.send([b"12345", b""], Some(writing.as_fd())).unwrap();
        assert_eq!(sent, Sent::Whole);
        drop(writing);
        let mut buffer = [0; 4];
        let Arrival::Message {
            bytes: 4,
            whole: false,
            descriptors,
        } = other.receive(&mut buffer, false).unwrap()
        else {
            panic!()
        };
        assert!(descriptors.is_empty());
        // Nobody has the writing end any more: it was not left open somewhere.
        assert_eq!(std::io::read_to_string(reading).unwrap(), "");
    }

    /// As another program may: any number of descriptors, beside any bytes.
    fn send_by_hand(socket: &Socket, bytes: &[u8], descriptors: &[RawFd]) {
        let beside = [ControlMessage::ScmRights(descriptors)];
        let parts = [IoSlice::new(bytes)];
        let flags = MsgFlags::empty();
        sendmsg::<()>(socket.0.as_raw_fd(), &parts, &beside, flags, None).unwrap();
    }

    #[test]
    fn any_number_of_descriptors_is_taken_and_none_is_left_open() {
        let (one, other) = Socket::pair();
        for (bytes, count) in [(&b"x"[..], 2), (b"x", MOST_DESCRIPTORS), (b"", 3)] {
            let (reading, writing) = std::io::pipe().unwrap();
            send_by_hand(&one, bytes, &vec![writing.as_raw_fd(); count]);
            drop(writing);
            match other.receive(&mut [0; 8], true).unwrap() {
                Arrival::Message { descriptors, .. } => assert_eq!(descriptors.len(), count),
                Arrival::Closed => assert!(bytes.is_empty()),
                Arrival::Nothing => panic!("it was sent"),
            }
            assert_eq!(std::io::read_to_string(reading).unwrap(), "");
        }
    }

    #[test]
    fn a_full_socket_says_so() {
        let (one, _other) = Socket::pair();
        while one.send([&[7; 1024], b""], None).unwrap() == Sent::Whole {}
        assert_eq!(one.send([b"x", b""], None).unwrap(), Sent::Full);
    }

    #[test]
    fn the_kernel_knows_the_other_end() {
        let (one, _other) = Socket::pair();
        let found = one.credentials().unwrap();
        assert_eq!(found.pid, Some(std::process::id().cast_signed()));
        assert_eq!(found.uid, own_user());
    }
}
