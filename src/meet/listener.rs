//! The end that listens at a path.

use core::future::Future;
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::LAYOUT;
use super::connection::Connection;
use super::handshake::{Handshake, Progress};
#[cfg(feature = "auth")]
use super::key::Key;
use super::place::Place;
use super::readiness::{self, For, Limit};
use super::terms::{Role, Terms};
use crate::error::MeetError;
use crate::sys::map::ForkMark;
use crate::sys::pidfd::Poller;
use crate::sys::socket::Socket;

/// How many may have connected and not said who they are. When there are more, the one that has
/// been silent for longest is hung up on.
const MOST_SILENT: usize = 64;

/// The poller's name for the socket on which others arrive.
const DOOR: u64 = 0;

/// Waits at a path of the file system for programs that want to share memory with this one.
///
/// ```
/// # fn main() -> Result<(), gristmill::Error> {
/// # let directory = std::env::temp_dir();
/// # let path = directory.join(format!("gristmill-doc-{}", std::process::id()));
/// use gristmill::{Client, Listener};
///
/// let listener = Listener::bind(&path)?;
/// # let other = std::thread::spawn(move || -> Result<(), gristmill::MeetError> {
/// let connection = Client::connect(&path)?; // in another program
/// connection.send(b"hello")?;
/// # Ok(())
/// # });
/// let connection = listener.accept()?;
/// assert_eq!(connection.recv()?, b"hello");
/// # other.join().unwrap()?;
/// # Ok(())
/// # }
/// ```
///
/// The path is a socket that only the process's own user may connect to, and so is whoever comes
/// checked by what the kernel says of it. Whoever comes to share a region may change anything in
/// it. A socket that a dead process has left at the path is replaced; anything else there is an
/// error. On drop the path is removed, unless it is another's by now or this is a forked child.
#[derive(Debug)]
pub struct Listener {
    // Dropped first: nobody finds a path at which nobody listens.
    place: Option<Place>,
    door: Socket,
    terms: Terms,
    mark: ForkMark,
    poller: Poller,
    arrivals: Mutex<Arrivals>,
}

/// Those who have connected, and have not been accepted.
#[derive(Debug, Default)]
struct Arrivals {
    last: u64,
    /// The lowest number is the one that came first.
    silent: HashMap<u64, Box<Handshake>>,
}

/// What a [`Listener`] asks of those who come.
#[derive(Clone, Debug, Default)]
#[must_use = "it does nothing until `bind`"]
pub struct ListenerBuilder {
    terms: Terms,
}

impl ListenerBuilder {
    /// Lets in programs that act as this user, besides the process's own. Others than the own may
    /// come at all only where the directory lets them.
    pub fn allow_user(mut self, uid: u32) -> Self {
        self.terms.users.push(uid);
        self
    }

    /// Lets in programs of every user.
    pub fn allow_any_user(mut self) -> Self {
        self.terms.any_user = true;
        self
    }

    /// Asks each program to prove that it has this key, and proves the same to it. The key does not
    /// cross. Take one that nobody guesses: 32 random bytes, say.
    #[cfg(feature = "auth")]
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.terms.key = Some(Key::new(key.as_ref()));
        self
    }

    /// Begins to listen at `path`.
    ///
    /// # Errors
    /// [`MeetError::BadPath`]; [`MeetError::PathInUse`] if anything is there that is not a dead
    /// socket of the process's own user; [`MeetError::System`] if the directory is not there, or
    /// not to be written.
    pub fn bind(self, path: impl AsRef<Path>) -> Result<Listener, MeetError> {
        let mode = if self.terms.are_open() { 0o666 } else { 0o600 };
        let mark = ForkMark::new()?;
        let poller = Poller::new()?;
        let (place, door) = Place::take(path.as_ref(), mode)?;
        poller.add(&door, DOOR)?;
        Ok(Listener {
            place: Some(place),
            door,
            terms: self.terms,
            mark,
            poller,
            arrivals: Mutex::default(),
        })
    }
}

