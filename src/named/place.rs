//! A region's name: how it comes to be, who holds it, and who takes it away.
//!
//! A file is made under a name that says which process makes it, is filled, and gets its own name
//! when it is complete, in one step. So at every instant it is known whose it is: until then the
//! maker's; from then on it is in use while any process holds the kernel's lock on it, which the
//! kernel frees with its last holder, however that ends. Whoever gives it back last takes the name
//! away. Names that nobody holds are those of the dead, and whoever comes by removes them.

use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::error::NameError;
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::sys::failure::SysError;
use crate::sys::map::ForkMark;
use crate::sys::shm::{self, Hold, Named};
use crate::sys::{clock, socket};

/// In front of a region's name.
const PREFIX: &str = "gristmill.";

/// In front of the name of one that is being made.
const MAKING: &str = "gristmill-new.";

/// What a file's name may have, in bytes.
const MOST_BYTES: usize = 255 - PREFIX.len();

/// How long others may take to look at a file. It takes them microseconds.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(1);

/// A name that this process holds. On drop the name is removed if nobody else does.
#[derive(Debug)]
pub(crate) struct Held {
    file: Named,
    name: String,
    mark: ForkMark,
}

/// A name that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) size: u64,
}

impl Held {
    /// Makes a file of `size` bytes, all of which have memory, has it filled, and names it.
    pub(crate) fn create(
        name: &str,
        size: u64,
        fill: impl FnOnce(&Named) -> Result<(), NameError>,
    ) -> Result<Self, NameError> {
        check(name)?;
        let length = usize::try_from(size).ok().filter(|&length| length > 0);
        let Some(length) = length.filter(|_| i64::try_from(size).is_ok()) else {
            return Err(NameError::BadSize {
                found: size,
                wanted: "at least 1, and no more than a file can have",
            });
        };
        let mark = ForkMark::new()?;
        clean()?;
        if is_held(name)? {
            return Err(exists(name));
        }
        let making = Making::new();
        let file = shm::create(&making.0, length)?;
        file.reserve(size).map_err(|error| match error.errno {
            Errno::ENOSPC | Errno::ENOMEM => NameError::NoRoom {
                wanted: size,
                directory: shm::DIRECTORY,
            },
            _ => error.into(),
        })?;
        fill(&file)?;
        shm::rename(&making.0, &file_name(name)).map_err(|error| match error.errno {
            Errno::EEXIST => exists(name),
            _ => error.into(),
        })?;
        // The name under which it was made is no more, and nobody else ever makes one like it.
        drop(making);
        Ok(Self {
            file,
            name: name.to_owned(),
            mark,
        })
    }

