//! (l) Messages from one process to another, one way: of a cache line, and of a mebibyte.

use std::hint::black_box;
use std::rc::Rc;

use gristmill::{Queue, Region};
use tokio::runtime::Runtime;

use crate::contest::{Aim, Kind, Row, Turn, Work, timed};
use crate::crew::{Crew, two_threads};
use crate::peer::one_way::channel::Channel;
use crate::peer::one_way::iceoryx::Iceoryx;
use crate::peer::one_way::ours::{Awaited, ByMany, Large, OneByOne};
use crate::peer::one_way::threads::threads;
use crate::peer::one_way::{LARGE_CAPACITY, SMALL_CAPACITY, Small, Tally, buffer, stamp, stream};
use crate::peer::python;
use crate::work::Setup;

pub(crate) const ROWS: [(&str, Setup); 2] = [("l/queue/64B", small), ("l/queue/1MiB", large)];

/// These have `python` in their names.
pub(crate) const PYTHON_ROWS: [(&str, Setup); 2] = [
    ("l/python/queue/64B", python_small),
    ("l/python/queue/1MiB", python_large),
];

const OURS: &str = "gristmill Queue";
const MEMCPY: &str = "memcpy";
const CROSSBEAM: &str = "crossbeam, threads";
const PYTHON: [&str; 4] = [
    "multiprocessing.Queue",
    "multiprocessing.SimpleQueue",
    "AioQueue",
    "AioPipe",
];
const LARGE: usize = 1 << 20;
const SMALL_WORDS: usize = 8;
const LARGE_WORDS: usize = LARGE / 8;

/// Enters somebody who may be missing.
fn invite<P>(
    row: Row,
    kind: Kind,
    name: &str,
    peer: Result<P, String>,
    (count, words): (usize, usize),
) -> Row
where
    P: crate::peer::one_way::OneWay + 'static,
{
    row.invite(kind, name, peer.map(|peer| stream(peer, count, words)))
}

fn small_row(name: &str, what: &str, crew: &Crew) -> Row {
    let size = (crew.pick(200_000, 1000), SMALL_WORDS);
    // Five million a second.
    let row = Row::new(name, what).aim(Aim::Seconds { at_most: 200e-9 });
    invite(row, Kind::Ours, OURS, OneByOne::start(), size)
}

fn small(crew: &Crew) -> Row {
    let count = crew.pick(200_000, 1000);
    let size = (count, SMALL_WORDS);
    let slow = (crew.pick(20_000, 1000), SMALL_WORDS);
    let what = "a message of 64 B from one process to another, sent and read one by one";
    let row = small_row("l/queue/64B", what, crew);
    let row = invite(
        row,
        Kind::Ours,
        "gristmill Queue, by 64",
        ByMany::start(),
        size,
    );
    let row = invite(
        row,
        Kind::Ours,
        "gristmill Queue, awaited",
        Awaited::start(),
        size,
    );
    let row = invite(
        row,
        Kind::Ours,
        "gristmill Queue, threads",
        ours_threads(),
        size,
    );
    let row = invite(
        row,
        Kind::Processes,
        "iceoryx2",
        Iceoryx::start(SMALL_WORDS),
        size,
    );
    let row = invite(
        row,
        Kind::Processes,
        "ipc-channel",
        Channel::start(true),
        slow,
    );

    let (sender, receiver) = crossbeam_channel::bounded::<Small>(SMALL_CAPACITY);
    let send = move |message: &[u64]| sender.send(message.try_into().ok()?).ok();
    let crossbeam = threads(send, move || receiver.recv().ok());
    let row = invite(row, Kind::Threads, CROSSBEAM, Ok(crossbeam), size);

    let (sender, receiver) = std::sync::mpsc::sync_channel::<Small>(SMALL_CAPACITY);
    let send = move |message: &[u64]| sender.send(message.try_into().ok()?).ok();
    let std = threads(send, move || receiver.recv().ok());
    let row = invite(
        row,
        Kind::Threads,
        "std sync_channel, threads",
        Ok(std),
        size,
    );

    let (sender, mut receiver) = tokio::sync::mpsc::channel::<Small>(SMALL_CAPACITY);
    let send = move |message: &[u64]| sender.blocking_send(message.try_into().ok()?).ok();
    let tokio = threads(send, move || receiver.blocking_recv());
    let row = invite(row, Kind::Threads, "tokio mpsc, threads", Ok(tokio), slow);

    let tasks = tokio_tasks(two_threads(), count as u64);
    row.invite(Kind::Threads, "tokio mpsc, tasks", Ok(tasks))
}

