//! Many items in one task: their arguments in one block, their results in another.
//!
//! ```text
//! arguments: | archives, one after another | to 4 | end of each: u32 × count | count | flags |
//!
//! results:    word 0   1       2          3      4        5           6          7
//!       0    | magic | begun | finished | time | wanted | available | capacity | 0 |
//!       64   | end of each item's bytes: u32 | verdict: u32 |  × count, filled up to 64
//!            | archives of results, reports of panics, one after another
//! ```
//! The archives of a block are written by one serialiser, each aligned as it needs, so an item is
//! what lies between the end of the one before it and its own. `begun` is written before an item is
//! begun. So once the worker has been reaped, whoever reads the block knows three things: the items
//! before the last one begun have their results here, that one was begun, the others were not.
//!
//! Reading is total: any bytes at all give items or none.

#![expect(unsafe_code, reason = "views the block of results that it was given")]

use core::ops::Range;
use core::ptr::NonNull;
use core::slice;

use bytemuck::{Pod, Zeroable};

use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::primitive::prefetch;
use crate::protocol::archive::{self, ArchiveError, Fit, Payload};
use crate::protocol::panic::{PanicReport, REPORT_BYTES};
use crate::protocol::reply::Verdict;
use crate::protocol::task::{ReplyPlace, TaskFault};

mod packer;
#[cfg(test)]
mod tests;

pub(crate) use packer::Packer;

/// As many bytes of small items are sent together.
const PACK_BYTES: usize = 64 << 10;
/// A worker that may stop early does so once this many bytes of results are there.
const ENOUGH_BYTES: usize = 1 << 20;
/// Bytes before the table of results.
pub(crate) const HEADER_BYTES: usize = 64;
/// How far ahead of what is read lines are asked for.
const AHEAD: usize = 512;
const MAGIC: u64 = u64::from_le_bytes(*b"grstbtch");

/// The flag of a batch that has to be done in one go.
const WHOLE: u32 = 1;

/// 64 bytes, aligned as archives are.
#[repr(C, align(64))]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Line([u8; archive::ALIGN]);

/// The size of a block with so many bytes of archives.
pub(crate) fn block_size(archives: usize, count: usize) -> usize {
    archives.next_multiple_of(4) + 4 * (count + 2)
}

/// Writes what follows the archives.
fn finish(block: &mut [u8], ends: &[u32], whole: bool) {
    let last = [ends.len() as u32, if whole { WHOLE } else { 0 }];
    let (rest, tail) = block.split_at_mut(block.len() - size_of_val(&last));
    tail.copy_from_slice(bytemuck::cast_slice(&last));
    let table = rest.len() - size_of_val(ends);
    rest[table..].copy_from_slice(bytemuck::cast_slice(ends));
}

/// Writes one item of any size into a block of [`block_size`] bytes.
pub(crate) fn write_one<A: Payload>(
    item: &A,
    archive: usize,
    block: &mut [u8],
) -> Result<Fit, ArchiveError> {
    let fit = archive::append(item, &mut block[..archive], 0)?;
    finish(block, &[archive as u32], true);
    Ok(fit)
}

/// The arguments of a batch.
#[derive(Clone, Copy)]
pub(crate) struct Items<'a> {
    archives: &'a [u8],
    table: &'a [u8],
    whole: bool,
}

impl<'a> Items<'a> {
    /// `None` when the bytes are no batch.
    pub(crate) fn read(block: &'a [u8]) -> Option<Self> {
        let (rest, flags) = block.split_last_chunk()?;
        let (rest, count) = rest.split_last_chunk()?;
        let count = u32::from_ne_bytes(*count) as usize;
        let (archives, table) = rest.split_at_checked(rest.len().checked_sub(4 * count)?)?;
        Some(Self {
            archives,
            table,
            whole: u32::from_ne_bytes(*flags) == WHOLE,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len() / 4
    }

    /// Whether it has to be done in one go.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Where an item's archive begins, or ends if it is the next one's number.
    #[inline]
    fn boundary(&self, index: usize) -> usize {
        match index.checked_sub(1) {
            None => 0,
            Some(before) => {
                let end: &[u8; 4] = self.table[4 * before..].first_chunk().expect("a word");
                u32::from_ne_bytes(*end) as usize
            }
        }
    }

    /// The archive of one item; `None` when the table has been overwritten.
    ///
    /// # Panics
    /// When there is no such item.
    #[inline]
    pub(crate) fn archive(&self, index: usize) -> Option<&'a [u8]> {
        self.archives
            .get(self.boundary(index)..self.boundary(index + 1))
    }

    /// What a block for some of the items takes: its size, and what to copy to its start.
    ///
    /// The copy keeps each byte's place within 64, so that everything stays aligned.
    pub(crate) fn carve(&self, range: &Range<usize>) -> Option<Carved<'a>> {
        let shift = self.boundary(range.start) / archive::ALIGN * archive::ALIGN;
        let archives = self.archives.get(shift..self.boundary(range.end))?;
        let ends = range.clone().map(|index| {
            let end = self.boundary(index + 1).checked_sub(shift)?;
            u32::try_from(end).ok()
        });
        Some(Carved {
            archives,
            ends: ends.collect::<Option<_>>()?,
            whole: self.whole,
        })
    }
}

