//! Elements that kill, panic or hang are found; all others have their results.

mod policy_support;

use std::thread;
use std::time::{Duration, Instant};

use gristmill::{Cause, Error, Failure, Pool, Rkyv, SharedSlice, TaskError};
use policy_support::{Tally, die, mark};

const LEN: usize = 400_000;
/// So long that no honest element needs it, however busy the machine is.
const LIMIT: Duration = Duration::from_secs(1);
/// So short that a search for many elements does not end in time.
const JOB_LIMIT: Duration = Duration::from_millis(100);

fn pool() -> Pool {
    Pool::builder().workers(2).build().unwrap()
}

fn numbers(pool: &Pool) -> SharedSlice<u64> {
    pool.alloc_from_fn(LEN, |i| i as u64).unwrap().freeze()
}

fn task_error<T>(result: Result<T, Error>) -> TaskError {
    match result {
        Err(Error::Task(error)) => error,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it went well"),
    }
}

fn elements(failures: &[Failure]) -> Vec<u64> {
    failures
        .iter()
        .map(|failure| {
            assert_eq!(failure.elements.end, failure.elements.start + 1);
            failure.elements.start
        })
        .collect()
}

/// Everything but the failures is as it should be.
fn assert_rest(values: &[u64], missing: &[u64], wanted: impl Fn(u64) -> u64) {
    assert_eq!(values.len(), LEN);
    for (index, &value) in (0..).zip(values) {
        let wanted = match missing.contains(&index) {
            true => 0,
            false => wanted(index),
        };
        assert_eq!(value, wanted, "element {index}");
    }
}

#[test]
fn the_element_that_kills_is_named() {
    let pool = pool();
    let deaths = Tally::new();
    let job = pool.par_map_with(Rkyv(deaths.path()), &numbers(&pool), |path, &x| {
        if x == 273_456 {
            mark(path);
            die();
        }
        x
    });
    match task_error(job.wait()) {
        TaskError::WorkerDied(death) => {
            assert_eq!(death.elements, Some(273_456..273_457));
            assert_eq!(death.cause, Cause::Signal(9));
            assert_eq!(death.attempts, 3);
        }
        error => panic!("{error}"),
    }
    // Three for the chunk, one for each cut into sixteenths, three for the element.
    assert!(deaths.count() <= 3 + 5 + 3, "{} deaths", deaths.count());
    assert_eq!(
        pool.par_map(&numbers(&pool), |x| x + 1).wait().unwrap()[5],
        6
    );
}

#[test]
fn one_attempt_means_that_nothing_runs_again() {
    let pool = pool();
    let deaths = Tally::new();
    let job = pool.par_map_with(Rkyv(deaths.path()), &numbers(&pool), |path, &x| {
        if x == 273_456 {
            mark(path);
            die();
        }
        x
    });
    match task_error(job.attempts(1).wait()) {
        TaskError::WorkerDied(death) => {
            assert!(death.elements.unwrap().contains(&273_456));
        }
        error => panic!("{error}"),
    }
    assert_eq!(deaths.count(), 1);
}

#[test]
fn the_element_that_kills_a_reduction_is_named() {
    let pool = pool();
    let fold = |sum: u64, &x: &u64| {
        if x == 399_999 {
            die();
        }
        sum + x
    };
    for len in [LEN, 1_000] {
        let start = (LEN - len) as u64;
        let input = pool.alloc_from_fn(len, |i| i as u64 + start).unwrap();
        let job = pool.par_reduce(&input.freeze(), || 0, fold, |a, b| a + b);
        match task_error(job.wait()) {
            TaskError::WorkerDied(death) => {
                let last = len as u64 - 1;
                assert_eq!(death.elements, Some(last..len as u64));
            }
            error => panic!("{error}"),
        }
    }
}

#[test]
fn elements_that_kill_or_panic_are_isolated() {
    let pool = pool();
    let job = pool.par_map(&numbers(&pool), |&x| match x {
        0 | 123_456 | 399_999 => die(),
        77 | 78 | 200_000 => panic!("not {x}"),
        x => x * 2 + 1,
    });
    let isolated = job.isolate().wait().unwrap();
    let missing = [0, 77, 78, 123_456, 200_000, 399_999];
    assert_eq!(elements(&isolated.failures), missing);
    for failure in &isolated.failures {
        match &failure.error {
            TaskError::WorkerDied(death) => {
                assert_eq!(death.elements, Some(failure.elements.clone()));
                assert_eq!(death.cause, Cause::Signal(9));
            }
            TaskError::Panicked {
                message, element, ..
            } => {
                let index = failure.elements.start;
                assert_eq!(*element, Some(index));
                assert_eq!(*message, format!("not {index}"));
            }
            error => panic!("{error}"),
        }
    }
    assert_rest(&isolated.values, &missing, |x| x * 2 + 1);
}

#[test]
fn an_output_of_the_callers_has_the_other_results() {
    let pool = pool();
    let mut output = pool.alloc_from_fn(LEN, |_| 7_u64).unwrap();
    let job = pool.par_map_into(&numbers(&pool), &mut output, |&x| match x {
        3 | 250_000 => die(),
        100 => panic!("not {x}"),
        x => x * 2 + 1,
    });
    let isolated = job.isolate().wait().unwrap();
    let missing = [3, 100, 250_000];
    assert_eq!(elements(&isolated.failures), missing);
    assert_rest(&output, &missing, |x| x * 2 + 1);
}

