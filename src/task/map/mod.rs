//! Many items through one function: as streams, as iterators, collected.
//!
//! Several items make a batch, which is one task of the engine; the caller sees items only.

mod flow;
mod function;
mod input;
mod pace;
mod parcel;
pub(super) mod signal;
pub(super) mod stream;
mod tuple;
mod verbs;
#[cfg(feature = "tokio")]
mod verbs_async;

pub use input::{Incoming, Items, Source};
pub use stream::{AsCompleted, Blocking, Collect, Ordered};
pub use tuple::Tuple;
pub use verbs::Map;
