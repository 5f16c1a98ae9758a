//! Random calls of several processes at once on one object, beside a plain model.
//!
//! Each call is stamped when it begins and when it has ended ([`log`]). Where calls have answers
//! there must be an order of all of them, in which none comes before one that had ended when it
//! began, and in which each answer is the model's ([`order`]). Where they wait, the sums must be
//! right in the end, and nobody may be found waiting for what has happened ([`watch`]).

mod barriers;
mod condvars;
mod events;
mod log;
mod order;
mod tables;
mod values;
mod watch;

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use gristmill::{Handle, Object, Process, Region};
use proptest::prelude::*;

use self::log::{MOST, PROCESSES};

fn region() -> Region {
    Region::new(16 << 20).unwrap()
}

/// The name of an object, as it crosses.
type Name = [u64; 2];

fn open<T: Object>(name: Name) -> T {
    Handle::from_words(name).open().unwrap()
}

/// Starts the players, each with the names, its number, and what it is to do.
fn start<F>(
    region: &Region,
    names: &[Name],
    plays: &[Vec<u8>; PROCESSES],
    play: F,
) -> [Process; PROCESSES]
where
    F: Fn(&[Name], usize, &[u8]) + Send + Sync + Copy + 'static,
{
    std::array::from_fn(|who| {
        let builder = Process::builder().region(region).kill_on_drop(true);
        let part = (names.to_vec(), who as u64, plays[who].clone());
        let process = builder.spawn(part, move |part| {
            let name = |words: &[rkyv::rend::u64_le; 2]| words.map(u64::from);
            let names: Vec<Name> = part.0.iter().map(name).collect();
            play(&names, part.1.to_native() as usize, &part.2);
        });
        process.unwrap()
    })
}

/// So many cases; races do not come again, so no smaller ones are looked for.
fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        max_shrink_iters: 0,
        failure_persistence: None,
        ..ProptestConfig::with_cases(count)
    }
}

/// What each process is to do: places in a table of acts, each as often as its weight.
fn plays(weights: &'static [u32]) -> impl Strategy<Value = [Vec<u8>; PROCESSES]> {
    let one = || {
        let acts = weights.iter().zip(0_u8..);
        proptest::strategy::Union::new_weighted(
            acts.filter(|(weight, _)| **weight > 0)
                .map(|(&weight, act)| (weight, Just(act)))
                .collect(),
        )
    };
    let all = || prop::collection::vec(one(), 1..=MOST);
    [all(), all(), all()]
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
