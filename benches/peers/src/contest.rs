//! A row of the table: one piece of work and everybody who does it, each timing and checking
//! itself.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// Workers of the pool, and threads or processes of every rival.
pub(crate) const WIDTH: usize = 2;

/// What one turn came to.
pub(crate) struct Turn {
    /// Seconds an item; the median where items were timed one by one.
    pub(crate) time: f64,
    /// Seconds of each item, where they were timed one by one.
    pub(crate) samples: Vec<f32>,
    pub(crate) right: bool,
}

impl Turn {
    pub(crate) fn new(time: f64, right: bool) -> Self {
        // Somebody who failed has no time, and records hold numbers only.
        let (time, right) = match time.is_finite() {
            true => (time, right),
            false => (0.0, false),
        };
        Self {
            time,
            samples: Vec::new(),
            right,
        }
    }

    /// Of items that were timed one by one.
    pub(crate) fn of_samples(samples: Vec<f32>, right: bool) -> Self {
        let mut sorted = samples.clone();
        sorted.sort_by(f32::total_cmp);
        let time = sorted.get(sorted.len() / 2).map_or(0.0, |&t| t.into());
        Self {
            time,
            samples,
            right,
        }
    }
}

/// One turn; the answer is looked at thoroughly, outside the timed part, if the argument says so.
pub(crate) type Work = Box<dyn FnMut(bool) -> Turn>;

/// Of what kind somebody is: how bars are coloured, and what may be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Ours,
    Threads,
    Processes,
    Python,
    /// Not a way to do the work: what the machine has to give.
    Limit,
}

/// One way to do the work.
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) work: Work,
}

/// What is aimed at. The first contender is meant unless another is named.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Aim {
    /// Their time over ours.
    Ratio { against: String, at_least: f64 },
    /// Our time over what the machine has to give.
    Within { limit: String, at_most: f64 },
    /// Our time.
    Seconds { at_most: f64 },
    /// Another's time over ours, where the other is us as well, only more of it.
    Slower { of: String, at_most: f64 },
    /// The dearest of all contenders, each of which is a size, over the cheapest.
    Flat { at_most: f64 },
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unit {
    /// Seconds.
    Time,
    /// Bytes, in a row about memory: `time` is a number of bytes.
    Bytes,
    /// A number, in a row of counts.
    Count,
}

/// One piece of work.
pub(crate) struct Row {
    pub(crate) name: String,
    /// What is done, in a sentence for a reader of the table.
    pub(crate) what: String,
    pub(crate) unit: Unit,
    /// Bytes that move for an item, read and written, where that is what the work is.
    pub(crate) bytes: u64,
    pub(crate) aims: Vec<Aim>,
    pub(crate) contenders: Vec<Contender>,
    /// Who is not there, and why.
    pub(crate) missing: Vec<(String, String)>,
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            what: what.into(),
            unit: Unit::Time,
            bytes: 0,
            aims: Vec::new(),
            contenders: Vec::new(),
            missing: Vec::new(),
        }
    }

    pub(crate) fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes as u64;
        self
    }

    pub(crate) fn unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }

    /// Their time is to be at least so many times ours.
    pub(crate) fn ahead_of(mut self, against: &str, at_least: f64) -> Self {
        let against = against.into();
        self.aims.push(Aim::Ratio { against, at_least });
        self
    }

    /// Our time is to be at most so many times the limit's.
    pub(crate) fn within(mut self, limit: &str, at_most: f64) -> Self {
        let limit = limit.into();
        self.aims.push(Aim::Within { limit, at_most });
        self
    }

    pub(crate) fn aim(mut self, aim: Aim) -> Self {
        self.aims.push(aim);
        self
    }

    pub(crate) fn enter(
        mut self,
        kind: Kind,
        name: impl Into<String>,
        work: impl FnMut(bool) -> Turn + 'static,
    ) -> Self {
        self.contenders.push(Contender {
            name: name.into(),
            kind,
            work: Box::new(work),
        });
        self
    }

    /// Enters somebody who may be missing.
    pub(crate) fn invite(mut self, kind: Kind, name: &str, work: Result<Work, String>) -> Self {
        match work {
            Ok(work) => self.contenders.push(Contender {
                name: name.into(),
                kind,
                work,
            }),
            Err(why) => self.missing.push((name.into(), why)),
        }
        self
    }
}

/// Runs the work against the clock: what it gave, and seconds.
pub(crate) fn timed<O>(work: impl FnOnce() -> O) -> (O, f64) {
    let began = Instant::now();
    let output = std::hint::black_box(work());
    (output, began.elapsed().as_secs_f64())
}

/// Times work whose answer is looked at afterwards if asked, and dropped after that.
pub(crate) fn turn<O>(
    check: bool,
    work: impl FnOnce() -> O,
    right: impl FnOnce(&O) -> bool,
) -> Turn {
    let (output, time) = timed(work);
    Turn::new(time, !check || right(&output))
}

/// Times `count` calls of something short as one; each answer is looked at.
pub(crate) fn burst(count: usize, mut call: impl FnMut() -> bool) -> Turn {
    let (right, time) = timed(|| (0..count).fold(true, |right, _| call() && right));
    Turn::new(time / count as f64, right)
}
