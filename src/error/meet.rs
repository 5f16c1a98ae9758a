//! Why two programs have not met, or do not understand each other.

use std::path::PathBuf;

use crate::sys::failure::SysError;

/// What a [`Listener`](crate::Listener), a [`Client`](crate::Client) or a
/// [`Connection`](crate::Connection) can fail with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MeetError {
    /// No socket can have this path.
    #[error("{path:?} cannot be the path of a socket: {reason}")]
    BadPath {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is something at the path already, and it is not ours to remove.
    #[error("{path:?} is in use: {by}; listen elsewhere, or end what is there")]
    PathInUse {
        /// The path.
        path: PathBuf,
        /// What is there.
        by: PathUser,
    },
    /// Nobody listens at the path.
    #[error("nobody listens at {path:?}; start the other program first")]
    NoListener {
        /// The path.
        path: PathBuf,
    },
    /// As many wait at the path as may, and the call was not to wait.
    #[error("the listener at {path:?} does not keep up with those who connect; try again later")]
    Busy {
        /// The path.
        path: PathBuf,
    },
    /// The other end acts as a user that was not allowed.
    #[error("the program at the other end acts as user {found}, who is not among those allowed")]
    WrongUser {
        /// The user's number, by the kernel's word.
        found: u32,
    },
    /// The other end does not have the key.
    #[error("the program at the other end does not have the same key")]
    WrongKey,
    /// The other end asks for no key, but this one does.
    #[error("the program at the other end knows of no key, and this one asks for one")]
    KeyMissing,
    /// The other end asks for a key, and this one has none.
    #[error("the program at the other end asks for a key, and this one was given none")]
    KeyUnexpected,
    /// The other end is another version of this crate, or was compiled with another layout of
    /// shared memory.
    #[error(
        "the program at the other end was built with another version of gristmill ({what} \
         {theirs:#x}, here {ours:#x}); build both with the same"
    )]
    OtherVersion {
        /// What differs.
        what: &'static str,
        /// This program's.
        ours: u64,
        /// The other program's.
        theirs: u64,
    },
    /// The other end speaks, but not as this crate does.
    #[error("the program at the other end does not use gristmill, or not this socket for it")]
    Stranger,
    /// The other end has refused; its own error says more.
    #[error("the program at the other end refused: {0}")]
    Refused(MeetRefusal),
    /// The other end is gone.
    #[error("the program at the other end has hung up or died")]
    Closed,
    /// The time was over.
    #[error("nothing came before the time was over")]
    TimedOut,
    /// A message is longer than may be sent this way.
    #[error(
        "a message of {found} bytes was to be sent, and may have {limit}; put the bytes into \
         shared memory and send its handle"
    )]
    TooLong {
        /// Its bytes.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Something else came than was asked for. It was taken, and is lost.
    #[error("{found} came where {wanted} was expected")]
    Unexpected {
        /// What was asked for.
        wanted: &'static str,
        /// What came.
        found: &'static str,
    },
    /// This process was forked from the one that made the listener or the connection.
    #[error("this process was forked from the one that listens or connected; make its own")]
    Forked,
    /// The kernel refused a system call.
    #[error(transparent)]
    System(#[from] SysError),
}

/// What is at a path where a [`Listener`](crate::Listener) was to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathUser {
    /// A process that listens.
    #[error("a process listens there")]
    Listener,
    /// A file that is no socket.
    #[error("a file that is no socket is there")]
    File,
    /// A socket of another user, dead or alive.
    #[error("a socket of user {0} is there")]
    User(u32),
    /// Another process makes or removes a socket in the same directory, and does not get done.
    #[error("another process holds its directory")]
    Directory,
}

/// Why the other end has refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MeetRefusal {
    /// It does not let this program's user in.
    #[error("it does not let in the user as whom this program acts")]
    User,
    /// It has another key.
    #[error("it has another key")]
    Key,
    /// It is of another version.
    #[error("it was built with another version of gristmill")]
    Version,
}
