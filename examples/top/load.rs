//! Something to look at: tasks of many lengths, jobs, and now and then a crash.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use gristmill::{Error, Pool};

/// The load, until it is stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<(), Error>>>,
}

pub(crate) fn start(pool: &Arc<Pool>) -> Load {
    let stop = Arc::new(AtomicBool::new(false));
    let threads = [tasks as fn(&Pool, &AtomicBool) -> Result<(), Error>, jobs].map(|work| {
        let (pool, stop) = (Arc::clone(pool), Arc::clone(&stop));
        thread::spawn(move || work(&pool, &stop))
    });
    Load {
        stop,
        threads: threads.into(),
    }
}

impl Load {
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            if let Ok(Err(error)) = thread.join() {
                eprintln!("the load has ended early: {error}");
            }
        }
    }
}

fn spin(rounds: u64) -> u64 {
    (0..rounds).fold(1, |x, i| std::hint::black_box(x ^ (x << 1) ^ i))
}

fn tasks(pool: &Pool, stop: &AtomicBool) -> Result<(), Error> {
    for wave in 1_u64.. {
        let size = 20 + wave * wave % 300;
        let mut handles = Vec::new();
        for number in 0..size {
            let rounds = (wave * 31 + number * 17) % 97 * 20_000;
            handles.push(pool.spawn(rounds, |rounds| spin(rounds.to_native()))?);
        }
        if wave % 8 == 0 {
            // Nobody is harmed: the worker is replaced.
            let crash: gristmill::TaskHandle<()> = pool.spawn((), |()| std::process::abort())?;
            crash.detach();
        }
        for handle in handles {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            // Those that were not begun when a worker crashed are run by another one.
            let _ = handle.wait();
        }
    }
    Ok(())
}

fn jobs(pool: &Pool, stop: &AtomicBool) -> Result<(), Error> {
    while !stop.load(Ordering::Relaxed) {
        let squares = pool
            .par_generate(1 << 20, |i| (i as f64).sqrt().sin())
            .wait()?;
        pool.par_sum(&squares.freeze()).wait()?;
    }
    Ok(())
}
