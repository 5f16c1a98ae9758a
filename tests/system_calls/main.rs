//! How many system calls an awaited call takes at full rate: counted, for counts have no noise.

#![cfg(feature = "tokio")]
#![allow(unsafe_code, reason = "asks the kernel to count")]

mod trace;

use std::env;
use std::process::Command;

use gristmill::Pool;
use tokio::runtime::Builder;

/// Names the process that is counted.
const COUNTED: &str = "GRISTMILL_SYSTEM_CALLS";
const CALLERS: u64 = 256;
const CALLS: u64 = 256 * 400;
/// Beyond what the runtime itself does to look for events.
const MOST_A_CALL: f64 = 0.01;
/// A worker that others push off its processor is waited for, and waits: where the machine is busy
/// some runs have calls that are not of our making, but not all of so many.
const ATTEMPTS: usize = 20;

fn main() {
    if env::var_os(COUNTED).is_some() {
        return counted();
    }
    let program = env::current_exe().expect("a path");
    let mut seen = Vec::new();
    for _ in 0..ATTEMPTS {
        let counts = match trace::count(Command::new(&program).env(COUNTED, "1")) {
            Ok(counts) => counts,
            Err(error) => panic!("counting system calls: {error}"),
        };
        let beyond = counts
            .iter()
            .filter(|&(&number, _)| !trace::is_poll(number));
        let beyond: u64 = beyond.map(|(_, count)| count).sum();
        let all: u64 = counts.values().sum();
        println!("{CALLS} awaited calls: {all} system calls, {beyond} beyond the runtime's poll");
        println!("by number: {counts:?}");
        let each = beyond as f64 / CALLS as f64;
        if each <= MOST_A_CALL {
            return;
        }
        seen.push(each);
    }
    panic!("system calls an awaited call: {seen:.4?}, wanted at most {MOST_A_CALL} once");
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
    let sum = trace::marked(|| call_all(CALLS));
    assert_eq!(sum, CALLS * (CALLS - 1) / 2);
}
