//! Two programs meet: one listens at a path, the other connects, each makes sure who the other is,
//! and from then on they pass each other regions and objects in them. Data moves in shared memory
//! afterwards; what crosses the socket is descriptors, handles and short messages.
//!
//! *Invariants:* a message is whole, or it was not taken; nobody waits for an end that says
//! nothing, but for one that this call is about; nothing is removed from the file system that is
//! not ours and dead.

mod client;
mod connection;
mod handshake;
#[cfg(feature = "auth")]
mod key;
mod listener;
mod place;
mod readiness;
mod terms;

use crate::protocol::greeting::MOST_BYTES;

pub use client::{Client, ClientBuilder};
pub use connection::{Connection, Peer};
pub use listener::{Listener, ListenerBuilder};

/// What the programs exchange, as far as it is not said by the version: two that differ here would
/// misunderstand each other.
const LAYOUT: u64 = (size_of::<usize>() as u64) << 32 | MOST_BYTES as u64;
