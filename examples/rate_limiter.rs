//! A rate limiter between processes: so many calls at a time, and so many in each interval.
//!
//! Two semaphores do it. `at_once` bounds what runs: each call holds one of its permits, and when a
//! process dies in a call its permit is free again. `tokens` bounds the rate: each call takes one
//! for good, and the program adds new ones at the beat of a clock, never more than a burst.
//!
//! ```text
//! cargo run --release --example rate_limiter
//! ```

use std::thread;
use std::time::{Duration, Instant};

use gristmill::{BoundedSemaphore, Error, Handle, Pool, Region, ReleaseError, Semaphore};

const CALLS: u64 = 60;
const AT_ONCE: u32 = 2;
const BURST: u32 = 10;
/// A token for each of these.
const BEAT: Duration = Duration::from_millis(5);

/// Both, as they cross to a worker.
#[derive(Clone, Copy)]
struct Limiter {
    at_once: Handle<Semaphore>,
    tokens: Handle<BoundedSemaphore>,
}

impl Limiter {
    fn words(self) -> [[u64; 2]; 2] {
        [self.at_once.words(), self.tokens.words()]
    }

    fn from_words(words: [[u64; 2]; 2]) -> Self {
        let [at_once, tokens] = words;
        Self {
            at_once: Handle::from_words(at_once),
            tokens: Handle::from_words(tokens),
        }
    }

    /// Calls as soon as it may.
    fn call<R>(self, call: impl FnOnce() -> R) -> R {
        let (at_once, tokens) = (self.at_once.open(), self.tokens.open());
        let tokens = tokens.expect("the worker has the region");
        tokens.acquire_blocking().expect("not forked").forget();
        let at_once = at_once.expect("the worker has the region");
        let _permit = at_once.acquire_blocking().expect("not forked");
        call()
    }
}

fn main() -> Result<(), Error> {
    let region = Region::new(4 << 20)?;
    let (at_once, tokens) = (
        Semaphore::new(&region, AT_ONCE)?,
        BoundedSemaphore::new(&region, BURST)?,
    );
    let limiter = Limiter {
        at_once: at_once.handle(),
        tokens: tokens.handle(),
    };
    let pool = Pool::builder().workers(4).region(&region).build()?;
    let began = Instant::now();
    let calls: Vec<_> = (0..CALLS)
        .map(|number| {
            pool.spawn((limiter.words(), number), |call| {
                let words = [0, 1].map(|at| [0, 1].map(|word| call.0[at][word].to_native()));
                Limiter::from_words(words).call(|| call.1.to_native() * 2)
            })
        })
        .collect::<Result<_, _>>()?;

    // The beat, until all calls are done.
    let mut beats = 0;
    while !calls.iter().all(|call| call.is_finished()) {
        beats += 1;
        thread::sleep((began + BEAT * beats).saturating_duration_since(Instant::now()));
        match tokens.release(1) {
            // A full bucket stays full.
            Ok(()) | Err(ReleaseError::TooMany { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let elapsed = began.elapsed();
    let mut sum = 0;
    for call in calls {
        sum += call.wait()?.to_native();
    }
    assert_eq!(sum, CALLS * (CALLS - 1));
    // Beyond the burst each call has waited for its token.
    assert!(elapsed >= BEAT * (CALLS as u32 - BURST), "{elapsed:?}");
    println!("{CALLS} calls in {elapsed:?}, {BURST} at once and then one each {BEAT:?}");
    Ok(())
}
