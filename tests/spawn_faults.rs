//! Tasks that fail: in the function, on the way in, on the way out. The pool lives on and has
//! lost no slot and no byte.

use core::fmt;

use gristmill::{ArchiveError, Error, MemoryLimit, Pool, TaskError};
use rkyv::rancor::{Fallible, ResultExt, Source};
use rkyv::ser::Writer;
use rkyv::with::{ArchiveWith, SerializeWith};
use rkyv::{Archive, Place, Serialize};

/// More than the ring has slots.
const MANY: u32 = 10_000;

#[derive(Debug)]
struct Mood(&'static str);

impl fmt::Display for Mood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for Mood {}

/// Serialises a number, unless it is 13 (an error) or 14 (a panic).
struct Moody;

impl ArchiveWith<u32> for Moody {
    type Archived = rkyv::Archived<u32>;
    type Resolver = ();

    fn resolve_with(field: &u32, (): (), out: Place<Self::Archived>) {
        field.resolve((), out);
    }
}

impl<S: Fallible<Error: Source> + Writer + ?Sized> SerializeWith<u32, S> for Moody {
    fn serialize_with(field: &u32, serializer: &mut S) -> Result<(), S::Error> {
        match field {
            13 => Err(Mood("unlucky")).into_error(),
            14 => panic!("out of sorts"),
            _ => field.serialize(serializer),
        }
    }
}

#[derive(Archive, Serialize)]
struct Moods {
    first: String,
    #[rkyv(with = Moody)]
    number: u32,
}

fn moods(number: u32) -> Moods {
    Moods {
        first: "written before the number, and too long to be kept inline by rkyv".repeat(4),
        number,
    }
}

fn pool() -> Pool {
    Pool::builder()
        .workers(2)
        .memory_budget(64 << 20)
        .build()
        .unwrap()
}

fn still_works(pool: &Pool) {
    let tasks: Vec<_> = (0..MANY)
        .map(|i| pool.spawn(i, |i| i.to_native() + 1).unwrap())
        .collect();
    for (i, task) in (1..).zip(tasks) {
        assert_eq!(task.wait().unwrap().to_native(), i);
    }
}

#[test]
fn arguments_that_refuse_to_be_serialised() {
    let pool = pool();
    for _ in 0..MANY {
        let refused = pool.spawn(moods(13), |moods| moods.number.to_native());
        match refused {
            Err(Error::Archive(ArchiveError::Refused { reason, .. })) => {
                assert!(reason.contains("unlucky"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
    still_works(&pool);
}

#[test]
fn arguments_that_panic_when_serialised() {
    let pool = pool();
    for _ in 0..MANY {
        // `resume_unwind` would be quieter, but a user's panic is not.
        let submit = || pool.spawn(QuietPanic, |_| ()).map(drop);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(submit)).is_err());
    }
    still_works(&pool);
}

/// As a panic in `Serialize`, without a message for each of many.
struct QuietPanic;

impl Archive for QuietPanic {
    type Archived = ();
    type Resolver = ();

    fn resolve(&self, (): (), _: Place<()>) {}
}

impl<S: Fallible + ?Sized> Serialize<S> for QuietPanic {
    fn serialize(&self, _: &mut S) -> Result<(), S::Error> {
        std::panic::resume_unwind(Box::new("quiet"))
    }
}

#[test]
fn results_that_refuse_or_panic() {
    let pool = pool();
    for i in 0..MANY {
        let number = 13 + i % 3;
        let outcome = pool
            .spawn(number, |&number| moods(number.into()))
            .unwrap()
            .wait();
        match (number, outcome) {
            (13, Err(TaskError::Archive(ArchiveError::Refused { reason, .. }))) => {
                assert!(reason.contains("unlucky"), "{reason}");
            }
            (14, Err(TaskError::Panicked { message, .. })) => assert_eq!(message, "out of sorts"),
            (15, Ok(moods)) => assert_eq!(moods.number.to_native(), 15),
            (_, outcome) => panic!("{number}: {:?}", outcome.map(|_| ())),
        }
    }
    still_works(&pool);
}

#[test]
fn a_panic_tells_its_message_place_and_stack() {
    let pool = pool();
    for _ in 0..3 {
        let task = pool.spawn(3_u8, |&index| {
            let list = [1, 2, 3];
            list[usize::from(index)]
        });
        let line = line!() - 2;
        let error = task.unwrap().wait().unwrap_err();
        let TaskError::Panicked {
            message,
            location: Some(location),
            element: None,
            backtrace,
        } = &error
        else {
            panic!("{error:?}");
        };
        assert!(
            message.contains("the len is 3 but the index is 3"),
            "{message}"
        );
        assert_eq!(
            (&*location.file, location.line),
            ("tests/spawn_faults.rs", line)
        );
        let asked = std::env::var("RUST_BACKTRACE").is_ok_and(|value| value != "0");
        assert_eq!(backtrace.is_some(), asked, "{backtrace:?}");
        assert!(
            error
                .to_string()
                .contains(&format!("tests/spawn_faults.rs:{line}"))
        );
    }
    still_works(&pool);
}

#[test]
fn a_result_without_room() {
    let budget = 8 << 20;
    let pool = Pool::builder()
        .workers(1)
        .memory_budget(budget)
        .build()
        .unwrap();
    let make = |bytes: u64| {
        pool.spawn(bytes, |n| vec![1_u8; n.to_native() as usize])
            .unwrap()
    };
    for _ in 0..100 {
        match make(20 << 20).wait() {
            Err(TaskError::OutOfMemory(full)) => {
                assert!(
                    (20 << 20..=(20 << 20) + 64).contains(&full.wanted),
                    "{full}"
                );
                assert!(
                    full.available < budget && full.available > budget / 2,
                    "{full}"
                );
                assert_eq!(full.limit, MemoryLimit::Budget);
            }
            other => panic!("{:?}", other.map(|_| ())),
        }
    }
    // Results that are held leave no room; dropped, they make room again.
    for _ in 0..20 {
        let mut held = Vec::new();
        let full = loop {
            match make(1 << 20).wait() {
                Ok(result) => held.push(result),
                Err(error) => break error,
            }
        };
        assert!(matches!(full, TaskError::OutOfMemory(_)), "{full}");
        assert!((4..8).contains(&held.len()), "{}", held.len());
        assert!(held.iter().all(|bytes| bytes.iter().all(|&x| x == 1)));
    }
    assert_eq!(make(3 << 20).wait().unwrap().len(), 3 << 20);
}

#[test]
fn arguments_without_room() {
    let pool = Pool::builder()
        .workers(1)
        .memory_budget(8 << 20)
        .build()
        .unwrap();
    for _ in 0..100 {
        let refused = pool.spawn(vec![0_u8; 9 << 20], |bytes| bytes.len() as u64);
        match refused {
            Err(Error::OutOfMemory(full)) => {
                assert!(
                    full.wanted >= 9 << 20 && full.available <= 8 << 20,
                    "{full}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    still_works(&pool);
}
