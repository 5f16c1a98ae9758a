//! A table in memory that processes share, in small, and what they do with it.

#![expect(unsafe_code, reason = "views the region, saves and restores its bytes")]

use std::collections::BTreeMap;
use std::ptr::NonNull;

use crate::memory::region::{EXTENT_BYTES, Region};
use crate::primitive::atomic::AtomicU64;
use crate::table::{Draft, Full, Kind, Look, Pins, Slot, Span, Table, TableHeader, Writer};

/// As processes are numbered here.
pub(super) const VICTIM: usize = 0;
pub(super) const SURVIVOR: usize = 1;

const SLOTS: usize = 8;
pub(super) const MOST: usize = 6;
const UNITS: usize = 12;

#[repr(C, align(64))]
pub(super) struct Words {
    header: TableHeader,
    pins: [Pins; 2],
    slots: [Slot; SLOTS],
    retired: [Slot; 4],
    space: [AtomicU64; 1],
    /// What the victim says that it has read.
    pub(super) got: AtomicU64,
    arena: Arena,
}

#[repr(C, align(64))]
struct Arena([[u64; 8]; UNITS]);

pub(super) struct Stage {
    region: Region,
    pub(super) kind: Kind,
}

pub(super) type Checked = Result<(), String>;

/// Keys and values; in a list the keys are the indices.
pub(super) type Contents = BTreeMap<u64, u64>;

impl Stage {
    pub(super) fn new(kind: Kind) -> Self {
        let region = Region::create(EXTENT_BYTES).expect("memory");
        let words = Words {
            header: TableHeader::new(),
            pins: std::array::from_fn(|_| Pins::new()),
            slots: std::array::from_fn(|_| Slot::new()),
            retired: std::array::from_fn(|_| Slot::new()),
            space: [AtomicU64::new(0)],
            got: AtomicU64::new(0),
            arena: Arena([[0; 8]; UNITS]),
        };
        // SAFETY: in the mapping, aligned to an extent, and nobody else knows it yet.
        unsafe { region.base().cast::<Words>().write(words) };
        Self { region, kind }
    }

    pub(super) fn words(&self) -> &Words {
        // SAFETY: written in `new`, mapped as long as the region; the arena is reached by pointer
        // alone, and all else is atomics.
        unsafe { self.region.base().cast::<Words>().as_ref() }
    }

