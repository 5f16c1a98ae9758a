//! Holds a row: everybody in turn, round after round, so that each round gives a ratio of its own.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::contest::{Aim, Kind, Row, Unit};
use crate::placement::{self, Class, Placement};
use crate::statistics::{Spread, median, quantile};

/// Fewest rounds, whatever the time.
const ROUNDS_LEAST: usize = 3;

/// How long a row may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) rounds: usize,
    /// After so long no new round begins.
    pub(crate) time: Duration,
}

/// What a row came to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) bytes: u64,
    pub(crate) rounds: usize,
    /// Where the processors were before each round, and after the last.
    pub(crate) placements: Vec<Placement>,
    pub(crate) load: String,
    /// When it ended.
    pub(crate) time: String,
    pub(crate) contenders: Vec<Entry>,
    pub(crate) aims: Vec<Verdict>,
    pub(crate) missing: Vec<(String, String)>,
}

/// One contender's part of an outcome.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) right: bool,
    /// The first turn, which met cold memory.
    pub(crate) first: f64,
    pub(crate) times: Vec<f64>,
    pub(crate) time: Spread,
    /// Their time over the first contender's, round by round.
    pub(crate) ratio: Spread,
    /// p50, p99, p99.9 of all items, where items were timed one by one.
    pub(crate) tail: Option<[f64; 3]>,
}

/// What became of an aim.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) aim: Aim,
    pub(crate) found: f64,
    pub(crate) met: bool,
}

impl Outcome {
    /// Of a row that was given up; what it said as it ended is on the terminal.
    pub(crate) fn of_failure(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            what: "given up".to_owned(),
            unit: Unit::Time,
            bytes: 0,
            rounds: 0,
            placements: Vec::new(),
            load: crate::machine::load(),
            time: crate::machine::now(),
            contenders: Vec::new(),
            aims: Vec::new(),
            missing: vec![("all".to_owned(), "the row ended with a panic".to_owned())],
        }
    }

    /// Whether all answers were right.
    pub(crate) fn is_right(&self) -> bool {
        let mut entries = self.contenders.iter();
        !self.contenders.is_empty() && entries.all(|entry| entry.right)
    }

    /// The classes of placement that were met, with the number of rounds of each.
    pub(crate) fn classes(&self) -> Vec<(Class, usize)> {
        let before = &self.placements[..self.rounds.min(self.placements.len())];
        let mut classes: Vec<(Class, usize)> = Vec::new();
        for class in before.iter().map(|placement| placement.class) {
            match classes.iter_mut().find(|(known, _)| *known == class) {
                Some((_, count)) => *count += 1,
                None => classes.push((class, 1)),
            }
        }
        classes.sort_by_key(|&(class, count)| (std::cmp::Reverse(count), class));
        classes
    }
}

/// Lets everybody have a first turn, in which answers are checked, and then as many rounds as the
/// bounds allow. Each round begins with another contender.
pub(crate) fn hold(mut row: Row, bounds: Bounds) -> Outcome {
    let mut entries: Vec<Entry> = Vec::new();
    for contender in &mut row.contenders {
        let first = (contender.work)(true);
        entries.push(Entry {
            name: contender.name.clone(),
            kind: contender.kind,
            right: first.right,
            first: first.time,
            times: Vec::new(),
            time: Spread::of(&[]),
            ratio: Spread::of(&[]),
            tail: None,
        });
    }
    let count = row.contenders.len();
    let mut samples = vec![Vec::new(); count];
    let mut placements = Vec::new();
    let mut rounds = 0;
    let began = Instant::now();
    while rounds < bounds.rounds && (rounds < ROUNDS_LEAST || began.elapsed() < bounds.time) {
        placements.push(placement::probe());
        for turn in 0..count {
            let index = (rounds + turn) % count;
            let turn = (row.contenders[index].work)(false);
            entries[index].right &= turn.right;
            entries[index].times.push(turn.time);
            samples[index].extend(turn.samples);
        }
        rounds += 1;
    }
    placements.push(placement::probe());
    let ours = entries
        .first()
        .map_or(Vec::new(), |entry| entry.times.clone());
    for (entry, samples) in entries.iter_mut().zip(samples) {
        let ratios = ratios(&entry.times, &ours);
        entry.ratio = Spread::of(&ratios);
        entry.time = Spread::of(&entry.times);
        if !samples.is_empty() {
            let samples: Vec<f64> = samples.into_iter().map(f64::from).collect();
            entry.tail = Some([0.5, 0.99, 0.999].map(|part| quantile(&samples, part)));
        }
    }
    let aims = row.aims.iter().filter_map(|aim| judge(aim, &entries));
    Outcome {
        aims: aims.collect(),
        name: row.name,
        what: row.what,
        unit: row.unit,
        bytes: row.bytes,
        rounds,
        placements,
        load: crate::machine::load(),
        time: crate::machine::now(),
        contenders: entries,
        missing: row.missing,
    }
}

/// Nothing if whom it is about was missing.
fn judge(aim: &Aim, entries: &[Entry]) -> Option<Verdict> {
    let named = |name: &str| entries.iter().find(|entry| entry.name == name);
    let (found, met) = match aim {
        Aim::Ratio { against, at_least } => {
            let found = named(against)?.ratio.median;
            (found, found >= *at_least)
        }
        Aim::Within { limit, at_most } => {
            let (ours, theirs) = (&entries.first()?.times, &named(limit)?.times);
            let ratios = ratios(ours, theirs);
            let found = median(&ratios);
            (found, found <= *at_most)
        }
        Aim::Slower { of, at_most } => {
            let found = named(of)?.ratio.median;
            (found, found <= *at_most)
        }
        Aim::Seconds { at_most } => {
            let found = entries.first()?.time.median;
            (found, found <= *at_most)
        }
        Aim::Flat { at_most } => {
            let medians = || entries.iter().map(|entry| entry.time.median);
            let least = medians().fold(f64::INFINITY, f64::min);
            let found = medians().fold(0.0, f64::max) / least;
            (found, found <= *at_most)
        }
    };
    Some(Verdict {
        aim: aim.clone(),
        found,
        met,
    })
}

/// Round by round. Finite always: what is compared with nothing is a billion times as much.
fn ratios(times: &[f64], others: &[f64]) -> Vec<f64> {
    let ratio = |(&time, &other): (&f64, &f64)| match (time, other) {
        (0.0, 0.0) => 1.0,
        _ => (time / other).min(1e9),
    };
    times.iter().zip(others).map(ratio).collect()
}
