//! (f) System calls an awaited call takes, of all processes and threads together.

use std::env;
use std::process::Command;

use crate::contest::{Aim, Kind, Row, Turn, Unit, Work};
use crate::crew::Crew;
use crate::remote::{Remote, SERVE};
use crate::work::Setup;
use crate::work::tasks::awaited_turn;

#[path = "../../../../tests/system_calls/trace.rs"]
mod trace;

pub(crate) const ROWS: [(&str, Setup); 1] = [("f/system_calls", system_calls)];

const CALLERS: usize = 256;
const CALLS: usize = 100_000;

fn system_calls(_: &Crew) -> Row {
    let what = "system calls an awaited call by 256 callers, beyond the runtime's poll, by ptrace";
    let row = Row::new("f/system_calls", what)
        .unit(Unit::Count)
        .aim(Aim::Seconds { at_most: 0.01 });
    let contenders = [
        (Kind::Ours, "gristmill spawn"),
        (Kind::Threads, "tokio spawn"),
        (Kind::Threads, "tokio spawn_blocking"),
    ];
    contenders.into_iter().fold(row, |row, (kind, who)| {
        // In a child, which waits for nobody but whom it counts.
        let remote = Remote::start(&format!("count/{who}"), ("_", ""));
        row.invite(kind, who, remote.and_then(Remote::work))
    })
}

/// The child that counts.
pub(crate) fn count(name: &str) -> Option<Work> {
    let who = name.strip_prefix("count/")?.to_owned();
    Some(Box::new(move |_| {
        let program = env::current_exe().expect("a path");
        let counts = trace::count(Command::new(program).args([SERVE, &format!("counted/{who}")]));
        match counts {
            Ok(counts) => {
                let counts = counts.iter().flatten();
                let beyond = counts.filter(|&(&number, _)| !trace::is_poll(number));
                let beyond: u64 = beyond.map(|(_, count)| count).sum();
                Turn::new(beyond as f64 / CALLS as f64, true)
            }
            Err(_) => Turn::new(f64::NAN, false),
        }
    }))
}

/// The child that is counted.
pub(crate) fn counted(name: &str, crew: &Crew) -> Option<()> {
    let who = name.strip_prefix("counted/")?;
    // Memory and threads are there from the second turn on.
    let mut turn = awaited_turn(who, crew, CALLERS)?;
    let right = turn(CALLERS).right && trace::marked(|| turn(CALLS)).right;
    assert!(right, "a wrong sum");
    Some(())
}
