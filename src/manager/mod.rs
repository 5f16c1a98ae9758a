//! Containers and values that processes share, and the names by which they find them.
//!
//! *Invariants:* one process writes at a time, under the object's latch, and no code of the
//! program's runs meanwhile but the closure that changes a [`Value`]; each change becomes visible
//! by one store, so that a death leaves it made or not made; readers wait for nobody but one who
//! moves entries.

mod array;
#[cfg(test)]
mod death_tests;
mod directory;
mod entry;
mod latch;
mod list;
mod map;
#[cfg(test)]
mod oracle_tests;
mod record;
mod shelf;
#[cfg(test)]
mod tests;
mod value;

pub use array::{Array, ArrayGuard};
pub use directory::Manager;
pub use entry::SharedRef;
pub use list::{ListIter, SharedList};
pub use map::{MapIter, SharedMap};
pub use value::Value;

use crate::commons::Object;
use crate::error::{Error, ShareError};
use crate::protocol::archive::Payload;
use crate::protocol::name::Name;
use bytemuck::Pod;

pub(crate) use array::ARRAY;
pub(crate) use list::LIST;
pub(crate) use map::MAP;
pub(crate) use value::VALUE;

impl<K: Payload, V: Payload> Object for SharedMap<K, V> {
    fn find(name: Name) -> Result<Self, Error> {
        Self::open(name).map_err(into_error)
    }

    fn name(&self) -> Name {
        self.shelf().seat().name()
    }
}

impl<V: Payload> Object for SharedList<V> {
    fn find(name: Name) -> Result<Self, Error> {
        Self::open(name).map_err(into_error)
    }

    fn name(&self) -> Name {
        self.shelf().seat().name()
    }
}

impl<T: Pod> Object for Value<T> {
    fn find(name: Name) -> Result<Self, Error> {
        Self::open(name).map_err(into_error)
    }

    fn name(&self) -> Name {
        self.seat().name()
    }
}

impl<T: Pod> Object for Array<T> {
    fn find(name: Name) -> Result<Self, Error> {
        Self::open(name).map_err(into_error)
    }

    fn name(&self) -> Name {
        self.seat().name()
    }
}

fn into_error(error: ShareError) -> Error {
    match error {
        ShareError::Region(error) => *error,
        error => error.into(),
    }
}
