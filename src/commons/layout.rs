//! Where things lie in a region.

use crate::memory::region::EXTENT_BYTES;
use crate::primitive::atomic::{AtomicU32, AtomicU64};
use crate::sync::mutex::RawMutex;
use crate::sync::waitset::MEMBERS;

use super::member::Member;
use super::object::Object;
use super::space::{BUCKETS, Entry};

/// What a region of this crate begins with.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"grstmill");
/// Changes with the layout of anything in a region.
pub(super) const LAYOUT: u64 = 1;
/// What blocks are multiples of, and aligned to.
pub(super) const UNIT: u64 = 64;
/// The largest region.
pub(super) const MOST: u64 = 1 << 40;

/// The beginning of a region. What has no atomic is written before READY and never again.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Header {
    pub(super) magic: AtomicU64,
    pub(super) layout: AtomicU64,
    pub(super) size: AtomicU64,
    pub(super) id: AtomicU64,
    /// Stored last: [`READY`].
    pub(super) ready: AtomicU64,
    /// How often somebody has joined; members' bells are rung afterwards.
    pub(super) joins: AtomicU32,
    /// Where to look first for a free object; a hint.
    pub(super) object_hint: AtomicU32,
    /// Objects' entries that were ever used; those have memory.
    pub(super) objects_used: AtomicU32,
    pub(super) reserved: [u32; 3],
    /// Guards the space's lists.
    pub(super) lock: RawMutex,
    /// Entries that were ever used.
    pub(super) entries_used: AtomicU32,
    /// Entries of that many that are not used now, as a stack; one more than its top.
    pub(super) spare: AtomicU32,
    /// The data below this offset has memory.
    pub(super) committed: AtomicU64,
    /// The entries below this offset have memory.
    pub(super) entries_committed: AtomicU64,
    /// Which buckets have a block.
    pub(super) filled: [AtomicU64; BUCKETS.div_ceil(64)],
    /// One more than the first free block's entry, by size.
    pub(super) buckets: [AtomicU32; BUCKETS],
}

pub(super) const READY: u64 = 0x5245_4144_595f_3031;

/// The parts of a region of some size, as offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) members: u64,
    pub(super) objects: u64,
    pub(super) object_count: u32,
    pub(super) entries: u64,
    pub(super) entry_count: u32,
    pub(super) data: u64,
    pub(super) end: u64,
}

const PAGE: u64 = 4096;

impl Parts {
    /// Of a region of `size` bytes, a multiple of 2 MiB.
    pub(super) fn of(size: u64) -> Self {
        debug_assert!(size.is_multiple_of(EXTENT_BYTES) && size > 0 && size <= MOST);
        let object_count = (size >> 14).clamp(256, 1 << 16) as u32;
        let entry_count = (size >> 11).clamp(1024, 1 << 20) as u32;
        let members = (size_of::<Header>() as u64).next_multiple_of(PAGE);
        let objects = members + (MEMBERS * size_of::<Member>()) as u64;
        let entries = objects + u64::from(object_count) * size_of::<Object>() as u64;
        let data = entries + u64::from(entry_count) * size_of::<Entry>() as u64;
        Self {
            members,
            objects,
            object_count,
            entries,
            entry_count,
            data: data.next_multiple_of(PAGE),
            end: size,
        }
    }

    /// The size of a file with at least `wanted` bytes of data.
    pub(super) fn file_size(wanted: u64) -> Option<u64> {
        let mut size = wanted.checked_next_multiple_of(EXTENT_BYTES)?;
        while size <= MOST {
            let parts = Self::of(size);
            if parts.end - parts.data >= wanted {
                return Some(size);
            }
            size += EXTENT_BYTES;
        }
        None
    }
}

const _: () = assert!(size_of::<Header>() <= PAGE as usize);
const _: () = assert!(core::mem::offset_of!(Header, lock) == 64);