    /// Holds the file of this name, if it is a region of this user's.
    pub(crate) fn open(name: &str) -> Result<Self, NameError> {
        check(name)?;
        let mark = ForkMark::new()?;
        let began = Instant::now();
        loop {
            let file = shm::open_and_hold(&file_name(name), Hold::Shared);
            match file.map_err(|error| cannot_open(error, name))? {
                Some(file) => {
                    let facts = file.facts()?;
                    if !facts.is_regular || facts.uid != socket::own_user() {
                        return Err(foreign(name, "it is not a file of this user's"));
                    }
                    // Removed between being opened and being held.
                    if facts.is_named {
                        let name = name.to_owned();
                        return Ok(Self { file, name, mark });
                    }
                }
                None if began.elapsed() > PATIENCE => {
                    return Err(NameError::Held { name: name.into() });
                }
                None => thread::sleep(PAUSE),
            }
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The name that the C library knows it by.
    pub(crate) fn file_name(&self) -> String {
        file_name(&self.name)
    }

    pub(crate) fn file(&self) -> &Named {
        &self.file
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A forked child shares the lock with its parent, who still holds it.
        if self.mark.is_here() {
            remove_if_alone(&self.file, &file_name(&self.name));
        }
    }
}

/// The name of a file that is being made; removed on drop, if it is still there.
struct Making(String);

impl Making {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let pid = std::process::id();
        let started = clock::started(pid).unwrap_or(0);
        // ORDERING: Relaxed; a number that was not given out before.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let space = clock::pid_namespace();
        Self(format!("{MAKING}{space}.{pid}.{started}.{number}"))
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        // Gone already if it was given its own name.
        let _ = shm::unlink(&self.0);
    }
}

/// Whether the process that made a file under this name is gone, and so nobody ever completes it.
/// One of another namespace cannot be asked for.
fn is_abandoned(name: &str) -> bool {
    let mut fields = name.strip_prefix(MAKING).unwrap_or_default().split('.');
    let mut number = || fields.next().and_then(|field| field.parse::<u64>().ok());
    let (Some(space), Some(pid), Some(started)) = (number(), number(), number()) else {
        return false;
    };
    let pid = u32::try_from(pid).unwrap_or(0);
    space == clock::pid_namespace() && clock::started(pid) != Some(started)
}

/// The regions of this user's that somebody holds.
pub(super) fn list() -> Result<Vec<Found>, NameError> {
    clean()?;
    let mut all = Vec::new();
    for file in shm::names()? {
        let Some(name) = file.strip_prefix(PREFIX) else {
            continue;
        };
        // Not held meanwhile: what is only looked at is not in use by it.
        if let Some((size, uid)) = shm::look(&file)
            && uid == socket::own_user()
        {
            let name = name.to_owned();
            all.push(Found { name, size });
        }
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

/// Takes a name away, whoever holds the region: they keep it, and nobody finds it any more. `false`
/// if there is none.
pub(super) fn remove(name: &str) -> Result<bool, NameError> {
    check(name)?;
    let file = file_name(name);
    match shm::look(&file) {
        None => Ok(false),
        Some((_, uid)) if uid != socket::own_user() => Err(foreign(name, "it is another user's")),
        Some(_) => match shm::unlink(&file) {
            Ok(()) => Ok(true),
            Err(error) if error.errno == Errno::ENOENT => Ok(false),
            Err(error) => Err(error.into()),
        },
    }
}

/// Removes what the dead of this user have left; says how many names.
pub(super) fn clean() -> Result<usize, NameError> {
    let own = socket::own_user();
    let is_own = |name: &str| shm::look(name).is_some_and(|(_, uid)| uid == own);
    let mut removed = 0;
    for name in shm::names()? {
        if name.starts_with(MAKING) {
            if is_abandoned(&name) && is_own(&name) {
                removed += usize::from(shm::unlink(&name).is_ok());
            }
        } else if name.starts_with(PREFIX) && is_own(&name) {
            // Whatever cannot be opened now is not for us to remove.
            if let Ok(Some(file)) = shm::open_and_hold(&name, Hold::Alone) {
                removed += usize::from(remove_if_alone(&file, &name));
            }
        }
    }
    Ok(removed)
}

/// Removes the name of `file` if nobody else holds it and it is still called so.
fn remove_if_alone(file: &Named, name: &str) -> bool {
    let is_ours = || {
        // Whoever opens it from here on finds it held, or without a name, and looks again.
        file.hold_alone().unwrap_or(false)
            && file.facts().is_ok_and(|facts| shm::is_called(&facts, name))
    };
    is_ours() && shm::unlink(name).is_ok()
}

/// Whether there is a file of this name that somebody holds.
fn is_held(name: &str) -> Result<bool, NameError> {
    Ok(shm::look(&file_name(name)).is_some())
}

fn file_name(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// Whether a region can have this name.
fn check(name: &str) -> Result<(), NameError> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.contains('/') {
        "it contains a slash"
    } else if name.contains('\0') {
        "it contains a zero byte"
    } else if name.len() > MOST_BYTES {
        "it is longer than 245 bytes"
    } else {
        return Ok(());
    };
    Err(NameError::BadName {
        name: name.into(),
        reason,
    })
}

fn exists(name: &str) -> NameError {
    NameError::Exists { name: name.into() }
}

pub(super) fn foreign(name: &str, reason: &str) -> NameError {
    NameError::Foreign {
        name: name.into(),
        reason: reason.into(),
    }
}

fn cannot_open(error: SysError, name: &str) -> NameError {
    match error.errno {
        Errno::ENOENT => NameError::NotFound { name: name.into() },
        Errno::EACCES => foreign(name, "it is another user's"),
        Errno::ELOOP | Errno::ENXIO | Errno::EISDIR => foreign(name, "it is no file of bytes"),
        _ => error.into(),
    }
}

const _: () = assert!(MOST_BYTES == 245);
