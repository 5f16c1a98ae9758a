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
mod verbs;

pub use input::{Incoming, Items, Source};
pub use stream::{AsCompleted, Blocking, Collect, Ordered};
pub use verbs::{Map, Tuple};
