//! The first bytes of a region, which all of its members share.
//!
//! ```text
//! 0x00000   magic | layout | size | id | roll | recovery | allocator | root …    4 KiB
//! 0x01000   members: word, start time, bell; 64 bytes each                       256 of them
//! 0x05000   objects: word, place, size, kind, holders; 64 bytes each             4096 of them
//! 0x50000   blocks, one after another: 64 bytes of head, then what is in them
//! ```

use core::mem::{offset_of, size_of};

use crate::commons::member::Member;
use crate::commons::object::Entry;
use crate::primitive::atomic::{AtomicU32, AtomicU64};
use crate::sync::waitset::{self, WaitSet};

/// How many members there are: one a process that has the region, and the region itself.
pub(crate) const MEMBERS: usize = waitset::MEMBERS;
/// How many objects a region may hold.
pub(crate) const OBJECTS: usize = 4096;
/// Where the blocks begin.
pub(super) const DATA_AT: u64 = 0x5_0000;

pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"gristrg\x01");

/// A set of members, one bit each.
pub(super) type Bits = [AtomicU64; MEMBERS / 64];

/// Everything before the blocks.
#[derive(Debug)]
#[repr(C, align(4096))]
pub(super) struct Front {
    pub(super) magic: AtomicU64,
    pub(super) layout: AtomicU64,
    pub(super) size: AtomicU64,
    pub(super) id: AtomicU64,
    /// Counts those who joined, so that the others watch over them.
    pub(super) roll: AtomicU32,
    pub(super) unused: AtomicU32,
    /// Who takes care of the dead.
    pub(super) recovery: AtomicU64,
    /// Who hands out blocks.
    pub(super) allocator: AtomicU64,
    /// Up to where there is memory.
    pub(super) committed: AtomicU64,
    /// Where the search for room begins: the head of a block.
    pub(super) cursor: AtomicU64,
    /// Tells uses of blocks apart.
    pub(super) generation: AtomicU64,
    /// The object that names others, or zero.
    pub(super) root: AtomicU64,
    /// Where its members have their numbers, or zero.
    pub(super) namespace: AtomicU64,
    /// Those who wait for the allocator.
    pub(super) allocators: WaitSet,
}

/// The members and objects that follow.
#[derive(Debug)]
#[repr(C, align(4096))]
pub(super) struct Tables {
    pub(super) front: Front,
    pub(super) members: [Member; MEMBERS],
    pub(super) objects: [Entry; OBJECTS],
}

const _: () = {
    assert!(size_of::<Front>() == 4096);
    assert!(offset_of!(Front, recovery) == 40);
    assert!(offset_of!(Front, allocators) == 128);
    assert!(offset_of!(Tables, members) == 0x1000);
    assert!(offset_of!(Tables, objects) == 0x5000);
    assert!(size_of::<Tables>() == 0x4_5000);
    assert!(size_of::<Tables>() as u64 <= DATA_AT);
    assert!(MEMBERS.is_multiple_of(64));
};

/// Changes with anything that would make two builds read each other's bytes wrongly.
pub(super) const LAYOUT: u64 =
    (size_of::<Tables>() as u64) << 32 | (size_of::<WaitSet>() as u64) << 16 | 2;
