//! The end that connects.

use core::future::Future;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;

use super::LAYOUT;
use super::connection::Connection;
use super::handshake::{Handshake, Progress};
#[cfg(feature = "auth")]
use super::key::Key;
use super::place;
use super::readiness::{self, For, Limit};
use super::terms::{Role, Terms};
use crate::error::MeetError;
use crate::sys::failure::SysError;
use crate::sys::process::refused;
use crate::sys::socket::Socket;

/// How long to wait for a place among those who wait to be accepted, where no limit is given.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);

/// Connects to a program that listens; see [`Listener`](crate::Listener).
#[derive(Debug)]
pub enum Client {}

/// What a [`Client`] asks of the program that listens.
#[derive(Clone, Debug, Default)]
#[must_use = "it does nothing until `connect`"]
pub struct ClientBuilder {
    terms: Terms,
}

impl Client {
    /// Connects to the program of the same user that listens at `path`; blocks until that has
    /// accepted or hangs up. See [`ClientBuilder::connect`].
    pub fn connect(path: impl AsRef<Path>) -> Result<Connection, MeetError> {
        Self::builder().connect(path)
    }

    /// For a program of another user, or a key.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }
}

impl ClientBuilder {
    /// Trusts a program that acts as this user, besides the process's own. Whoever lets other users
    /// in has to be told whom, for anybody may have put a socket where many may.
    pub fn allow_user(mut self, uid: u32) -> Self {
        self.terms.users.push(uid);
        self
    }

    /// Trusts programs of every user.
    pub fn allow_any_user(mut self) -> Self {
        self.terms.any_user = true;
        self
    }

    /// Asks the program to prove that it has this key, and proves the same to it.
    #[cfg(feature = "auth")]
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.terms.key = Some(Key::new(key.as_ref()));
        self
    }

    /// Connects to the program that listens at `path`; blocks until that has accepted.
    ///
    /// # Errors
    /// [`MeetError::NoListener`], [`MeetError::BadPath`]; [`MeetError::System`] if the path may not
    /// be connected to; whatever else the two programs find to differ.
    pub fn connect(self, path: impl AsRef<Path>) -> Result<Connection, MeetError> {
        self.connect_until(path.as_ref(), FOR_EVER, Limit::NONE)
    }

    /// The same, waiting up to `timeout`: then [`MeetError::TimedOut`].
    pub fn connect_timeout(
        self,
        path: impl AsRef<Path>,
        timeout: Duration,
    ) -> Result<Connection, MeetError> {
        let limit = Limit::after(timeout);
        self.connect_until(path.as_ref(), timeout, limit)
    }

    /// The same for a task. Where as many wait to be accepted as may, it is [`MeetError::Busy`] at
    /// once. Dropped before it is done, it has hung up.
    pub fn connect_async(
        self,
        path: impl AsRef<Path>,
    ) -> impl Future<Output = Result<Connection, MeetError>> + Send {
        let begun = self.begin(path.as_ref(), None);
        async move {
            let (fd, handshake) = begun?;
            let mut handshake = Some(handshake);
            readiness::ready(fd.as_fd(), For::Arrival, move || advance(&mut handshake)).await
        }
    }

    fn connect_until(
        self,
        path: &Path,
        patience: Duration,
        limit: Limit,
    ) -> Result<Connection, MeetError> {
        let (fd, handshake) = self.begin(path, Some(patience))?;
        let mut handshake = Some(handshake);
        readiness::block(fd.as_fd(), For::Arrival, limit, || advance(&mut handshake))
    }

    /// The conversation, and a descriptor to wait with: it moves itself, and away, with each step.
    fn begin(
        self,
        path: &Path,
        patience: Option<Duration>,
    ) -> Result<(OwnedFd, Box<Handshake>), MeetError> {
        place::check(path)?;
        let socket = Socket::connect(path, patience)
            .map_err(|error| cannot_connect(error, path.to_owned(), patience.is_some()))?;
        let fd = socket.as_fd().try_clone_to_owned();
        let fd = fd.map_err(refused("duplicate a descriptor"))?;
        let handshake = Handshake::begin(socket, self.terms, Role::Client, LAYOUT)?;
        Ok((fd, handshake))
    }
}

/// One more step, from and to the same place.
fn advance(handshake: &mut Option<Box<Handshake>>) -> Result<Option<Connection>, MeetError> {
    let Some(current) = handshake.take() else {
        return Err(MeetError::Closed);
    };
    match current.step()? {
        Progress::Met(connection) => Ok(Some(connection)),
        Progress::Waits(current) => {
            *handshake = Some(current);
            Ok(None)
        }
    }
}

fn cannot_connect(error: SysError, path: PathBuf, has_waited: bool) -> MeetError {
    match error.errno {
        Errno::ENOENT | Errno::ECONNREFUSED => MeetError::NoListener { path },
        Errno::EAGAIN if has_waited => MeetError::TimedOut,
        Errno::EAGAIN => MeetError::Busy { path },
        Errno::EPROTOTYPE => MeetError::Stranger,
        _ => error.into(),
    }
}
