//! Tasks: what goes in, what comes out, and what becomes of those nobody waits for.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use gristmill::{Pool, Rkyv, TaskError, TaskHandle};

fn pool() -> Pool {
    Pool::builder().workers(2).build().unwrap()
}

#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize)]
#[rkyv(compare(PartialEq), derive(Debug))]
struct Order {
    id: u64,
    customer: Customer,
    lines: Vec<(String, f64)>,
    note: Option<String>,
}

#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize)]
#[rkyv(compare(PartialEq), derive(Debug))]
enum Customer {
    Nobody,
    Known { name: String, codes: [u16; 3] },
}

fn order(lines: usize) -> Order {
    Order {
        id: 1 << 40,
        customer: Customer::Known {
            name: "Ada".into(),
            codes: [1, 2, 3],
        },
        lines: (0..lines)
            .map(|i| (format!("item {i}"), i as f64))
            .collect(),
        note: Some("urgent".into()),
    }
}

#[test]
fn values_of_all_kinds() {
    let pool = pool();
    pool.spawn((), |()| ()).unwrap().wait().unwrap();
    let length = pool
        .spawn(String::from("grüße"), |text| text.len() as u64)
        .unwrap();
    assert_eq!(*length.wait().unwrap(), 7);
    let copy = pool
        .spawn(vec![1_u8, 2, 3], |bytes| bytes.to_vec())
        .unwrap();
    assert_eq!(copy.wait().unwrap().as_slice(), [1, 2, 3]);
    let copy = pool
        .spawn(Vec::<u64>::new(), |none| none.is_empty())
        .unwrap();
    assert!(*copy.wait().unwrap());
    for lines in [0, 1, 3, 1000] {
        // The closure builds the very value that is expected: both directions nest.
        let task = pool.spawn(order(lines), |order| {
            let lines = order.lines.iter();
            Order {
                id: order.id.to_native() + 1,
                customer: Customer::Nobody,
                lines: lines
                    .map(|line| (line.0.to_string(), -line.1.to_native()))
                    .collect(),
                note: order.note.as_ref().map(ToString::to_string),
            }
        });
        let answer = task.unwrap().wait().unwrap();
        let mut expected = order(lines);
        expected.id += 1;
        expected.customer = Customer::Nobody;
        expected.lines.iter_mut().for_each(|line| line.1 = -line.1);
        assert_eq!(*answer, expected);
    }
    let words = pool.spawn(String::from("a b a c a b"), |text| {
        let mut counts: HashMap<String, u32> = HashMap::new();
        for word in text.split(' ') {
            *counts.entry(word.into()).or_default() += 1;
        }
        counts
    });
    let words = words.unwrap().wait().unwrap();
    assert_eq!(
        (words.len(), words["a"].to_native(), words["c"].to_native()),
        (3, 3, 1)
    );
    let large = pool.spawn(u128::MAX - 5, |x| x.to_native() + 5).unwrap();
    assert_eq!(*large.wait().unwrap(), u128::MAX);
}

/// Sizes around what fits beside a slot, a class of blocks, a page, and the arena's steps.
#[test]
fn sizes_at_every_border() {
    let pool = pool();
    let sizes = [
        0, 1, 119, 120, 121, 127, 128, 129, 4096, 32_760, 32_768, 32_769, 65_528, 65_536,
    ];
    for size in sizes
        .into_iter()
        .chain([65_544, 1 << 20, (1 << 20) + 1, 3_000_001])
    {
        let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        let task = pool.spawn(bytes.clone(), |bytes| {
            bytes
                .iter()
                .rev()
                .map(|byte| byte ^ 0xff)
                .collect::<Vec<u8>>()
        });
        let answer = task.unwrap().wait().unwrap();
        assert_eq!(answer.len(), size);
        assert!(
            answer
                .iter()
                .zip(bytes.iter().rev())
                .all(|(a, b)| *a == b ^ 0xff),
            "{size}"
        );
        assert!(answer.as_bytes().len() >= size);
    }
}

