//! Against the standard library's map and vector, with a death at every store, and with readers.

use core::ptr::NonNull;
use std::collections::HashMap;

use proptest::prelude::*;

use super::writer::Kind;
use super::*;

/// A writer's death, after so many steps more.
pub(super) mod death {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    thread_local! {
        static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
        static DEAD: Cell<bool> = const { Cell::new(false) };
    }

    struct Killed;

    pub(crate) fn step() {
        LEFT.with(|left| match left.get() {
            Some(0) => {
                left.set(None);
                DEAD.set(true);
                resume_unwind(Box::new(Killed));
            }
            Some(more) => left.set(Some(more - 1)),
            None => {}
        });
    }

    /// Whether destructors run in a process that is dead, and so do nothing.
    pub(crate) fn is_dead() -> bool {
        DEAD.get()
    }

    /// Runs `body` and kills it before its step number `steps`; `None` if it was killed.
    pub(crate) fn after<T>(steps: u32, body: impl FnOnce() -> T) -> Option<T> {
        LEFT.set(Some(steps));
        let outcome = catch_unwind(AssertUnwindSafe(body));
        LEFT.set(None);
        DEAD.set(false);
        match outcome {
            Ok(value) => Some(value),
            Err(error) if error.is::<Killed>() => None,
            Err(error) => resume_unwind(error),
        }
    }
}

/// A table's memory.
pub(super) struct Memory {
    pub(super) header: TableHeader,
    pins: Vec<Pins>,
    pub(super) slots: Vec<Slot>,
    pub(super) retired: Vec<Slot>,
    space: Vec<AtomicU64>,
    arena: Vec<[u64; 8]>,
}

const MEMBERS: usize = 4;

impl Memory {
    pub(super) fn new(slots: usize, units: usize) -> Self {
        Self {
            header: TableHeader::new(),
            pins: (0..MEMBERS).map(|_| Pins::new()).collect(),
            slots: (0..slots).map(|_| Slot::new()).collect(),
            retired: (0..RETIRED).map(|_| Slot::new()).collect(),
            space: (0..units.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            // 64 bytes more, for the alignment.
            arena: vec![[0; 8]; units + 1],
        }
    }

    #[expect(unsafe_code, reason = "lends the arena")]
    pub(super) fn table(&self) -> Table<'_> {
        let start = self.arena.as_ptr().addr();
        let skip = start.next_multiple_of(UNIT_BYTES) - start;
        let arena = self.arena.as_ptr().wrapping_byte_add(skip).cast_mut();
        let arena = NonNull::new(arena.cast()).unwrap();
        let units = self.arena.len() as u32 - 1;
        // SAFETY: the arena is ours and has a unit more than that; tests reach it so alone.
        unsafe {
            Table::new(
                &self.header,
                &self.pins,
                &self.slots,
                &self.retired,
                &self.space,
                (arena, units),
            )
        }
    }

    /// Nothing is used but what the words say.
    fn audit(&self, expected_units: u32) {
        let table = self.table();
        let writer = Writer::begin(table, Kind::Map);
        writer.reclaim();
        assert_eq!(table.units - table.free_units(), expected_units);
    }
}

/// A record: key, value, and as much more as its size says.
#[expect(unsafe_code, reason = "fills a draft")]
fn record(writer: &Writer<'_>, key: u64, value: u64, bytes: usize) -> Result<Draft, Full> {
    let draft = writer.draft(bytes.max(16))?;
    let (at, room) = draft.place();
    assert!(room >= bytes);
    // SAFETY: the draft's own bytes.
    unsafe { at.cast::<[u64; 2]>().write([key, value]) };
    // SAFETY: as above.
    let rest = unsafe { at.add(16) };
    // SAFETY: as above.
    unsafe { rest.write_bytes(value as u8, room - 16) };
    Ok(draft)
}

