//! (d) A million tiny elements. (e) What a call costs: hot, after idleness, and from which work on
//! it pays.

use std::hint::{black_box, spin_loop};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use gristmill::{Error, Job, Pool, SharedSlice};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::contest::{Aim, Kind, Row, Turn, WIDTH, burst};
use crate::crew::Crew;
use crate::kernels::{Element, axpy, grind, is_axpy};
use crate::statistics::median;
use crate::work::Setup;

pub(crate) const ROWS: [(&str, Setup); 8] = [
    ("d/fresh", million_fresh),
    ("d/existing", million_existing),
    ("e/hot", |crew| hot(crew, Waits::Isolated)),
    ("e/idle", |crew| idle(crew, Waits::Isolated)),
    ("e/pays", |crew| pays(crew, Waits::Isolated)),
    ("e/helped/hot", |crew| hot(crew, Waits::Helping)),
    ("e/helped/idle", |crew| idle(crew, Waits::Helping)),
    ("e/helped/pays", |crew| pays(crew, Waits::Helping)),
];

const MILLION: usize = 1_000_000;
/// Elements of a small call.
const SMALL: usize = 256;
/// Nobody asks for anything for so long.
const IDLE: Duration = Duration::from_millis(1);
const RAYON: &str = "rayon, from outside";
const CROSSBEAM: &str = "crossbeam + threads";

/// What our caller does until its call has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// Nothing: workers do it all.
    Isolated,
    /// Parts of it, as `wait_helping` does.
    Helping,
}

impl Waits {
    fn until<O>(self, job: Job<'_, O>) -> Result<O, Error> {
        match self {
            Self::Isolated => job.wait(),
            Self::Helping => job.wait_helping(),
        }
    }

    /// A row's name and what it is about.
    fn row(self, name: &str, what: &str) -> Row {
        match self {
            Self::Isolated => Row::new(format!("e/{name}"), what),
            Self::Helping => Row::new(
                format!("e/helped/{name}"),
                format!("{what}; our caller runs parts of it, too, which are not isolated"),
            ),
        }
    }
}

fn inputs(pool: &Pool, len: usize) -> (SharedSlice<f64>, Arc<Vec<f64>>) {
    let shared = pool.alloc_from_fn(len, f64::of).expect("room").freeze();
    (shared, Arc::new((0..len).map(f64::of).collect()))
}

fn million_fresh(crew: &Crew) -> Row {
    let (pool, rayon, calls) = (crew.pool(), crew.rayon(), crew.pick(20, 2));
    let (shared, plainly) = inputs(&pool, MILLION);
    Row::new("d/fresh", "x·a+b over a million of f64 into a fresh output")
        .bytes(16 * MILLION)
        .ahead_of("rayon collect", 1.0)
        .enter(Kind::Ours, "gristmill par_map", move |check| {
            burst(calls, || {
                let output = pool.par_map(&shared, |x| x.axpy()).wait();
                output.is_ok_and(|output| !check || is_axpy(&shared, &output))
            })
        })
        .enter(Kind::Threads, "rayon collect", move |check| {
            burst(calls, || {
                let output: Vec<f64> =
                    rayon.install(|| plainly.par_iter().map(|x| x.axpy()).collect());
                !check || is_axpy(&plainly, &output)
            })
        })
}

fn million_existing(crew: &Crew) -> Row {
    let (pool, rayon, calls) = (crew.pool(), crew.rayon(), crew.pick(20, 2));
    let (shared, plainly) = inputs(&pool, MILLION);
    let mut target = pool.alloc_zeroed::<f64>(MILLION).expect("room");
    let mut output = vec![1.0; MILLION];
    let (mut in_one, alone) = (output.clone(), Arc::clone(&plainly));
    Row::new(
        "d/existing",
        "x·a+b over a million of f64 into an existing output",
    )
    .bytes(16 * MILLION)
    .ahead_of("rayon zip", 1.0)
    .enter(Kind::Ours, "gristmill par_map_into", move |check| {
        burst(calls, || {
            let done = pool.par_map_into(&shared, &mut target, |x| x.axpy()).wait();
            done.is_ok() && (!check || is_axpy(&shared, &target))
        })
    })
    .enter(Kind::Threads, "rayon zip", move |check| {
        burst(calls, || {
            let pairs = output.par_iter_mut().zip(&*plainly);
            rayon.install(|| pairs.for_each(|(y, x)| *y = x.axpy()));
            !check || is_axpy(&plainly, &output)
        })
    })
    .enter(Kind::Threads, "one thread", move |check| {
        burst(calls, || {
            axpy(&alone, &mut in_one);
            !check || is_axpy(&alone, &in_one)
        })
    })
}

