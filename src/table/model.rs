//! Every interleaving of a reader that pins and a writer that moves the epoch on: what the reader
//! has found is never handed out under it.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::primitive::model::explore;

/// A word that names one of two records. Loom sees to it that nobody reads what somebody writes.
struct Stage {
    header: TableHeader,
    pins: [Pins; 1],
    word: AtomicU64,
    records: [UnsafeCell<u64>; 2],
}

// SAFETY: that the records are used as they may be is what the model finds out.
#[expect(unsafe_code, reason = "cells that loom watches")]
unsafe impl Sync for Stage {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "cells that loom watches")]
unsafe impl Send for Stage {}

impl Stage {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            header: TableHeader::new(),
            pins: [Pins::new()],
            word: AtomicU64::new(0),
            records: [UnsafeCell::new(1), UnsafeCell::new(2)],
        })
    }

    #[expect(unsafe_code, reason = "a table without an arena")]
    fn table(&self) -> Table<'_> {
        // SAFETY: no units, so the pointer is never followed.
        unsafe {
            Table::new(
                &self.header,
                &self.pins,
                &[],
                &[],
                &[],
                (NonNull::dangling(), 0),
            )
        }
    }

    /// Reads the record that the word names, pinned.
    #[expect(unsafe_code, reason = "reads a cell that loom watches")]
    fn read(&self) -> u64 {
        let _pin = self.table().pin(0).unwrap();
        let found = self.word.load(Ordering::Acquire) as usize;
        // SAFETY: loom reports whoever writes at the same time.
        self.records[found].with(|record| unsafe { *record })
    }

    /// Gives the first record up, and hands it out again when the epoch lets it.
    #[expect(unsafe_code, reason = "writes a cell that loom watches")]
    fn give_up(&self) -> bool {
        let table = self.table();
        let given_up = table.epoch();
        self.word.store(1, Ordering::Release);
        let is_free = table.advance() && table.advance();
        assert!(!is_free || table.epoch() - given_up == 2);
        if is_free {
            // SAFETY: loom reports whoever reads at the same time.
            self.records[0].with_mut(|record| unsafe { *record = 99 });
        }
        is_free
    }
}

#[test]
fn what_a_reader_has_found_is_not_handed_out() {
    explore(|| {
        let stage = Stage::new();
        let reader = thread::spawn({
            let stage = Arc::clone(&stage);
            move || stage.read()
        });
        let reused = stage.give_up();
        let found = reader.join().unwrap();
        assert!(found == 1 || found == 2);
        // Once nobody reads it is handed out.
        assert!(reused || stage.table().advance() || stage.table().advance());
    });
}

#[test]
fn a_reader_that_counts_itself_late_counts_again() {
    explore(|| {
        let stage = Stage::new();
        let reader = thread::spawn({
            let stage = Arc::clone(&stage);
            move || stage.read()
        });
        // The epoch that the reader guessed may be over before it is counted.
        let _ = stage.table().advance() && stage.table().advance();
        stage.give_up();
        let found = reader.join().unwrap();
        assert!(found == 1 || found == 2);
    });
}

#[test]
fn two_readers_hold_it_one_after_another() {
    explore(|| {
        let stage = Stage::new();
        let reader = thread::spawn({
            let stage = Arc::clone(&stage);
            move || (stage.read(), stage.read())
        });
        stage.give_up();
        let (first, second) = reader.join().unwrap();
        assert!(first <= second && second <= 2);
    });
}
