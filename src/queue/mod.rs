//! Queues and pipes between processes.

mod channel;
mod error;
mod handle;
mod item;
mod joinable;
mod layout;
mod pipe;
mod received;
mod receiving;
mod seat;
mod sending;
mod simple;
mod stream_end;

pub use error::{RecvError, SendError};
pub use handle::{OnDeath, Queue, QueueBuilder};
pub use item::Item;
pub use joinable::{JoinableQueue, Joining};
pub use pipe::{PipeEnd, PipeReceiver, PipeSender, pipe, simplex};
pub use received::Received;
pub use receiving::{QueueIter, QueueStream, Receiving};
pub use seat::Region;
pub use sending::Sending;
pub use simple::SimpleQueue;
pub use stream_end::{ByteEnd, ByteReader, ByteWriter, byte_pipe, byte_simplex};
