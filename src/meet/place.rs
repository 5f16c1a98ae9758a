//! A listener's path: taken with care, and given back only if it is still ours.
//!
//! A socket's file outlives whoever listened there. It may be removed only when nobody listens any
//! more, and between looking and removing it somebody else may have begun to. So whoever makes or
//! removes one holds the directory meanwhile, by a lock that the kernel frees with its holder.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::errno::Errno;

use crate::error::{MeetError, PathUser};
use crate::sys::failure::SysError;
use crate::sys::process::refused;
use crate::sys::socket::{self, Claimed, Socket};

/// The longest path, in bytes, that an address has room for, with the zero behind it.
const MOST_PATH_BYTES: usize = 107;

/// How long others may take to make or remove a socket in the same directory. It takes them
/// microseconds; whoever holds the directory for longer has something else in mind.
const PATIENCE: Duration = Duration::from_secs(2);

const PAUSE: Duration = Duration::from_millis(1);

/// A path at which this process listens. Removed on drop, if it is still the same socket.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    file: (u64, u64),
}

impl Place {
    /// Listens at `path`, in place of whoever listened there and is dead.
    pub(super) fn take(path: &Path, mode: u32) -> Result<(Self, Socket), MeetError> {
        check(path)?;
        // Later, when it is to be removed, the process may be somewhere else.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        check(&path)?;
        let claimed = claim(&path)?;
        remove_dead(&path)?;
        let socket = Socket::listen(&path, mode).map_err(|error| match error.errno {
            Errno::EADDRINUSE => in_use(&path, PathUser::Listener),
            _ => error.into(),
        })?;
        let Some(entry) = socket::entry(&path) else {
            return Err(SysError::of("find the socket that was just made")(Errno::ENOENT).into());
        };
        drop(claimed);
        let place = Self {
            path,
            file: entry.file,
        };
        if mode & 0o077 != 0 {
            // What the umask took away: this socket is for others, too.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            fs::set_permissions(&place.path, mode)
                .map_err(refused("let others connect to the socket"))?;
        }
        Ok((place, socket))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Nobody can be told that it failed. A file that stays is found dead by the next listener.
        if let Ok(claimed) = claim(&self.path) {
            if socket::entry(&self.path).is_some_and(|entry| entry.file == self.file) {
                let _ = fs::remove_file(&self.path);
            }
            drop(claimed);
        }
    }
}

/// Whether a socket can have this path.
pub(super) fn check(path: &Path) -> Result<(), MeetError> {
    let bytes = path.as_os_str().as_bytes();
    let reason = if bytes.is_empty() {
        "it is empty"
    } else if bytes.contains(&0) {
        "it contains a zero byte"
    } else if bytes.len() > MOST_PATH_BYTES {
        "it is longer than 107 bytes"
    } else if path.file_name().is_none() {
        "it names no file"
    } else {
        return Ok(());
    };
    Err(MeetError::BadPath {
        path: path.to_owned(),
        reason,
    })
}

/// Holds the directory of `path`.
fn claim(path: &Path) -> Result<Claimed, MeetError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let began = Instant::now();
    loop {
        if let Some(claimed) = socket::claim_directory(directory)? {
            return Ok(claimed);
        }
        if began.elapsed() > PATIENCE {
            return Err(in_use(path, PathUser::Directory));
        }
        thread::sleep(PAUSE);
    }
}

/// Removes the socket at `path` if nobody listens there; the directory is held. Whatever else is
/// there is an error, and stays.
fn remove_dead(path: &Path) -> Result<(), MeetError> {
    let Some(entry) = socket::entry(path) else {
        return Ok(());
    };
    if !entry.is_socket {
        return Err(in_use(path, PathUser::File));
    }
    if entry.uid != socket::own_user() {
        return Err(in_use(path, PathUser::User(entry.uid)));
    }
    match Socket::connect(path, None) {
        // The kernel says so only if no living socket is bound to the file, or it does not listen,
        // which those of this crate do before the directory is free again.
        Err(error) if error.errno == Errno::ECONNREFUSED => {}
        // Somebody listens: for this, for something else, or with too many waiting already.
        _ => return Err(in_use(path, PathUser::Listener)),
    }
    Ok(fs::remove_file(path).map_err(refused("remove a dead socket"))?)
}

fn in_use(path: &Path, by: PathUser) -> MeetError {
    MeetError::PathInUse {
        path: path.to_owned(),
        by,
    }
}
