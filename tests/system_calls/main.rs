//! How many system calls an awaited call takes at full rate: counted, for counts have no noise.

#![cfg(feature = "tokio")]
#![allow(unsafe_code, reason = "asks the kernel to count")]

mod trace;

use std::env;
use std::io::ErrorKind;
use std::process::Command;

use gristmill::Pool;
use tokio::runtime::Builder;

/// Names the process that is counted.
const COUNTED: &str = "GRISTMILL_SYSTEM_CALLS";
const CALLERS: u64 = 256;
const CALLS: u64 = 256 * 100;
/// How often they are counted. Whoever else uses the processors puts the program to sleep, and then
/// somebody has to be woken; the least of the counts is the program's own.
const ROUNDS: usize = 8;
/// Beyond what the runtime itself does to look for events. Without optimisation the submitter is
/// so slow that workers fall asleep between its calls; then it is only held that not each is woken.
const MOST_A_CALL: f64 = if cfg!(debug_assertions) { 0.25 } else { 0.01 };

fn main() {
    if env::var_os(COUNTED).is_some() {
        return counted();
    }
    let program = env::current_exe().expect("a path");
    let rounds = match trace::count(Command::new(program).env(COUNTED, "1")) {
        Ok(rounds) => rounds,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            println!("SKIPPED: this process may not trace another: {error}");
            return;
        }
        Err(error) => panic!("counting system calls: {error}"),
    };
    assert_eq!(rounds.len(), ROUNDS);
    let a_call = |counts: &trace::Counts| {
        let beyond = counts
            .iter()
            .filter(|&(&number, _)| !trace::is_poll(number));
        beyond.map(|(_, count)| count).sum::<u64>() as f64 / CALLS as f64
    };
    for counts in &rounds {
        println!("{:.4} a call; by number: {counts:?}", a_call(counts));
    }
    let least = rounds.iter().map(a_call).fold(f64::INFINITY, f64::min);
    assert!(
        least <= MOST_A_CALL,
        "{least:.4} system calls an awaited call, wanted at most {MOST_A_CALL}"
    );
}

/// Many callers on one runtime, each of which awaits one call after the other.
fn counted() {
    let pool = Pool::builder().workers(2).build().expect("a pool");
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let call_all = |calls: u64| {
        runtime.block_on(async {
            let callers = (0..CALLERS).map(|first| {
                let pool = &pool;
                async move {
                    let mut sum = 0;
                    for number in (first..calls).step_by(CALLERS as usize) {
                        let task = pool.spawn(number, |number| number.to_native());
                        let answer = task.expect("room for a task").await;
                        sum += answer.expect("it ends well").to_native();
                    }
                    sum
                }
            });
            futures_util::future::join_all(callers)
                .await
                .into_iter()
                .sum::<u64>()
        })
    };
    // Memory and threads are there from now on.
    assert_eq!(call_all(CALLERS), CALLERS * (CALLERS - 1) / 2);
    for _ in 0..ROUNDS {
        let sum = trace::marked(|| call_all(CALLS));
        assert_eq!(sum, CALLS * (CALLS - 1) / 2);
    }
}
