//! A library that leaks, used for ever: its worker is replaced before it has grown too large.
//!
//! `cargo run --release --example leaky_library`
//!
//! The successor is started while the predecessor still works, so nobody waits for it.

use std::collections::BTreeSet;

use gristmill::{Error, Pool};

const CALLS: u64 = 400;
const LEAK: usize = 1 << 20;
/// A worker larger than this is replaced.
const HIGH_WATER: u64 = 64 << 20;

/// Stands for native code that forgets a megabyte with each call.
fn leaky(n: u64) -> u64 {
    let lost = vec![n as u8; LEAK].leak();
    lost.iter().map(|&byte| u64::from(byte)).sum()
}

/// Of the process that asks, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0);
    pages * 4096
}

fn main() -> Result<(), Error> {
    let pool = Pool::builder()
        .workers(1)
        .max_worker_memory(HIGH_WATER)
        // And whatever happens, after so many calls.
        .max_tasks_per_worker(150)
        .on_worker_exit(|| println!("  a worker leaves with {} MiB", resident() >> 20))
        .build()?;
    let (mut workers, mut largest) = (BTreeSet::new(), 0);
    let results = pool.map(0..CALLS, |n| {
        let sum = leaky(n.to_native());
        (sum, std::process::id(), resident())
    });
    for (n, result) in (0..).zip(results.batch(1).ordered()?) {
        let result = result.map_err(Error::from)?;
        assert_eq!(result.0, (n & 255) * LEAK as u64);
        workers.insert(result.1.to_native());
        largest = largest.max(result.2.to_native());
    }
    let leaked = CALLS * LEAK as u64;
    println!(
        "{CALLS} calls leaked {} MiB; {} workers, none larger than {} MiB",
        leaked >> 20,
        workers.len(),
        largest >> 20
    );
    assert!(workers.len() > 2 && largest < leaked / 2);
    pool.close();
    pool.join().wait()?;
    Ok(())
}
