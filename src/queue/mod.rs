//! Queues and pipes between processes: the algorithms of `fifo` in the memory of a region.
//!
//! A [`channel`] is the queue as one process has it; [`moving`] makes one attempt at a time at
//! sending or receiving, and knows whom to wake then; futures and blocking calls repeat attempts
//! while they wait. What an item is, how it is packed
//! and read, is [`item`]'s business; that it is kept while it is read in place, [`received`]'s.
//!
//! *Invariants:* an item is packed before it has a place, so that a place is held for no longer
//! than a copy takes. Whoever gets on while others wait wakes the next, so that one wake-up for
//! each step is enough.

mod channel;
mod error;
mod handle;
mod item;
mod joinable;
mod layout;
mod many;
mod moving;
mod owed;
mod pipe;
mod received;
mod receiving;
mod sending;
mod simple;
mod sink;
#[cfg(feature = "tokio")]
mod stream_async;
mod stream_end;

pub(crate) use channel::CHANNEL;
pub use error::{RecvError, SendError};
pub use handle::{OnDeath, Queue, QueueBuilder};
pub use item::Item;
pub use joinable::{JoinableQueue, Joining};
pub use many::{ReceivingMany, SendingMany};
pub use pipe::{PipeEnd, PipeReceiver, PipeSender, pipe, simplex};
pub use received::Received;
pub use receiving::{QueueIter, QueueStream, Receiving};
pub use sending::Sending;
pub use simple::SimpleQueue;
pub use sink::QueueSink;
pub(crate) use stream_end::STREAM;
pub use stream_end::{ByteEnd, ByteReader, ByteWriter, byte_pipe, byte_simplex};
