//! A cache in each worker, and keys that always meet the same one.
//!
//! ```text
//! cargo run --release --example sticky_keys
//! ```
//!
//! Each of a few tables is dear to load and cheap to ask. Sticky tasks load every table once in
//! all; tasks that any worker may take load it again in each. Then a worker is killed: its tables
//! go to the others, and the questions that waited for it are answered there.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Mutex;

use gristmill::{Pool, TaskHandle};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const TABLES: u64 = 12;
const QUESTIONS: u64 = 600;

/// This worker's tables; each process has its own.
static LOADED: Mutex<Option<HashMap<u64, Vec<u64>>>> = Mutex::new(None);

/// The answer, and whether the table had to be loaded for it.
fn ask(table: u64, question: u64) -> (u64, bool) {
    let mut tables = LOADED.lock().expect("no panic inside");
    let tables = tables.get_or_insert_default();
    let is_new = !tables.contains_key(&table);
    let entries = tables.entry(table).or_insert_with(|| {
        (0..200_000_u64)
            .map(|i| (i ^ table).wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .collect()
    });
    (entries[question as usize % entries.len()], is_new)
}

fn submit(
    pool: &Pool,
    question: u64,
    sticky: bool,
) -> Result<TaskHandle<(u64, bool)>, Box<dyn Error>> {
    let table = question % TABLES;
    let task = pool.task((table, question), |at| {
        ask(at.0.to_native(), at.1.to_native())
    });
    let task = task.idempotent();
    Ok(if sticky { task.sticky(table) } else { task }.spawn()?)
}

/// Asks all questions; how many tables were loaded for them.
fn round(pool: &Pool, sticky: bool) -> Result<usize, Box<dyn Error>> {
    let tasks = (0..QUESTIONS).map(|question| submit(pool, question, sticky));
    let tasks: Vec<_> = tasks.collect::<Result<_, _>>()?;
    let mut loads = 0;
    for task in tasks {
        loads += usize::from(task.wait()?.1);
    }
    Ok(loads)
}

fn main() -> Result<(), Box<dyn Error>> {
    let pool = Pool::builder().workers(3).build()?;
    println!("sticky: {} tables loaded by 3 workers", round(&pool, true)?);
    println!("again: {}", round(&pool, true)?);

    let victim = pool.worker_pids()[0];
    let tasks = (0..QUESTIONS).map(|question| submit(&pool, question, true));
    let tasks: Vec<_> = tasks.collect::<Result<_, _>>()?;
    kill(Pid::from_raw(victim as i32), Signal::SIGKILL)?;
    let answers = tasks
        .into_iter()
        .map(|task| task.wait().map(|answer| answer.1));
    let loads = answers.collect::<Result<Vec<bool>, _>>()?;
    let loads = loads.into_iter().filter(|&new| new).count();
    println!("worker {victim} killed: all answered, {loads} tables loaded elsewhere");

    let pool = Pool::builder().workers(3).build()?;
    println!(
        "not sticky: {} tables loaded by 3 workers",
        round(&pool, false)?
    );
    Ok(())
}
