//! Space: blocks of any size, allocated and freed by any member.
//!
//! Each block has an entry in a table, and the entry's word is the truth:
//!
//! ```text
//! word  state: 4 | owner: 28 | generation: 32
//! FREE(g) ──allocate──▶ HELD(member, g+1) ──hand over──▶ PART(g+1), of an object
//!   ▲                        │                              │
//!   └────────────────────────┴──────────── free ◀───────────┘
//! ```
//!
//! Everything else is a hint that is read and written under the region's lock: the order by
//! address, the free blocks by size, the entries without a block. A member that dies holding the
//! lock leaves it spoilt, and the next one makes all of that anew from the words
//! ([`rebuild`](Space::rebuild)).

use core::cell::Cell;

use crate::memory::owner::{Owner, Word};
use crate::memory::region::Region as Memory;
use crate::primitive::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sys::failure::SysError;

use super::layout::{Header, Parts, UNIT};

/// How many sizes free blocks are kept by: four for each power of two.
pub(super) const BUCKETS: usize = 152;

const FREE: u8 = 0;
const HELD: u8 = 1;
const PART: u8 = 2;

/// Memory is committed in steps of this.
const STEP: u64 = 1 << 20;
/// How many blocks of one bucket are looked at for one that is large enough.
const LOOKS: usize = 32;

/// One block. All but the word is meant for the holder of the lock.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Entry {
    word: AtomicU64,
    offset: AtomicU64,
    size: AtomicU64,
    /// One more than the object's index, in PART.
    object: AtomicU32,
    /// One more than the index of the neighbours by address.
    before: AtomicU32,
    after: AtomicU32,
    /// One more than those of the neighbours in the bucket, or on the stack.
    left: AtomicU32,
    right: AtomicU32,
    reserved: [u32; 5],
}

const _: () = assert!(size_of::<Entry>() == 64);

/// A block that was allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) entry: u32,
    pub(super) generation: u32,
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// Why there is no block.
#[derive(Debug)]
pub(super) enum Refused {
    /// The region has no such block; its largest.
    Full { largest: u64 },
    /// The machine has no memory.
    System(SysError),
}

// ORDERING: Relaxed, both; under the lock, or checked by an exchange of the word.
fn get(place: &AtomicU32) -> Option<u32> {
    place.load(Ordering::Relaxed).checked_sub(1)
}

fn set(place: &AtomicU32, value: Option<u32>) {
    place.store(value.map_or(0, |value| value + 1), Ordering::Relaxed);
}

impl Entry {
    fn word(&self) -> Word {
        // ORDERING: S1, Acquire; pairs with the exchange in `shift`.
        Word::from_bits(self.word.load(Ordering::Acquire))
    }

