//! The rows, by the letters of the table in the README.

mod maps;
mod round_trip;
mod small;
mod tasks;

pub(crate) use maps::collect;

use crate::contest::Row;
use crate::crew::Crew;

/// Sets a row up when its turn comes: together they would take gigabytes.
pub(crate) type Setup = fn(&Crew) -> Row;

/// All rows, in order.
pub(crate) fn rows() -> Vec<(&'static str, Setup)> {
    let mut rows: Vec<(&'static str, Setup)> = Vec::new();
    rows.extend(maps::ROWS);
    rows.extend(small::ROWS);
    rows.extend(tasks::ROWS);
    rows.extend(round_trip::ROWS);
    rows
}
