//! What a process that runs one function shares with whoever started it: one memory file.
//!
//! ```text
//! 0          0x10000    0x11000    0x20000                 a multiple of 2 MiB
//! [ head    ][ ending  ][ report  ][ arguments, unused    ][ room for the result, 2 GiB     ]
//! ```
//!
//! The parent writes head and arguments before the process begins and reads the rest after it was
//! reaped. So nothing here is ever read and written at the same time, and there is no moment at
//! which a death leaves a doubt: what the ending says is stored last, after what it speaks of.
//!
//! # Invariants
//! - The file is sealed at its size. The parent maps what precedes the result only, and the result
//!   only once the process is gone, read-only.
//! - The parent believes nothing that the process may have written: every number is checked.

#![expect(
    unsafe_code,
    reason = "views a mapped file as the structures at its beginning"
)]

mod opened;
#[cfg(test)]
mod tests;

use core::mem::offset_of;
use core::ptr::NonNull;
use core::slice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::protocol::archive::{self, ArchiveError, Fit, Payload};
use crate::protocol::control::Refusal;
use crate::protocol::function::FunctionId;
use crate::protocol::image::ImageId;
use crate::protocol::panic::{PanicReport, REPORT_BYTES};
use crate::sys::failure::SysError;
use crate::sys::map::{HUGE_PAGE_BYTES, Mapping, Protection};
use crate::sys::memfd;

pub(crate) use opened::Opened;

const MAGIC: u64 = u64::from_le_bytes(*b"gristpr\x01");

/// Pages have up to 64 KiB, and the process may write from here on.
const ENDING: usize = 0x10000;
const REPORT: usize = 0x11000;
const ARGUMENTS: usize = 0x20000;
/// An archive is at most this long, so no result is too long for its room.
const ROOM: usize = (archive::LIMIT).next_multiple_of(HUGE_PAGE_BYTES);
/// Committed before the function is called: most results fit, and are written in one pass.
const AT_ONCE: usize = 64 << 10;
const PAGE: usize = 0x10000;

/// What the parent says, 104 bytes.
///
/// ```text
/// 0        8        16          24         56         64        72          80       88      104
/// | magic  | layout | file size | image    | function | runtime | size of   | result | name   |
/// |        |        |           | (4 words)|          | or 0    | arguments | offset | 16 bytes
/// ```
#[repr(C)]
struct Head {
    magic: AtomicU64,
    layout: AtomicU64,
    file_size: AtomicU64,
    image: [AtomicU64; 4],
    function: AtomicU64,
    runtime: AtomicU64,
    arguments_size: AtomicU64,
    result_offset: AtomicU64,
    name: [AtomicU64; 2],
}

/// What the process says, 24 bytes; the verdict last.
///
/// ```text
/// 0          8                              16                                24
/// | verdict  | bytes of the result or wanted | bytes available, if not enough |
/// ```
#[repr(C)]
struct Ending {
    verdict: AtomicU64,
    size: AtomicU64,
    available: AtomicU64,
}

const _: () = {
    assert!(size_of::<Head>() == 104);
    assert!(offset_of!(Head, image) == 24);
    assert!(offset_of!(Head, function) == 56);
    assert!(offset_of!(Head, runtime) == 64);
    assert!(offset_of!(Head, arguments_size) == 72);
    assert!(offset_of!(Head, result_offset) == 80);
    assert!(offset_of!(Head, name) == 88);
    assert!(size_of::<Ending>() == 24);
    assert!(REPORT + REPORT_BYTES <= ARGUMENTS);
    assert!(ARGUMENTS.is_multiple_of(archive::ALIGN) && ENDING.is_multiple_of(PAGE));
};

/// What both sides must agree on before anything else is believed.
const LAYOUT: u64 = {
    let facts = [ENDING, REPORT, ARGUMENTS, ROOM, size_of::<usize>()];
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut index = 0;
    while index < facts.len() {
        hash = (hash ^ facts[index] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        index += 1;
    }
    hash
};

/// How a process says that it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It did not say: it was ended before.
    Silent,
    /// It found itself in another program.
    Refused(Refusal),
    /// The function returned; the result, if one was wanted, has this many bytes.
    Returned { size: u64 },
    /// The function panicked.
    Panicked(PanicReport),
    /// The arguments were no archive of their type, or the function is none.
    BadArguments,
    /// No archive can hold the result.
    TooLarge,
    /// The result's own `Serialize` had this to say.
    Unserialised(String),
    /// There was no memory for the result.
    NoRoom { wanted: u64, available: u64 },
    /// It says what no process says.
    Nonsense,
}

/// What is to be run, but for the arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order<'a> {
    pub(crate) function: FunctionId,
    pub(crate) runtime: Option<FunctionId>,
    /// The kernel keeps 15 bytes.
    pub(crate) name: &'a str,
}

/// Why there is no envelope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvelopeError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    System(#[from] SysError),
}

/// The parent's end.
#[derive(Debug)]
pub(crate) struct Envelope {
    file: OwnedFd,
    /// All that precedes the result.
    mapping: Mapping,
}