#[expect(unsafe_code, reason = "reads a record")]
fn read(table: &Table<'_>, span: Span) -> (u64, u64) {
    // SAFETY: the caller is pinned, or writes.
    let bytes = unsafe { table.bytes(span) }.unwrap();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let value = word(8);
    assert!(bytes[16..].iter().all(|&byte| byte == value as u8), "torn");
    (word(0), value)
}

/// Few different hashes, so that searches pass others.
fn hash(key: u64) -> u64 {
    key % 5 * 3
}

fn put(table: Table<'_>, key: u64, value: u64, bytes: usize, most: usize) -> Result<bool, Full> {
    let writer = Writer::begin(table, Kind::Map);
    let draft = record(&writer, key, value, bytes)?;
    let is_it = |span| read(&table, span).0 == key;
    writer.insert(hash(key), is_it, most, draft)
}

fn take(table: Table<'_>, key: u64) -> Option<u64> {
    let writer = Writer::begin(table, Kind::Map);
    let is_it = |span| read(&table, span).0 == key;
    let span = writer.remove(hash(key), is_it).unwrap()?;
    Some(read(&table, span).1)
}

fn get(table: Table<'_>, key: u64) -> Option<u64> {
    let _pin = table.pin(0).unwrap();
    match table.find_record(hash(key), |span| read(&table, span).0 == key) {
        Look::Found(span) => Some(read(&table, span).1),
        Look::Absent => None,
        Look::Disturbed => {
            drop(_pin);
            let writer = Writer::begin(table, Kind::Map);
            let found = writer.get(hash(key), |span| read(&table, span).0 == key)?;
            Some(read(&table, found).1)
        }
    }
}

#[derive(Clone, Debug)]
enum Do {
    Put(u64, u64, usize),
    Take(u64),
    Die(u32, Box<Do>),
}

fn map_actions() -> impl Strategy<Value = Vec<Do>> {
    let put = (0..12_u64, any::<u64>(), 1..300_usize);
    let one = prop_oneof![
        3 => put.prop_map(|(key, value, bytes)| Do::Put(key, value, bytes)),
        2 => (0..12_u64).prop_map(Do::Take),
    ];
    let dying = (0..12_u32, one.clone()).prop_map(|(steps, what)| Do::Die(steps, Box::new(what)));
    prop::collection::vec(prop_oneof![4 => one, 1 => dying], 1..120)
}

type ListAction = (u8, usize, u64, Option<u32>);

fn list_actions() -> impl Strategy<Value = Vec<ListAction>> {
    let dies = prop::option::weighted(0.2, 0..30_u32);
    let one = (0..4_u8, 0..12_usize, any::<u64>(), dies);
    prop::collection::vec(one, 1..120)
}