/// Two threads, each of which gets its half of every call as a message and brings it back as one.
struct Halves {
    requests: Sender<Half>,
    answers: Receiver<Half>,
    spare: Vec<Half>,
}

struct Half {
    input: Arc<Vec<f64>>,
    first: usize,
    steps: u32,
    output: Vec<f64>,
}

impl Halves {
    fn new(input: &Arc<Vec<f64>>) -> Self {
        let (requests, given) = unbounded::<Half>();
        let (done, answers) = unbounded();
        for _ in 0..WIDTH {
            let (given, done) = (given.clone(), done.clone());
            std::thread::spawn(move || {
                for mut half in given {
                    let input = &half.input[half.first..][..half.output.len()];
                    work(input, &mut half.output, half.steps);
                    if done.send(half).is_err() {
                        return;
                    }
                }
            });
        }
        let size = input.len() / WIDTH;
        let spare = (0..WIDTH).map(|index| Half {
            input: Arc::clone(input),
            first: index * size,
            steps: 0,
            output: vec![0.0; size],
        });
        Self {
            requests,
            answers,
            spare: spare.collect(),
        }
    }

    fn call(&mut self, steps: u32) -> bool {
        for mut half in self.spare.drain(..) {
            half.steps = steps;
            if self.requests.send(half).is_err() {
                return false;
            }
        }
        self.spare.extend(self.answers.iter().take(WIDTH));
        self.spare.len() == WIDTH
    }

    fn is_axpy(&self) -> bool {
        let mut halves = self.spare.iter();
        halves.all(|half| is_axpy(&half.input[half.first..][..half.output.len()], &half.output))
    }
}

/// An element's work: the map of (a) without steps, else so many steps.
fn work(input: &[f64], output: &mut [f64], steps: u32) {
    match steps {
        0 => axpy(input, output),
        _ => {
            for (x, y) in input.iter().zip(output) {
                *y = grind(*x, steps);
            }
        }
    }
}

/// All of the answer in the first turn, then its end only: reading it costs as much as the call.
fn looks_right(check: bool, input: &[f64], output: &[f64]) -> bool {
    match (input.last(), output.last()) {
        _ if check => is_axpy(input, output),
        (Some(x), Some(y)) => x.axpy() == *y,
        _ => false,
    }
}

/// One call, timed from the outside by `measure`.
fn calls(
    crew: &Crew,
    row: Row,
    waits: Waits,
    measure: impl Fn(&mut dyn FnMut() -> bool) -> Turn + Copy + 'static,
) -> Row {
    let (pool, rayon) = (crew.pool(), crew.rayon());
    let (shared, plainly) = inputs(&pool, SMALL);
    let (into, into_pool) = (shared.clone(), Arc::clone(&pool));
    let mut target = pool.alloc_zeroed::<f64>(SMALL).expect("room");
    let mut halves = Halves::new(&plainly);
    let (inside, from_inside) = (Arc::clone(&rayon), Arc::clone(&plainly));
    row.enter(Kind::Ours, "gristmill par_map", move |check| {
        measure(&mut || {
            let output = waits.until(pool.par_map(&shared, |x| x.axpy()));
            output.is_ok_and(|output| looks_right(check, &shared, &output))
        })
    })
    .enter(Kind::Ours, "gristmill par_map_into", move |check| {
        measure(&mut || {
            let job = into_pool.par_map_into(&into, &mut target, |x| x.axpy());
            let done = waits.until(job);
            done.is_ok() && looks_right(check, &into, &target)
        })
    })
    .enter(Kind::Threads, RAYON, move |check| {
        measure(&mut || {
            let output: Vec<f64> = rayon.install(|| plainly.par_iter().map(|x| x.axpy()).collect());
            looks_right(check, &plainly, &output)
        })
    })
    .enter(Kind::Threads, "rayon, inside its pool", move |check| {
        inside.install(|| {
            burst(2000, || {
                let output: Vec<f64> = from_inside.par_iter().map(|x| x.axpy()).collect();
                looks_right(check, &from_inside, &output)
            })
        })
    })
    .enter(Kind::Threads, CROSSBEAM, move |check| {
        measure(&mut || halves.call(0) && (!check || halves.is_axpy()))
    })
}

