//! Ratios on a noisy machine: the contenders take turns, and each round gives a ratio of its own.
//!
//! Two virtual processors may be two cores at one moment and two threads of one core at the next,
//! which alone doubles a bandwidth. Only what ran within the same moment is comparable: so the
//! table shows medians of ratios, not ratios of medians, with their quartiles.
//!
//! ```text
//! cargo bench --bench ratio                    everything
//! cargo bench --bench ratio -- spawn           contests with that in their name
//! cargo bench --bench ratio -- start           how long workers and processes take to start
//! cargo bench --bench ratio -- recycling       what it costs to replace workers
//! cargo bench --bench ratio -- --quick         small sizes, three rounds
//! cargo bench --bench ratio -- --rounds 41
//! ```
//! The exit code is 1 if an answer is wrong; a missed bound is only shown.

#[path = "kernels/contest.rs"]
mod contest;
mod kernels;
#[path = "kernels/mapping.rs"]
mod mapping;
#[path = "kernels/recovery.rs"]
mod recovery;
#[path = "kernels/recycling.rs"]
mod recycling;
#[path = "kernels/spawning.rs"]
mod spawning;
#[path = "kernels/starting.rs"]
mod starting;

use std::env;
use std::process::ExitCode;

use contest::{Bound, Contest, WIDTH, is_quick};

/// Rounds unless asked otherwise.
const ROUNDS: usize = 15;
const ROUNDS_QUICK: usize = 3;

fn main() -> ExitCode {
    let options = match Options::parse(env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("ratio: {problem}");
            return ExitCode::from(2);
        }
    };
    print_circumstances();
    let mut all_right = true;
    let crew = kernels::Crew::new(is_quick());
    for (name, setup) in kernels::RANGES {
        if options.wants(name) {
            all_right &= hold(setup(&crew), options.rounds);
        }
    }
    drop(crew);
    if options.wants("map/") || options.filter.starts_with("map/") {
        for contest in mapping::maps(is_quick()) {
            if options.wants(contest.name) {
                all_right &= hold(contest, options.rounds);
            }
        }
    }
    if options.wants("spawn/") || options.filter.starts_with("spawn") {
        for contest in spawning::spawns(is_quick()) {
            if options.wants(contest.name) {
                all_right &= hold(contest, options.rounds);
            }
        }
    }
    if options.wants("start/") || options.filter.starts_with("start") {
        for contest in starting::starts() {
            if options.wants(contest.name) {
                all_right &= hold(contest, options.rounds);
            }
        }
    }
    if options.wants("recycling/") || options.filter.starts_with("recycling") {
        let contest = recycling::recycling(is_quick());
        if options.wants(contest.name) {
            all_right &= hold(contest, options.rounds);
        }
    }
    if options.wants("recovery/") || options.filter.starts_with("recovery") {
        for contest in recovery::recoveries(is_quick()) {
            if options.wants(contest.name) {
                all_right &= hold(contest, options.rounds);
            }
        }
    }
    if all_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

struct Options {
    rounds: usize,
    filter: String,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            rounds: if is_quick() { ROUNDS_QUICK } else { ROUNDS },
            filter: String::new(),
        };
        while let Some(argument) = arguments.next() {
            match &*argument {
                "--quick" | "--test" | "--bench" => {}
                "--rounds" => {
                    let rounds = arguments.next().and_then(|text| text.parse().ok());
                    options.rounds = rounds
                        .filter(|&rounds| rounds > 0)
                        .ok_or("--rounds wants a number above zero")?;
                }
                flag if flag.starts_with('-') => return Err(format!("no option {flag}")),
                _ => options.filter = argument,
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        name.contains(&self.filter)
    }
}

fn print_circumstances() {
    println!(
        "{WIDTH} workers against {WIDTH} threads, in turns; times are medians a turn or item."
    );
    println!("ratio: rival / gristmill, median of the rounds [quartiles]; above 1 we are faster.");
    let tunables = env::var("GLIBC_TUNABLES").unwrap_or_else(|_| "none".into());
    println!("Rivals allocate from the system's allocator; GLIBC_TUNABLES: {tunables}.");
    if let Ok(pages) = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled") {
        println!("Transparent huge pages: {}.", pages.trim());
    }
    println!("Load averages: {}.\n", load());
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Holds one contest and prints its table; whether all answers were right.
fn hold(mut contest: Contest, rounds: usize) -> bool {
    // One turn each to warm up and to check.
    let mut all_right = true;
    let mut firsts = Vec::new();
    for contender in &mut contest.contenders {
        let sample = (contender.turn)(true);
        if !sample.right {
            println!("WRONG: {}: {}", contest.name, contender.name);
            all_right = false;
        }
        firsts.push(sample.time.as_secs_f64());
    }
    let mut times = vec![Vec::with_capacity(rounds); contest.contenders.len()];
    for _ in 0..rounds {
        for (contender, times) in contest.contenders.iter_mut().zip(&mut times) {
            let burst = (0..contest.burst).map(|_| (contender.turn)(false).time.as_secs_f64());
            times.push(median(burst.collect()));
        }
    }
    let found = verdict(&contest, &times);
    println!(
        "{:<40} rounds {rounds}, load {}, {found}",
        contest.name,
        load()
    );
    let ours = times[0].clone();
    for (index, contender) in contest.contenders.iter().enumerate() {
        let time = median(times[index].clone());
        let ratios: Vec<f64> = times[index].iter().zip(&ours).map(|(a, b)| a / b).collect();
        let [low, high] = quartiles(times[index].clone());
        let [least, most] = quartiles(ratios.clone());
        let comparison = if index == 0 {
            String::new()
        } else {
            format!("ratio {:>6.2} [{least:.2}, {most:.2}]", median(ratios))
        };
        println!(
            "  {:<26} {:>11} [{}, {}]  first {:>11}  {:>12}  {comparison}",
            contender.name,
            show(time),
            show(low),
            show(high),
            show(firsts[index]),
            rate(contest.items, time),
        );
    }
    println!();
    all_right
}

fn verdict(contest: &Contest, times: &[Vec<f64>]) -> String {
    let ours = median(times[0].clone());
    let (found, met) = match contest.bound {
        Bound::RatioAtLeast(bound) => {
            let ratios = times[1].iter().zip(&times[0]).map(|(a, b)| a / b);
            let ratio = median(ratios.collect());
            (format!("{ratio:.2}, wanted {bound:.2}"), ratio >= bound)
        }
        Bound::MicrosecondsAtMost(bound) => {
            let time = ours * 1e6 / contest.items as f64;
            (format!("{time:.2} µs, wanted {bound} µs"), time <= bound)
        }
        Bound::RateAtLeast(bound) => {
            let rate = contest.items as f64 / ours;
            let found = format!("{:.2} M/s, wanted {:.2} M/s", rate / 1e6, bound / 1e6);
            (found, rate >= bound)
        }
        Bound::None => return "for comparison".into(),
    };
    format!("{found}: {}", if met { "MET" } else { "MISSED" })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn quartiles(mut values: Vec<f64>) -> [f64; 2] {
    values.sort_by(f64::total_cmp);
    [values[values.len() / 4], values[values.len() * 3 / 4]]
}

fn show(seconds: f64) -> String {
    if seconds >= 1e-3 {
        format!("{:.2} ms", seconds * 1e3)
    } else {
        format!("{:.2} µs", seconds * 1e6)
    }
}

/// Items a second: elements of an array, or tasks.
fn rate(items: u64, time: f64) -> String {
    format!("{:.3} M/s", items as f64 / time / 1e6)
}
