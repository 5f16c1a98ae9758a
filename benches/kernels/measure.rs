//! A contest as a group of criterion's.

use std::time::Duration;

use criterion::{Criterion, Throughput};

use crate::contest::{Bound, Contest, Sample};

/// Checks each contender's answer once, then measures it.
///
/// # Panics
/// When an answer is wrong.
pub(crate) fn measure(criterion: &mut Criterion, contest: Contest) {
    let mut group = criterion.benchmark_group(contest.name);
    if contest.burst == 1 {
        group.sample_size(10);
    }
    group.throughput(Throughput::Elements(contest.items));
    println!("{}: {}", contest.name, promise(contest.bound));
    for contender in contest.contenders {
        let mut turn = contender.turn;
        let Sample { right, .. } = turn(true);
        assert!(right, "{}: {} is wrong", contest.name, contender.name);
        group.bench_function(contender.name, |bencher| {
            bencher.iter_custom(|turns| (0..turns).map(|_| turn(false).time).sum::<Duration>());
        });
    }
    group.finish();
}

fn promise(bound: Bound) -> String {
    match bound {
        Bound::RatioAtLeast(ratio) => format!("at least {ratio} times as fast as the second"),
        Bound::MicrosecondsAtMost(time) => format!("at most {time} µs"),
        Bound::RateAtLeast(rate) => format!("at least {rate} a second"),
        Bound::None => "for comparison".into(),
    }
}
