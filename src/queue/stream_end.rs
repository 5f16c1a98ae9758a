//! Pipes of bytes: `std`'s `Read` and `Write`, and tokio's.
//!
//! ```text
//! byte   0 [ size: u64, 56 bytes unused ]
//!       64 [ the header of the stream   ] 192
//!      256 [ readers wait here          ] 128
//!      384 [ writers wait here          ] 128
//!      512 [ held: u32, for each member ] 1024
//!     1536 [ the ring of bytes          ]
//! ```

#![expect(unsafe_code, reason = "copies bytes into and out of shared memory")]

use core::fmt;
use core::ptr::NonNull;
use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::commons::{BlockName, Kind, MEMBERS, Object, Region, Seat, WaitSet};
use crate::error::{Error, RegionError, Result};
use crate::fifo::{Ends, Run, Side, StreamHeader};
use crate::memory::owner::Owner;
use crate::primitive::atomic::AtomicU32;
use crate::primitive::line::Line;
use crate::protocol::name::{Handle, Name};

/// The front of a stream of bytes; drawn above.
#[derive(Debug)]
#[repr(C)]
pub(super) struct StreamFront {
    size: Line<u64>,
    header: StreamHeader,
    pub(super) readers: WaitSet,
    pub(super) writers: WaitSet,
    /// How often each member has opened each end.
    held: [AtomicU32; MEMBERS],
}

const FRONT_BYTES: usize = 1536;
const _: () = assert!(size_of::<StreamFront>() == FRONT_BYTES);

/// What the region must know of streams.
pub(crate) static STREAM: Kind = Kind {
    id: 2,
    recover: |seat, dead| {
        if let Some(stream) = Stream::of(seat.clone()) {
            stream.recover(dead);
        }
    },
    blocks: |_: &Seat, _: &mut dyn FnMut(BlockName)| {},
};

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) seat: Seat,
}

/// What one attempt to read or write comes to; `None`: nothing yet.
pub(super) type Attempt = Option<io::Result<usize>>;

impl Stream {
    fn create(region: &Region, size: usize) -> Result<Self> {
        if size == 0 {
            return Err(Error::InvalidArgument {
                what: "size of a pipe",
                found: "0 bytes".into(),
                wanted: "at least one byte".into(),
            });
        }
        let bytes = (FRONT_BYTES as u64).saturating_add(size as u64);
        let seat = Seat::create(region, &STREAM, bytes, |start| {
            let front = StreamFront {
                size: Line(size as u64),
                header: StreamHeader::new(),
                readers: WaitSet::new(),
                writers: WaitSet::new(),
                held: core::array::from_fn(|_| AtomicU32::new(0)),
            };
            // SAFETY: a new object that is large enough, aligned, and known to nobody else yet.
            unsafe { start.cast().write(front) };
        })?;
        Ok(Self { seat })
    }

    /// The stream in this seat; `None` if its ring would lead out of it.
    fn of(seat: Seat) -> Option<Self> {
        let room = seat.size().checked_sub(FRONT_BYTES as u64)?;
        let stream = Self { seat };
        let size = stream.front().size.0;
        (size > 0 && size <= room).then_some(stream)
    }

    fn open(name: Name) -> Result<Self> {
        Self::of(Seat::open(name, &STREAM)?).ok_or_else(|| {
            let found = "a stream whose ring leads out of it".into();
            RegionError::Foreign { found }.into()
        })
    }