#[test]
fn sixty_four_mebibytes_each_way() {
    let pool = pool();
    let numbers: Vec<u64> = (0..8 << 20).collect();
    for _ in 0..3 {
        let task = pool.spawn(numbers.clone(), |numbers| {
            numbers
                .iter()
                .map(|x| x.to_native() * 3)
                .collect::<Vec<u64>>()
        });
        let answer = task.unwrap().wait().unwrap();
        assert_eq!(answer.len(), numbers.len());
        assert!(
            answer
                .iter()
                .zip(&numbers)
                .all(|(a, b)| a.to_native() == b * 3)
        );
    }
}

#[test]
fn contexts() {
    let pool = pool();
    let table = pool
        .alloc_from_fn(1_000_000, |i| i as u64)
        .unwrap()
        .freeze();
    let tasks: Vec<_> = (0..100_u64)
        .map(|i| {
            let context = (table.slice(i as usize..), Rkyv(format!("task {i}")), 0.5);
            pool.spawn_with(context, i, |(table, name, half), i| {
                format!("{name} {} {}", table[i.to_native() as usize], half)
            })
            .unwrap()
        })
        .collect();
    drop(table);
    for (i, task) in tasks.into_iter().enumerate() {
        assert_eq!(*task.wait().unwrap(), format!("task {i} {} 0.5", 2 * i));
    }
}

#[test]
fn results_outlive_their_worker_and_their_pool() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let make = || {
        let task = pool.spawn(5_u32, |n| {
            (0..n.to_native())
                .map(|i| vec![i as u8; 50_000])
                .collect::<Vec<_>>()
        });
        task.unwrap().wait().unwrap()
    };
    let check = |rows: &gristmill::TaskOutput<Vec<Vec<u8>>>| {
        assert_eq!(rows.len(), 5);
        for (i, row) in rows.iter().enumerate() {
            assert!(row.len() == 50_000 && row.iter().all(|&x| x == i as u8));
        }
    };
    let first = make();
    let death = pool
        .spawn((), |()| -> u32 { std::process::abort() })
        .unwrap()
        .wait();
    assert!(matches!(death, Err(TaskError::WorkerDied(_))), "{death:?}");
    // The new worker allocates in the same manner.
    let second = make();
    check(&first);
    check(&second);
    let small = pool.spawn(7_u8, |x| x + 1).unwrap().wait().unwrap();
    drop(pool);
    check(&first);
    check(&second);
    assert_eq!(*small, 8);
    thread::spawn(move || drop((first, second))).join().unwrap();
}

#[test]
fn outputs_dropped_in_other_threads_make_room_again() {
    // An arena is as large as the budget: this many results do not fit unless they are freed.
    let pool = Pool::builder()
        .workers(2)
        .memory_budget(16 << 20)
        .build()
        .unwrap();
    thread::scope(|scope| {
        for thread in 0..4_usize {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..50_usize {
                    let size = 100_000 + 1000 * thread + round;
                    let task = pool.spawn(size as u64, |n| vec![7_u8; n.to_native() as usize]);
                    let answer = task.unwrap().wait().unwrap();
                    assert_eq!(answer.len(), size);
                    scope.spawn(move || {
                        assert!(answer.iter().all(|&x| x == 7));
                        drop(answer);
                    });
                }
            });
        }
    });
}

