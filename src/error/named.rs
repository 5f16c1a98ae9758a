//! Why a region by name cannot be had.

use crate::sys::failure::SysError;

/// What making, opening, listing or removing a region by name can fail with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// No region can have this name.
    #[error("{name:?} cannot be the name of a region: {reason}")]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No region can have this size.
    #[error("a region of {found} bytes was asked for; wanted {wanted}")]
    BadSize {
        /// The size.
        found: u64,
        /// What it takes.
        wanted: &'static str,
    },
    /// There is a region of this name, which somebody uses.
    #[error(
        "there is a region named {name:?} already, and a process uses it; open it, or remove it"
    )]
    Exists {
        /// The name.
        name: String,
    },
    /// There is no region of this name.
    #[error("there is no region named {name:?}; make it first")]
    NotFound {
        /// The name.
        name: String,
    },
    /// The file system that names lie in has no room for it.
    #[error(
        "there is no room for a region of {wanted} bytes in {directory}; make that larger (in a \
         container `--shm-size`), or share a region without a name, which does not count there"
    )]
    NoRoom {
        /// The bytes that were to be reserved.
        wanted: u64,
        /// Where.
        directory: &'static str,
    },
    /// What has this name was made by another program, or another version of this crate, or has
    /// been overwritten.
    #[error("what is named {name:?} is no region of this program: {reason}")]
    Foreign {
        /// The name.
        name: String,
        /// How it is told.
        reason: String,
    },
    /// Another process holds the name and does not get done with it.
    #[error("another process holds the region named {name:?} and does not get done with it")]
    Held {
        /// The name.
        name: String,
    },
    /// There is no array under this key, or it is not published yet.
    #[error("there is no array under the key {key:?}, or it has not been published yet")]
    NoSuchKey {
        /// The key.
        key: String,
    },
    /// There is an array under this key, published or being filled by a process that lives.
    #[error("there is an array under the key {key:?} already")]
    KeyExists {
        /// The key.
        key: String,
    },
    /// No array can have this key.
    #[error("{key:?} cannot be the key of an array: wanted 1 to 72 bytes")]
    BadKey {
        /// The key.
        key: String,
    },
    /// An array has elements of another type.
    #[error("the array under the key {key:?} has elements of another type")]
    OtherType {
        /// The key.
        key: String,
    },
    /// The region has no room for another array, or has 253 already.
    #[error("the region named {name:?} has no room for an array of {wanted} bytes; make it larger")]
    Full {
        /// The region's name.
        name: String,
        /// The array's bytes.
        wanted: u64,
    },
    /// This process was forked from the one that has the region.
    #[error("this process was forked from the one that has the region; open it by its name")]
    Forked,
    /// The kernel refused a system call.
    #[error(transparent)]
    System(#[from] SysError),
}
