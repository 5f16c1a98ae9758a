//! (g) One message there, one answer back: hot, handed over, and after idleness.

use std::sync::Arc;
use std::time::Duration;

use gristmill::Pool;
use tokio::runtime::Runtime;

use crate::contest::{Kind, Row, Work};
use crate::crew::{one_thread, pool};
use crate::kernels::{read, write};
use crate::peer::bare::Bare;
use crate::peer::channels::Channels;
use crate::peer::exchange::{Exchange, Message, exchanges};
use crate::peer::iceoryx::Iceoryx;
use crate::peer::processes::Processes;
use crate::peer::streams::Streams;
use crate::work::Setup;

pub(crate) const ROWS: [(&str, Setup); 6] = [
    ("g/hot/64B", |_| hot("64B", 64)),
    ("g/hot/4KiB", |_| hot("4KiB", 4 << 10)),
    ("g/hot/1MiB", |_| hot("1MiB", 1 << 20)),
    ("g/hot/64MiB", |crew| {
        hot("64MiB", crew.pick(64 << 20, 2 << 20))
    }),
    ("g/handoff/64MiB", |crew| {
        handoff(crew.pick(64 << 20, 2 << 20))
    }),
    ("g/idle/64B", |_| idle()),
];

pub(super) const ICEORYX: &str = "iceoryx2 request/response, polling";
pub(super) const PROCSPAWN: &str = "procspawn";
pub(super) const CHANNEL: &str = "ipc-channel, bytes";
const FUTEX: &str = "limit: bare futex pair";
pub(super) const SPINNING: &str = "limit: bare flag, spinning";

/// How long nobody does anything before a message.
const IDLE: Duration = Duration::from_millis(5);

/// The message is the argument: serialised into shared memory, read there.
struct Argument(Arc<Pool>, Message);

impl Exchange for Argument {
    fn exchange(&mut self, seed: u64) -> u64 {
        if self.1.words == 8 {
            let mut message = [0_u64; 8];
            write(&mut message, seed);
            let task = self.0.spawn(message, |message| {
                message
                    .iter()
                    .fold(0, |sum: u64, word| sum.wrapping_add(word.to_native()))
            });
            return task.expect("room").wait().map_or(0, |sum| sum.to_native());
        }
        let mut message = vec![0_u64; self.1.words];
        write(&mut message, seed);
        let task = self.0.spawn(message, |message| {
            message
                .iter()
                .fold(0, |sum: u64, word| sum.wrapping_add(word.to_native()))
        });
        task.expect("room").wait().map_or(0, |sum| sum.to_native())
    }
}

/// The same, awaited on a runtime of tokio's.
struct Awaited(Arc<Pool>, std::rc::Rc<Runtime>);

impl Exchange for Awaited {
    fn exchange(&mut self, seed: u64) -> u64 {
        let mut message = [0_u64; 8];
        write(&mut message, seed);
        self.1.block_on(async {
            let task = self.0.spawn(message, |message| {
                message
                    .iter()
                    .fold(0, |sum: u64, word| sum.wrapping_add(word.to_native()))
            });
            task.expect("room").await.map_or(0, |sum| sum.to_native())
        })
    }
}

/// The message is written into a shared buffer, which the task reads.
struct Slice(Arc<Pool>, Message);

impl Exchange for Slice {
    fn exchange(&mut self, seed: u64) -> u64 {
        let mut message = self.0.alloc_uninit::<u64>(self.1.words).expect("room");
        write(&mut message, seed);
        let task = self
            .0
            .spawn_with(message.freeze(), (), |message, ()| read(message));
        task.expect("room").wait().map_or(0, |sum| sum.to_native())
    }
}

/// The buffer is shared already and goes there and back, with one word of it for the answer.
struct Handoff(Arc<Pool>, gristmill::SharedSlice<u64>);

impl Exchange for Handoff {
    fn exchange(&mut self, seed: u64) -> u64 {
        let buffer = std::mem::take(&mut self.1);
        let mut buffer = buffer.try_into_vec().expect("the last handle");
        buffer[0] = seed;
        let buffer = buffer.freeze();
        let task = self
            .0
            .spawn_with(buffer.clone(), (), |buffer, ()| buffer[0]);
        let sum = task.expect("room").wait().map_or(0, |sum| sum.to_native());
        self.1 = buffer;
        sum
    }
}

pub(super) fn enter<X: Exchange + 'static>(
    row: Row,
    kind: Kind,
    name: &str,
    peer: Result<X, String>,
    message: Message,
    idle: Option<Duration>,
) -> Row {
    let work = peer.map(|peer| -> Work { exchanges(peer, message, idle) });
    row.invite(kind, name, work)
}

