//! (k) Growth: more tasks, more bytes, more workers; and what each takes of memory.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use gristmill::{Pool, SharedVec, TaskHandle};

use crate::contest::{Aim, Kind, Row, Turn, Unit, WIDTH, timed, turn};
use crate::crew::{Crew, pool};
use crate::kernels::{Element, is_axpy};
use crate::machine;
use crate::work::Setup;
use crate::work::tasks::{add_up, answer, one_by_one_turn};

pub(crate) const ROWS: [(&str, Setup); 8] = [
    ("k/tasks/map", tasks_by_map),
    ("k/tasks/spawn", tasks_by_spawn),
    ("k/bytes", bytes),
    ("k/workers/map", workers_map),
    ("k/workers/tasks", workers_tasks),
    ("k/memory/task", memory_of_tasks),
    ("k/memory/worker", memory_of_workers),
    ("k/memory/buffer", memory_of_buffers),
];

const FLAT: Aim = Aim::Flat { at_most: 1.15 };

fn count_name(count: usize) -> String {
    match count {
        1_000_000.. => format!("{} million", count / 1_000_000),
        1000.. => format!("{} thousand", count / 1000),
        _ => count.to_string(),
    }
}

fn tasks_by_map(crew: &Crew) -> Row {
    let mut row = Row::new(
        "k/tasks/map",
        "a no-op call in a map, by the length of the map",
    )
    .aim(FLAT);
    for count in [1000, 10_000, 100_000, 1_000_000, 10_000_000] {
        let count = crew.pick(count, count.min(1000));
        let pool = crew.pool();
        let name = format!("{} calls", count_name(count));
        // Short ones many times, so that each turn takes milliseconds.
        let times = (crew.pick(100_000, 1000) / count).max(1);
        row = row.enter(Kind::Ours, name, move |_| {
            let turns = (0..times).map(|_| {
                add_up(count, || {
                    let map = pool.map(0..count as u64, |number| answer(number.to_native()));
                    let answers = map.ordered().expect("room").into_iter();
                    let values = answers.map(|value| value.map_or(0, |value| value.to_native()));
                    values.fold(0, u64::wrapping_add)
                })
            });
            average(turns)
        });
    }
    row
}

fn average(turns: impl Iterator<Item = Turn>) -> Turn {
    let (mut time, mut right, mut count) = (0.0, true, 0.0);
    for turn in turns {
        time += turn.time;
        right &= turn.right;
        count += 1.0;
    }
    Turn::new(time / count, right)
}

fn tasks_by_spawn(crew: &Crew) -> Row {
    let what = "a no-op task, 256 in flight, by how many there are in all";
    let mut row = Row::new("k/tasks/spawn", what).aim(FLAT);
    for count in [1000, 10_000, 100_000, 1_000_000] {
        let count = crew.pick(count, count.min(1000));
        let pool = crew.pool();
        let name = format!("{} tasks", count_name(count));
        let times = (crew.pick(100_000, 1000) / count).max(1);
        row = row.enter(Kind::Ours, name, move |_| {
            average((0..times).map(|_| one_by_one_turn(&pool, count)))
        });
    }
    row
}

