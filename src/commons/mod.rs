//! Memory in which processes share objects, and what keeps it whole when they die.
//!
//! A region is a memory file of its own, which every member maps for writing. What can be claimed
//! in it has one word that names its claimer; so whoever survives takes back what the dead had.
//!
//! # Invariants
//! - A member is dead when the kernel says that its process has ended. One survivor at a time takes
//!   care of the dead, and what it does may be done again by another if it dies at it.
//! - A process that was forked from a member is none: it changes nothing here.
//! - Nobody polls. A process that has a region has two threads for it that sleep: one until
//!   something happens that its waiting tasks may want, one until another member dies.

mod kind;
mod layout;
mod locals;
mod member;
mod number;
mod object;
mod recovery;
mod region;
mod seat;
mod space;
#[cfg(test)]
mod tests;
mod threads;
mod waiting;

pub use kind::Object;
#[cfg(test)]
pub(crate) use kind::still;
pub(crate) use kind::{Kind, know, signature};
pub(crate) use layout::MEMBERS;
pub use region::Region;
pub(crate) use seat::{Block, NoRoom, Seat};
pub(crate) use space::BlockName;
pub(crate) use waiting::{Ticket, deadline};

pub(crate) use crate::sync::waitset::WaitSet;
