//! Round trips between two processes: one writes a message, the other reads it and answers.

use std::time::{Duration, Instant};

use crate::contest::{Turn, Work};
use crate::kernels::expected;

/// What travels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    /// Its size in numbers of eight bytes.
    pub(crate) words: usize,
    /// How many of these are written and read: all, or one, where the buffer is merely handed over.
    pub(crate) touched: usize,
    /// Whether the answer is as large, and written and read, too; else it is one number.
    pub(crate) both_ways: bool,
}

impl Message {
    pub(crate) fn of_bytes(size: usize) -> Self {
        let words = size / 8;
        Self {
            words,
            touched: words,
            both_ways: false,
        }
    }

    pub(crate) fn untouched(self) -> Self {
        Self { touched: 1, ..self }
    }

    pub(crate) fn both_ways(self) -> Self {
        Self {
            both_ways: true,
            ..self
        }
    }

    /// Words of the answer.
    pub(crate) fn answer(self) -> usize {
        if self.both_ways { self.words } else { 1 }
    }

    /// What is read on the first side in the end.
    fn expected(self, seed: u64) -> u64 {
        expected(self.answer(), expected(self.touched, seed))
    }

    /// As an argument of a child's.
    pub(crate) fn name(self) -> String {
        format!("{}/{}/{}", self.words, self.touched, self.both_ways)
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('/');
        let (words, touched, both_ways) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            words: words.parse().ok()?,
            touched: touched.parse().ok()?,
            both_ways: both_ways.parse().ok()?,
        })
    }
}

/// Somebody on the other side.
pub(crate) trait Exchange {
    /// So many exchanges follow, soon.
    fn begin(&mut self, _count: usize) {}

    /// Writes the message that begins with `seed`, and brings back the sum of the answer, which
    /// begins with the message's sum.
    fn exchange(&mut self, seed: u64) -> u64;

    /// No exchange follows for a while.
    fn end(&mut self) {}
}

/// How long the exchanges of a turn may take, idleness included.
const TURN: f64 = 0.04;
const MOST: usize = 20_000;
const LEAST: usize = 3;

/// Turns of exchanges, each timed by itself, with a time of idleness before it if there is one.
pub(crate) fn exchanges(
    mut peer: impl Exchange + 'static,
    message: Message,
    idle: Option<Duration>,
) -> Work {
    let mut count = None;
    let mut seed = 0_u64;
    Box::new(move |_| {
        // The first turn finds out how many there is time for.
        let planned = count.unwrap_or(LEAST);
        let mut samples = Vec::with_capacity(planned);
        let mut right = true;
        if idle.is_none() {
            peer.begin(planned);
        }
        for _ in 0..planned {
            seed = seed.wrapping_add(0x9e37_79b9);
            if let Some(idle) = idle {
                std::thread::sleep(idle);
                peer.begin(1);
            }
            let began = Instant::now();
            let sum = peer.exchange(seed);
            samples.push(began.elapsed().as_secs_f32());
            right &= sum == message.expected(seed);
        }
        peer.end();
        let turn = Turn::of_samples(samples, right);
        if count.is_none() {
            let each = turn.time + idle.map_or(0.0, |idle| idle.as_secs_f64());
            count = Some(((TURN / each) as usize).clamp(LEAST, MOST));
        }
        turn
    })
}