/// From 1 MiB to as much as there is room for, at most 8 GiB; the time is by the MiB.
fn bytes(crew: &Crew) -> Row {
    const MIB: usize = 1 << 20;
    let room = machine::available_memory() / 4 * 3;
    let sizes = [1, 8, 64, 512, 1024, 4096, 8192].map(|mib| mib * MIB);
    let most = crew.pick(sizes[6], MIB);
    let fits = |size: &&usize| **size <= most && 2 * **size as u64 <= room;
    let sizes: Vec<usize> = sizes.iter().filter(fits).copied().collect();
    let largest = sizes.last().copied().unwrap_or(MIB);
    let pool = Pool::builder().workers(WIDTH);
    // All of it stays warm: growth is asked for, not the first touch.
    let memory = 2 * largest as u64 + (64 << 20);
    let pool = pool.memory_budget(memory).keep_warm(memory).build();
    let pool = Arc::new(pool.expect("a pool"));
    let whole = pool
        .alloc_from_fn(largest / 8, f64::of)
        .expect("room")
        .freeze();
    let what = "x·a+b into a fresh output, a MiB of input, by the size of the input";
    let mut row = Row::new("k/bytes", what).bytes(2 * MIB).aim(FLAT);
    let least = whole.slice(..1);
    for size in sizes {
        let (pool, input) = (Arc::clone(&pool), whole.slice(..size / 8));
        let least = least.clone();
        let name = match size >> 20 {
            mib @ 1024.. => format!("{} GiB", mib / 1024),
            mib => format!("{mib} MiB"),
        };
        let mib = (size / MIB) as f64;
        let times = crew.pick((64 * MIB / size).max(1), 1);
        row = row.enter(Kind::Ours, name, move |check| {
            let mut all = average((0..times).map(|_| {
                let work = || pool.par_map(&input, |x| x.axpy()).wait();
                turn(check, work, |output| {
                    output.as_ref().is_ok_and(|output| is_axpy(&input, output))
                })
            }));
            // A worker leaves an output when it begins with another: that is this size's to pay.
            let (next, leaving) = timed(|| pool.par_map(&least, |x| x.axpy()).wait());
            all.right &= next.is_ok();
            all.time = (all.time + leaving / times as f64) / mib;
            all
        });
    }
    if largest < most {
        let why = format!("{} MiB are free", room >> 20);
        row.missing.push(("larger ones".into(), why));
    }
    row
}

/// Two first: the others are compared with it.
const WORKERS: [usize; 5] = [2, 1, 4, 16, 64];

fn workers_name(workers: usize) -> String {
    format!("{workers} workers")
}

fn workers_map(crew: &Crew) -> Row {
    let len = crew.pick(256 << 20, 1 << 20) / 8;
    let what = "x·a+b over 256 MiB of f64 into an existing output";
    let mut row = Row::new("k/workers/map", what)
        .bytes(16 * len)
        .aim(Aim::Slower {
            of: workers_name(64),
            at_most: 1.10,
        });
    for workers in WORKERS {
        let pool = pool(workers);
        let input = pool.alloc_from_fn(len, f64::of).expect("room").freeze();
        let mut output: SharedVec<f64> = pool.alloc_zeroed(len).expect("room");
        row = row.enter(Kind::Ours, workers_name(workers), move |check| {
            let (done, time) =
                timed(|| pool.par_map_into(&input, &mut output, |x| x.axpy()).wait());
            Turn::new(time, done.is_ok() && (!check || is_axpy(&input, &output)))
        });
    }
    row
}

fn workers_tasks(crew: &Crew) -> Row {
    let tasks = crew.pick(50_000, 1000);
    let mut row = Row::new("k/workers/tasks", "a no-op task, 256 in flight").aim(Aim::Slower {
        of: workers_name(64),
        at_most: 1.10,
    });
    for workers in WORKERS {
        let pool = pool(workers);
        row = row.enter(Kind::Ours, workers_name(workers), move |_| {
            one_by_one_turn(&pool, tasks)
        });
    }
    row
}

/// Pages that this process has in memory, shared ones as well.
fn resident() -> f64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or(f64::NAN) * 4096.0
}

/// How much more is resident after `fill`, by the item; what was freed before is given back first.
fn growth<O>(pool: &Pool, count: usize, fill: impl FnOnce() -> O) -> (Turn, O) {
    pool.trim_memory();
    // SAFETY: takes a number only.
    unsafe { libc::malloc_trim(0) };
    let before = resident();
    let filled = fill();
    let bytes = (resident() - before) / count as f64;
    (Turn::new(bytes, true), filled)
}