    fn shift(&self, seen: Word, next: Word) -> bool {
        // ORDERING: S1, AcqRel; pairs with the Acquire in `word`.
        self.word
            .compare_exchange(
                seen.to_bits(),
                next.to_bits(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    // ORDERING: Relaxed, both; see `get`.
    fn range(&self) -> (u64, u64) {
        let offset = self.offset.load(Ordering::Relaxed);
        (offset, self.size.load(Ordering::Relaxed))
    }

    fn set_range(&self, offset: u64, size: u64) {
        self.offset.store(offset, Ordering::Relaxed);
        self.size.store(size, Ordering::Relaxed);
    }

    fn is_free(&self) -> bool {
        self.word().state() == FREE
    }
}

fn bucket(size: u64) -> usize {
    let units = size / UNIT;
    if units < 4 {
        return units as usize;
    }
    let log = units.ilog2();
    let part = (units >> (log - 2)) & 3;
    ((log - 1) as usize * 4 + part as usize).min(BUCKETS - 1)
}

/// The first bucket all of whose blocks have `size` bytes.
fn bucket_above(size: u64) -> usize {
    let units = size / UNIT;
    if units < 4 {
        return units as usize;
    }
    let step = 1 << (units.ilog2() - 2);
    bucket((units + step - 1) * UNIT)
}

/// The space of a region. Its methods but those on words want the region's lock to be held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space<'a> {
    pub(super) header: &'a Header,
    pub(super) entries: &'a [Entry],
    pub(super) parts: Parts,
    pub(super) memory: &'a Memory,
}

impl<'a> Space<'a> {
    fn entry(&self, index: Option<u32>) -> Option<(u32, &'a Entry)> {
        let index = index?;
        Some((index, self.entries.get(index as usize)?))
    }

    /// How many entries were ever used.
    fn used(&self) -> usize {
        // ORDERING: Acquire; pairs with the Release in `spare`, for those without the lock.
        let used = self.header.entries_used.load(Ordering::Acquire);
        (used as usize).min(self.entries.len())
    }

    /// An entry without a block.
    fn spare(&self) -> Result<Option<u32>, SysError> {
        if let Some((index, entry)) = self.entry(get(&self.header.spare)) {
            set(&self.header.spare, get(&entry.right));
            return Ok(Some(index));
        }
        let index = self.used();
        if index >= self.entries.len() {
            return Ok(None);
        }
        let end = self.parts.entries + (index as u64 + 1) * size_of::<Entry>() as u64;
        self.commit(&self.header.entries_committed, end, self.parts.data)?;
        // ORDERING: Release; pairs with the Acquire in `used`.
        let used = &self.header.entries_used;
        used.store(index as u32 + 1, Ordering::Release);
        Ok(Some(index as u32))
    }

    fn give_back(&self, index: u32, entry: &Entry) {
        set(&entry.right, get(&self.header.spare));
        set(&self.header.spare, Some(index));
    }

    /// Sees to it that everything below `end` has memory.
    fn commit(&self, mark: &AtomicU64, end: u64, limit: u64) -> Result<(), SysError> {
        // ORDERING: Relaxed; under the lock.
        let start = mark.load(Ordering::Relaxed);
        if end <= start {
            return Ok(());
        }
        let goal = end.next_multiple_of(STEP).min(limit).max(end);
        let wanted = match self.memory.populate(start..goal) {
            Ok(()) => goal,
            Err(_) => self.memory.populate(start..end).map(|()| end)?,
        };
        mark.store(wanted, Ordering::Relaxed);
        Ok(())
    }

    fn file(&self, index: u32, entry: &Entry) {
        let place = bucket(entry.range().1);
        let first = get(&self.header.buckets[place]);
        set(&entry.left, None);
        set(&entry.right, first);
        if let Some((_, next)) = self.entry(first) {
            set(&next.left, Some(index));
        }
        set(&self.header.buckets[place], Some(index));
        self.mark(place, true);
    }

    fn unfile(&self, entry: &Entry) {
        let place = bucket(entry.range().1);
        let (left, right) = (get(&entry.left), get(&entry.right));
        match self.entry(left) {
            Some((_, left)) => set(&left.right, right),
            None => set(&self.header.buckets[place], right),
        }
        if let Some((_, right)) = self.entry(right) {
            set(&right.left, left);
        }
        self.mark(place, get(&self.header.buckets[place]).is_some());
    }

    fn mark(&self, place: usize, filled: bool) {
        // ORDERING: Relaxed, both; under the lock.
        let word = &self.header.filled[place / 64];
        let bit = 1 << (place % 64);
        let bits = word.load(Ordering::Relaxed);
        let next = if filled { bits | bit } else { bits & !bit };
        word.store(next, Ordering::Relaxed);
    }

    fn first_filled(&self, from: usize) -> Option<usize> {
        (from..BUCKETS).find(|place| {
            // ORDERING: Relaxed; under the lock.
            self.header.filled[place / 64].load(Ordering::Relaxed) >> (place % 64) & 1 == 1
        })
    }

    fn look_in(&self, place: usize, size: u64) -> Option<(u32, &'a Entry)> {
        let mut next = get(&self.header.buckets[place]);
        for _ in 0..LOOKS {
            let (index, entry) = self.entry(next)?;
            if entry.is_free() && entry.range().1 >= size {
                return Some((index, entry));
            }
            next = get(&entry.right);
        }
        None
    }

    /// A block of `size` bytes, a multiple of [`UNIT`] and not 0, for `me`.
    pub(super) fn allocate(&self, size: u64, me: Owner) -> Result<Found, Refused> {
        let above = self.first_filled(bucket_above(size));
        let (index, entry) = above
            .and_then(|place| self.look_in(place, size))
            .or_else(|| self.look_in(bucket(size), size))
            .ok_or_else(|| Refused::Full {
                largest: self.largest(),
            })?;
        let (offset, whole) = entry.range();
        self.commit(&self.header.committed, offset + size, self.parts.end)
            .map_err(Refused::System)?;
        // Without an entry for the rest the whole block goes.
        let rest = match whole - size {
            0 => None,
            _ => self.spare().map_err(Refused::System)?,
        };
        self.unfile(entry);
        let mut taken = whole;
        if let Some((number, rest)) = self.entry(rest) {
            taken = size;
            rest.set_range(offset + size, whole - size);
            set(&rest.before, Some(index));
            set(&rest.after, get(&entry.after));
            if let Some((_, after)) = self.entry(get(&entry.after)) {
                set(&after.before, Some(number));
            }
            set(&entry.after, Some(number));
            entry.set_range(offset, size);
            self.file(number, rest);
        }
        set(&entry.object, None);
        let seen = entry.word();
        let generation = seen.generation().wrapping_add(1);
        // Nobody else moves a FREE word while we hold the lock; a store would do.
        entry.shift(seen, Word::new(HELD, me, generation));
        Ok(Found {
            entry: index,
            generation,
            offset,
            size: taken,
        })
    }

    fn largest(&self) -> u64 {
        let last = (0..BUCKETS).rev().find(|&place| {
            // ORDERING: Relaxed; under the lock.
            self.header.filled[place / 64].load(Ordering::Relaxed) >> (place % 64) & 1 == 1
        });
        let Some(place) = last else { return 0 };
        let mut next = get(&self.header.buckets[place]);
        let mut largest = 0;
        for _ in 0..LOOKS {
            let Some((_, entry)) = self.entry(next) else {
                break;
            };
            largest = largest.max(entry.range().1);
            next = get(&entry.right);
        }
        largest
    }

    /// HELD by `me` -> PART of `object`. Needs no lock.
    pub(super) fn hand_over(&self, entry: u32, generation: u32, me: Owner, object: u32) -> bool {
        let Some((_, entry)) = self.entry(Some(entry)) else {
            return false;
        };
        set(&entry.object, Some(object));
        let seen = Word::new(HELD, me, generation);
        entry.shift(seen, Word::new(PART, Owner::NONE, generation))
    }

    /// Where the block lies, if it is allocated and that block. Needs no lock.
    pub(super) fn find(&self, index: u32, generation: u32) -> Option<(u64, u64)> {
        let (_, entry) = self.entry(Some(index))?;
        let word = entry.word();
        let (offset, size) = entry.range();
        let end = offset.checked_add(size)?;
        let inside = offset >= self.parts.data && end <= self.parts.end;
        (word.state() != FREE && word.generation() == generation && inside)
            .then_some((offset, size))
    }

    /// Frees the block, if it is allocated and that one.
    pub(super) fn free(&self, index: u32, generation: u32) -> bool {
        let Some((_, entry)) = self.entry(Some(index)) else {
            return false;
        };
        let seen = entry.word();
        if seen.state() == FREE || seen.generation() != generation {
            return false;
        }
        if !entry.shift(seen, Word::new(FREE, Owner::NONE, generation)) {
            return false;
        }
        self.merge(index, entry);
        true
    }

    /// Joins a block that has just become free with its neighbours, and files it.
    fn merge(&self, mut index: u32, mut entry: &'a Entry) {
        if let Some((number, after)) = self.entry(get(&entry.after))
            && after.is_free()
        {
            self.unfile(after);
            self.swallow(index, entry, number, after);
        }
        if let Some((number, before)) = self.entry(get(&entry.before))
            && before.is_free()
        {
            self.unfile(before);
            self.swallow(number, before, index, entry);
            (index, entry) = (number, before);
        }
        self.file(index, entry);
    }

    fn swallow(&self, index: u32, entry: &Entry, number: u32, after: &Entry) {
        let (offset, size) = entry.range();
        entry.set_range(offset, size + after.range().1);
        set(&entry.after, get(&after.after));
        if let Some((_, next)) = self.entry(get(&after.after)) {
            set(&next.before, Some(index));
        }
        after.set_range(0, 0);
        self.give_back(number, after);
    }

    /// Frees what `concerned` names.
    fn free_those(&self, concerned: impl Fn(&Entry, Word) -> bool) {
        for (index, entry) in (0..).zip(&self.entries[..self.used()]) {
            let word = entry.word();
            if concerned(entry, word) {
                self.free(index, word.generation());
            }
        }
    }

    /// Frees the blocks that `dead` had not handed over.
    pub(super) fn free_of_member(&self, dead: Owner) {
        self.free_those(|_, word| word.state() == HELD && word.owner() == dead);
    }

    /// Frees the blocks of `object`.
    pub(super) fn free_of_object(&self, object: u32) {
        self.free_those(|entry, word| word.state() == PART && get(&entry.object) == Some(object));
    }

    /// Makes the lists anew from the words: everything that is allocated stays.
    pub(super) fn rebuild(&self) {
        let header = self.header;
        let used = self.used();
        let mut taken = Vec::new();
        let mut spare = Vec::new();
        for (index, entry) in (0_u32..).zip(&self.entries[..used]) {
            let (offset, size) = entry.range();
            let fits = offset
                .checked_add(size)
                .is_some_and(|end| end <= self.parts.end)
                && offset >= self.parts.data
                && size > 0;
            match entry.is_free() || !fits {
                true => spare.push(index),
                false => taken.push((offset, size, index)),
            }
        }
        taken.sort_unstable();
        set(&header.spare, None);
        // ORDERING: Relaxed; under the lock.
        for word in &header.filled {
            word.store(0, Ordering::Relaxed);
        }
        for place in &header.buckets {
            set(place, None);
        }
        let last = Cell::new(None);
        let chain = |index: u32| {
            if let Some((_, entry)) = self.entry(Some(index)) {
                set(&entry.before, last.get());
                set(&entry.after, None);
            }
            if let Some((_, before)) = self.entry(last.get()) {
                set(&before.after, Some(index));
            }
            last.set(Some(index));
        };
        let mut position = self.parts.data;
        let end = (self.parts.end, 0, u32::MAX);
        for (offset, size, index) in taken.into_iter().chain([end]) {
            if offset > position {
                // Without an entry the gap stays unused until the next time.
                let number = spare.pop().or_else(|| self.spare().ok().flatten());
                if let Some((number, gap)) = self.entry(number) {
                    gap.set_range(position, offset - position);
                    let seen = gap.word();
                    gap.shift(seen, Word::new(FREE, Owner::NONE, seen.generation()));
                    chain(number);
                    self.file(number, gap);
                }
            }
            if index != u32::MAX {
                chain(index);
                position = position.max(offset + size);
            }
        }
        for index in spare {
            let entry = &self.entries[index as usize];
            let seen = entry.word();
            entry.shift(seen, Word::new(FREE, Owner::NONE, seen.generation()));
            entry.set_range(0, 0);
            self.give_back(index, entry);
        }
    }
}

#[cfg(test)]
impl Space<'_> {
    /// The bytes that are free and those that are allocated, by the words; panics unless blocks
    /// lie side by side and cover the data.
    pub(super) fn audit(&self) -> (u64, u64) {
        let mut blocks: Vec<_> = self.entries[..self.used()]
            .iter()
            .map(|entry| (entry.range(), entry.is_free()))
            .filter(|((_, size), _)| *size > 0)
            .collect();
        blocks.sort_unstable();
        let mut position = self.parts.data;
        let (mut free, mut taken) = (0, 0);
        for ((offset, size), is_free) in blocks {
            assert_eq!(offset, position, "a gap, or two blocks in one place");
            position += size;
            *if is_free { &mut free } else { &mut taken } += size;
        }
        assert_eq!(position, self.parts.end);
        (free, taken)
    }
}