fn hot(name: &str, size: usize) -> Row {
    let message = Message::of_bytes(size);
    let pool = Arc::new(pool(1));
    let mut row = Row::new(
        format!("g/hot/{name}"),
        format!("{name} written by one process and read by another, back to back"),
    );
    row = match size {
        ..=64 => row
            .ahead_of(ICEORYX, 2.0)
            .ahead_of(CHANNEL, 50.0)
            .ahead_of(PROCSPAWN, 50.0),
        65..=2097152 => row.ahead_of(ICEORYX, 1.0),
        _ => row
            .ahead_of(CHANNEL, 12.0)
            .ahead_of(PROCSPAWN, 50.0)
            .ahead_of(ICEORYX, 1.0),
    };
    let (argument, slice) = ("gristmill, argument", "gristmill, shared slice");
    let [first, second] = [Arc::clone(&pool), Arc::clone(&pool)];
    if size <= 4 << 10 {
        row = enter(
            row,
            Kind::Ours,
            argument,
            Ok(Argument(first, message)),
            message,
            None,
        );
        row = enter(
            row,
            Kind::Ours,
            slice,
            Ok(Slice(second, message)),
            message,
            None,
        );
    } else {
        row = enter(
            row,
            Kind::Ours,
            slice,
            Ok(Slice(first, message)),
            message,
            None,
        );
        row = enter(
            row,
            Kind::Ours,
            argument,
            Ok(Argument(second, message)),
            message,
            None,
        );
    }
    if size == 64 {
        let awaited = Awaited(pool, one_thread());
        row = enter(
            row,
            Kind::Ours,
            "gristmill, awaited",
            Ok(awaited),
            message,
            None,
        );
    }
    let processes = Kind::Processes;
    row = enter(
        row,
        processes,
        ICEORYX,
        Iceoryx::start(message),
        message,
        None,
    );
    row = enter(
        row,
        processes,
        CHANNEL,
        Channels::bytes(message),
        message,
        None,
    );
    if size >= 1 << 20 {
        let name = "ipc-channel, shared memory";
        row = enter(
            row,
            processes,
            name,
            Channels::shared_memory(message),
            message,
            None,
        );
    }
    row = enter(
        row,
        processes,
        PROCSPAWN,
        Processes::start(message),
        message,
        None,
    );
    row = enter(
        row,
        processes,
        "unix sockets",
        Streams::sockets(message),
        message,
        None,
    );
    row = enter(
        row,
        processes,
        "pipes",
        Streams::pipes(message),
        message,
        None,
    );
    row = enter(
        row,
        Kind::Limit,
        SPINNING,
        Bare::spinning(message),
        message,
        None,
    );
    enter(
        row,
        Kind::Limit,
        FUTEX,
        Bare::sleeping(message),
        message,
        None,
    )
}

fn handoff(size: usize) -> Row {
    let message = Message::of_bytes(size).untouched();
    let pool = Arc::new(pool(1));
    let buffer = pool.alloc_zeroed(message.words).expect("room").freeze();
    let row = Row::new(
        "g/handoff/64MiB",
        "a buffer of 64 MiB that both have mapped, handed over; one word of it written and read",
    )
    .ahead_of(ICEORYX, 5.0);
    let ours = Handoff(pool, buffer);
    let row = enter(
        row,
        Kind::Ours,
        "gristmill, shared slice",
        Ok(ours),
        message,
        None,
    );
    let peer = Iceoryx::start(message);
    let row = enter(row, Kind::Processes, ICEORYX, peer, message, None);
    enter(
        row,
        Kind::Limit,
        SPINNING,
        Bare::spinning(message),
        message,
        None,
    )
}

fn idle() -> Row {
    let message = Message::of_bytes(64);
    let pool = Arc::new(pool(1));
    let row = Row::new(
        "g/idle/64B",
        "64 B there and an answer back after 5 ms of idleness",
    )
    .within(FUTEX, 1.3);
    let [first, second] = [Arc::clone(&pool), pool];
    let (idle, processes) = (Some(IDLE), Kind::Processes);
    let ours = Argument(first, message);
    let row = enter(
        row,
        Kind::Ours,
        "gristmill, argument",
        Ok(ours),
        message,
        idle,
    );
    let awaited = Awaited(second, one_thread());
    let row = enter(
        row,
        Kind::Ours,
        "gristmill, awaited",
        Ok(awaited),
        message,
        idle,
    );
    let row = enter(
        row,
        processes,
        CHANNEL,
        Channels::bytes(message),
        message,
        idle,
    );
    let row = enter(
        row,
        processes,
        PROCSPAWN,
        Processes::start(message),
        message,
        idle,
    );
    let row = enter(
        row,
        processes,
        "unix sockets",
        Streams::sockets(message),
        message,
        idle,
    );
    let row = enter(
        row,
        processes,
        "pipes",
        Streams::pipes(message),
        message,
        idle,
    );
    enter(
        row,
        Kind::Limit,
        FUTEX,
        Bare::sleeping(message),
        message,
        idle,
    )
}
