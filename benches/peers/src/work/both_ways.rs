//! (g) One message there, and one as large back.

use std::sync::Arc;

use gristmill::{Pool, ResultVec, SharedVec};

use crate::contest::{Kind, Row};
use crate::crew::pool;
use crate::kernels::{read, write};
use crate::peer::bare::Bare;
use crate::peer::channels::Channels;
use crate::peer::exchange::{Exchange, Message};
use crate::peer::iceoryx::Iceoryx;
use crate::peer::processes::Processes;
use crate::peer::streams::Streams;
use crate::work::Setup;
use crate::work::round_trip::{CHANNEL, ICEORYX, PROCSPAWN, SPINNING, enter};

pub(crate) const ROWS: [(&str, Setup); 3] = [
    ("g/both_ways/4KiB", |_| both_ways("4KiB", 4 << 10)),
    ("g/both_ways/1MiB", |_| both_ways("1MiB", 1 << 20)),
    ("g/both_ways/64MiB", |crew| {
        both_ways("64MiB", crew.pick(64 << 20, 2 << 20))
    }),
];

/// The message comes back as large as it went, made where it is read.
struct InPlace(Arc<Pool>, Message);

impl Exchange for InPlace {
    fn exchange(&mut self, seed: u64) -> u64 {
        let mut message = self.0.alloc_uninit::<u64>(self.1.words).expect("room");
        write(&mut message, seed);
        let task = self.0.spawn_with(message.freeze(), (), |message, ()| {
            let mut answer = ResultVec::uninit(message.len());
            write(&mut answer, read(message));
            answer
        });
        task.expect("room").wait().map_or(0, |answer| read(&answer))
    }
}

/// The message comes back as large as it went.
struct BothWays(Arc<Pool>, Message);

impl Exchange for BothWays {
    fn exchange(&mut self, seed: u64) -> u64 {
        let mut message = self.0.alloc_uninit::<u64>(self.1.words).expect("room");
        write(&mut message, seed);
        let task = self.0.spawn_with(message.freeze(), (), |message, ()| {
            let mut answer = vec![0_u64; message.len()];
            write(&mut answer, read(message));
            answer
        });
        let answer = task.expect("room").wait();
        let add = |sum: u64, word: &rkyv::rend::u64_le| sum.wrapping_add(word.to_native());
        answer.map_or(0, |answer| answer.iter().fold(0, add))
    }
}

/// The message is a buffer that goes there and comes back overwritten: the only element of a job
/// in place.
struct ThereAndBack<const WORDS: usize>(Arc<Pool>, SharedVec<[u64; WORDS]>);

impl<const WORDS: usize> Exchange for ThereAndBack<WORDS> {
    fn exchange(&mut self, seed: u64) -> u64 {
        write(&mut self.1[0], seed);
        let job = self.0.par_for_each_mut(&mut self.1, |message| {
            let sum = read(message);
            write(message, sum);
        });
        job.wait().map_or(0, |()| read(&self.1[0]))
    }
}

fn there_and_back<const WORDS: usize>(row: Row, pool: Arc<Pool>, message: Message) -> Row {
    let buffer = pool.alloc_zeroed(1).expect("room");
    let ours = Ok(ThereAndBack::<WORDS>(pool, buffer));
    let name = "gristmill, a buffer there and back";
    enter(row, Kind::Ours, name, ours, message, None)
}

fn both_ways(name: &str, size: usize) -> Row {
    let message = Message::of_bytes(size).both_ways();
    let pool = Arc::new(pool(1));
    let what = format!("{name} written by one process, read by another, and as much back");
    let row = Row::new(format!("g/both_ways/{name}"), what)
        .ahead_of(ICEORYX, 1.0)
        .ahead_of(PROCSPAWN, 10.0);
    let processes = Kind::Processes;
    let in_place = InPlace(Arc::clone(&pool), message);
    let row = enter(
        row,
        Kind::Ours,
        "gristmill, slice there, result in place",
        Ok(in_place),
        message,
        None,
    );
    let ours = BothWays(Arc::clone(&pool), message);
    let row = enter(
        row,
        Kind::Ours,
        "gristmill, slice there, Vec back",
        Ok(ours),
        message,
        None,
    );
    // Beside it only: what comes back is not an answer of its own.
    let row = match size {
        0x1000 => there_and_back::<0x200>(row, pool, message),
        0x10_0000 => there_and_back::<0x2_0000>(row, pool, message),
        0x20_0000 => there_and_back::<0x4_0000>(row, pool, message),
        _ => there_and_back::<0x80_0000>(row, pool, message),
    };
    let row = enter(
        row,
        processes,
        ICEORYX,
        Iceoryx::start(message),
        message,
        None,
    );
    let row = enter(
        row,
        processes,
        CHANNEL,
        Channels::bytes(message),
        message,
        None,
    );
    let row = enter(
        row,
        processes,
        PROCSPAWN,
        Processes::start(message),
        message,
        None,
    );
    let row = enter(
        row,
        processes,
        "unix sockets",
        Streams::sockets(message),
        message,
        None,
    );
    let row = enter(
        row,
        processes,
        "pipes",
        Streams::pipes(message),
        message,
        None,
    );
    enter(
        row,
        Kind::Limit,
        SPINNING,
        Bare::spinning(message),
        message,
        None,
    )
}