impl Envelope {
    /// Writes down what is to be run. Everything written is committed first, so that a full
    /// machine is an error.
    pub(crate) fn seal<A: Payload>(
        order: &Order<'_>,
        image: &ImageId,
        arguments: &A,
    ) -> Result<Self, EnvelopeError> {
        // SAFETY: nothing is written to a place of no bytes.
        let size = match unsafe { archive::write(arguments, NonNull::dangling(), 0) }? {
            Fit::Needs(size) | Fit::Written(size) => size,
        };
        let result_offset = (ARGUMENTS + size).next_multiple_of(HUGE_PAGE_BYTES);
        let file_size = (result_offset + ROOM) as u64;
        let file = memfd::create(file_size)?;
        let mapping = Mapping::shared(file.as_fd(), result_offset, Protection::ReadWrite)?;
        mapping.populate(0..PAGE)?;
        mapping.populate(ENDING..ENDING + PAGE)?;
        mapping.populate(ARGUMENTS..(ARGUMENTS + size).next_multiple_of(PAGE))?;
        let place = at(&mapping, ARGUMENTS);
        // SAFETY: committed for this many bytes, and nobody else knows the file yet.
        match unsafe { archive::write(arguments, place, size) }? {
            Fit::Written(now) if now == size => {}
            Fit::Written(now) | Fit::Needs(now) => {
                return Err(EnvelopeError::Archive(ArchiveError::Unstable {
                    type_name: core::any::type_name::<A>(),
                    measured: size,
                    found: now,
                }));
            }
        }
        let head = head(&mapping);
        // ORDERING: Relaxed, here and below; the process that reads this does not exist yet.
        let set = |word: &AtomicU64, value| word.store(value, Ordering::Relaxed);
        set(&head.layout, LAYOUT);
        set(&head.file_size, file_size);
        for (word, value) in head.image.iter().zip(image.to_words()) {
            set(word, value);
        }
        set(&head.function, order.function.to_bits());
        set(&head.runtime, order.runtime.map_or(0, FunctionId::to_bits));
        set(&head.arguments_size, size as u64);
        set(&head.result_offset, result_offset as u64);
        for (word, part) in head.name.iter().zip(name_words(order.name)) {
            set(word, part);
        }
        set(&head.magic, MAGIC);
        Ok(Self { file, mapping })
    }

    /// The file, for the process.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// What the process said; once it was reaped.
    pub(crate) fn verdict(&self) -> Verdict {
        let ending = ending(&self.mapping);
        // ORDERING: Relaxed; the process was reaped, so all its stores have happened.
        let get = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let size = get(&ending.size);
        match get(&ending.verdict) {
            0 => Verdict::Silent,
            1 => Verdict::Returned { size },
            2 => Verdict::Panicked(self.report()),
            3 => Verdict::BadArguments,
            4 => Verdict::TooLarge,
            5 => Verdict::Unserialised(self.report().message),
            6 => Verdict::NoRoom {
                wanted: size,
                available: get(&ending.available),
            },
            7 => Verdict::Refused(Refusal::Magic),
            8 => Verdict::Refused(Refusal::Layout),
            9 => Verdict::Refused(Refusal::Image),
            _ => Verdict::Nonsense,
        }
    }

    fn report(&self) -> PanicReport {
        let first = at(&self.mapping, REPORT).as_ptr();
        // SAFETY: mapped and committed; the only process that wrote here is gone.
        PanicReport::decode(unsafe { slice::from_raw_parts(first, REPORT_BYTES) })
    }

    /// The result, of which the process said that it has `size` bytes; once it was reaped. `None`
    /// if there are not that many. Everything else of the file is given back to the kernel.
    pub(crate) fn into_enclosure(self, size: u64) -> Result<Option<Enclosure>, SysError> {
        let offset = self.mapping.bytes();
        if size > ROOM as u64 || size > memfd::resident(self.fd())? {
            return Ok(None);
        }
        memfd::punch(self.fd(), 0, offset as u64)?;
        let size = size as usize;
        let end = (offset + size).next_multiple_of(PAGE);
        let mapping = Mapping::shared(self.fd(), end, Protection::Read)?;
        Ok(Some(Enclosure {
            mapping,
            offset,
            size,
        }))
    }
}

/// A result, read where a process that is gone has written it.
#[derive(Debug)]
pub(crate) struct Enclosure {
    /// # Invariants
    /// Longer than `offset + size`, read-only, of a file that nobody writes any more: its writer
    /// was reaped, and a process that it forked would have to run wild to find the place.
    mapping: Mapping,
    offset: usize,
    size: usize,
}

impl Enclosure {
    pub(crate) fn bytes(&self) -> &[u8] {
        let first = at(&self.mapping, self.offset).as_ptr();
        // SAFETY: mapped for as long as `self` and written by nobody, by the invariants.
        unsafe { slice::from_raw_parts(first, self.size) }
    }
}

/// The first 15 bytes of a name, cut at a character, and zeros.
fn name_words(name: &str) -> [u64; 2] {
    let mut bytes = [0_u8; 16];
    let end = (0..=name.len().min(15)).rfind(|&end| name.is_char_boundary(end));
    let part = &name.as_bytes()[..end.unwrap_or(0)];
    bytes[..part.len()].copy_from_slice(part);
    let [low, high] = [0, 8].map(|at| bytes[at..at + 8].try_into().unwrap_or_default());
    [u64::from_le_bytes(low), u64::from_le_bytes(high)]
}

/// A place in a mapping.
///
/// # Panics
/// Beyond its end.
fn at(mapping: &Mapping, offset: usize) -> NonNull<u8> {
    assert!(offset <= mapping.bytes());
    // SAFETY: inside of the mapping, or one past its end (checked above).
    unsafe { mapping.base().add(offset) }
}

fn head(mapping: &Mapping) -> &Head {
    let place = at(mapping, 0).cast::<Head>();
    // SAFETY: whoever maps a file maps its first extent; the base is aligned to 2 MiB; a `Head` is
    // atomics, for which any bytes are a value; it lives as long as the mapping.
    unsafe { place.as_ref() }
}

fn ending(mapping: &Mapping) -> &Ending {
    let place = at(mapping, ENDING).cast::<Ending>();
    // SAFETY: as in `head`.
    unsafe { place.as_ref() }
}