/// The ring has 4096 slots; the others wait in the parent.
#[test]
fn twenty_thousand_at_once() {
    let pool = pool();
    let submit = |i: u64| {
        // Some beside their slot, some in blocks of their own.
        let padding = vec![i as u8; if i.is_multiple_of(7) { 300 } else { 3 }];
        pool.spawn((i, padding), |pair| {
            let sum: u64 = pair.1.iter().map(|&x| u64::from(x)).sum();
            (pair.0.to_native(), sum)
        })
        .unwrap()
    };
    let check = |i: u64, task: TaskHandle<(u64, u64)>| {
        let answer = task.wait().unwrap();
        let padding = if i.is_multiple_of(7) { 300 } else { 3 };
        assert_eq!(
            (answer.0.to_native(), answer.1.to_native()),
            (i, padding * (i % 256))
        );
    };
    let tasks: Vec<_> = (0..20_000).map(submit).collect();
    for (i, task) in tasks.into_iter().enumerate() {
        check(i as u64, task);
    }
    // The last first, from several threads.
    let mut tasks: Vec<_> = (0..20_000).map(|i| (i, submit(i))).collect();
    thread::scope(|scope| {
        for _ in 0..4 {
            let part = tasks.split_off(tasks.len() - 5_000);
            scope.spawn(move || part.into_iter().rev().for_each(|(i, task)| check(i, task)));
        }
    });
}

/// A pipe that workers and parent both have: bytes in it count what was run.
struct Tally {
    counted: File,
    written: OwnedFd,
}

impl Tally {
    fn new() -> Self {
        let (counted, written) = std::io::pipe().unwrap();
        Self {
            counted: File::from(OwnedFd::from(counted)),
            written: written.into(),
        }
    }

    /// Where workers write to: the descriptor of this process, opened anew.
    fn path(&self) -> String {
        format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.written.as_raw_fd()
        )
    }

    /// Blocks until `count` more have been run.
    fn wait(&mut self, count: usize) {
        self.counted.read_exact(&mut vec![0; count]).unwrap();
    }

    /// How many more were run, once nobody can any more.
    fn rest(mut self) -> usize {
        drop(self.written);
        let mut rest = Vec::new();
        self.counted.read_to_end(&mut rest).unwrap();
        rest.len()
    }
}

fn count(path: &str) {
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .write_all(&[1])
        .unwrap();
}

/// A worker that is held up until the gate is opened (the writing end closed).
fn gate(pool: &Pool) -> (TaskHandle<()>, impl FnOnce() + use<>) {
    let (closed, open) = std::io::pipe().unwrap();
    let closed = OwnedFd::from(closed);
    let (entered, says) = std::io::pipe().unwrap();
    let says = OwnedFd::from(says);
    let paths =
        [&closed, &says].map(|fd| format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd()));
    let task = pool.spawn((paths[0].clone(), paths[1].clone()), |paths| {
        let mut gate = File::open(paths.0.as_str()).unwrap();
        count(&paths.1);
        gate.read_to_end(&mut Vec::new()).unwrap();
    });
    File::from(OwnedFd::from(entered))
        .read_exact(&mut [0])
        .unwrap();
    drop(closed);
    (task.unwrap(), move || drop(open))
}

#[test]
fn a_cancelled_task_never_runs() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let mut tally = Tally::new();
    let (blocker, open) = gate(&pool);
    let submit = |_| pool.spawn(tally.path(), |path| count(path)).unwrap();
    // More than the ring holds, so that some are cancelled behind it.
    let mut tasks: Vec<_> = (0..6_000).map(submit).collect();
    for (i, task) in tasks.iter_mut().enumerate() {
        assert!(!task.is_finished());
        if i % 2 == 0 {
            assert!(task.cancel(), "nobody has begun it");
            assert!(task.is_finished());
            assert!(!task.cancel(), "it has ended");
        }
    }
    // By dropping the handle, too.
    let (kept, dropped): (Vec<_>, Vec<_>) = tasks
        .into_iter()
        .enumerate()
        .partition(|(i, _)| i % 2 == 0 || i % 3 == 0);
    let lost = dropped.len();
    drop(dropped);
    open();
    blocker.wait().unwrap();
    let mut run = 0;
    for (i, task) in kept {
        match task.wait() {
            Err(error) => assert!(i % 2 == 0 && error == TaskError::Cancelled, "{error}"),
            Ok(_) => run += 1,
        }
    }
    assert_eq!(run + lost + 3_000, 6_000);
    tally.wait(run);
    drop(pool);
    assert_eq!(tally.rest(), 0);
}

