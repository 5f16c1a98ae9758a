//! What the core must be able to do with an object without knowing what it is.

use core::any::type_name;
use std::sync::{Mutex, PoisonError};

use crate::commons::seat::Seat;
use crate::commons::space::BlockName;
use crate::error::Error;
use crate::memory::owner::Owner;
use crate::protocol::name::Name;

/// One kind of object.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Stands in the object's entry.
    pub(crate) id: u32,
    /// Takes back what a dead member had in an object, and wakes who waits. May be done again.
    pub(crate) recover: fn(&Seat, Owner),
    /// Names the blocks that the object holds.
    pub(crate) blocks: fn(&Seat, &mut dyn FnMut(BlockName)),
}

/// What can lie in a region and be found by its [`Handle`](crate::Handle).
pub trait Object: Sized {
    #[doc(hidden)]
    fn find(name: Name) -> Result<Self, Error>;

    #[doc(hidden)]
    fn name(&self) -> Name;
}

static KINDS: Mutex<Vec<&'static Kind>> = Mutex::new(Vec::new());

/// Makes kinds known, besides those that are; by whatever gives out regions, before it does.
pub(crate) fn know(kinds: &[&'static Kind]) {
    let mut known = KINDS.lock().unwrap_or_else(PoisonError::into_inner);
    for kind in kinds {
        if known.iter().all(|other| other.id != kind.id) {
            known.push(kind);
        }
    }
}

/// Until it is dropped, no other thread is at what this process knows of kinds and regions: so that
/// a test may fork a child that uses them.
#[cfg(test)]
pub(crate) fn still() -> impl Sized {
    let regions = crate::commons::seat::REGIONS.lock();
    let kinds = KINDS.lock();
    (
        regions.unwrap_or_else(PoisonError::into_inner),
        kinds.unwrap_or_else(PoisonError::into_inner),
    )
}

pub(super) fn find(id: u32) -> Option<&'static Kind> {
    let known = KINDS.lock().unwrap_or_else(PoisonError::into_inner);
    known.iter().copied().find(|kind| kind.id == id)
}

/// FNV-1a over the type's name, its size and its alignment: the same in every process of one
/// executable, and most likely different for another type.
pub(crate) fn signature<T: ?Sized>(size: usize, align: usize) -> u64 {
    let name = type_name::<T>().bytes();
    let numbers = size.to_le_bytes().into_iter().chain(align.to_le_bytes());
    name.chain(numbers)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
}