/// Some items of a batch, to be a batch of their own.
pub(crate) struct Carved<'a> {
    archives: &'a [u8],
    ends: Vec<u32>,
    whole: bool,
}

impl Carved<'_> {
    pub(crate) fn size(&self) -> usize {
        block_size(self.archives.len(), self.ends.len())
    }

    /// Copies the items into a block of that size.
    pub(crate) fn write(self, block: &mut [u8]) {
        block[..self.archives.len()].copy_from_slice(self.archives);
        finish(block, &self.ends, self.whole);
    }
}

/// Writes results, in a worker.
pub(crate) struct Results<'a> {
    place: &'a mut dyn ReplyPlace,
    /// # Invariants
    /// Valid for reads and writes of `capacity` bytes, initialised, 64-byte aligned, and nobody
    /// else writes there.
    block: NonNull<u8>,
    capacity: usize,
    used: usize,
    count: usize,
    index: usize,
}

/// What the words of the header are for.
const BEGUN: usize = 1;
const FINISHED: usize = 2;
const TIME: usize = 3;
const WANTED: usize = 4;
const AVAILABLE: usize = 5;
const CAPACITY: usize = 6;

fn archives_start(count: usize) -> usize {
    (HEADER_BYTES + 8 * count).next_multiple_of(archive::ALIGN)
}

impl<'a> Results<'a> {
    /// Takes a block with room for `count` results of `size` bytes, and announces it.
    pub(crate) fn new(
        place: &'a mut dyn ReplyPlace,
        count: usize,
        size: usize,
    ) -> Result<Self, TaskFault> {
        let start = archives_start(count);
        let capacity = start + count * size;
        let block = place.allocate(capacity)?;
        let results = Self {
            place,
            block,
            capacity,
            used: start,
            count,
            index: 0,
        };
        for (index, value) in (0..).zip([MAGIC, 0, 0, 0, 0, 0, capacity as u64, 0]) {
            results.set(index, value);
        }
        results.place.announce();
        Ok(results)
    }

    /// How many items have their results: the index of the next one.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.index
    }

    /// Says that the next item is begun: from now on it will not be begun again.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.set(BEGUN, self.index as u64 + 1);
    }

    /// Writes the item's result, which counts once it is [accepted](Self::accept) with the end
    /// that this gives.
    #[inline]
    pub(crate) fn write<R: Payload>(&mut self, result: &R) -> Result<usize, TaskFault> {
        let used = self.used;
        match archive::append_copy(result, self.bytes(), used) {
            Some(Fit::Written(end)) => Ok(end),
            _ => self.write_any(result),
        }
    }

    fn write_any<R: Payload>(&mut self, result: &R) -> Result<usize, TaskFault> {
        let used = self.used;
        let mut fit = archive::append(result, self.bytes(), used)?;
        if let Fit::Needs(end) = fit {
            self.grow(end)?;
            fit = archive::append(result, self.bytes(), used)?;
        }
        match fit {
            Fit::Written(end) => Ok(end),
            Fit::Needs(found) => Err(ArchiveError::Unstable {
                type_name: core::any::type_name::<R>(),
                measured: self.capacity - used,
                found: found - used,
            }
            .into()),
        }
    }

    /// What was written up to `end` is the item's result.
    #[inline]
    pub(crate) fn accept(&mut self, end: usize) {
        self.enter(end, Verdict::Value);
    }

    /// Writes instead why there is none.
    pub(crate) fn fail(&mut self, fault: TaskFault) {
        match fault {
            TaskFault::BadArguments => self.enter(self.used, Verdict::BadArguments),
            TaskFault::TooLarge => self.enter(self.used, Verdict::TooLarge),
            TaskFault::Refused(message) => {
                let report = PanicReport {
                    message,
                    ..PanicReport::default()
                };
                self.report(&report, Verdict::Refused);
            }
            TaskFault::NoRoom { wanted, available } => {
                self.set(WANTED, wanted);
                self.set(AVAILABLE, available);
                self.enter(self.used, Verdict::NoRoom);
            }
            // No item is a future.
            #[cfg(feature = "tokio")]
            TaskFault::Deferred | TaskFault::Cancelled => {
                self.enter(self.used, Verdict::BadArguments);
            }
        }
    }

    /// Writes that the item panicked.
    pub(crate) fn panicked(&mut self, report: &PanicReport) {
        self.report(report, Verdict::Panicked);
    }

    /// Whether it is time to hand over what there is.
    #[inline]
    pub(crate) fn is_enough(&self) -> bool {
        self.used >= ENOUGH_BYTES
    }

    /// The block is the reply, with as many results as were written, in so many nanoseconds.
    pub(crate) fn finish(self, time: u64) {
        self.set(FINISHED, self.index as u64);
        self.set(TIME, time);
        self.place.settle(self.used);
    }

    fn report(&mut self, report: &PanicReport, verdict: Verdict) {
        let used = self.used;
        // Without room the report is empty; that it panicked is told all the same.
        let _ = self.grow(used + REPORT_BYTES);
        let end = used + report.encode(&mut self.bytes()[used..]);
        self.enter(end, verdict);
    }

    #[inline]
    fn enter(&mut self, end: usize, verdict: Verdict) {
        let entry = [end as u32, verdict as u32];
        let place = HEADER_BYTES + 8 * self.index;
        self.bytes()[place..place + 8].copy_from_slice(bytemuck::cast_slice(&entry));
        self.used = end;
        self.index += 1;
        debug_assert!(self.index <= self.count);
    }

    #[inline]
    fn grow(&mut self, size: usize) -> Result<(), TaskFault> {
        if size > self.capacity {
            let size = size.max(2 * self.capacity);
            self.block = self.place.grow(self.used, size)?;
            self.capacity = size;
            self.set(CAPACITY, size as u64);
        }
        Ok(())
    }

    #[inline]
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the invariant of `block`; no other view of it is alive, as this borrows `self`.
        unsafe { slice::from_raw_parts_mut(self.block.as_ptr(), self.capacity) }
    }

    #[inline]
    fn set(&self, word: usize, value: u64) {
        debug_assert!(8 * word < HEADER_BYTES);
        // SAFETY: the block begins with a header of eight words.
        let place = unsafe { self.block.cast::<AtomicU64>().add(word) };
        // SAFETY: aligned and in bounds; any bits are an atomic; nobody holds a view of the bytes.
        let place = unsafe { place.as_ref() };
        // ORDERING: Release; what was written for earlier items comes first. Its partner is the
        // parent, which reads once this process has ended or has completed the task.
        place.store(value, Ordering::Release);
    }
}

