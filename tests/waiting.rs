//! Threads that block on one pool: whoever sleeps is woken, whatever the others do.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use gristmill::{Pool, TaskHandle};

/// A hang is told after this long; nothing here takes a hundredth of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tasks block on it until it is opened, which is closing its writing end.
struct Gate {
    closed: OwnedFd,
    open: OwnedFd,
}

impl Gate {
    fn new() -> Self {
        let (closed, open) = std::io::pipe().unwrap();
        Self {
            closed: closed.into(),
            open: open.into(),
        }
    }

    fn task(&self, pool: &Pool) -> TaskHandle<u32> {
        let path = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.closed.as_raw_fd()
        );
        pool.spawn(path, |path| {
            let mut gate = File::open(path.as_str()).unwrap();
            gate.read_to_end(&mut Vec::new()).unwrap() as u32
        })
        .unwrap()
    }

    /// The reading end must be there for those who have yet to come to it.
    #[must_use]
    fn open(self) -> OwnedFd {
        drop(self.open);
        self.closed
    }
}

/// Waits in a thread of its own, and returns once that thread sleeps in the kernel.
fn sleeper(task: TaskHandle<u32>, done: &mpsc::Sender<&'static str>, name: &'static str) {
    let done = done.clone();
    let (say, thread) = mpsc::channel();
    thread::spawn(move || {
        // "self" is the thread that reads it.
        let link = fs::read_link("/proc/thread-self").unwrap();
        say.send(link).unwrap();
        task.wait().unwrap();
        done.send(name).unwrap();
    });
    let status = Path::new("/proc").join(thread.recv().unwrap()).join("stat");
    // While it spins it runs, or is ready to.
    while !fs::read_to_string(&status).unwrap().contains(") S ") {
        thread::yield_now();
    }
}

#[test]
fn whoever_is_called_to_lead_passes_it_on() {
    let pool = Pool::builder().workers(3).build().unwrap();
    for round in 0..100 {
        let (first, last) = (Gate::new(), Gate::new());
        let (one, two, late) = (first.task(&pool), first.task(&pool), last.task(&pool));
        let (done, ended) = mpsc::channel();
        // The first to sleep leads; of those who follow the last comes next.
        sleeper(one, &done, "one");
        sleeper(late, &done, "late");
        sleeper(two, &done, "two");
        // Two end at once, perhaps before the leader has looked.
        let _first = first.open();
        for _ in 0..2 {
            assert_ne!(ended.recv_timeout(PATIENCE).unwrap(), "late");
        }
        let _last = last.open();
        assert_eq!(
            ended.recv_timeout(PATIENCE),
            Ok("late"),
            "round {round}: nobody listened"
        );
    }
}

/// A leader, or whoever was called to lead, may give up on time.
#[test]
fn timeouts_leave_the_others_a_leader() {
    let pool = Pool::builder().workers(2).build().unwrap();
    for round in 0..30 {
        let gate = Gate::new();
        let (mut one, late) = (gate.task(&pool), gate.task(&pool));
        let (done, ended) = mpsc::channel();
        thread::scope(|scope| {
            let impatient = scope.spawn(|| one.wait_timeout(Duration::from_millis(3)).is_none());
            sleeper(late, &done, "late");
            assert!(impatient.join().unwrap());
        });
        let _gate = gate.open();
        assert_eq!(
            ended.recv_timeout(PATIENCE),
            Ok("late"),
            "round {round}: nobody listened"
        );
        one.wait().unwrap();
    }
}

#[test]
fn a_crowd_of_waiters_all_come_home() {
    let pool = Pool::builder().workers(2).build().unwrap();
    let (done, ended) = mpsc::channel();
    for thread in 0..24_u64 {
        let (done, start) = (done.clone(), thread * 1000);
        let tasks: Vec<_> = (start..start + 400)
            .map(|i| {
                pool.spawn(i, |i| {
                    // Of very different lengths.
                    let turns = if i.to_native() % 50 == 0 { 200_000 } else { 10 };
                    (0..turns).fold(i.to_native(), |x, _| std::hint::black_box(x))
                })
                .unwrap()
            })
            .collect();
        thread::spawn(move || {
            for (i, mut task) in (start..).zip(tasks) {
                let answer = match i % 3 {
                    0 => loop {
                        if let Some(answer) = task.wait_timeout(Duration::from_micros(200)) {
                            break answer;
                        }
                    },
                    _ => task.wait(),
                };
                assert_eq!(*answer.unwrap(), i);
            }
            done.send(()).unwrap();
        });
    }
    for _ in 0..24 {
        ended.recv_timeout(PATIENCE).expect("somebody is stuck");
    }
}
