//! Models of the byte stream; a byte is a loom cell.

use super::super::stream::StreamHeader;
use super::*;

struct Pipe {
    header: StreamHeader,
    bytes: Vec<UnsafeCell<u32>>,
}

impl Pipe {
    fn new(size: usize) -> Arc<Self> {
        Arc::new(Self {
            header: StreamHeader::new(),
            bytes: (0..size).map(|_| UnsafeCell::new(0)).collect(),
        })
    }

    /// Writes one byte, if there is a turn and room.
    fn put(&self, me: Owner, value: u32) -> bool {
        let Some(turn) = self.header.begin_write(me) else {
            return false;
        };
        let room = self.header.room(&turn, self.bytes.len());
        let fits = room.size > 0;
        if fits {
            set(&self.bytes[room.start], value);
            self.header.wrote(&turn, 1);
        }
        self.header.end_write(turn);
        fits
    }

    fn get(&self, me: Owner) -> Option<u32> {
        let turn = self.header.begin_read(me)?;
        let run = self.header.waiting(&turn, self.bytes.len());
        let found = (run.size > 0).then(|| {
            let value = get(&self.bytes[run.start]);
            self.header.consumed(&turn, 1);
            value
        });
        self.header.end_read(turn);
        found
    }
}

#[test]
fn bytes_are_there_before_they_are_read() {
    explore(|| {
        let pipe = Pipe::new(2);
        let writer = Arc::clone(&pipe);
        let writer = thread::spawn(move || assert!(writer.put(member(0), 7)));
        others_first();
        let early = pipe.get(member(1));
        writer.join().unwrap();
        assert_eq!(early.or_else(|| pipe.get(member(1))), Some(7));
    });
}

#[test]
fn bytes_are_not_overwritten_before_they_are_read() {
    explore(|| {
        let pipe = Pipe::new(1);
        assert!(pipe.put(member(0), 1));
        let reader = Arc::clone(&pipe);
        let reader = thread::spawn(move || reader.get(member(1)));
        others_first();
        let wrote = pipe.put(member(0), 2);
        assert_eq!(reader.join().unwrap(), Some(1));
        assert_eq!(pipe.get(member(1)), wrote.then_some(2));
    });
}

#[test]
fn turns_hand_on_the_count() {
    explore(|| {
        let pipe = Pipe::new(2);
        let other = Arc::clone(&pipe);
        let other = thread::spawn(move || other.put(member(0), 1));
        let ours = pipe.put(member(1), 2);
        let theirs = other.join().unwrap();
        let mut got = Vec::new();
        while let Some(value) = pipe.get(member(2)) {
            got.push(value);
        }
        got.sort_unstable();
        let wanted: Vec<_> = [(theirs, 1), (ours, 2)]
            .into_iter()
            .filter_map(|(wrote, value)| wrote.then_some(value))
            .collect();
        assert_eq!(got, wanted);
    });
}

/// One finds nothing to read, and bytes come while it has the turn.
#[test]
fn who_found_the_turn_taken_does_not_sleep_beside_bytes() {
    explore(|| {
        let pipe = Pipe::new(2);
        // Whether somebody waits, and how often it was woken.
        let waits = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
        let wake = |waits: &(AtomicU64, AtomicU64)| {
            fence_after_rmw();
            if waits.0.load(Ordering::Relaxed) != 0 {
                waits.1.fetch_add(1, Ordering::Relaxed);
            }
        };
        let (first, its_waits) = (Arc::clone(&pipe), Arc::clone(&waits));
        let first = thread::spawn(move || {
            let found = first.get(member(0));
            if found.is_some() || first.header.left_bytes() {
                wake(&its_waits);
            }
            found
        });
        let (other, its_waits) = (Arc::clone(&pipe), Arc::clone(&waits));
        let other = thread::spawn(move || {
            its_waits.0.swap(1, Ordering::Relaxed);
            fence_after_rmw();
            // Empty, taken, or one to read.
            other
                .header
                .has_bytes()
                .then(|| other.get(member(1)))
                .flatten()
        });
        assert!(pipe.put(member(2), 7));
        wake(&waits);
        let found = (first.join().unwrap(), other.join().unwrap());
        let was_woken = waits.1.load(Ordering::Relaxed) > 0;
        assert!(found.1.is_some() || was_woken || !pipe.header.has_bytes());
    });
}
