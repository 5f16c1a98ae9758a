//! What a queue or a pipe can answer instead of doing what it was asked.

use core::fmt;

use crate::error::Error;
use crate::protocol::archive::ArchiveError;

/// Why an item was not sent. It is given back where it was given by value; an item given by
/// reference is its owner's all the time.
///
/// Nothing was put into the queue, whichever it is.
#[non_exhaustive]
pub enum SendError<G> {
    /// Every place is taken (`try_send` only).
    Full(G),
    /// The queue is closed, or the pipe's other end has gone.
    Closed(G),
    /// The time was over before there was room.
    TimedOut(G),
    /// The item does not fit into what the region has left for it.
    TooLarge {
        /// The item.
        item: G,
        /// How many bytes it takes.
        wanted: u64,
        /// The largest item that the region could take, were it empty.
        available: u64,
    },
    /// The item could not be archived.
    Archive(ArchiveError),
    /// The region cannot be used: it has gone, or this process was forked from one that used it.
    Region(Error),
}

impl<G> SendError<G> {
    /// The item, unless it was the reason.
    pub fn into_item(self) -> Option<G> {
        match self {
            Self::Full(item) | Self::Closed(item) | Self::TimedOut(item) => Some(item),
            Self::TooLarge { item, .. } => Some(item),
            Self::Archive(_) | Self::Region(_) => None,
        }
    }
}

impl<G> fmt::Debug for SendError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("Full(..)"),
            Self::Closed(_) => f.write_str("Closed(..)"),
            Self::TimedOut(_) => f.write_str("TimedOut(..)"),
            Self::TooLarge {
                wanted, available, ..
            } => f
                .debug_struct("TooLarge")
                .field("wanted", wanted)
                .field("available", available)
                .finish_non_exhaustive(),
            Self::Archive(error) => f.debug_tuple("Archive").field(error).finish(),
            Self::Region(error) => f.debug_tuple("Region").field(error).finish(),
        }
    }
}

impl<G> fmt::Display for SendError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("the queue is full; wait for room, or receive faster"),
            Self::Closed(_) => f.write_str("the queue is closed, or all receivers have gone"),
            Self::TimedOut(_) => f.write_str("there was no room in the queue in time"),
            Self::TooLarge {
                wanted, available, ..
            } => write!(
                f,
                "the item takes {wanted} bytes, and the region has room for items of at most \
                 {available}; make the region larger"
            ),
            Self::Archive(error) => error.fmt(f),
            Self::Region(error) => error.fmt(f),
        }
    }
}

impl<G> std::error::Error for SendError<G> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Archive(error) => error.source(),
            Self::Region(error) => error.source(),
            _ => None,
        }
    }
}

/// Why nothing was received. Nothing was taken out of the queue, but for [`RecvError::Archive`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// Nothing waits (`try_recv` only).
    #[error("the queue is empty")]
    Empty,
    /// The queue is closed, or the pipe's other end has gone, and nothing is left.
    #[error("the queue is closed and everything in it has been received")]
    Closed,
    /// The time was over before anything came.
    #[error("nothing came in time")]
    TimedOut,
    /// All the receivers together hold as many items as the queue allows; none is handed out until
    /// one of them is dropped.
    #[error(
        "{limit} received items are held at once, which is this queue's limit; drop some, or make \
         the queue with a larger `held`"
    )]
    TooManyHeld {
        /// The limit.
        limit: u32,
    },
    /// The item was no archive of its type; it was dropped.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The region cannot be used: it has gone, or this process was forked from one that used it.
    #[error(transparent)]
    Region(Error),
}
