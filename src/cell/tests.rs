//! No reader sees half a value, and a writer that stops has changed nothing.

use super::*;

fn words(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

#[test]
fn what_was_stored_is_loaded() {
    for len in [0, 1, 3, 64] {
        let (header, words) = (CellHeader::new(), words(2 * len));
        let cell = Cell::new(&header, &words);
        for round in 0..5_u64 {
            let value: Vec<u64> = (0..len as u64).map(|index| round * 100 + index).collect();
            cell.store(&value);
            let mut found = vec![0; len];
            cell.load(&mut found);
            assert_eq!(found, value);
        }
    }
}

#[test]
fn a_writer_that_dies_has_changed_nothing() {
    let (header, words) = (CellHeader::new(), words(8));
    let cell = Cell::new(&header, &words);
    cell.store(&[1, 2, 3, 4]);
    for dies_after in 0..4 {
        // All that a writer does before its last store.
        for word in cell.copies[0].iter().take(dies_after) {
            word.store(99, Ordering::Release);
        }
        let mut found = [0; 4];
        cell.load(&mut found);
        assert_eq!(found, [1, 2, 3, 4]);
    }
    cell.store(&[5; 4]);
    let mut found = [0; 4];
    cell.load(&mut found);
    assert_eq!(found, [5; 4]);
}

#[test]
fn readers_see_whole_values_and_never_older_ones() {
    let (header, words) = (CellHeader::new(), words(32));
    let cell = Cell::new(&header, &words);
    const LAST: u64 = 20_000;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let (mut found, mut last) = ([0; 16], 0);
                while last < LAST {
                    cell.load(&mut found);
                    assert_eq!(found, [found[0]; 16]);
                    assert!(found[0] >= last);
                    last = found[0];
                }
            });
        }
        for round in 1..=LAST {
            cell.store(&[round; 16]);
        }
    });
}
