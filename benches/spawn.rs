//! Single tasks against tokio, rayon and channels, by criterion; tasks a second are its `elem/s`.
//!
//! `--test` and `--quick` take few tasks.

#[path = "kernels/contest.rs"]
mod contest;
#[path = "kernels/measure.rs"]
mod measure;
#[path = "kernels/spawning.rs"]
mod spawning;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for contest in spawning::spawns(contest::is_quick()) {
        measure::measure(&mut criterion, contest);
    }
    criterion.final_summary();
}
