//! Every interleaving of one that writes twice and one that reads. Twice, because only the second
//! value goes where the reader may still be.

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::primitive::model::explore;

#[test]
fn no_reader_sees_half_a_value() {
    explore(|| {
        let header = Arc::new(CellHeader::new());
        let words = Arc::new([(); 4].map(|()| AtomicU64::new(0)));
        let writer = thread::spawn({
            let (header, words) = (Arc::clone(&header), Arc::clone(&words));
            move || {
                let cell = Cell::new(&header, &words[..]);
                cell.store(&[1, 1]);
                cell.store(&[2, 2]);
            }
        });
        let cell = Cell::new(&header, &words[..]);
        let mut found = [9; 2];
        cell.load(&mut found);
        assert_eq!(found[0], found[1], "half of one and half of another");
        writer.join().unwrap();
        cell.load(&mut found);
        assert_eq!(found, [2, 2]);
    });
}
