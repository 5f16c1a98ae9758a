//! Tasks and maps against tokio, rayon and channels, by criterion; tasks a second are its `elem/s`.
//!
//! `--test` and `--quick` take few tasks.

#[path = "kernels/contest.rs"]
mod contest;
#[path = "kernels/mapping.rs"]
mod mapping;
#[path = "kernels/measure.rs"]
mod measure;
#[path = "kernels/spawning.rs"]
mod spawning;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let is_quick = contest::is_quick();
    for contest in spawning::spawns(is_quick)
        .into_iter()
        .chain(mapping::maps(is_quick))
    {
        measure::measure(&mut criterion, contest);
    }
    criterion.final_summary();
}