/// Our queue where there is no other process: what the others' channels are compared with.
fn ours_threads() -> Result<impl crate::peer::one_way::OneWay, String> {
    let region = Region::new(4 << 20).map_err(|error| error.to_string())?;
    let queue = Queue::<Small>::new(&region, SMALL_CAPACITY).map_err(|error| error.to_string())?;
    let receiver = queue.clone();
    let send = move |message: &[u64]| queue.send_blocking(message.try_into().ok()?).ok();
    Ok(threads(send, move || receiver.recv_blocking().ok()))
}

fn tokio_tasks(runtime: Rc<Runtime>, count: u64) -> Work {
    Box::new(move |_| {
        let (right, time) = timed(|| {
            runtime.block_on(async {
                let (sender, mut receiver) = tokio::sync::mpsc::channel::<Small>(SMALL_CAPACITY);
                let receiver = tokio::spawn(async move {
                    let mut tally = Tally::default();
                    while let Some(message) = receiver.recv().await {
                        tally.look(&message);
                    }
                    tally.right()
                });
                let sender = tokio::spawn(async move {
                    let mut message = [1; SMALL_WORDS];
                    for number in 0..count {
                        stamp(&mut message, number);
                        if sender.send(message).await.is_err() {
                            return;
                        }
                    }
                });
                drop(sender.await);
                receiver.await.unwrap_or(0)
            })
        });
        Turn::new(time / count as f64, right == count)
    })
}

fn large_row(name: &str, what: &str, crew: &Crew) -> Row {
    let size = (crew.pick(200, 10), LARGE_WORDS);
    let row = Row::new(name, what).bytes(LARGE);
    invite(row, Kind::Ours, OURS, Large::start(), size)
}

fn large(crew: &Crew) -> Row {
    let count = crew.pick(200, 10);
    let size = (count, LARGE_WORDS);
    let what = "a message of 1 MiB from one process to another, copied in and read whole";
    let row = large_row("l/queue/1MiB", what, crew).within(MEMCPY, 3.0);
    let row = invite(
        row,
        Kind::Processes,
        "iceoryx2",
        Iceoryx::start(LARGE_WORDS),
        size,
    );
    let shared = "ipc-channel, shared memory";
    let row = invite(row, Kind::Processes, shared, Channel::start(false), size);
    let row = invite(
        row,
        Kind::Processes,
        "ipc-channel, bytes",
        Channel::start(true),
        size,
    );

    let (sender, receiver) = crossbeam_channel::bounded::<Vec<u64>>(LARGE_CAPACITY);
    let send = move |message: &[u64]| sender.send(message.to_vec()).ok();
    let crossbeam = threads(send, move || receiver.recv().ok());
    let row = invite(row, Kind::Threads, CROSSBEAM, Ok(crossbeam), size);

    // By one thread, and nobody reads what was copied.
    let (mut from, mut to) = (buffer(LARGE_WORDS), buffer(LARGE_WORDS));
    row.enter(Kind::Limit, MEMCPY, move |_| {
        let ((), time) = timed(|| {
            for number in 0..count as u64 {
                stamp(&mut from, number);
                black_box(&mut to).copy_from_slice(black_box(&from));
            }
        });
        Turn::new(time / count as f64, to == from)
    })
}

fn python_small(crew: &Crew) -> Row {
    let what = "a message of 64 B from one process to another, beside Python's";
    let row = small_row("l/python/queue/64B", what, crew);
    PYTHON.into_iter().fold(row, |row, peer| {
        let count = if peer.starts_with("Aio") { 500 } else { 10_000 };
        let work = format!("stream/{}", crew.pick(count, 50));
        row.invite(Kind::Python, peer, python::shared(peer, &work, 64))
    })
}

fn python_large(crew: &Crew) -> Row {
    let what = "a message of 1 MiB from one process to another, beside Python's, which reads none";
    let row = large_row("l/python/queue/1MiB", what, crew);
    PYTHON.into_iter().fold(row, |row, peer| {
        let work = format!("stream/{}", crew.pick(30, 5));
        row.invite(Kind::Python, peer, python::shared(peer, &work, LARGE))
    })
}
