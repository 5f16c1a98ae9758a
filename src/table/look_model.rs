//! Every interleaving of one that looks, waiting for nobody, and one that moves records: whoever
//! looks finds them as they were before or as they are after, or is told to look again.

use loom::sync::Arc;
use loom::thread::{self, JoinHandle as Seen};

use super::*;
use crate::primitive::model::{explore_bounded, others_first};

/// A table in small. Its records are told apart by where they lie, and never read.
struct Stage {
    header: TableHeader,
    pins: [Pins; 1],
    slots: [Slot; 2],
    retired: [Slot; 1],
    space: [AtomicU64; 1],
    arena: Arena,
    kind: Kind,
}

const UNITS: usize = 4;

#[repr(C, align(64))]
struct Arena([[u64; 8]; UNITS]);

impl Stage {
    fn new(kind: Kind) -> Arc<Self> {
        Arc::new(Self {
            header: TableHeader::new(),
            pins: [Pins::new()],
            slots: [Slot::new(), Slot::new()],
            retired: [Slot::new()],
            space: [AtomicU64::new(0)],
            arena: Arena([[0; 8]; UNITS]),
            kind,
        })
    }

    #[expect(unsafe_code, reason = "a table over borrowed words")]
    fn table(&self) -> Table<'_> {
        let arena = NonNull::from(&self.arena).cast();
        // SAFETY: so many units, aligned; no model reads or writes a record.
        unsafe {
            Table::new(
                &self.header,
                &self.pins,
                &self.slots,
                &self.retired,
                &self.space,
                (arena, UNITS as u32),
            )
        }
    }

    fn writer(&self) -> Writer<'_> {
        Writer::begin(self.table(), self.kind)
    }

    /// Puts a record in front of all others; says which.
    fn put_first(&self) -> Span {
        let writer = self.writer();
        let draft = writer.draft(1).unwrap();
        let span = draft.span;
        writer.insert_at(0, 2, draft).unwrap();
        span
    }

    /// Puts a record behind all others that a search for this hash passes; says which.
    fn insert(&self) -> Span {
        let writer = self.writer();
        let draft = writer.draft(1).unwrap();
        let span = draft.span;
        writer.insert(0, |_| false, 2, draft).unwrap();
        span
    }

    fn look(&self, span: Span) -> Look {
        self.table().find_record(0, |found| found == span)
    }

    /// Has a reader of its own see what it can while others go on.
    fn observe<R: 'static>(
        stage: &Arc<Self>,
        look: impl FnOnce(Table<'_>) -> R + 'static,
    ) -> Seen<R> {
        let stage = Arc::clone(stage);
        thread::spawn(move || {
            others_first();
            let table = stage.table();
            let _pin = table.pin(0).unwrap();
            look(table)
        })
    }
}

#[test]
fn nobody_looks_into_the_middle_of_a_move() {
    // One record, and another in front of it, for which it moves from 0 to 1. Whoever has found it
    // at 1 does not find it at 0 afterwards.
    explore_bounded(Some(3), || {
        let stage = Stage::new(Kind::List);
        let old = stage.put_first();
        let reader = Stage::observe(&stage, |table| (table.record_at(1), table.record_at(0)));
        let new = stage.put_first();
        let (later, earlier) = reader.join().unwrap();
        match later {
            Look::Found(span) => {
                assert_eq!(span, old);
                assert_ne!(earlier, Look::Found(old), "after the move, and then before");
            }
            Look::Absent => assert_ne!(earlier, Look::Absent),
            Look::Disturbed => {}
        }
        assert_eq!(stage.table().record_at(0), Look::Found(new));
        assert_eq!(stage.table().record_at(1), Look::Found(old));
    });
}

#[test]
fn a_record_that_moves_is_not_missed() {
    // Two records with one hash; the first is removed, and the second moves into its place.
    explore_bounded(Some(3), || {
        let stage = Stage::new(Kind::Map);
        let (first, second) = (stage.insert(), stage.insert());
        let reader = Stage::observe(&stage, move |table| {
            table.find_record(0, |found| found == second)
        });
        let removed = stage.writer().remove(0, |found| found == first);
        assert_eq!(removed, Ok(Some(first)));
        assert_ne!(
            reader.join().unwrap(),
            Look::Absent,
            "it is there all the time"
        );
        assert_eq!(stage.look(second), Look::Found(second));
        assert_eq!(stage.look(first), Look::Absent);
    });
}

#[test]
fn a_copy_is_of_one_moment() {
    // As above for all at once. In the middle one record would be there twice.
    explore_bounded(Some(3), || {
        let stage = Stage::new(Kind::List);
        let old = stage.put_first();
        let reader = Stage::observe(&stage, |table| table.snapshot());
        let new = stage.put_first();
        if let Some(copy) = reader.join().unwrap() {
            assert!(copy == [old] || copy == [new, old], "{copy:?}");
        }
        assert_eq!(stage.table().snapshot(), Some(vec![new, old]));
    });
}

#[test]
fn a_copy_is_no_older_than_the_one_before() {
    explore_bounded(Some(3), || {
        let stage = Stage::new(Kind::List);
        let reader = Stage::observe(&stage, |table| (table.snapshot(), table.snapshot()));
        stage.put_first();
        stage.put_first();
        if let (Some(copy), Some(again)) = reader.join().unwrap() {
            assert!(again.ends_with(&copy), "{again:?} after {copy:?}");
        }
    });
}