/// What the header of a block of results says. Nothing in it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) begun: u64,
    pub(crate) finished: u64,
    /// Nanoseconds that the items took together.
    pub(crate) time: u64,
    pub(crate) wanted: u64,
    pub(crate) available: u64,
    /// The size of the block.
    pub(crate) capacity: u64,
}

impl Summary {
    /// `None` when the bytes are no block of results.
    pub(crate) fn read(block: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_BYTES] = block.first_chunk()?;
        let words: [u64; HEADER_BYTES / 8] = bytemuck::pod_read_unaligned(header);
        (words[0] == MAGIC).then_some(Self {
            begun: words[BEGUN],
            finished: words[FINISHED],
            time: words[TIME],
            wanted: words[WANTED],
            available: words[AVAILABLE],
            capacity: words[CAPACITY],
        })
    }
}

/// Where the bytes of a result lie, and what they are; `None` when the table makes no sense.
#[inline]
pub(crate) fn find_result(
    block: &[u8],
    count: usize,
    index: usize,
) -> Option<(Range<usize>, Verdict)> {
    let first = archives_start(count);
    // The entry before an item's own says where it begins: both are read at once.
    let (start, end, verdict) = match index.checked_sub(1) {
        None => {
            let [end, verdict] = read_entries::<8, 2>(block, 0)?;
            (first, end as usize, verdict)
        }
        Some(before) => {
            let [start, _, end, verdict] = read_entries::<16, 4>(block, before)?;
            (start as usize, end as usize, verdict)
        }
    };
    let sound = index < count && first <= start && start <= end && end <= block.len();
    let verdict = Verdict::from_code(verdict)?;
    sound.then_some((start..end, verdict))
}

/// Asks for the lines that come some items after one whose bytes end at `end`: they are in the
/// cache of the worker that wrote them.
#[inline]
pub(crate) fn expect_results(block: &[u8], index: usize, end: usize) {
    let table = HEADER_BYTES + 8 * index;
    for place in [table, end] {
        prefetch::to_read(block.as_ptr().wrapping_add(place + AHEAD));
    }
}

/// Some words of the table, from an item's entry on.
#[inline]
fn read_entries<const SIZE: usize, const WORDS: usize>(
    block: &[u8],
    index: usize,
) -> Option<[u32; WORDS]>
where
    [u32; WORDS]: Pod,
{
    let entries: &[u8; SIZE] = block.get(HEADER_BYTES + 8 * index..)?.first_chunk()?;
    Some(bytemuck::pod_read_unaligned(entries))
}