proptest! {
    #[test]
    fn a_map_is_the_standard_librarys_whoever_dies(actions in map_actions()) {
        let memory = Memory::new(16, 64);
        let table = memory.table();
        let mut oracle: HashMap<u64, u64> = HashMap::new();
        for action in actions {
            let (steps, what) = match action {
                Do::Die(steps, what) => (Some(steps), *what),
                what => (None, what),
            };
            let key = match &what {
                Do::Put(key, ..) | Do::Take(key) => *key,
                Do::Die(..) => unreachable!(),
            };
            let before = oracle.get(&key).copied();
            let act = || match what {
                Do::Put(key, value, bytes) => put(table, key, value, bytes, 8).map(|_| Some(value)),
                Do::Take(key) => {
                    let taken = take(table, key);
                    assert_eq!(taken, before);
                    Ok(None)
                }
                Do::Die(..) => unreachable!(),
            };
            let wanted = match what { Do::Put(_, value, _) => Some(value), _ => None };
            let after = match steps {
                None => match act() {
                    Ok(after) => after,
                    Err(full) => {
                        let is_new = before.is_none();
                        prop_assert!(full == Full::Bytes || is_new && oracle.len() == 8);
                        before
                    }
                },
                Some(steps) => match death::after(steps, act) {
                    Some(Ok(after)) => after,
                    Some(Err(_)) => before,
                    None => {
                        let found = get(table, key);
                        prop_assert!(found == before || found == wanted);
                        found
                    }
                },
            };
            match after {
                Some(value) => oracle.insert(key, value),
                None => oracle.remove(&key),
            };
            for key in 0..12 {
                prop_assert_eq!(get(table, key), oracle.get(&key).copied(), "key {}", key);
            }
            drop(Writer::begin(table, Kind::Map));
            prop_assert_eq!(table.len(), oracle.len());
        }
        let _pin = table.pin(1).unwrap();
        let spans = table.snapshot().unwrap();
        let found: HashMap<u64, u64> = spans.iter().map(|&span| read(&table, span)).collect();
        prop_assert_eq!(&found, &oracle);
        drop(_pin);
        memory.audit(spans.iter().map(|span| span.units()).sum());
    }

    #[test]
    fn a_list_is_the_standard_librarys_whoever_dies(
        actions in list_actions()
    ) {
        let memory = Memory::new(16, 128);
        let table = memory.table();
        let mut oracle: Vec<u64> = Vec::new();
        for (what, index, value, steps) in actions {
            let at = index.min(oracle.len());
            let mut wanted = oracle.clone();
            match what {
                0 if wanted.len() < 10 => wanted.insert(at, value),
                1 if at < wanted.len() => wanted[at] = value,
                2 if at < wanted.len() => { wanted.remove(at); }
                3 if wanted.len() < 10 => wanted.push(value),
                _ => {}
            }
            let act = || {
                let writer = Writer::begin(table, Kind::List);
                let draft = || record(&writer, 0, value, 16 + value as usize % 100).unwrap();
                match what {
                    0 => drop(writer.insert_at(at, 10, draft())),
                    1 => drop(writer.replace_at(at, draft())),
                    2 => drop(writer.remove_at(at).unwrap()),
                    _ => drop(writer.insert_at(table.len(), 10, draft())),
                }
            };
            let contents = || -> Vec<u64> {
                drop(Writer::begin(table, Kind::List));
                let _pin = table.pin(0).unwrap();
                let spans = table.snapshot().unwrap();
                spans.into_iter().map(|span| read(&table, span).1).collect()
            };
            let finished = match steps {
                None => {
                    act();
                    Some(())
                }
                Some(steps) => death::after(steps, act),
            };
            let found = contents();
            prop_assert!(found == wanted || finished.is_none() && found == oracle,
                "{:?} instead of {:?} or {:?}", found, wanted, oracle);
            oracle = found;
            prop_assert_eq!(table.len(), oracle.len());
            for (index, value) in oracle.iter().enumerate() {
                let Look::Found(span) = table.record_at(index) else { panic!() };
                prop_assert_eq!(read(&table, span).1, *value);
            }
            prop_assert_eq!(table.record_at(oracle.len()), Look::Absent);
        }
    }
}

#[test]
fn what_is_read_is_not_handed_out_again() {
    let memory = Memory::new(16, 4);
    let table = memory.table();
    put(table, 1, 10, 64 * 2, 8).unwrap();
    let pin = table.pin(0).unwrap();
    let Look::Found(span) = table.find_record(hash(1), |_| true) else {
        panic!()
    };
    // In the other half; the first is read.
    put(table, 1, 11, 64 * 2, 8).unwrap();
    assert_eq!(put(table, 1, 12, 64 * 2, 8), Err(Full::Readers));
    assert_eq!(put(table, 2, 12, 64, 8), Err(Full::Readers));
    assert_eq!(read(&table, span), (1, 10));
    assert_eq!(get(table, 1), Some(11));
    drop(pin);
    assert_eq!(put(table, 1, 12, 64 * 2, 8), Ok(true));
    assert_eq!(put(table, 2, 12, 64 * 3, 8), Err(Full::Bytes));
    assert_eq!(get(table, 1), Some(12));
}

