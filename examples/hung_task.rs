//! A task that hangs is ended by its time limit, and its neighbours never notice.
//!
//! The hang stands for native code that has lost its way: no flag reaches it, and as a thread it
//! could not be ended without the program.

use std::time::{Duration, Instant};

use gristmill::{Pool, TaskError, TaskHandle};

/// What a Collatz chain of `start` takes; hangs at 0, as such code does.
fn steps(start: u64) -> u64 {
    let mut x = start;
    let mut steps = 0;
    while x != 1 {
        x = if x.is_multiple_of(2) {
            x / 2
        } else {
            3 * x + 1
        };
        steps += 1;
    }
    steps
}

fn main() -> Result<(), gristmill::Error> {
    let pool = Pool::new()?;
    let workers = pool.worker_pids();
    let began = Instant::now();
    let limit = Duration::from_millis(200);
    let tasks: Vec<TaskHandle<u64>> = [27_u64, 97, 0, 871, 6171]
        .into_iter()
        .map(|start| pool.task(start, |start| steps(start.to_native())))
        .map(|task| task.timeout(limit).spawn())
        .collect::<Result<_, _>>()?;

    let mut ended = 0;
    for task in tasks {
        match task.wait() {
            Ok(steps) => println!("{steps} steps"),
            Err(error @ TaskError::TimedOut { .. }) => {
                ended += 1;
                println!("{error}");
            }
            Err(error) => return Err(error.into()),
        }
    }
    assert_eq!(ended, 1, "exactly one of them hangs");

    // The worker was killed and replaced; the pool serves as before.
    let again = pool.spawn(27_u64, |start| steps(start.to_native()))?;
    assert_eq!(*again.wait()?, 111);
    println!("workers {workers:?} became {:?}", pool.worker_pids());
    println!("all of it took {:?}", began.elapsed());
    Ok(())
}
