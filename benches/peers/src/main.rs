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
use std::process::ExitCode;

use arguments::{Arguments, HELP};
use crew::Crew;

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
    let crew = Crew::new(false, false);
    if let Some(work) = work::collect(name, &crew) {
        remote::serve(work);
    } else if peer::serve(name).is_none() {
        eprintln!("gristmill-peers: nothing serves as {name}");
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}

/// Whether all answers were right.
fn run(arguments: &Arguments) -> bool {
    let rows = work::rows();
    let wanted = rows.iter().filter(|(name, _)| arguments.wants(name));
    if arguments.list {
        wanted.for_each(|(name, _)| println!("{name}"));
        return true;
    }
    let facts = machine::facts();
    for (name, fact) in &facts {
        println!("{name:<18} {fact}");
    }
    println!();
    let crew = Crew::new(arguments.smoke, arguments.python);
    let mut outcomes = Vec::new();
    for (_, setup) in wanted {
        let mut row = setup(&crew);
        if let Some(only) = &arguments.only {
            let mut index = 0;
            row.contenders.retain(|contender| {
                index += 1;
                index == 1 || contender.name.contains(&**only)
            });
        }
        let outcome = hold::hold(row, arguments.bounds);
        report::table::print(&outcome);
        outcomes.push(outcome);
        crew.tidy_up();
    }
    outcomes.iter().all(hold::Outcome::is_right)
}
