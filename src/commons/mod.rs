//! What processes share besides a pool's buffers: regions, who is in them, the objects that lie
//! there, and waiting.
//!
//! ```text
//! header │ members │ objects │ blocks │ data
//! ```
//!
//! A process that attaches a region becomes a *member* ([`member`]) and gets an index and an
//! incarnation, its name in every claim. An *object* ([`object`]) is a block of data with a kind;
//! one bit a member says which processes have handles to it, and the last one frees it. *Blocks*
//! ([`space`]) are the region's memory. A [`Seat`] is what a room that makes a kind of object sees
//! of all this.
//!
//! Invariants:
//! - A process touches an object only while its bit is set, and its bit is set before it looks
//!   whether the object is still there.
//! - A member that is dead by its pidfd is swept once, by whoever moves its word; a sweep may be
//!   repeated at any point.
//! - Nothing read from a region is an index, an offset or a length before it is checked.
//! - No lock of this process is held while a waker is called.

mod handle;
mod inherited;
mod inner;
mod kind;
mod layout;
mod locals;
mod member;
mod object;
mod recovery;
mod region;
mod registry;
mod seat;
mod space;
#[cfg(test)]
mod tests;
mod threads;

pub(crate) use handle::Name;
pub use handle::{Handle, Shared};
pub(crate) use kind::Kind;
pub(crate) use locals::Ticket;
pub use region::Region;
pub(crate) use seat::{Block, BlockName, NoRoom, Seat, deadline};