#[test]
fn parts_that_change_in_place_are_lost_as_they_are() {
    let pool = pool();
    let mut data = pool.alloc_from_fn(LEN, |i| i as u64).unwrap();
    const NEW: u64 = 1 << 32;
    let job = pool.par_for_each_mut(&mut data, |x| match *x {
        250_000 => die(),
        100 => panic!("not {x}"),
        _ => *x += NEW,
    });
    let isolated = job.isolate().wait().unwrap();
    let [panicked, killed] = &isolated.failures[..] else {
        panic!("{:?}", isolated.failures);
    };
    assert!(panicked.elements.contains(&100));
    let TaskError::Panicked { element, .. } = &panicked.error else {
        panic!("{:?}", panicked.error);
    };
    assert_eq!(*element, Some(100));
    assert!(killed.elements.contains(&250_000));
    match &killed.error {
        TaskError::WorkerDied(death) => {
            assert_eq!(death.attempts, 1);
            assert_eq!(death.undefined.len(), 1);
            assert_eq!(death.undefined[0], killed.elements);
        }
        error => panic!("{error}"),
    }
    for (index, &value) in (0_u64..).zip(&*data) {
        let is_new = value == index + NEW;
        // No element is changed twice, whatever became of its part.
        assert!(is_new || value == index, "element {index}: {value}");
        let is_lost = isolated
            .failures
            .iter()
            .any(|failure| failure.elements.contains(&index));
        let is_known = !is_lost || panicked.elements.contains(&index);
        let wanted = !panicked.elements.contains(&index) || index < 100;
        assert!(!is_known || is_new == wanted, "element {index}");
    }
}

#[test]
fn a_death_once_is_no_failure() {
    let pool = pool();
    let tally = Tally::new();
    let job = pool.par_map_with(Rkyv(tally.path()), &numbers(&pool), |path, &x| {
        if x == 5_000 && mark(path) < 5 {
            die();
        }
        x + 1
    });
    // Three deaths over the chunk, one over a piece of it; then all is well.
    let isolated = job.isolate().wait().unwrap();
    assert!(isolated.failures.is_empty(), "{:?}", isolated.failures);
    assert_rest(&isolated.values, &[], |x| x + 1);
}

#[test]
fn too_many_failures_fail_the_job() {
    let pool = pool();
    let job = pool.par_map(&numbers(&pool), |&x| {
        assert!(x % 10 != 3, "not {x}");
        x
    });
    let error = task_error(job.isolate().wait());
    assert!(matches!(error, TaskError::Panicked { .. }), "{error}");
}

#[test]
fn an_element_that_hangs_is_named() {
    let pool = pool();
    let job = pool.par_map(&numbers(&pool), |&x| {
        if x == 222_222 {
            thread::sleep(Duration::from_secs(3600));
        }
        x
    });
    let error = task_error(job.element_timeout(LIMIT).wait());
    let wanted = TaskError::TimedOut {
        limit: LIMIT,
        element: Some(222_222),
    };
    assert_eq!(error, wanted);
}

#[test]
fn elements_that_hang_are_isolated_and_their_neighbours_are_not() {
    let pool = pool();
    let slow = Duration::from_millis(6);
    let input = pool.alloc_from_fn(1_000, |i| i as u64).unwrap().freeze();
    // All of a chunk takes much longer than one element may.
    let job = pool.par_map_with(slow.as_micros() as u64, &input, |&slow, &x| {
        match x {
            300 | 301 => thread::sleep(Duration::from_secs(3600)),
            400 => panic!("four hundred"),
            500 => die(),
            _ => thread::sleep(Duration::from_micros(slow)),
        }
        x + 1
    });
    let isolated = job.element_timeout(LIMIT).isolate().wait().unwrap();
    assert_eq!(elements(&isolated.failures), [300, 301, 400, 500]);
    for (index, &value) in (0..).zip(&*isolated.values) {
        let wanted = match index {
            300 | 301 | 400 | 500 => 0,
            index => index + 1,
        };
        assert_eq!(value, wanted);
    }
}

#[test]
fn a_time_limit_for_elements_needs_elements() {
    let pool = pool();
    let input = numbers(&pool);
    let sum = pool.par_sum(&input).element_timeout(LIMIT).wait();
    assert!(matches!(sum, Err(Error::InvalidArgument { .. })), "{sum:?}");
    let mut data = pool.alloc_zeroed::<u64>(10).unwrap();
    let job = pool.par_for_each_mut(&mut data, |x| *x += 1);
    let result = job.element_timeout(LIMIT).wait();
    assert!(matches!(result, Err(Error::InvalidArgument { .. })));
    assert_eq!(data.len(), 10);
}

#[test]
fn a_job_limit_holds_while_elements_are_looked_for() {
    let pool = pool();
    let began = Instant::now();
    // Thousands of deaths, which would take very long.
    let job = pool.par_map(&numbers(&pool), |&x| if x % 7 == 0 { die() } else { x });
    let error = task_error(job.timeout(JOB_LIMIT).isolate().wait());
    assert!(matches!(error, TaskError::TimedOut { .. }), "{error}");
    assert!(began.elapsed() >= JOB_LIMIT);
}

#[test]
fn a_panic_is_told_although_its_worker_died_later() {
    let pool = Pool::builder().workers(1).build().unwrap();
    // The only worker panics on the first element, and dies over the last.
    let input = pool.alloc_from_fn(1_000, |i| i as u64).unwrap().freeze();
    let job = pool.par_map(&input, |&x| match x {
        0 => panic!("the first"),
        999 => die(),
        x => x,
    });
    let isolated = job.isolate().wait().unwrap();
    assert_eq!(elements(&isolated.failures), [0, 999]);
    match &isolated.failures[0].error {
        TaskError::Panicked { message, .. } => assert_eq!(message, "the first"),
        error => panic!("{error}"),
    }
}