fn hot(crew: &Crew, waits: Waits) -> Row {
    let row = waits
        .row("hot", "a call over 256 of f64, back to back")
        .aim(Aim::Seconds { at_most: 1e-6 })
        .ahead_of(RAYON, 26.0);
    match crew.smoke {
        true => calls(crew, row, waits, |call| burst(20, call)),
        false => calls(crew, row, waits, |call| burst(2000, call)),
    }
}

fn idle(crew: &Crew, waits: Waits) -> Row {
    let what = "the same after 1 ms in which the caller did something else, each call timed alone";
    let row = waits
        .row("idle", what)
        .aim(Aim::Seconds { at_most: 3e-6 })
        .ahead_of(RAYON, 20.0);
    calls(crew, row, waits, |call| {
        let mut right = true;
        let samples = (0..40).map(|_| {
            let asleep = Instant::now();
            while asleep.elapsed() < IDLE {
                spin_loop();
            }
            let began = Instant::now();
            right &= call();
            began.elapsed().as_secs_f32()
        });
        let samples = samples.collect();
        Turn::of_samples(samples, right)
    })
}

/// Steps an element, by which the work of a call grows.
const STEPS: [u32; 19] = [
    1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024,
];

/// What is said when no work of the ladder paid: about what the largest takes.
const LARGEST: f64 = 2e-3;

/// The time by one thread of the least work that is faster when handed over, as the next larger one
/// is, too.
fn least(mut alone: impl FnMut(u32), mut shared: impl FnMut(u32)) -> Turn {
    let mut before = None;
    for steps in STEPS {
        let calls = (2000 / steps).clamp(5, 200);
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..5 {
            let began = Instant::now();
            (0..calls).for_each(|_| alone(steps));
            times[0].push(began.elapsed().as_secs_f64() / f64::from(calls));
            let began = Instant::now();
            (0..calls).for_each(|_| shared(steps));
            times[1].push(began.elapsed().as_secs_f64() / f64::from(calls));
        }
        let [alone, shared] = times.map(|times| median(&times));
        match before {
            Some(least) if shared < alone => return Turn::new(least, true),
            _ => before = (shared < alone).then_some(alone),
        }
    }
    // If not even the largest paid twice in a row, it is at least that.
    Turn::new(before.unwrap_or(LARGEST), true)
}

/// One thread with an output that is there.
fn alone(plainly: &Arc<Vec<f64>>) -> impl FnMut(u32) + 'static {
    let (input, mut output) = (Arc::clone(plainly), vec![0.0; SMALL]);
    move |steps| work(black_box(&input), black_box(&mut output), steps)
}

fn pays(crew: &Crew, waits: Waits) -> Row {
    let (pool, rayon) = (crew.pool(), crew.rayon());
    let (shared, plainly) = inputs(&pool, SMALL);
    let target = pool.alloc_zeroed::<f64>(SMALL).expect("room");
    let what = "the smallest call, by its time on one thread, that is faster with two workers";
    waits
        .row("pays", what)
        .aim(Aim::Seconds { at_most: 3e-6 })
        .ahead_of(RAYON, 15.0)
        .enter(Kind::Ours, "gristmill par_map_into", {
            let (mut alone, mut target) = (alone(&plainly), target);
            move |_| {
                least(&mut alone, |steps| {
                    let job = pool.par_map_into_with(steps, &shared, &mut target, |&steps, x| {
                        grind(*x, steps)
                    });
                    waits.until(job).expect("it ends well");
                })
            }
        })
        .enter(Kind::Threads, RAYON, {
            let (alone, plainly) = (alone(&plainly), Arc::clone(&plainly));
            let output = vec![0.0; SMALL];
            on_rayon(rayon, plainly, output, alone)
        })
        .enter(Kind::Threads, CROSSBEAM, {
            let (mut alone, mut halves) = (alone(&plainly), Halves::new(&plainly));
            move |_| {
                least(&mut alone, |steps| {
                    assert!(halves.call(steps), "the threads live");
                })
            }
        })
}

fn on_rayon(
    rayon: Arc<ThreadPool>,
    input: Arc<Vec<f64>>,
    mut output: Vec<f64>,
    mut alone: impl FnMut(u32) + 'static,
) -> impl FnMut(bool) -> Turn + 'static {
    let rayon = Rc::new(rayon);
    move |_| {
        least(&mut alone, |steps| {
            let pairs = output.par_iter_mut().zip(&*input);
            rayon.install(|| pairs.for_each(|(y, x)| *y = grind(*x, steps)));
        })
    }
}
