//! (b) A map whose time is the processor's, and (c) one whose elements are uneven.

use std::sync::Arc;
use std::thread;

use rayon::prelude::*;

use crate::contest::{Kind, Row, WIDTH, turn};
use crate::crew::Crew;
use crate::kernels::grind;
use crate::work::Setup;

pub(crate) const ROWS: [(&str, Setup); 6] = [
    ("b/compute", compute),
    ("c/ascending", ascending),
    ("c/random", random),
    ("c/heavy_last", heavy_last),
    ("c/few/heavy_first", |crew| few(crew, true)),
    ("c/few/heavy_last", |crew| few(crew, false)),
];

const RAYON: &str = "rayon collect";

/// As many steps as the element says.
#[inline(never)]
fn uneven(steps: &u32) -> f64 {
    grind(f64::from(*steps), *steps)
}

fn is_right(steps: &[u32], output: &[f64]) -> bool {
    let mut pairs = steps.iter().zip(output);
    steps.len() == output.len() && pairs.all(|(steps, y)| uneven(steps) == *y)
}

/// The pool, rayon and scoped threads over elements that say how much work each is.
fn contest(crew: &Crew, row: Row, steps: Vec<u32>) -> Row {
    let (pool, rayon) = (crew.pool(), crew.rayon());
    let shared = pool.copy_from_slice(&steps).expect("room").freeze();
    let plainly = Arc::new(steps);
    let [for_rayon, for_scope] = [Arc::clone(&plainly), plainly];
    row.enter(Kind::Ours, "gristmill par_map", move |check| {
        let work = || pool.par_map(&shared, uneven).wait();
        turn(check, work, |output| {
            output
                .as_ref()
                .is_ok_and(|output| is_right(&shared, output))
        })
    })
    .enter(Kind::Threads, RAYON, move |check| {
        let work = || rayon.install(|| for_rayon.par_iter().map(uneven).collect::<Vec<f64>>());
        turn(check, work, |output| is_right(&for_rayon, output))
    })
    .enter(Kind::Threads, "thread::scope, halves", move |check| {
        let work = || {
            let mut output = vec![0.0; for_scope.len()];
            let half = output.len().div_ceil(WIDTH);
            thread::scope(|scope| {
                for (input, output) in for_scope.chunks(half).zip(output.chunks_mut(half)) {
                    scope.spawn(move || {
                        for (steps, y) in input.iter().zip(output) {
                            *y = uneven(steps);
                        }
                    });
                }
            });
            output
        };
        turn(check, work, |output| is_right(&for_scope, output))
    })
}

fn compute(crew: &Crew) -> Row {
    let len = crew.pick(128 << 10, 1 << 10);
    let row = Row::new(
        "b/compute",
        format!("200 dependent steps on each of {len} elements"),
    );
    contest(crew, row.ahead_of(RAYON, 1.0), vec![200; len])
}

fn ascending(crew: &Crew) -> Row {
    let len = crew.pick(128 << 10, 1 << 10) as u32;
    let row = Row::new("c/ascending", "each element dearer than the one before");
    let steps = (0..len).map(|i| i / (len / 400).max(1));
    contest(crew, row.ahead_of(RAYON, 1.0), steps.collect())
}

fn random(crew: &Crew) -> Row {
    let len = crew.pick(128 << 10, 1 << 10) as u32;
    let row = Row::new(
        "c/random",
        "costs from 1 to 2000 steps, most of them small, in any order",
    );
    // A fixed sequence; the square of a uniform number.
    let steps = (0..len).map(|i| {
        let part = f64::from(i.wrapping_mul(2_654_435_769) >> 16) / 65536.0;
        (2000.0 * part * part) as u32 + 1
    });
    contest(crew, row.ahead_of(RAYON, 1.0), steps.collect())
}

fn heavy_last(crew: &Crew) -> Row {
    let len = crew.pick(128 << 10, 1 << 10);
    let what = "the last hundredth of the elements costs a thousand times as much";
    let row = Row::new("c/heavy_last", what);
    let steps = (0..len).map(|i| if i < len - len / 100 { 10 } else { 10_000 });
    contest(crew, row.ahead_of(RAYON, 1.0), steps.collect())
}

/// Few items, one of which is a third of all work.
fn few(crew: &Crew, heavy_first: bool) -> Row {
    const ITEMS: u32 = 64;
    let unit = crew.pick(20_000, 100) as u32;
    let mut steps: Vec<u32> = (1..ITEMS).map(|i| unit * (1 + i % 8)).collect();
    let rest: u32 = steps.iter().sum();
    steps.push(rest / 2);
    if heavy_first {
        steps.sort_by(|a, b| b.cmp(a));
    }
    let (name, wanted) = match heavy_first {
        true => ("c/few/heavy_first", 1.5),
        false => ("c/few/heavy_last", 1.0),
    };
    let row = Row::new(
        name,
        format!("{ITEMS} uneven items, one of them a third of all work"),
    );
    let (pool, rayon) = (crew.pool(), crew.rayon());
    let (tasks, one_by_one) = (steps.clone(), Arc::new(steps.clone()));
    contest(crew, row.ahead_of(RAYON, wanted), steps)
        .enter(Kind::Ours, "gristmill map, a task each", move |check| {
            let work = || {
                let map = pool.map(tasks.iter().copied(), |steps| uneven(&steps.to_native()));
                let values = map.batch(1).wait().expect("it ends well");
                values.iter().map(|y| y.to_native()).collect::<Vec<f64>>()
            };
            turn(check, work, |output| is_right(&tasks, output))
        })
        .enter(
            Kind::Threads,
            "rayon collect, with_max_len(1)",
            move |check| {
                let work = || {
                    let items = one_by_one.par_iter().with_max_len(1);
                    rayon.install(|| items.map(uneven).collect::<Vec<f64>>())
                };
                turn(check, work, |output| is_right(&one_by_one, output))
            },
        )
}
