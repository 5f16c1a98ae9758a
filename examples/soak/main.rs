//! Workers are killed at random while they run tasks and range jobs; every answer is checked.
//!
//! ```text
//! cargo run --release --example soak -- [--tasks N] [--kills N] [--workers N] [--seed N]
//!     [--each N]    recycle each worker after so many tasks and shares in jobs
//! ```
//!
//! It ends when as many tasks were delivered and as many workers killed, and fails on the first
//! answer that is wrong, missing or there twice.

mod soak;

use std::env;
use std::process::ExitCode;

use soak::Plan;

fn main() -> ExitCode {
    let mut plan = Plan::default();
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let number = words
            .next()
            .and_then(|number| number.replace('_', "").parse::<u64>().ok());
        match (word.as_str(), number) {
            ("--tasks", Some(number)) => plan.tasks = number,
            ("--kills", Some(number)) => plan.kills = number,
            ("--workers", Some(number)) => plan.workers = number as usize,
            ("--seed", Some(number)) => plan.seed = number,
            ("--each", Some(number)) => plan.each = number,
            _ => {
                eprintln!(
                    "{word}: wanted --tasks, --kills, --workers, --seed or --each and a number"
                );
                return ExitCode::from(2);
            }
        }
    }
    println!("{plan:?}");
    println!("{}", soak::run(&plan));
    ExitCode::SUCCESS
}