    fn ends(&self) -> Ends<'_> {
        Ends(&self.front().held)
    }

    fn recover(&self, dead: Owner) {
        let front = self.front();
        front.header.recover(dead);
        if self.ends().bury(dead) {
            self.close();
        }
        self.seat.bury(&front.readers, dead);
        self.seat.bury(&front.writers, dead);
    }

    pub(super) fn front(&self) -> &StreamFront {
        // SAFETY: written when the stream was made, and mapped as long as the seat.
        unsafe { self.seat.at(0).cast().as_ref() }
    }

    fn size(&self) -> usize {
        self.front().size.0 as usize
    }

    fn at(&self, run: Run) -> NonNull<u8> {
        self.seat.at((FRONT_BYTES + run.start) as u64)
    }

    /// Writes what there is room for, in at most two pieces.
    ///
    /// All who wait are woken, here and in `read`: a task that gave up a read still stands in the
    /// list, since it is the end that does, and one that does not look would keep a wake-up.
    pub(super) fn write(&self, bytes: &[u8]) -> Attempt {
        if bytes.is_empty() {
            return Some(Ok(0));
        }
        let me = match self.seat.me() {
            Ok(me) => me,
            Err(error) => return Some(Err(io::Error::other(error))),
        };
        let front = self.front();
        if front.header.is_closed() {
            return Some(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let turn = front.header.begin_write(me)?;
        let mut written = 0;
        for _ in 0..2 {
            let rest = &bytes[written..];
            let room = front.header.room(&turn, self.size());
            let size = room.size.min(rest.len());
            if size == 0 {
                break;
            }
            // SAFETY: the run lies in the ring, and nobody else touches it while we have the turn
            // and it does not count as written; `rest` is private.
            unsafe {
                self.at(room)
                    .copy_from_nonoverlapping(NonNull::from(rest).cast(), size)
            };
            front.header.wrote(&turn, size);
            written += size;
        }
        front.header.end_write(turn);
        // Another writer may have found our turn taken.
        self.seat.wake_all(&front.writers);
        if written == 0 {
            return None;
        }
        self.seat.wake_all(&front.readers);
        Some(Ok(written))
    }

    /// Reads what there is, in at most two pieces.
    pub(super) fn read(&self, into: &mut [u8]) -> Attempt {
        if into.is_empty() {
            return Some(Ok(0));
        }
        let me = match self.seat.me() {
            Ok(me) => me,
            Err(error) => return Some(Err(io::Error::other(error))),
        };
        let front = self.front();
        // Asked first: what was written before the end is seen afterwards.
        let closed = front.header.is_closed();
        let turn = front.header.begin_read(me)?;
        let mut read = 0;
        for _ in 0..2 {
            let rest = &mut into[read..];
            let run = front.header.waiting(&turn, self.size());
            let size = run.size.min(rest.len());
            if size == 0 {
                break;
            }
            // SAFETY: the run lies in the ring, and nobody writes there before it counts as read;
            // `rest` is private.
            unsafe {
                self.at(run)
                    .copy_to_nonoverlapping(NonNull::from(rest).cast(), size)
            };
            front.header.consumed(&turn, size);
            read += size;
        }
        front.header.end_read(turn);
        self.seat.wake_all(&front.readers);
        match read {
            0 => closed.then_some(Ok(0)),
            read => {
                self.seat.wake_all(&front.writers);
                Some(Ok(read))
            }
        }
    }

    fn close(&self) {
        let front = self.front();
        front.header.close();
        self.seat.wake_all(&front.readers);
        self.seat.wake_all(&front.writers);
    }
}

/// An end that this process has; the last one that is let go of in any process ends the pipe.
#[derive(Debug)]
pub(super) struct End {
    pub(super) stream: Arc<Stream>,
    side: Side,
}

impl End {
    fn of(stream: Arc<Stream>, side: Side) -> Result<Arc<Self>> {
        match stream.ends().add(stream.seat.me()?, side) {
            true => Ok(Arc::new(Self { stream, side })),
            false => Err(Error::InvalidArgument {
                what: "number of times that a process opens an end of a pipe",
                found: "65536".into(),
                wanted: "at most 65535 at a time; clone a handle that is open".into(),
            }),
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // A forked child never had it.
        let Ok(me) = self.stream.seat.me() else {
            return;
        };
        if self.stream.ends().remove(me, self.side) {
            self.stream.close();
        }
    }
}

/// A pipe of bytes both of whose ends read and write, with rings of `size` bytes.
///
/// # Errors
/// [`Error::InvalidArgument`] for a size of zero; what the region says if it has no room.
pub fn byte_pipe(region: &Region, size: usize) -> Result<(ByteEnd, ByteEnd)> {
    let (one, other) = byte_simplex(region, size)?;
    let (back, forth) = byte_simplex(region, size)?;
    let end = |writer, reader| ByteEnd { reader, writer };
    Ok((end(one, forth), end(back, other)))
}

/// A pipe of bytes with an end that writes and an end that reads, with a ring of `size` bytes.
///
/// # Errors
/// As for [`byte_pipe`].
pub fn byte_simplex(region: &Region, size: usize) -> Result<(ByteWriter, ByteReader)> {
    let stream = Arc::new(Stream::create(region, size)?);
    let writer = ByteWriter::of(End::of(Arc::clone(&stream), Side::Sender)?);
    Ok((writer, ByteReader::of(End::of(stream, Side::Receiver)?)))
}

macro_rules! half {
    ($(#[$doc:meta])* $name:ident, $set:ident, $side:expr) => {
        $(#[$doc])*
        pub struct $name {
            pub(super) end: Arc<End>,
            #[cfg(feature = "tokio")]
            pub(super) ticket: crate::commons::Ticket,
        }

        impl $name {
            fn of(end: Arc<End>) -> Self {
                Self {
                    end,
                    #[cfg(feature = "tokio")]
                    ticket: crate::commons::Ticket::new(),
                }
            }

            /// Its name, for a process that has the region; keep this end until it was opened
            /// there.
            pub fn handle(&self) -> Handle<Self> {
                Handle::new(self.stream().seat.name())
            }

            fn stream(&self) -> &Stream {
                &self.end.stream
            }

            fn waiting(&self) -> &WaitSet {
                &self.stream().front().$set
            }
        }

        impl Object for $name {
            fn find(name: Name) -> Result<Self> {
                let stream = Arc::new(Stream::open(name)?);
                Ok(Self::of(End::of(stream, $side)?))
            }

            fn name(&self) -> Name {
                self.stream().seat.name()
            }
        }

        impl Clone for $name {
            fn clone(&self) -> Self {
                Self::of(Arc::clone(&self.end))
            }
        }

        #[cfg(feature = "tokio")]
        impl Drop for $name {
            fn drop(&mut self) {
                let set = &self.end.stream.front().$set;
                self.ticket.leave(&self.end.stream.seat, set);
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

half! {
    /// The end of a pipe that reads bytes; at the end of file it reads none.
    ///
    /// Clones share the stream: what one reads, no other does.
    ByteReader, readers, Side::Receiver
}

half! {
    /// The end of a pipe that writes bytes; once nobody reads any more, `BrokenPipe`.
    ///
    /// Bytes of one `write` lie together. A writer that dies half-way has written all or nothing of
    /// each piece, and the next one goes on behind it.
    ByteWriter, writers, Side::Sender
}

/// An end of a pipe of bytes that reads what the other writes, and writes what it reads.
#[derive(Clone, Debug)]
pub struct ByteEnd {
    pub(super) reader: ByteReader,
    pub(super) writer: ByteWriter,
}

impl ByteEnd {
    /// An end of two halves.
    pub fn of(reader: ByteReader, writer: ByteWriter) -> Self {
        Self { reader, writer }
    }

    /// Both halves, to be kept apart, or to be named to another process.
    pub fn split(self) -> (ByteReader, ByteWriter) {
        (self.reader, self.writer)
    }
}

impl Read for ByteReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let stream = self.stream();
        match stream.read(into) {
            Some(outcome) => outcome,
            None => stream
                .seat
                .block(self.waiting(), None, || stream.read(into))
                .unwrap_or(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl Write for ByteWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stream = self.stream();
        match stream.write(bytes) {
            Some(outcome) => outcome,
            None => stream
                .seat
                .block(self.waiting(), None, || stream.write(bytes))
                .unwrap_or(Err(io::ErrorKind::TimedOut.into())),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for ByteEnd {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.reader.read(into)
    }
}

impl Write for ByteEnd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
