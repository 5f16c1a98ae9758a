//! Several listeners at once: a blocked thread gets its outcome although the supervisor, too,
//! listens to the workers and may take the ring away from it.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Waker};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use gristmill::{Error, Pool};

/// Pools at once: more than there are processors, so that either listener may be the first.
const POOLS: usize = 6;
const ROUNDS: usize = 500;
/// Far beyond what a round takes: for a hang to become a failure.
const HANG: Duration = Duration::from_secs(30);

/// Longer than a waiter spins, so that it sleeps.
fn last_a_while(rounds: u64) -> u64 {
    (0..rounds).fold(1, |x, i| core::hint::black_box(x ^ (x << 1) ^ i))
}

/// A pool whose supervisor listens.
fn pool() -> Result<Pool, Error> {
    let pool = Pool::builder().workers(1).build()?;
    let task = pool.spawn(2_000_000_u64, |n| last_a_while(n.to_native()))?;
    let mut task = pin!(task);
    // Polled outside any runtime, and not ready yet: from now on the supervisor listens.
    let _ = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    Ok(pool)
}

#[test]
fn a_blocked_thread_is_woken_while_the_supervisor_listens() -> Result<(), Error> {
    let (tell, told) = channel();
    for _ in 0..POOLS {
        let pool = pool()?;
        let tell = tell.clone();
        thread::spawn(move || {
            for _ in 0..ROUNDS {
                let task = pool.spawn(200_000_u64, |n| last_a_while(n.to_native()));
                let ended = task.is_ok_and(|task| task.wait().is_ok());
                if tell.send(ended).is_err() {
                    return;
                }
            }
        });
    }
    for round in 0..POOLS * ROUNDS {
        assert_eq!(told.recv_timeout(HANG), Ok(true), "after {round} outcomes");
    }
    Ok(())
}
