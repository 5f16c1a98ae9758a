//! What a reader gets: a table, and a record with a picture.

pub(crate) mod picture;
mod reasons;
pub(crate) mod record;
pub(crate) mod table;

use crate::contest::{Aim, Unit};
use crate::hold::Verdict;

/// A value with its unit, in three digits.
pub(crate) fn show(value: f64, unit: Unit) -> String {
    let scaled = |factor: f64, name: &str| {
        let value = value * factor;
        match value {
            v if v >= 100.0 => format!("{v:.0} {name}"),
            v if v >= 10.0 => format!("{v:.1} {name}"),
            v => format!("{v:.2} {name}"),
        }
    };
    match (unit, value) {
        (_, v) if v.is_nan() => "–".into(),
        (Unit::Time, v) if v >= 1.0 => scaled(1.0, "s"),
        (Unit::Time, v) if v >= 1e-3 => scaled(1e3, "ms"),
        (Unit::Time, v) if v >= 1e-6 => scaled(1e6, "µs"),
        (Unit::Time, _) => scaled(1e9, "ns"),
        (Unit::Bytes, v) if v >= 1048576.0 => scaled(1.0 / 1048576.0, "MiB"),
        (Unit::Bytes, v) if v >= 1024.0 => scaled(1.0 / 1024.0, "KiB"),
        (Unit::Bytes, _) => scaled(1.0, "B"),
        (Unit::Count, v) => format!("{v:.5}"),
    }
}

/// An aim and what became of it, as a phrase.
pub(crate) fn phrase(verdict: &Verdict, unit: Unit) -> String {
    let found = verdict.found;
    let phrase = match &verdict.aim {
        Aim::Ratio { against, at_least } => {
            format!("{found:.2} × {against}, wanted {at_least:.2}")
        }
        Aim::Within { limit, at_most } => {
            format!("{found:.2} times {limit}, wanted at most {at_most:.2}")
        }
        Aim::Slower { of, at_most } => {
            format!("{of} {found:.2} times as slow, wanted at most {at_most:.2}")
        }
        Aim::Seconds { at_most } => {
            let (found, at_most) = (show(found, unit), show(*at_most, unit));
            format!("{found}, wanted at most {at_most}")
        }
        Aim::Flat { at_most } => {
            format!("dearest over cheapest {found:.2}, wanted at most {at_most:.2}")
        }
    };
    format!("{phrase}: {}", if verdict.met { "met" } else { "MISSED" })
}