#[test]
fn readers_that_died_are_forgotten() {
    let memory = Memory::new(16, 2);
    let table = memory.table();
    put(table, 1, 10, 64, 8).unwrap();
    core::mem::forget(table.pin(2).unwrap());
    put(table, 1, 11, 64, 8).unwrap();
    assert_eq!(put(table, 1, 12, 64, 8), Err(Full::Readers));
    table.forget(2);
    assert_eq!(put(table, 1, 12, 64, 8), Ok(true));
    assert!(table.pin(MEMBERS).is_none());
}

#[test]
fn a_full_table_says_of_what() {
    let memory = Memory::new(4, 64);
    let table = memory.table();
    for key in 0..2 {
        assert_eq!(put(table, key, 0, 16, 2), Ok(false));
    }
    assert_eq!(put(table, 2, 0, 16, 2), Err(Full::Records));
    assert_eq!(put(table, 1, 5, 16, 2), Ok(true));
    assert_eq!(take(table, 0), Some(0));
    assert_eq!(put(table, 2, 0, usize::MAX, 2), Err(Full::Bytes));
    assert_eq!(put(table, 2, 0, 64 * 50, 2), Ok(false));
}

/// A death at every step of each change, one after another: then a change more, and an audit.
#[test]
fn a_death_at_every_step_leaves_the_change_done_or_not() {
    let (mut killed, mut done) = (0, 0);
    for steps in 0..200 {
        let memory = Memory::new(8, 64);
        let table = memory.table();
        for key in 0..6 {
            put(table, key * 5, key, 64, 8).unwrap();
        }
        for key in 0..4 {
            take(table, key * 5);
        }
        let outcome = death::after(steps, || {
            put(table, 1, 100, 64, 8).unwrap();
            put(table, 20, 101, 128, 8).unwrap();
            take(table, 25).unwrap();
            take(table, 1).unwrap();
        });
        match outcome {
            Some(()) => done += 1,
            None => killed += 1,
        }
        assert!(matches!(get(table, 20), Some(4 | 101)));
        assert!(matches!(get(table, 25), Some(5) | None));
        assert!(matches!(get(table, 1), Some(100) | None));
        put(table, 2, 7, 64, 8).unwrap();
        assert_eq!(get(table, 2), Some(7));
        let _pin = table.pin(0).unwrap();
        let units = table
            .snapshot()
            .unwrap()
            .iter()
            .map(|span| span.units())
            .sum();
        drop(_pin);
        memory.audit(units);
    }
    assert!(killed > 10 && done > 10, "{killed} {done}");
}

#[test]
fn readers_never_see_anything_torn_or_missing() {
    let memory = Memory::new(64, 256);
    let table = memory.table();
    for key in 0..16 {
        put(table, key, 1, 100, 32).unwrap();
    }
    let stop = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for member in 0..3 {
            let stop = &stop;
            scope.spawn(move || {
                let mut looks = 0_u64;
                while stop.load(Ordering::Relaxed) == 0 || looks < 1000 {
                    let _pin = table.pin(member).unwrap();
                    let key = looks % 16;
                    match table.find_record(hash(key), |span| read(&table, span).0 == key) {
                        Look::Found(span) => assert_eq!(read(&table, span).0, key),
                        Look::Absent => assert!(key >= 8, "{key} is always there"),
                        Look::Disturbed => {}
                    }
                    if let Some(spans) = table.snapshot() {
                        let all = spans.into_iter().map(|span| read(&table, span).0);
                        assert_eq!(all.filter(|&key| key < 8).count(), 8);
                    }
                    looks += 1;
                }
            });
        }
        for round in 2..4000_u64 {
            let key = round % 16;
            if key >= 8 && round % 3 == 0 {
                take(table, key);
            } else {
                while let Err(full) = put(table, key, round, 64 + (round as usize % 7) * 40, 32) {
                    assert_eq!(full, Full::Readers);
                    std::thread::yield_now();
                }
            }
        }
        stop.store(1, Ordering::Relaxed);
    });
}
