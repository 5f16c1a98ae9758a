//! What the bytes of a region with a name mean.
//!
//! ```text
//!      0        8         16      24       32                64       128      256
//!      [ magic  ][ layout ][ size ][ ready ][ unused          ][ lock  ][ unused ]
//!    256  the directory: 253 entries of 128 bytes | 128 bytes unused
//! 0x8000  arrays, each at a multiple of 64, one after another
//!
//! entry    0       8      16         24        32     40       48          56    128
//!          [ word ][ pid ][ started ][ offset ][ len ][ kind ][ key bytes ][ key ]
//! word     FREE -> FILLING -> READY        kind: code:16 | alignment:16 | size:32
//!            ^        |
//!            +--------+ (given up, or its process is dead)
//! ```
//!
//! An entry goes from FREE to FILLING under the lock, with all else in it written before; READY is
//! stored last, by the process that filled the array, and is for good. Where there is room is not
//! written down: it is wherever no entry is.

use std::any::TypeId;

use bytemuck::Pod;

use crate::primitive::atomic::{AtomicU64, Ordering};

/// The bytes `gristmn` and 1.
const MAGIC: u64 = u64::from_le_bytes(*b"gristmn\x01");
pub(super) const READY_MARK: u64 = u64::from_le_bytes(*b"complete");

pub(super) const READY_AT: usize = 24;
pub(super) const HEADER_BYTES: usize = 64;
pub(super) const LOCK_AT: u64 = 64;
pub(super) const DIRECTORY_AT: u64 = 256;
pub(super) const ENTRIES: usize = 253;
pub(super) const DATA_AT: u64 = 0x8000;
pub(super) const MOST_KEY_BYTES: usize = 72;
/// Every array starts at a multiple of this.
pub(super) const ALIGN: u64 = 64;

const _: () = assert!(DIRECTORY_AT + (ENTRIES * size_of::<Entry>()) as u64 <= DATA_AT);
const _: () = assert!(LOCK_AT as usize + crate::sys::robust::BYTES <= DIRECTORY_AT as usize);

/// Programs that see a region differently do not share one: the numbers above, the machine, and the
/// C library, whose lock is in it.
pub(super) const LAYOUT: u64 = {
    let libc = if cfg!(target_env = "musl") { 1 } else { 0 };
    let machine = if cfg!(target_arch = "aarch64") { 1 } else { 0 };
    let parts = [
        DIRECTORY_AT,
        ENTRIES as u64,
        DATA_AT,
        size_of::<Entry>() as u64,
        MOST_KEY_BYTES as u64,
        size_of::<usize>() as u64,
        libc,
        machine,
    ];
    // FNV-1a, a number at a time.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut index = 0;
    while index < parts.len() {
        hash = (hash ^ parts[index]).wrapping_mul(0x0100_0000_01b3);
        index += 1;
    }
    hash
};

/// The header of a region of `size` bytes that is not complete yet.
pub(super) fn header(size: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    for (place, word) in bytes.chunks_exact_mut(8).zip([MAGIC, LAYOUT, size, 0]) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Whether a header is that of a complete region of `size` bytes; if not, how it is told.
pub(super) fn check(header: &[u8; HEADER_BYTES], size: u64) -> Result<(), String> {
    let [magic, layout, found, ready] = [0, 8, 16, 24].map(|at: usize| {
        let bytes: [u8; 8] = std::array::from_fn(|index| header[at + index]);
        u64::from_le_bytes(bytes)
    });
    if magic != MAGIC {
        return Err(format!(
            "it begins with {magic:#018x} and not with {MAGIC:#018x}; another program made it, or \
             another version of this crate"
        ));
    }
    if layout != LAYOUT {
        return Err(format!(
            "its layout is {layout:#018x} and here {LAYOUT:#018x}; build both programs with the \
             same version of this crate, for the same machine and C library"
        ));
    }
    if ready != READY_MARK {
        return Err("it was never completed".into());
    }
    if found != size {
        return Err(format!("it has {size} bytes, and was made with {found}"));
    }
    Ok(())
}

/// What an entry's word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Free,
    Filling,
    Ready,
}

