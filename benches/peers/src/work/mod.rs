//! The rows, by the letters of the table in the README.

mod both_ways;
mod compute;
mod counts;
mod growth;
mod locks;
mod maps;
mod passes;
mod python;
mod queues;
mod round_trip;
mod signals;
mod small;
mod start;
mod tasks;

pub(crate) use counts::counted;

use crate::contest::{Row, Work};
use crate::crew::Crew;

/// Sets a row up when its turn comes: together they would take gigabytes.
pub(crate) type Setup = fn(&Crew) -> Row;

/// All rows, in order.
pub(crate) fn rows(with_python: bool) -> Vec<(&'static str, Setup)> {
    let mut rows: Vec<(&'static str, Setup)> = Vec::new();
    rows.extend(maps::ROWS);
    rows.extend(compute::ROWS);
    rows.extend(small::ROWS);
    rows.extend(tasks::ROWS);
    rows.extend(counts::ROWS);
    rows.extend(both_ways::ROWS);
    rows.extend(round_trip::ROWS);
    rows.extend(start::ROWS);
    rows.extend(passes::ROWS);
    rows.extend(growth::ROWS);
    rows.extend(queues::ROWS);
    rows.extend(locks::ROWS);
    rows.extend(signals::ROWS);
    if with_python {
        rows.extend(python::ROWS);
        rows.extend(queues::PYTHON_ROWS);
        rows.extend(locks::PYTHON_ROWS);
        rows.extend(signals::PYTHON_ROWS);
    }
    // By their letters; those of one letter stay in order.
    rows.sort_by_key(|(name, _)| name.chars().next());
    rows
}

/// The work of a child of this program, by the name that a row gave it.
pub(crate) fn remote(name: &str, crew: &Crew) -> Option<Work> {
    maps::collect(name, crew)
        .or_else(|| passes::remote_stages(name, crew))
        .or_else(|| counts::count(name))
        .or_else(|| start::remote_start(name))
}
