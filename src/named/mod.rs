//! Regions that unrelated programs find by name.
//!
//! *Invariants:* a name is a whole region's, or says which process is making one; nothing is
//! removed that a living process holds, nor what is not a region's of this user; what is read from
//! a region is checked before it is followed.

mod array;
mod format;
mod place;
mod region;
#[cfg(test)]
mod tests;

pub use array::{NamedSlice, NamedVec};
pub(crate) use place::Held;
pub use region::{NamedInfo, NamedRegion};
