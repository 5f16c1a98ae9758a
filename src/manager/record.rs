//! A record: the archives of a key and of a value, one behind the other.
//!
//! ```text
//! 0            4              8      16              multiple of 16
//! [ key bytes ][ value bytes ][ hash ][ key's archive ][ value's archive ]
//! ```
//!
//! Keys are the same if their archives are. Both are archived before anybody is kept from writing,
//! so that a type's own code never runs meanwhile.

#![expect(unsafe_code, reason = "writes into an arena and lends what is there")]

use core::ptr::NonNull;

use super::shelf::full;
use crate::error::ShareError;
use crate::protocol::archive::{self, ArchiveError, Fit, Payload};
use crate::table::{Draft, Span, Table, Writer};

const HEAD_BYTES: usize = 16;
const ALIGN: usize = 16;

/// What is to be written.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// The archive of a value, by itself.
pub(super) fn encode<T: Payload>(value: &T) -> Result<Vec<u8>, ArchiveError> {
    const {
        assert!(
            align_of::<T::Archived>() <= ALIGN,
            "what is archived in a shared map or list is aligned to at most 16"
        );
    }
    let mut bytes = vec![0; 128];
    loop {
        match archive::append(value, &mut bytes, 0)? {
            Fit::Written(count) => {
                bytes.truncate(count);
                return Ok(bytes);
            }
            Fit::Needs(count) => bytes.resize(count.max(bytes.len() + 1), 0),
        }
    }
}

/// FNV-1a, and a mix at the end so that low bits depend on all.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, step);
    let hash = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ hash >> 29
}

impl Parts {
    pub(super) fn hash(&self) -> u64 {
        hash(&self.key)
    }

    fn size(&self) -> usize {
        value_at(self.key.len()) + self.value.len()
    }

    /// Writes the record where no word leads yet.
    pub(super) fn draft(&self, writer: &Writer<'_>, limit: usize) -> Result<Draft, ShareError> {
        let size = self.size();
        let refused = |what| full(what, limit, size);
        let draft = writer.draft(size).map_err(refused)?;
        let (at, room) = draft.place();
        debug_assert!(room >= size);
        let lens = [self.key.len() as u32, self.value.len() as u32];
        // SAFETY: the draft's own bytes, of which there are as many, aligned to 64.
        unsafe { at.cast().write(lens) };
        let parts = [
            (8, &self.hash().to_ne_bytes()[..]),
            (HEAD_BYTES, &self.key),
            (value_at(self.key.len()), &self.value),
        ];
        for (offset, bytes) in parts {
            // SAFETY: inside the draft, as all parts are.
            let at = unsafe { at.add(offset) };
            // SAFETY: as above.
            unsafe { put(at, bytes) };
        }
        Ok(draft)
    }
}

/// # Safety
/// `at` is valid for writes of as many bytes.
unsafe fn put(at: NonNull<u8>, bytes: &[u8]) {
    // SAFETY: the caller's promise; a draft is not where anything else is.
    unsafe { at.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
}

fn value_at(key_bytes: usize) -> usize {
    (HEAD_BYTES + key_bytes).next_multiple_of(ALIGN)
}

/// The archives of key and value in a record, if they can be there.
///
/// # Safety
/// As [`Table::bytes`]: for `'b` the record is pinned, or the caller writes.
pub(super) unsafe fn parts<'b>(table: &Table<'_>, span: Span) -> Option<(&'b [u8], &'b [u8])> {
    // SAFETY: the caller's promise.
    let bytes: &'b [u8] = unsafe { table.bytes(span) }?;
    let len = |at: usize| {
        let part = bytes.get(at..at + 4)?.first_chunk()?;
        Some(u32::from_le_bytes(*part) as usize)
    };
    let (key, value) = (len(0)?, len(4)?);
    let start = value_at(key);
    let key = bytes.get(HEAD_BYTES..HEAD_BYTES.checked_add(key)?)?;
    Some((key, bytes.get(start..start.checked_add(value)?)?))
}
