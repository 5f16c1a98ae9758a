//! Why a map, a list, a value or an array that processes share does not do what it was asked for.

use super::Error;
use crate::protocol::archive::ArchiveError;

/// What [`SharedMap`](crate::SharedMap), [`SharedList`](crate::SharedList),
/// [`Value`](crate::Value), [`Array`](crate::Array) and [`Manager`](crate::Manager) fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// There are as many records as there may be.
    #[error("there are {limit} records, as many as there may be; remove some, or make it larger")]
    Full {
        /// How many there may be.
        limit: usize,
    },
    /// No free piece of the budget is large enough.
    #[error("a record of {wanted} bytes does not fit what is left; remove some, or make it larger")]
    NoRoom {
        /// The record's bytes.
        wanted: usize,
    },
    /// There would be room if nobody held guards of records that were removed or replaced.
    #[error("records that were removed are still being read; drop their guards and try again")]
    Held,
    /// Somebody else writes just now, and the call was not to wait.
    #[error("somebody else writes just now")]
    Busy,
    /// Others wrote until the time was over.
    #[error("others wrote until the time was over")]
    TimedOut,
    /// There is nothing at this index.
    #[error("the index is {index} and the length {len}")]
    OutOfBounds {
        /// The index.
        index: usize,
        /// The length.
        len: usize,
    },
    /// The name cannot be one, or stands for something else.
    #[error("{name:?} cannot be had: {reason}")]
    BadName {
        /// The name.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// A key or a value could not be archived, or what was found is not the archive of one.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What the region or the kernel has to say.
    #[error(transparent)]
    Region(Box<Error>),
}

impl From<Error> for ShareError {
    fn from(error: Error) -> Self {
        match error {
            Error::Archive(error) => Self::Archive(error),
            error => Self::Region(Box::new(error)),
        }
    }
}