    pub(super) fn table(&self) -> Table<'_> {
        let words = self.words();
        let at = std::mem::offset_of!(Words, arena);
        // SAFETY: inside the words.
        let arena = unsafe { self.region.base().add(at) };
        // SAFETY: so many units lie there, aligned, for as long as the region.
        unsafe {
            Table::new(
                &words.header,
                &words.pins,
                &words.slots,
                &words.retired,
                &words.space,
                (arena, UNITS as u32),
            )
        }
    }

    pub(super) fn save(&self) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<Words>()];
        let to = NonNull::from(&mut bytes[..]).cast();
        // SAFETY: both are that large, apart, and nobody writes meanwhile.
        unsafe { self.region.base().copy_to_nonoverlapping(to, bytes.len()) };
        bytes
    }

    pub(super) fn restore(&self, saved: &[u8]) {
        let from = NonNull::from(saved).cast();
        let base = self.region.base();
        // SAFETY: both are that large, apart, and nobody reads or writes meanwhile.
        unsafe { base.copy_from_nonoverlapping(from, saved.len()) };
    }

    fn draft(&self, writer: &Writer<'_>, key: u64, value: u64) -> Result<Draft, Full> {
        let draft = writer.draft(64)?;
        fill(draft.place(), key, value);
        Ok(draft)
    }

    /// Puts a record under a key, or in front of the one at an index.
    pub(super) fn put(&self, key: u64, value: u64) -> Result<(), Full> {
        let writer = Writer::begin(self.table(), self.kind);
        let draft = self.draft(&writer, key, value)?;
        match self.kind {
            Kind::Map => writer
                .insert(hash(key), self.is(key), MOST, draft)
                .map(drop),
            Kind::List => writer.insert_at(key as usize, MOST, draft),
        }
    }

    pub(super) fn replace(&self, index: u64, value: u64) -> Result<(), Full> {
        let writer = Writer::begin(self.table(), self.kind);
        let draft = self.draft(&writer, index, value)?;
        writer.replace_at(index as usize, draft).map(drop)
    }

    pub(super) fn take(&self, key: u64) -> Result<(), Full> {
        let writer = Writer::begin(self.table(), self.kind);
        match self.kind {
            Kind::Map => writer.remove(hash(key), self.is(key)).map(drop),
            Kind::List => writer.remove_at(key as usize).map(drop),
        }
    }

    /// The key and the value of a record, by a reader that is pinned or by the writer; `None` if it
    /// is torn.
    pub(super) fn read(&self, span: Span) -> Option<(u64, u64)> {
        // SAFETY: as said.
        let bytes = unsafe { self.table().bytes(span) }?;
        let mut words = bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|word| u64::from_ne_bytes(*word));
        let (key, value) = (words.next()?, words.next()?);
        words.all(|word| word == value).then_some((key, value))
    }

    pub(super) fn is(&self, key: u64) -> impl Fn(Span) -> bool + use<'_> {
        move |span| self.read(span).is_some_and(|(found, _)| found == key)
    }

    pub(super) fn look(&self, key: u64) -> Look {
        match self.kind {
            Kind::Map => self.table().find_record(hash(key), self.is(key)),
            Kind::List => self.table().record_at(key as usize),
        }
    }

    fn contents(&self, spans: &[Span]) -> Result<Contents, String> {
        let mut contents = Contents::new();
        for (index, &span) in spans.iter().enumerate() {
            let Some((key, value)) = self.read(span) else {
                return Err("a record is torn".into());
            };
            let key = match self.kind {
                Kind::Map => key,
                Kind::List => index as u64,
            };
            if contents.insert(key, value).is_some() {
                return Err(format!("{key} is there twice"));
            }
        }
        Ok(contents)
    }

    pub(super) fn all(&self) -> Result<Contents, String> {
        let writer = Writer::begin(self.table(), self.kind);
        self.contents(&writer.all())
    }

    /// What a reader finds is there before the change or after it, and never a part of it.
    pub(super) fn is_read(&self, legal: [&Contents; 2]) -> Checked {
        let _pin = self.table().pin(SURVIVOR).expect("a member");
        for key in 0..16 {
            let found = match self.look(key) {
                Look::Found(span) => match self.read(span) {
                    Some((_, value)) => Some(value),
                    None => return Err(format!("a reader finds {key} torn")),
                },
                Look::Absent => None,
                Look::Disturbed => continue,
            };
            if legal.iter().all(|legal| legal.get(&key) != found.as_ref()) {
                return Err(format!("a reader finds {found:?} under {key}"));
            }
        }
        match self.table().snapshot() {
            Some(spans) => is_one_of(&self.contents(&spans)?, legal),
            None => Ok(()),
        }
    }

    /// Every record and every unit can be had.
    pub(super) fn is_whole(&self) -> Checked {
        while let Some(&key) = self.all()?.keys().next_back() {
            self.take(key).map_err(|full| format!("{full:?}"))?;
        }
        for round in 0..3 {
            for key in 0..MOST as u64 {
                if let Err(full) = self.put(key, round) {
                    return Err(format!("no room for {key} in round {round}: {full:?}"));
                }
            }
            if self.kind == Kind::List {
                for _ in 0..MOST {
                    self.take(0).map_err(|full| format!("{full:?}"))?;
                }
            }
        }
        Ok(())
    }
}

pub(super) fn is_one_of(found: &Contents, legal: [&Contents; 2]) -> Checked {
    match legal.contains(&found) {
        true => Ok(()),
        false => Err(format!("there is {found:?}, and legal {legal:?}")),
    }
}

pub(super) fn hash(key: u64) -> u64 {
    // Few different ones, so that searches pass others.
    key % 3
}

/// Writes a record into a draft's place.
pub(super) fn fill((at, room): (NonNull<u8>, usize), key: u64, value: u64) {
    assert_eq!(room, 64);
    for index in 0..8 {
        let word = if index == 0 { key } else { value };
        // SAFETY: inside the draft, which nobody else has.
        let at = unsafe { at.cast::<u64>().add(index) };
        // SAFETY: as above.
        unsafe { at.write(word) };
    }
}
