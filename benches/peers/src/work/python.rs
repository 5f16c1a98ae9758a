//! Python's pools on the work of (a), (f), (g) and (h).

use crate::contest::{Kind, Row, burst, turn};
use crate::crew::Crew;
use crate::kernels::{Element, is_axpy};
use crate::peer::python;
use crate::remote::Remote;
use crate::work::tasks::{add_up, answer, one_by_one_turn};
use crate::work::{Setup, start};

/// They have `python` in their names.
pub(crate) const ROWS: [(&str, Setup); 7] = [
    ("a/python", map),
    ("f/python/one_by_one", one_by_one),
    ("f/python/batches", batches),
    ("f/python/numbers", numbers),
    ("g/python/call", call),
    ("h/python/fork", start_forked),
    ("h/python/spawn", start_anew),
];

const POOLS: [&str; 6] = [
    "multiprocessing.Pool",
    "ProcessPoolExecutor",
    "aiomultiprocess",
    "aioprocessing",
    "joblib",
    "mpire",
];

/// All pools on the same work, each to take so many times as long as ours.
fn pools(row: Row, work: &str, size: usize, at_least: f64) -> Row {
    pools_each(row, work, |_| size, at_least)
}

fn pools_each(row: Row, work: &str, size: impl Fn(&str) -> usize, at_least: f64) -> Row {
    pools_of(row, POOLS.into_iter(), work, size, at_least)
}

fn pools_of(
    mut row: Row,
    peers: impl Iterator<Item = &'static str>,
    work: &str,
    size: impl Fn(&str) -> usize,
    at_least: f64,
) -> Row {
    for peer in peers {
        let size = size(peer);
        row = row
            .invite(Kind::Python, peer, python::pool(peer, work, size))
            .ahead_of(peer, at_least);
    }
    row
}

fn map(crew: &Crew) -> Row {
    let len = crew.pick(256 << 20, 1 << 20) / 8;
    let pool = crew.pool();
    let input = pool.alloc_from_fn(len, f64::of).expect("room").freeze();
    let what = "x·a+b over 256 MiB of f64 into a fresh output; theirs in 64 chunks by NumPy";
    let row = Row::new("a/python", what).bytes(16 * len).enter(
        Kind::Ours,
        "gristmill par_map",
        move |check| {
            let work = || pool.par_map(&input, |x| x.axpy()).wait();
            turn(check, work, |output| {
                output.as_ref().is_ok_and(|output| is_axpy(&input, output))
            })
        },
    );
    let alone = "NumPy alone";
    let row = pools(row, "map", len, 6.0);
    row.invite(Kind::Python, alone, python::pool(alone, "map", len))
}

fn one_by_one(crew: &Crew) -> Row {
    let (tasks, pool) = (crew.pick(100_000, 1000), crew.pool());
    let row = Row::new("f/python/one_by_one", "a no-op call, one message each");
    let row = row.enter(Kind::Ours, "gristmill spawn", move |_| {
        one_by_one_turn(&pool, tasks)
    });
    pools(row, "tasks", crew.pick(1000, 100), 100.0)
}

fn batches(crew: &Crew) -> Row {
    let (tasks, pool) = (crew.pick(1_000_000, 1000), crew.pool());
    let what = "no-op calls, many a message; aiomultiprocess has no such thing";
    let row = Row::new("f/python/batches", what);
    let row = row.enter(Kind::Ours, "gristmill map", move |_| {
        add_up(tasks, || {
            let map = pool.map(0..tasks as u64, |number| answer(number.to_native()));
            let answers = map.ordered().expect("room").into_iter();
            let values = answers.map(|value| value.map_or(0, |value| value.to_native()));
            values.fold(0, u64::wrapping_add)
        })
    });
    pools_each(row, "batches", |peer| batch(crew, peer), 100.0)
}

/// From numbers to numbers, for which there is another verb here.
fn numbers(crew: &Crew) -> Row {
    let (tasks, pool) = (crew.pick(1_000_000, 1000), crew.pool());
    let what = "a no-op for each of an array's numbers, which is made and added up as well";
    let row = Row::new("f/python/numbers", what);
    let row = row.enter(Kind::Ours, "gristmill par_map", move |_| {
        add_up(tasks, || {
            let input = pool.alloc_from_fn(tasks, |n| n as u64).expect("room");
            let output = pool.par_map(&input.freeze(), |&number| answer(number));
            let add = |sum: u64, &number: &u64| sum.wrapping_add(number);
            output.wait().map_or(0, |output| output.iter().fold(0, add))
        })
    });
    pools_each(row, "batches", |peer| batch(crew, peer), 100.0)
}

/// As many as take a tenth of a second.
fn batch(crew: &Crew, peer: &str) -> usize {
    match peer {
        "aiomultiprocess" => crew.pick(2000, 100),
        "joblib" | "mpire" => crew.pick(10_000, 100),
        _ => crew.pick(200_000, 100),
    }
}

fn call(crew: &Crew) -> Row {
    let (calls, pool) = (crew.pick(10_000, 100), crew.pool());
    let row = Row::new("g/python/call", "one call, waited for before the next");
    let row = row.enter(Kind::Ours, "gristmill spawn, wait", move |_| {
        burst(calls, || {
            let task = pool.spawn(7_u64, |number| answer(number.to_native()));
            let task = task.expect("room").wait();
            task.is_ok_and(|found| *found == answer(7))
        })
    });
    pools(row, "call", 1, 50.0)
}

/// Pools whose workers are forks of the program, each in a small process of its own.
fn start_forked(_: &Crew) -> Row {
    let row = Row::new(
        "h/python/fork",
        "a pool of two workers, forks of a small program, from nothing to its first answer",
    );
    let ours = Remote::start(start::FORKED, ("_", "")).and_then(Remote::work);
    let row = row.invite(Kind::Ours, "gristmill, fork", ours);
    let forks = POOLS.into_iter().filter(|&peer| peer != "joblib");
    pools_of(row, forks, "start/fork", |_| 1, 10.0)
}

/// Pools whose workers are started anew.
fn start_anew(_: &Crew) -> Row {
    let row = Row::new(
        "h/python/spawn",
        "the same, where workers are started anew; aioprocessing cannot",
    );
    let ours = Remote::start(start::ANEW, ("_", "")).and_then(Remote::work);
    let row = row.invite(Kind::Ours, "gristmill", ours);
    let anew = POOLS.into_iter().filter(|&peer| peer != "aioprocessing");
    pools_of(row, anew, "start/spawn", |_| 1, 10.0)
}
