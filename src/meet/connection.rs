//! A connection between two programs that have met.

use core::future::Future;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::readiness::{self, For, Limit};
use crate::error::MeetError;
use crate::protocol::greeting::{HEAD_BYTES, Kind, MOST_BYTES};
use crate::sys::clock;
use crate::sys::pidfd::PidFd;
use crate::sys::socket::{Arrival, Credentials, Sent, Socket};

/// The program at the other end, by the kernel's word: as it was when it connected, or began to
/// listen.
#[derive(Debug)]
pub struct Peer {
    credentials: Credentials,
    process: Option<PidFd>,
}

impl Peer {
    /// Who is at the other end of `socket`, and says that it began at `started`.
    pub(super) fn find(socket: &Socket, started: u64) -> Result<Self, MeetError> {
        let credentials = socket.credentials()?;
        let Some(pid) = credentials.pid else {
            return Ok(Self {
                credentials,
                process: None,
            });
        };
        if let Some(fd) = socket.peer() {
            return Ok(Self {
                credentials,
                process: Some(PidFd::from_owned(fd, pid)),
            });
        }
        // An older kernel knows the number alone, which may be another process's by now.
        let process = PidFd::open(pid).map_err(|_| MeetError::Closed)?;
        if clock::started(pid.cast_unsigned()) != Some(started) {
            return Err(MeetError::Closed);
        }
        Ok(Self {
            credentials,
            process: Some(process),
        })
    }

    /// Its process; `None` if that has no number here, because it lives in another namespace.
    pub fn pid(&self) -> Option<u32> {
        self.credentials.pid.map(i32::cast_unsigned)
    }

    /// The user as whom it acted.
    pub fn uid(&self) -> u32 {
        self.credentials.uid
    }

    /// The group as which it acted.
    pub fn gid(&self) -> u32 {
        self.credentials.gid
    }

    /// Whether that process lives, however many others have its number by now or hold its end of
    /// the connection. `true` where the kernel cannot say.
    pub fn is_alive(&self) -> bool {
        let dead = |process: &PidFd| process.is_dead(false).unwrap_or(false);
        !self.process.as_ref().is_some_and(dead)
    }
}

/// A connection with a program that a [`Listener`](crate::Listener) has accepted, or that a
/// [`Client`](crate::Client) has connected to.
///
/// Each message is received once and whole, by one receiver, in the order in which it was sent.
/// Any number of threads and tasks may send and receive, by a shared reference. When the other end
/// is gone, also because it died, what it has sent can still be received; then comes
/// [`MeetError::Closed`]. The end stays open for as long as any process holds it: a child that
/// was forked does, too.
///
/// Each call has four forms: plain, which blocks; `try_`, which never waits; `_timeout`; and
/// `_async`. A future that is dropped has sent nothing and taken nothing.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    peer: Peer,
}

/// A message as it came.
struct Parcel {
    kind: Kind,
    bytes: Vec<u8>,
    descriptor: Option<OwnedFd>,
}

