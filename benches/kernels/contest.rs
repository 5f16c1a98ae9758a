//! Contests: one piece of work, several ways to do it, each of which times and checks itself.

use std::env;
use std::time::{Duration, Instant};

/// Workers of the pool, and threads of every rival.
pub(crate) const WIDTH: usize = 2;

/// What one turn of a contender came to.
pub(crate) struct Sample {
    pub(crate) time: Duration,
    pub(crate) right: bool,
}

/// One turn; the answer is looked at, outside the timed part, if the argument says so.
pub(crate) type Turn = Box<dyn FnMut(bool) -> Sample>;

/// One way to do the work.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) turn: Turn,
}

/// What is promised of a contest.
#[derive(Clone, Copy)]
#[allow(
    dead_code,
    reason = "the benches that share this file have promises of different kinds"
)]
pub(crate) enum Bound {
    /// The second contender's time over the first's.
    RatioAtLeast(f64),
    /// Time of one item at the first contender.
    MicrosecondsAtMost(f64),
    /// Items a second at the first contender.
    RateAtLeast(f64),
    /// Nothing: for comparison.
    None,
}

/// One piece of work. The first contender is this crate, the second the rival it is held against.
pub(crate) struct Contest {
    pub(crate) name: &'static str,
    pub(crate) bound: Bound,
    /// Items of work a turn: elements or tasks; 1 if a turn is to be counted as a whole.
    pub(crate) items: u64,
    /// Turns back to back before it is the next one's turn: 1 unless the work is tiny.
    pub(crate) burst: u32,
    pub(crate) contenders: Vec<Contender>,
}

impl Contest {
    pub(crate) fn new(name: &'static str, bound: Bound) -> Self {
        Self {
            name,
            bound,
            items: 1,
            burst: 1,
            contenders: Vec::new(),
        }
    }

    pub(crate) fn items(mut self, items: usize) -> Self {
        self.items = items as u64;
        self
    }

    pub(crate) fn burst(mut self, burst: u32) -> Self {
        self.burst = burst;
        self
    }

    pub(crate) fn enter(
        mut self,
        name: &'static str,
        turn: impl FnMut(bool) -> Sample + 'static,
    ) -> Self {
        let turn = Box::new(turn);
        self.contenders.push(Contender { name, turn });
        self
    }
}

/// Runs the work against the clock.
pub(crate) fn timed<O>(work: impl FnOnce() -> O) -> (O, Duration) {
    let began = Instant::now();
    let output = std::hint::black_box(work());
    (output, began.elapsed())
}

/// Times work whose answer is looked at afterwards, and dropped after that.
pub(crate) fn sample<O>(
    check: bool,
    work: impl FnOnce() -> O,
    right: impl FnOnce(&O) -> bool,
) -> Sample {
    let (output, time) = timed(work);
    Sample {
        time,
        right: !check || right(&output),
    }
}

/// Whether only to show that everything runs and is right: small sizes, few rounds.
pub(crate) fn is_quick() -> bool {
    env::args().any(|argument| argument == "--quick" || argument == "--test")
}
