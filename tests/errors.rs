//! Errors of a task's own, across processes.

mod policy_support;

use std::error::Error as _;
use std::fmt;

use gristmill::{Pool, TaskError, TaskHandle, Thrown, set_error_hook};
use policy_support::{Tally, mark};

#[derive(Debug)]
struct Outer(std::num::ParseIntError);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such number")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

fn pool() -> Pool {
    Pool::builder().workers(1).build().unwrap()
}

fn failed<R: gristmill::Payload>(task: TaskHandle<R>) -> gristmill::RemoteError {
    match task.wait().map(drop) {
        Err(TaskError::Failed(error)) => *error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_error_crosses_with_type_message_sources_and_place() {
    let pool = pool();
    let task = pool.spawn_result(String::from("4x"), |text| -> Result<u32, Thrown> {
        Ok(text.parse::<u32>().map_err(Outer)?)
    });
    let line = line!() - 2;
    let error = failed(task.unwrap());
    assert!(error.type_name().ends_with("::Outer"), "{error:?}");
    assert_eq!(error.message(), "no such number");
    assert_eq!(error.to_string(), error.message());
    let source = error.source().expect("what the parser said");
    assert_eq!(source.to_string(), "invalid digit found in string");
    assert!(source.source().is_none());
    let place = error.location().expect("where it was thrown");
    assert_eq!((place.file.as_str(), place.line), (file!(), line));
    let whole: &dyn std::error::Error = &TaskError::Failed(Box::new(error));
    assert_eq!(whole.source().unwrap().to_string(), "no such number");
}

#[test]
fn an_error_of_its_own_type_needs_no_conversion() {
    let pool = pool();
    let task = pool.spawn_result((), |()| "4x".parse::<u32>().map_err(Outer));
    let error = failed(task.unwrap());
    assert!(error.type_name().ends_with("::Outer"), "{error:?}");
    assert!(error.location().is_none(), "nobody knows: {error:?}");
}

#[test]
fn a_value_comes_as_from_spawn() {
    let pool = pool();
    let small = |text: &rkyv::string::ArchivedString| text.parse::<u32>();
    let task = pool.spawn_result(String::from("41"), small).unwrap();
    assert_eq!(*task.wait().unwrap(), 41);
    let large = |len: &rkyv::rend::u64_le| -> Result<Vec<u64>, Thrown> {
        Ok((0..len.to_native()).collect())
    };
    let task = pool.task_result(100_000_u64, large).idempotent().spawn();
    let values = task.unwrap().wait().unwrap();
    assert_eq!(values.to_owned().unwrap(), (0..100_000).collect::<Vec<_>>());
    drop(pool);
    assert_eq!(values[99_999].to_native(), 99_999);
}

#[test]
fn an_error_that_is_archivable_comes_back_itself() {
    let pool = pool();
    let task = pool.spawn(7_u32, |x| -> Result<u32, (u32, String)> {
        Err((x.to_native(), "seven".into()))
    });
    let back = task.unwrap().wait().unwrap().to_owned().unwrap();
    assert_eq!(back, Err((7, "seven".into())));
}

#[test]
fn an_error_is_an_answer_and_not_tried_again() {
    let pool = pool();
    let tally = Tally::new();
    let task = pool.task_result(tally.path(), |path| -> Result<(), Thrown> {
        mark(path);
        Err(Thrown::message("no"))
    });
    let error = failed(task.idempotent().spawn().unwrap());
    assert_eq!((error.message(), error.type_name()), ("no", ""));
    assert_eq!(tally.count(), 1);
}

#[test]
fn a_boxed_error_keeps_its_words() {
    let pool = pool();
    let task = pool.spawn_result((), |()| -> Result<(), Thrown> {
        let boxed: Box<dyn std::error::Error> = Box::new(Outer("x".parse::<u8>().unwrap_err()));
        Err(Thrown::from_boxed(&*boxed))
    });
    let error = failed(task.unwrap());
    assert_eq!(error.message(), "no such number");
    assert!(error.source().is_some());
}

#[test]
fn the_hook_runs_in_the_worker_before_the_error_travels() {
    let setup = || {
        set_error_hook(|error| {
            let [kind, path] = [error.type_name(), error.message()];
            std::fs::write(path, format!("{kind} in {}", std::process::id())).unwrap();
            if kind == "panic" {
                panic!("a hook that panics is survived");
            }
        });
    };
    let pool = Pool::builder().workers(1).worker_setup(setup).build();
    let pool = pool.unwrap();
    let pid = pool.worker_pids()[0];
    let read = |tally: &Tally| std::fs::read_to_string(tally.path()).unwrap();

    let thrown = Tally::new();
    let task = pool.spawn_result(thrown.path(), |path| -> Result<(), Thrown> {
        Err(Thrown::message(path))
    });
    assert_eq!(failed(task.unwrap()).message(), thrown.path());
    assert_eq!(read(&thrown), format!(" in {pid}"));

    let panicked = Tally::new();
    let task = pool.spawn(panicked.path(), |path| -> u8 { panic!("{path}") });
    let error = task.unwrap().wait().unwrap_err();
    assert!(matches!(&error, TaskError::Panicked { message, .. } if *message == panicked.path()));
    assert_eq!(read(&panicked), format!("panic in {pid}"));

    let element = Tally::new();
    let bytes = pool.copy_from_slice(element.path().as_bytes()).unwrap();
    let bytes = bytes.freeze();
    let one = pool.copy_from_slice(&[0_u8]).unwrap().freeze();
    let job = pool.par_map_with(bytes, &one, |path, _| -> u8 {
        panic!("{}", std::str::from_utf8(path).unwrap())
    });
    job.wait().unwrap_err();
    assert_eq!(read(&element), format!("panic in {pid}"));
    assert_eq!(pool.worker_pids(), [pid]);
}