impl Connection {
    pub(super) fn new(socket: Socket, peer: Peer) -> Self {
        Self { socket, peer }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The longest message, in bytes. What is longer belongs into shared memory.
    pub const MOST_BYTES: usize = MOST_BYTES;

    /// Sends a message; blocks while as many are on their way as there may be.
    pub fn send(&self, message: &[u8]) -> Result<(), MeetError> {
        self.send_parcel(Kind::Bytes, message, None, Limit::NONE)
    }

    /// Sends a message if there is room for it now, and says whether there was.
    pub fn try_send(&self, message: &[u8]) -> Result<bool, MeetError> {
        self.post(Kind::Bytes, message, None)
            .map(|sent| sent.is_some())
    }

    /// Sends a message, waiting up to `timeout` for room: then [`MeetError::TimedOut`].
    pub fn send_timeout(&self, message: &[u8], timeout: Duration) -> Result<(), MeetError> {
        self.send_parcel(Kind::Bytes, message, None, Limit::after(timeout))
    }

    /// Sends a message. Dropped before it is done, it has sent nothing.
    pub fn send_async<'a>(
        &'a self,
        message: &'a [u8],
    ) -> impl Future<Output = Result<(), MeetError>> + Send + 'a {
        self.send_parcel_async(Kind::Bytes, message, None)
    }

    /// Receives the next message; blocks until there is one.
    pub fn recv(&self) -> Result<Vec<u8>, MeetError> {
        self.recv_parcel(Limit::NONE).and_then(Parcel::into_bytes)
    }

    /// Receives the next message if there is one now.
    pub fn try_recv(&self) -> Result<Option<Vec<u8>>, MeetError> {
        self.take()?.map(Parcel::into_bytes).transpose()
    }

    /// Receives the next message, waiting up to `timeout`: then [`MeetError::TimedOut`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Vec<u8>, MeetError> {
        self.recv_parcel(Limit::after(timeout))
            .and_then(Parcel::into_bytes)
    }

    /// Receives the next message. Dropped before it is done, it has taken nothing.
    pub fn recv_async(&self) -> impl Future<Output = Result<Vec<u8>, MeetError>> + Send {
        let received = self.recv_parcel_async();
        async { received.await.and_then(Parcel::into_bytes) }
    }

    /// Sends a descriptor, with a message that says what it is: a memory file, say, which both then
    /// map. The other end gets a duplicate, and both are good for as long as they are open.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("gristmill-fd-{}", std::process::id()));
    /// # let listener = gristmill::Listener::bind(&path)?;
    /// # let other = std::thread::spawn(move || gristmill::Client::connect(path));
    /// # let here = listener.accept()?;
    /// # let there = other.join().unwrap()?;
    /// use std::io::{Read, Write};
    ///
    /// let (reading, mut writing) = std::io::pipe()?;
    /// here.send_descriptor(b"read from this", &reading)?;
    /// # drop(reading);
    /// let (what, descriptor) = there.recv_descriptor()?; // in the other program
    /// assert_eq!(what, b"read from this");
    /// writing.write_all(b"hello")?;
    /// # drop(writing);
    /// let mut heard = String::new();
    /// std::fs::File::from(descriptor).read_to_string(&mut heard)?;
    /// assert_eq!(heard, "hello");
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_descriptor(&self, message: &[u8], descriptor: impl AsFd) -> Result<(), MeetError> {
        let fd = Some(descriptor.as_fd());
        self.send_parcel(Kind::Descriptor, message, fd, Limit::NONE)
    }

    /// Sends a descriptor if there is room for it now, and says whether there was.
    pub fn try_send_descriptor(
        &self,
        message: &[u8],
        descriptor: impl AsFd,
    ) -> Result<bool, MeetError> {
        let fd = Some(descriptor.as_fd());
        let sent = self.post(Kind::Descriptor, message, fd)?;
        Ok(sent.is_some())
    }

    /// Sends a descriptor, waiting up to `timeout` for room: then [`MeetError::TimedOut`].
    pub fn send_descriptor_timeout(
        &self,
        message: &[u8],
        descriptor: impl AsFd,
        timeout: Duration,
    ) -> Result<(), MeetError> {
        let fd = Some(descriptor.as_fd());
        self.send_parcel(Kind::Descriptor, message, fd, Limit::after(timeout))
    }

    /// Sends a descriptor. Dropped before it is done, it has sent nothing.
    pub fn send_descriptor_async<'a>(
        &'a self,
        message: &'a [u8],
        descriptor: BorrowedFd<'a>,
    ) -> impl Future<Output = Result<(), MeetError>> + Send + 'a {
        self.send_parcel_async(Kind::Descriptor, message, Some(descriptor))
    }

    /// Receives the next message, which has a descriptor beside it; blocks until there is one.
    ///
    /// # Errors
    /// [`MeetError::Unexpected`] if the next message has none.
    pub fn recv_descriptor(&self) -> Result<(Vec<u8>, OwnedFd), MeetError> {
        self.recv_parcel(Limit::NONE)
            .and_then(Parcel::into_descriptor)
    }

    /// Receives a descriptor if the next message is there now.
    pub fn try_recv_descriptor(&self) -> Result<Option<(Vec<u8>, OwnedFd)>, MeetError> {
        self.take()?.map(Parcel::into_descriptor).transpose()
    }

    /// Receives a descriptor, waiting up to `timeout`: then [`MeetError::TimedOut`].
    pub fn recv_descriptor_timeout(
        &self,
        timeout: Duration,
    ) -> Result<(Vec<u8>, OwnedFd), MeetError> {
        self.recv_parcel(Limit::after(timeout))
            .and_then(Parcel::into_descriptor)
    }

    /// Receives a descriptor. Dropped before it is done, it has taken nothing.
    pub fn recv_descriptor_async(
        &self,
    ) -> impl Future<Output = Result<(Vec<u8>, OwnedFd), MeetError>> + Send {
        let received = self.recv_parcel_async();
        async { received.await.and_then(Parcel::into_descriptor) }
    }

    fn send_parcel(
        &self,
        kind: Kind,
        bytes: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
        limit: Limit,
    ) -> Result<(), MeetError> {
        readiness::block(self.socket.as_fd(), For::Room, limit, || {
            self.post(kind, bytes, descriptor)
        })
    }

    fn send_parcel_async<'a>(
        &'a self,
        kind: Kind,
        bytes: &'a [u8],
        descriptor: Option<BorrowedFd<'a>>,
    ) -> impl Future<Output = Result<(), MeetError>> + Send + 'a {
        readiness::ready(self.socket.as_fd(), For::Room, move || {
            self.post(kind, bytes, descriptor)
        })
    }

    fn recv_parcel(&self, limit: Limit) -> Result<Parcel, MeetError> {
        readiness::block(self.socket.as_fd(), For::Arrival, limit, || self.take())
    }

    fn recv_parcel_async(&self) -> impl Future<Output = Result<Parcel, MeetError>> + Send {
        readiness::ready(self.socket.as_fd(), For::Arrival, || self.take())
    }

    /// Sends, if there is room.
    fn post(
        &self,
        kind: Kind,
        bytes: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<Option<()>, MeetError> {
        if bytes.len() > MOST_BYTES {
            return Err(MeetError::TooLong {
                found: bytes.len(),
                limit: MOST_BYTES,
            });
        }
        match self
            .socket
            .send([&kind.head(bytes.len()), bytes], descriptor)?
        {
            Sent::Whole => Ok(Some(())),
            Sent::Full => Ok(None),
            Sent::Closed => Err(MeetError::Closed),
        }
    }

    /// Takes what is there.
    fn take(&self) -> Result<Option<Parcel>, MeetError> {
        let mut buffer = vec![0; HEAD_BYTES + MOST_BYTES];
        let (bytes, descriptors) = match self.socket.receive(&mut buffer, true)? {
            Arrival::Nothing => return Ok(None),
            Arrival::Closed => return Err(MeetError::Closed),
            Arrival::Message { whole: false, .. } => return Err(MeetError::Stranger),
            Arrival::Message {
                bytes, descriptors, ..
            } => (bytes, descriptors),
        };
        let Some((kind, _)) = Kind::split(&buffer[..bytes]) else {
            return Err(MeetError::Stranger);
        };
        buffer.truncate(bytes);
        buffer.drain(..HEAD_BYTES);
        Ok(Some(Parcel {
            kind,
            bytes: buffer,
            // More than one is never sent; those of whoever does are closed here.
            descriptor: descriptors.into_iter().next(),
        }))
    }
}

impl Parcel {
    fn into_bytes(self) -> Result<Vec<u8>, MeetError> {
        match self.kind {
            Kind::Bytes => Ok(self.bytes),
            kind => Err(unexpected(Kind::Bytes, kind)),
        }
    }

    fn into_descriptor(self) -> Result<(Vec<u8>, OwnedFd), MeetError> {
        match (self.kind, self.descriptor) {
            (Kind::Descriptor, Some(descriptor)) => Ok((self.bytes, descriptor)),
            // This process may have no more of them, or the other end says what is not so.
            (Kind::Descriptor, None) => Err(MeetError::Stranger),
            (kind, _) => Err(unexpected(Kind::Descriptor, kind)),
        }
    }
}

fn unexpected(wanted: Kind, found: Kind) -> MeetError {
    let name = |kind| match kind {
        Kind::Bytes => "a message",
        Kind::Descriptor => "a descriptor",
    };
    MeetError::Unexpected {
        wanted: name(wanted),
        found: name(found),
    }
}

impl AsFd for Connection {
    /// For waiting until something has come. Reading from it, or writing, breaks the connection.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
