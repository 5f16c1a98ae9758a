//! Reads and writes of bytes that are given up: no byte is lost, none comes twice, and nobody
//! sleeps because of one that does not look any more.

#![cfg(feature = "tokio")]

mod cancel_support;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use futures_util::FutureExt;
use gristmill::{ByteReader, ByteWriter, Handle, Process, Region, byte_pipe, byte_simplex};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use cancel_support::{Random, soon};

fn region() -> Region {
    Region::new(2 << 20).unwrap()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Write(usize),
    Read(usize),
}

fn steps() -> impl Strategy<Value = Vec<(bool, Step)>> {
    let step = prop_oneof![
        (1_usize..12).prop_map(Step::Write),
        (1_usize..12).prop_map(Step::Read),
    ];
    prop::collection::vec((any::<bool>(), step), 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_dropped_read_or_write_has_moved_nothing(size in 1_usize..20, steps in steps()) {
        let (one, other) = byte_pipe(&region(), size).unwrap();
        let mut ends = [one, other];
        // By who reads.
        let mut models = [VecDeque::new(), VecDeque::new()];
        let mut next = 0_u8;
        for (at, step) in steps {
            let at = usize::from(at);
            match step {
                Step::Write(count) => {
                    let bytes: Vec<u8> = (0..count).map(|by| next.wrapping_add(by as u8)).collect();
                    let model = &mut models[1 - at];
                    let room = size - model.len();
                    match ends[at].write(&bytes).now_or_never() {
                        Some(written) => {
                            let written = written.unwrap();
                            prop_assert_eq!(written, count.min(room));
                            model.extend(&bytes[..written]);
                            next = next.wrapping_add(written as u8);
                        }
                        None => prop_assert_eq!(room, 0),
                    }
                }
                Step::Read(count) => {
                    let mut bytes = vec![0; count];
                    let model = &mut models[at];
                    match ends[at].read(&mut bytes).now_or_never() {
                        Some(read) => {
                            let read = read.unwrap();
                            prop_assert_eq!(read, count.min(model.len()));
                            let wanted: Vec<u8> = model.drain(..read).collect();
                            prop_assert_eq!(&bytes[..read], &wanted[..]);
                        }
                        None => prop_assert!(model.is_empty()),
                    }
                }
            }
        }
    }
}

/// The byte at this place in the text.
fn byte(at: usize) -> u8 {
    (at ^ at >> 8) as u8
}

const BYTES: usize = 50_000;

async fn write_all(writer: &mut ByteWriter) {
    let mut random = Random(1);
    let mut at = 0;
    while at < BYTES {
        let count = 1 + random.below(40) as usize;
        let bytes: Vec<u8> = (at..BYTES.min(at + count)).map(byte).collect();
        if let Some(written) = soon(writer.write(&bytes), &mut random).await {
            at += written.unwrap();
        }
    }
}

/// From this place on to the end; gives where that is.
async fn read_all(reader: &mut ByteReader, mut at: usize) -> usize {
    let mut random = Random(2);
    loop {
        let mut bytes = vec![0; 1 + random.below(40) as usize];
        let Some(read) = soon(reader.read(&mut bytes), &mut random).await else {
            continue;
        };
        match read.unwrap() {
            0 => return at,
            read => {
                let wanted: Vec<u8> = (at..at + read).map(byte).collect();
                assert_eq!(bytes[..read], wanted, "at {at}");
                at += read;
            }
        }
    }
}

#[test]
fn bytes_between_processes_that_give_up_all_along_arrive_once_and_in_order() {
    let region = region();
    let (writer, mut reader) = byte_simplex(&region, 61).unwrap();
    let process = Process::builder().region(&region);
    let process = process.spawn(writer.handle().words(), |name| {
        let name = [name[0].into(), name[1].into()];
        let mut writer: ByteWriter = Handle::from_words(name).open().unwrap();
        block_on(write_all(&mut writer));
    });
    let process = process.unwrap();
    let mut first = 0;
    assert_eq!(
        block_on(reader.read(std::slice::from_mut(&mut first))).unwrap(),
        1
    );
    assert_eq!(first, byte(0));
    // The other process has the only one that is left.
    drop(writer);
    assert_eq!(block_on(read_all(&mut reader, 1)), BYTES);
    process.wait().unwrap();
}

/// Says whether it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn is_pending(future: std::pin::Pin<&mut impl Future>, woken: &Arc<Woken>) -> bool {
    let waker = Waker::from(Arc::clone(woken));
    future.poll(&mut Context::from_waker(&waker)).is_pending()
}

#[test]
fn a_reader_that_gave_up_keeps_no_other_asleep() {
    let (mut writer, mut gone) = byte_simplex(&region(), 8).unwrap();
    let mut stays = gone.clone();
    // It has asked first, does not any more, and is kept.
    assert!(gone.read_u8().now_or_never().is_none());
    let woken = Arc::new(Woken::default());
    let mut read = pin!(stays.read_u8());
    assert!(is_pending(read.as_mut(), &woken));
    std::io::Write::write(&mut writer, b"x").unwrap();
    assert!(woken.0.load(Ordering::Relaxed));
    assert_eq!(block_on(read).unwrap(), b'x');
    drop(gone);
}

#[test]
fn a_writer_that_gave_up_keeps_no_other_asleep() {
    let (mut gone, mut reader) = byte_simplex(&region(), 1).unwrap();
    let mut stays = gone.clone();
    std::io::Write::write(&mut gone, b"1").unwrap();
    assert!(gone.write_u8(b'2').now_or_never().is_none());
    let woken = Arc::new(Woken::default());
    let mut write = pin!(stays.write_u8(b'3'));
    assert!(is_pending(write.as_mut(), &woken));
    assert_eq!(block_on(reader.read_u8()).unwrap(), b'1');
    assert!(woken.0.load(Ordering::Relaxed));
    block_on(write).unwrap();
    assert_eq!(block_on(reader.read_u8()).unwrap(), b'3');
    drop(gone);
}
