//! The table on the terminal.

use crate::contest::Unit;
use crate::hold::{Entry, Outcome};
use crate::report::{phrase, show};

/// Prints one row's outcome.
pub(crate) fn print(outcome: &Outcome) {
    let classes = outcome.classes();
    let classes = classes
        .iter()
        .map(|(class, n)| format!("{} ×{n}", class.name()));
    let classes = classes.collect::<Vec<_>>().join(", ");
    println!("{}: {}", outcome.name, outcome.what);
    println!(
        "  {} rounds ({classes}), load {}",
        outcome.rounds, outcome.load
    );
    for (index, entry) in outcome.contenders.iter().enumerate() {
        println!("  {}", line(outcome, entry, index == 0));
    }
    for (name, why) in &outcome.missing {
        println!("  {name:<34} missing: {why}");
    }
    for verdict in &outcome.aims {
        println!("  → {}", phrase(verdict, outcome.unit));
    }
    println!();
}

fn line(outcome: &Outcome, entry: &Entry, is_first: bool) -> String {
    let unit = outcome.unit;
    let [low, middle, high] =
        [entry.time.low, entry.time.median, entry.time.high].map(|value| show(value, unit));
    let mut line = format!("{:<34} {middle:>9} [{low}, {high}]", entry.name);
    line = pad(line, 72);
    if !is_first {
        let ratio = entry.ratio;
        let text = format!("{:.2} [{:.2}, {:.2}]", ratio.median, ratio.low, ratio.high);
        line += &format!("ratio {text:<20}");
    } else {
        line += &" ".repeat(26);
    }
    if outcome.bytes > 0 && unit == Unit::Time {
        line += &format!(
            " {:.1} GB/s",
            outcome.bytes as f64 / entry.time.median / 1e9
        );
    } else if unit == Unit::Time && entry.time.median < 1e-3 {
        line += &format!(" {:.3} M/s", 1e-6 / entry.time.median);
    }
    if let Some([_, p99, p999]) = entry.tail {
        line += &format!("  p99 {}, p99.9 {}", show(p99, unit), show(p999, unit));
    }
    if entry.first > 3.0 * entry.time.median && unit == Unit::Time {
        line += &format!("  first {}", show(entry.first, unit));
    }
    if !entry.right {
        line += "  WRONG ANSWER";
    }
    line
}

fn pad(text: String, columns: usize) -> String {
    let missing = columns.saturating_sub(text.chars().count());
    text + &" ".repeat(missing.max(1))
}
