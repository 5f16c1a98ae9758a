//! gristmill beside its peers: one command, one process tree, everybody in turn.
//!
//! How it measures, and what is unfair to whom, is in `benches/METHODOLOGY.md`.

mod allocator;
mod arguments;
mod contest;
mod crew;
mod hold;
mod kernels;
mod machine;
mod peer;
mod placement;
mod remote;
mod report;
mod statistics;
mod work;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use arguments::{Arguments, HELP};
use crew::Crew;
use hold::Outcome;
use report::record::Record;
use work::Setup;

/// What a record says was run.
const COMMAND: &str = "cargo run --release -p gristmill-peers --";

fn main() -> ExitCode {
    // A worker of procspawn's comes this way, too, and ends in here.
    procspawn::init();
    let mut words = env::args().skip(1).peekable();
    if words.next_if(|word| word == remote::SERVE).is_some() {
        return serve(&words.next().unwrap_or_default());
    }
    let arguments = match Arguments::parse(words) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("gristmill-peers: {problem}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    if arguments.help {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if let Some(file) = &arguments.redraw {
        return match report::record::redraw(file) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => {
                eprintln!("gristmill-peers: {}: {problem}", file.display());
                ExitCode::from(2)
            }
        };
    }
    match run(&arguments) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// A child of a row's: a contender with another allocator, or the other side of an exchange.
fn serve(name: &str) -> ExitCode {
    // It ends with whoever started it, also if that was killed.
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let crew = Crew::new(false);
    if let Some(work) = work::remote(name, &crew) {
        remote::serve(work);
    } else if peer::serve(name).is_none() && work::counted(name, &crew).is_none() {
        eprintln!("gristmill-peers: nothing serves as {name}");
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}

/// Whether all answers were right.
fn run(arguments: &Arguments) -> bool {
    let rows = work::rows(arguments.python);
    let wanted = rows.iter().filter(|(name, _)| arguments.wants(name));
    let wanted: Vec<_> = wanted.copied().collect();
    if arguments.list {
        wanted.iter().for_each(|(name, _)| println!("{name}"));
        return true;
    }
    let facts = machine::facts();
    for (name, fact) in &facts {
        println!("{name:<18} {fact}");
    }
    println!();
    let began = Instant::now();
    let outcomes = hold_all(arguments, &wanted);
    let all_right = outcomes.iter().all(Outcome::is_right);
    if let Some(place) = &arguments.record {
        let words = env::args().skip(1);
        let mut record = Record {
            date: machine::today(),
            command: words.fold(String::from(COMMAND), |all, word| all + " " + &word),
            seconds: began.elapsed().as_secs_f64(),
            facts,
            versions: machine::versions(),
            rows: outcomes,
        };
        if let Err(problem) = report::record::write(&mut record, place) {
            eprintln!(
                "gristmill-peers: no record in {}: {problem}",
                place.display()
            );
            return false;
        }
    }
    all_right
}

/// One row after the other, each with its share of the time that is left.
fn hold_all(arguments: &Arguments, wanted: &[(&'static str, Setup)]) -> Vec<Outcome> {
    let began = Instant::now();
    let crew = Crew::new(arguments.smoke);
    let mut outcomes = Vec::new();
    for (index, (name, setup)) in wanted.iter().enumerate() {
        // A row that cannot be set up or held takes no other with it; it said why as it ended.
        let set_up = catch_unwind(AssertUnwindSafe(|| setup(&crew)));
        let Ok(mut row) = set_up else {
            outcomes.push(Outcome::of_failure(name));
            continue;
        };
        if let Some(only) = &arguments.only {
            let mut rest = row.contenders.split_off(1.min(row.contenders.len()));
            rest.retain(|contender| contender.name.contains(&**only));
            row.contenders.append(&mut rest);
        }
        let left = arguments.total.saturating_sub(began.elapsed());
        let mut bounds = arguments.bounds;
        bounds.time = bounds.time.min(left / (wanted.len() - index) as u32);
        let held = catch_unwind(AssertUnwindSafe(|| hold::hold(row, bounds)));
        let outcome = held.unwrap_or_else(|_| Outcome::of_failure(name));
        report::table::print(&outcome);
        outcomes.push(outcome);
        crew.tidy_up();
    }
    outcomes
}