const FREE: u64 = 0;
const FILLING: u64 = 1;
const READY: u64 = 2;

/// One array's place in the directory.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Entry {
    word: AtomicU64,
    pid: AtomicU64,
    started: AtomicU64,
    offset: AtomicU64,
    len: AtomicU64,
    kind: AtomicU64,
    key_bytes: AtomicU64,
    key: [AtomicU64; MOST_KEY_BYTES / 8],
}

const _: () = assert!(size_of::<Entry>() == 128);

/// All that an entry says of its array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The process that fills it.
    pub(super) owner: (u64, u64),
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) kind: u64,
    pub(super) key: String,
}

impl Entry {
    /// Its state; any other word is as if nothing were there.
    pub(super) fn state(&self) -> State {
        // ORDERING: Acquire; pairs with the Release in `publish`: the array is whole.
        match self.word.load(Ordering::Acquire) {
            FILLING => State::Filling,
            READY => State::Ready,
            _ => State::Free,
        }
    }

    /// What it says; `None` if that cannot be.
    pub(super) fn record(&self) -> Option<Record> {
        // ORDERING: Relaxed, as all here; published by the word, or under the lock.
        let word = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let len = usize::try_from(word(&self.key_bytes)).ok()?;
        let bytes: Vec<u8> = self
            .key
            .iter()
            .flat_map(|part| word(part).to_le_bytes())
            .collect();
        Some(Record {
            owner: (word(&self.pid), word(&self.started)),
            offset: word(&self.offset),
            len: word(&self.len),
            kind: word(&self.kind),
            key: String::from_utf8(bytes.get(..len)?.to_vec()).ok()?,
        })
    }

    /// Takes a free entry, under the lock.
    pub(super) fn fill(&self, record: &Record) {
        let mut key = [0; MOST_KEY_BYTES];
        let len = record.key.len().min(MOST_KEY_BYTES);
        key[..len].copy_from_slice(&record.key.as_bytes()[..len]);
        let parts = key.as_chunks::<8>().0;
        for (place, &bytes) in self.key.iter().zip(parts) {
            place.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        for (place, value) in [
            (&self.pid, record.owner.0),
            (&self.started, record.owner.1),
            (&self.offset, record.offset),
            (&self.len, record.len),
            (&self.kind, record.kind),
            (&self.key_bytes, len as u64),
        ] {
            place.store(value, Ordering::Relaxed);
        }
        // ORDERING: Release; whoever sees the entry in use sees what it says.
        self.word.store(FILLING, Ordering::Release);
    }

    /// Shows the array to all, for good; its bytes were written before.
    pub(super) fn publish(&self) {
        // ORDERING: Release; pairs with the Acquire in `state`.
        self.word.store(READY, Ordering::Release);
    }

    /// Gives a filling entry up: by its process, or under the lock when that is dead.
    pub(super) fn give_up(&self) {
        // ORDERING: Release; nothing is written to the array afterwards.
        self.word.store(FREE, Ordering::Release);
    }
}

/// What tells types of elements apart, as far as two programs can agree on it.
pub(super) fn kind<T: Pod>() -> u64 {
    let known = [
        TypeId::of::<u8>(),
        TypeId::of::<i8>(),
        TypeId::of::<u16>(),
        TypeId::of::<i16>(),
        TypeId::of::<u32>(),
        TypeId::of::<i32>(),
        TypeId::of::<u64>(),
        TypeId::of::<i64>(),
        TypeId::of::<u128>(),
        TypeId::of::<i128>(),
        TypeId::of::<f32>(),
        TypeId::of::<f64>(),
    ];
    let code = known.iter().position(|known| *known == TypeId::of::<T>());
    let code = code.map_or(0, |index| index as u64 + 1);
    code << 48 | (align_of::<T>() as u64) << 32 | size_of::<T>() as u64
}
