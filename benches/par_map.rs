//! Range jobs against rayon, scoped threads and one thread, by criterion.
//!
//! Criterion measures one contender after the other; on a noisy machine, `benches/ratio.rs`
//! compares more fairly. `--test` and `--quick` take small sizes.

#[path = "kernels/contest.rs"]
mod contest;
mod kernels;
#[path = "kernels/measure.rs"]
mod measure;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let crew = kernels::Crew::new(contest::is_quick());
    for (_, setup) in kernels::RANGES {
        measure::measure(&mut criterion, setup(&crew));
    }
    criterion.final_summary();
}