#[test]
fn a_task_that_has_begun_runs_to_its_end() {
    let pool = Pool::builder().workers(1).cancel_grace(Duration::MAX);
    let pool = pool.build().unwrap();
    let (mut task, open) = gate(&pool);
    assert!(!task.is_finished());
    assert!(task.wait_timeout(Duration::from_millis(1)).is_none());
    assert!(!task.cancel(), "a worker has it");
    assert_eq!(task.wait().unwrap_err(), TaskError::Cancelled);
    let (task, open_other) = {
        open();
        gate(&pool)
    };
    drop(task);
    open_other();
    assert_eq!(*pool.spawn(1_u8, |x| x + 1).unwrap().wait().unwrap(), 2);
}

/// Nobody ever waits for these, and there are more than the ring holds.
#[test]
fn detached_tasks_run_without_anybody_waiting() {
    let pool = pool();
    let mut tally = Tally::new();
    for _ in 0..10_000 {
        pool.spawn(tally.path(), |path| count(path))
            .unwrap()
            .detach();
    }
    tally.wait(10_000);
    drop(pool);
    assert_eq!(tally.rest(), 0);
}

/// Handles are held, but nobody waits on them while the parent does something else.
#[test]
fn tasks_behind_the_ring_run_without_anybody_waiting() {
    let pool = pool();
    let mut tally = Tally::new();
    let submit = |_| pool.spawn(tally.path(), |path| count(path)).unwrap();
    let tasks: Vec<_> = (0..10_000).map(submit).collect();
    tally.wait(10_000);
    assert!(tasks.iter().all(|task| {
        while !task.is_finished() {}
        true
    }));
    drop(tasks);
    drop(pool);
    assert_eq!(tally.rest(), 0);
}

#[test]
fn wait_timeout_gives_the_outcome_once() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let (blocker, open) = gate(&pool);
    let mut task = pool.spawn(20_u8, |x| x + 1).unwrap();
    assert!(task.wait_timeout(Duration::ZERO).is_none());
    assert!(task.wait_timeout(Duration::from_millis(2)).is_none());
    open();
    let answer = task
        .wait_timeout(Duration::MAX)
        .expect("there is no limit")
        .unwrap();
    assert_eq!(*answer, 21);
    assert!(task.is_finished());
    assert!(
        matches!(task.wait(), Err(TaskError::Cancelled)),
        "it was taken"
    );
    blocker.wait().unwrap();
}

#[test]
fn a_pool_that_closes_fails_what_is_pending() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let (blocker, open) = gate(&pool);
    let tasks: Vec<_> = (0..5_000_u64)
        .map(|i| pool.spawn(i, |i| i.to_native()).unwrap())
        .collect();
    drop(pool);
    assert_eq!(blocker.wait().unwrap_err(), TaskError::PoolClosed);
    for task in tasks {
        assert!(task.is_finished());
        assert_eq!(task.wait().unwrap_err(), TaskError::PoolClosed);
    }
    open();
}

#[test]
fn a_result_of_no_size_that_is_aligned_comes_back() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let nothing = pool.spawn(3, |_| [0_u64; 0]).unwrap().wait().unwrap();
    assert!(nothing.is_empty());
    let nothings = pool.map(0..100, |_| [0_u64; 0]).ordered().unwrap();
    assert!(
        nothings
            .into_iter()
            .all(|nothing| nothing.unwrap().is_empty())
    );
}

#[derive(Debug, rkyv::Archive, rkyv::Serialize)]
#[rkyv(attr(repr(C, align(64))))]
struct Aligned(u32);

#[test]
fn arguments_that_point_to_nothing_are_as_aligned_as_what_they_could_point_to() {
    let pool = pool();
    let nothing = pool.spawn(Vec::<Aligned>::new(), |lanes| lanes.len() as u64);
    assert_eq!(*nothing.unwrap().wait().unwrap(), 0);
}
