//! The short form of `examples/soak`: a few seconds of tasks and range jobs under random kills.

#[path = "../examples/soak/soak.rs"]
mod soak;

use soak::Plan;

#[test]
fn random_kills_lose_nothing_and_repeat_nothing() {
    let plan = Plan {
        tasks: 150_000,
        kills: 40,
        workers: 3,
        seed: 7,
        each: 0,
    };
    let report = soak::run(&plan);
    println!("{report}");
    assert_eq!(report.tasks + report.lost, plan.tasks);
    // A worker holds one task at a time.
    assert!(report.lost <= report.kills, "{report}");
    assert!(report.kills >= plan.kills / 2, "{report}");
    assert!(report.jobs > 0, "{report}");
}

#[test]
fn random_kills_while_workers_are_recycled_lose_nothing_and_repeat_nothing() {
    let plan = Plan {
        tasks: 20_000,
        kills: 30,
        workers: 3,
        seed: 11,
        each: 100,
    };
    let report = soak::run(&plan);
    println!("{report}");
    assert_eq!(report.tasks + report.lost, plan.tasks);
    assert!(report.lost <= report.kills, "{report}");
    assert!(report.kills >= plan.kills / 2, "{report}");
    // Beyond those that replaced the killed.
    assert!(report.recoveries > 2 * plan.kills, "{report}");
}