impl Listener {
    /// Listens at `path` for programs of the same user; see [`ListenerBuilder::bind`].
    pub fn bind(path: impl AsRef<Path>) -> Result<Self, MeetError> {
        Self::builder().bind(path)
    }

    /// For other users, or a key.
    pub fn builder() -> ListenerBuilder {
        ListenerBuilder::default()
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        self.place.as_ref().map_or(Path::new(""), Place::path)
    }

    /// The next program that has connected and is let in; blocks until there is one.
    ///
    /// Whoever connects and says nothing holds up nobody.
    ///
    /// # Errors
    /// One that comes and is not let in, or does not let this one in, is an error; the listener
    /// goes on, and so may the caller.
    pub fn accept(&self) -> Result<Connection, MeetError> {
        self.accept_until(Limit::NONE)
    }

    /// The next program, if there is one now.
    pub fn try_accept(&self) -> Result<Option<Connection>, MeetError> {
        self.look()
    }

    /// The next program, waiting up to `timeout`: then [`MeetError::TimedOut`].
    pub fn accept_timeout(&self, timeout: Duration) -> Result<Connection, MeetError> {
        self.accept_until(Limit::after(timeout))
    }

    /// The next program. Dropped before it is done, it has accepted nobody.
    pub fn accept_async(&self) -> impl Future<Output = Result<Connection, MeetError>> + Send {
        readiness::ready(self.poller.as_fd(), For::Arrival, || self.look())
    }

    fn accept_until(&self, limit: Limit) -> Result<Connection, MeetError> {
        readiness::block(self.poller.as_fd(), For::Arrival, limit, || self.look())
    }

    /// Lets in whoever has come, and hears those who are there; the first that is done.
    fn look(&self) -> Result<Option<Connection>, MeetError> {
        if !self.mark.is_here() {
            return Err(MeetError::Forked);
        }
        let mut arrivals = self.arrivals();
        let mut ready = Vec::new();
        loop {
            self.poller.wait(Some(Duration::ZERO), &mut ready)?;
            if ready.is_empty() {
                return Ok(None);
            }
            for &token in &ready {
                let outcome = match token {
                    DOOR => self.admit(&mut arrivals).map(|()| None),
                    token => self.hear(&mut arrivals, token),
                };
                match outcome {
                    Ok(None) => {}
                    // It may have been somebody who looked whether anybody listens.
                    Err(MeetError::Closed) => {}
                    outcome => return outcome,
                }
            }
        }
    }

    fn admit(&self, arrivals: &mut Arrivals) -> Result<(), MeetError> {
        let Some(socket) = self.door.accept()? else {
            return Ok(());
        };
        let handshake = Handshake::begin(socket, self.terms.clone(), Role::Listener, LAYOUT)?;
        if arrivals.silent.len() >= MOST_SILENT
            && let Some(first) = arrivals.silent.keys().min().copied()
        {
            // Its socket is unwatched by being closed.
            arrivals.silent.remove(&first);
        }
        arrivals.last += 1;
        self.poller.add(handshake.socket(), arrivals.last)?;
        arrivals.silent.insert(arrivals.last, handshake);
        Ok(())
    }

    fn hear(&self, arrivals: &mut Arrivals, token: u64) -> Result<Option<Connection>, MeetError> {
        let Some(handshake) = arrivals.silent.remove(&token) else {
            return Ok(None);
        };
        match handshake.step()? {
            Progress::Waits(handshake) => {
                arrivals.silent.insert(token, handshake);
                Ok(None)
            }
            Progress::Met(connection) => {
                self.poller.remove(&connection)?;
                Ok(Some(connection))
            }
        }
    }

    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if !self.mark.is_here() {
            // The path is its parent's.
            core::mem::forget(self.place.take());
        }
    }
}
