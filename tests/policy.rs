//! What runs again when its worker dies, how often, and what never does.

mod policy_support;

use gristmill::{Cause, Error, Pool, TaskError};
use policy_support::{Tally, die, mark};

const SIGKILL: i32 = 9;

fn pool() -> Pool {
    Pool::builder().workers(2).build().unwrap()
}

#[test]
fn a_plain_task_is_never_begun_twice() {
    let pool = pool();
    let tally = Tally::new();
    let task = pool.spawn(tally.path(), |path| -> u64 {
        mark(path);
        die()
    });
    match task.unwrap().wait() {
        Err(TaskError::WorkerDied(death)) => {
            assert_eq!(death.cause, Cause::Signal(SIGKILL));
            assert_eq!(death.attempts, 1);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(tally.count(), 1);
    // The pool lives on, with the slot in use again.
    assert_eq!(*pool.spawn(1_u8, |x| x + 1).unwrap().wait().unwrap(), 2);
}

#[test]
fn an_idempotent_task_runs_until_it_succeeds() {
    let pool = pool();
    let tally = Tally::new();
    // The result is written beside the slot, the arguments must outlive an attempt's own reply.
    let task = pool.task(tally.path(), |path| match mark(path) {
        1 | 2 => die(),
        third => format!("{third} {path}"),
    });
    let answer = task.attempts(3).spawn().unwrap().wait().unwrap();
    assert_eq!(*answer, format!("3 {}", tally.path()));
    assert_eq!(tally.count(), 3);
}

#[test]
fn attempts_at_an_idempotent_task_have_an_end() {
    let pool = Pool::builder().workers(2).attempts(4).build().unwrap();
    for (attempts, wanted) in [(None, 4), (Some(2), 2), (Some(0), 1)] {
        let tally = Tally::new();
        let task = pool.task(tally.path(), |path| -> u64 {
            mark(path);
            die()
        });
        let task = match attempts {
            Some(attempts) => task.attempts(attempts),
            None => task.idempotent(),
        };
        match task.spawn().unwrap().wait() {
            Err(TaskError::WorkerDied(death)) => assert_eq!(death.attempts, wanted),
            other => panic!("{other:?}"),
        }
        assert_eq!(tally.count(), u64::from(wanted));
    }
}

#[test]
fn a_panic_is_an_answer() {
    let pool = pool();
    let tally = Tally::new();
    let task = pool.task(tally.path(), |path| -> u64 {
        mark(path);
        panic!("no")
    });
    let error = task.idempotent().spawn().unwrap().wait().unwrap_err();
    assert!(matches!(error, TaskError::Panicked { .. }), "{error}");
    assert_eq!(tally.count(), 1);
}

#[test]
fn many_idempotent_tasks_survive_the_deaths_of_some() {
    // More tasks than the ring has slots, so that slots are recycled under new generations.
    let pool = pool();
    let tasks: Vec<_> = (0..6000_u64)
        .map(|index| {
            let tally = (index % 1000 == 7).then(Tally::new);
            let path = tally.as_ref().map_or(String::new(), Tally::path);
            let task = pool.task((index, path), |arguments| {
                let (index, path) = (arguments.0.to_native(), &arguments.1);
                if !path.is_empty() && mark(path) == 1 {
                    die();
                }
                index * 3
            });
            (index, task.attempts(10).spawn().unwrap(), tally)
        })
        .collect();
    for (index, task, tally) in tasks {
        assert_eq!(task.wait().unwrap().to_native(), index * 3);
        if let Some(tally) = tally {
            assert!(tally.count() >= 2);
        }
    }
}

#[test]
fn a_pure_job_runs_again_as_often_as_it_is_told() {
    let pool = pool();
    let deaths = |attempts: Option<u32>| {
        let tally = Tally::new();
        let path = gristmill::Rkyv(tally.path());
        let input = pool.copy_from_slice(&[1_u64]).unwrap().freeze();
        let job = pool.par_map_with(path, &input, |path, x| {
            if mark(path) < 4 {
                die();
            }
            x + 1
        });
        let job = match attempts {
            Some(attempts) => job.attempts(attempts),
            None => job,
        };
        (job.wait().map(|values| values[0]), tally.count())
    };
    assert!(matches!(deaths(Some(4)), (Ok(2), 4)));
    match deaths(None) {
        (Err(Error::Task(TaskError::WorkerDied(death))), 3) => {
            assert_eq!(death.attempts, 3);
            assert_eq!(death.elements, Some(0..1));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(deaths(Some(1)), (Err(_), 1)));
}
