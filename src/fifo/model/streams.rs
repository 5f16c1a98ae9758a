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