/// Tasks that wait behind one that sleeps.
fn memory_of_tasks(crew: &Crew) -> Row {
    let what = "memory for a task that waits, with an argument of 8 bytes and its handle";
    let mut row = Row::new("k/memory/task", what).unit(Unit::Bytes);
    for count in [10_000, 100_000, 1_000_000] {
        let count = crew.pick(count, 1000);
        let name = format!("{} tasks", count_name(count));
        row = row.enter(Kind::Ours, name, move |_| {
            let pool = pool(1);
            let sleep = pool.spawn((), |()| std::thread::sleep(Duration::from_secs(3600)));
            let sleep = sleep.expect("room");
            let (mut turn, tasks) = growth(&pool, count, || {
                let tasks = (0..count as u64).map(|number| {
                    let task = pool.spawn(number, |number| answer(number.to_native()));
                    task.expect("room for a task")
                });
                tasks.collect::<Vec<TaskHandle<u64>>>()
            });
            turn.right = tasks.len() == count && !sleep.is_finished();
            // They never run: the pool ends first.
            drop(pool.terminate().wait());
            drop(sleep);
            turn
        });
    }
    let count = crew.pick(100_000, 1000);
    let runtime = crate::crew::two_threads();
    row.enter(Kind::Threads, "tokio spawn_blocking", move |_| {
        // Both blocking threads wait for what is sent when all is counted.
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        for _ in 0..WIDTH {
            let wait = Arc::clone(&wait);
            runtime.spawn_blocking(move || wait.lock().is_ok_and(|wait| wait.recv().is_ok()));
        }
        // SAFETY: takes a number only.
        unsafe { libc::malloc_trim(0) };
        let before = resident();
        let tasks = (0..count as u64).map(|number| runtime.spawn_blocking(move || answer(number)));
        let tasks: Vec<_> = tasks.collect();
        let bytes = (resident() - before) / count as f64;
        drop(go);
        let right = tasks.into_iter().enumerate().all(|(number, task)| {
            runtime
                .block_on(task)
                .is_ok_and(|found| found == answer(number as u64))
        });
        Turn::new(bytes, right)
    })
}

/// What a process has for itself alone: its heap, its stack, and what of the program it has written
/// to, above all addresses that were relocated as it started.
fn anonymous(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Anonymous:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) * 1024.0
}

fn memory_of_workers(crew: &Crew) -> Row {
    let what =
        "memory that a worker has for itself alone, beside its results, after a map over 1 MiB";
    let mut row = Row::new("k/memory/worker", what).unit(Unit::Bytes);
    for workers in [1, 2, 4, 16, 64] {
        let workers = crew.pick(workers, workers.min(4));
        row = row.enter(Kind::Ours, workers_name(workers), move |_| {
            let pool = pool(workers);
            let input = pool.alloc_from_fn(128 << 10, f64::of).expect("room");
            let input = input.freeze();
            let output = pool.par_map(&input, |x| x.axpy()).wait();
            let pids = pool.worker_pids();
            let bytes: f64 = pids.iter().copied().map(anonymous).sum();
            let right = output.is_ok_and(|output| is_axpy(&input, &output));
            Turn::new(bytes / pids.len() as f64, right)
        });
    }
    row
}

fn memory_of_buffers(crew: &Crew) -> Row {
    let what = "memory that a buffer takes beyond its elements";
    let mut row = Row::new("k/memory/buffer", what).unit(Unit::Bytes);
    for (size, count) in [(64, 100_000), (4096, 20_000), (65_536, 2000)] {
        let count = crew.pick(count, 100);
        row = row.enter(Kind::Ours, format!("buffers of {size} B"), move |_| {
            let pool = pool(1);
            let (mut turn, buffers) = growth(&pool, count, || {
                let buffers = (0..count).map(|_| pool.alloc_zeroed::<u8>(size).expect("room"));
                buffers.collect::<Vec<_>>()
            });
            turn.time -= size as f64;
            turn.right = buffers.iter().all(|buffer| buffer.len() == size);
            turn
        });
    }
    row
}
