//! Nothing of the parent's grows with the deaths of its workers, or with pools opened and closed.
//!
//! One test, for the counts are those of the whole process.

use std::env;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use gristmill::{Pool, TaskError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How many, unless the environment says otherwise; each takes some milliseconds.
const DEATHS: (&str, usize) = ("GRISTMILL_TEST_DEATHS", 1000);
const POOLS: (&str, usize) = ("GRISTMILL_TEST_POOLS", 1000);
/// What is not over by then has hung; nothing is decided by it otherwise.
const LIMIT: Duration = Duration::from_secs(120);

/// What this process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    descriptors: usize,
    threads: usize,
    mappings: usize,
    children: usize,
    /// Bytes of all regions that are open.
    shared: u64,
}

impl Held {
    fn now() -> Self {
        let entries = |path: &str| fs::read_dir(path).expect("procfs").count();
        let tasks = fs::read_dir("/proc/self/task").expect("procfs").flatten();
        let children = tasks
            .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
            .map(|list| list.split_whitespace().count());
        Self {
            descriptors: entries("/proc/self/fd"),
            threads: entries("/proc/self/task"),
            mappings: fs::read_to_string("/proc/self/maps")
                .expect("procfs")
                .lines()
                .count(),
            children: children.sum(),
            shared: shared(),
        }
    }

    #[track_caller]
    fn is_back_at(self, before: Self) {
        assert_eq!(
            self.descriptors, before.descriptors,
            "{before:?}, then {self:?}"
        );
        assert_eq!(self.children, before.children, "{before:?}, then {self:?}");
        assert_eq!(self.threads, before.threads, "{before:?}, then {self:?}");
        // The allocator of the C library maps and unmaps as it likes, but not in proportion.
        assert!(
            self.mappings <= before.mappings + 10,
            "{before:?}, then {self:?}"
        );
        // A worker's arena is committed by the mebibyte: one more or less may be in use.
        assert!(
            self.shared <= before.shared + (8 << 20),
            "{before:?}, then {self:?}"
        );
    }
}

/// Bytes that the memory files of this process take.
fn shared() -> u64 {
    use std::os::unix::fs::MetadataExt;
    let files = fs::read_dir("/proc/self/fd").expect("procfs").flatten();
    let regions = files.filter(|file| {
        fs::read_link(file.path()).is_ok_and(|target| target.to_string_lossy().contains("memfd:"))
    });
    regions
        .filter_map(|file| fs::metadata(file.path()).ok())
        .map(|metadata| metadata.blocks() * 512)
        .sum()
}

fn count((variable, otherwise): (&str, usize)) -> usize {
    match env::var(variable) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => otherwise,
    }
}

fn pool() -> Pool {
    let builder = Pool::builder().workers(2).memory_budget(256 << 20);
    builder.build().expect("a pool")
}

/// Some work, then the death of whoever did it; some die in the middle of it.
fn kill_one(pool: &Pool, round: usize) {
    let task = pool
        .spawn(round as u64, |round| {
            (std::process::id(), vec![round.to_native(); 1 << 17])
        })
        .expect("submitted");
    let result = task.wait().expect("it ends well");
    let worker = result.0.to_native();
    if round.is_multiple_of(2) {
        let task = pool.spawn((), |_| {
            let _keep = vec![1_u8; 1 << 20];
            std::process::abort();
        });
        let task: gristmill::TaskHandle<()> = task.expect("submitted");
        assert!(matches!(task.wait(), Err(TaskError::WorkerDied(_))));
    } else {
        kill(Pid::from_raw(worker as i32), Signal::SIGKILL).expect("it is not reaped yet");
        until(|| !pool.worker_pids().contains(&worker));
    }
    assert!(result.1.iter().all(|x| x.to_native() == round as u64));
    drop(result);
    until(|| pool.worker_pids().len() == pool.workers());
    let xs = pool
        .alloc_from_fn(10_000, |i| i as u64)
        .expect("room")
        .freeze();
    assert_eq!(
        pool.par_map(&xs, |x| x + 1).wait().expect("it ends well")[9_999],
        10_000
    );
}

fn until(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LIMIT, "it never came");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn deaths_and_pools_leave_nothing_behind() {
    // What is made once and kept.
    for round in 0..5 {
        kill_one(&pool(), round);
    }
    let alone = Held::now();
    assert_eq!((alone.children, alone.shared), (0, 0));

    let pool_ = pool();
    for round in 0..10 {
        kill_one(&pool_, round);
    }
    let before = Held::now();
    assert!(before.shared > 0 && before.children == 2);
    for round in 0..count(DEATHS) {
        kill_one(&pool_, round);
    }
    Held::now().is_back_at(before);
    drop(pool_);
    Held::now().is_back_at(alone);

    for round in 0..count(POOLS) {
        let pool = pool();
        let task = pool
            .spawn(round as u64, |x| x.to_native() + 1)
            .expect("submitted");
        assert_eq!(
            task.wait().expect("it ends well").to_native(),
            round as u64 + 1
        );
    }
    let after = Held::now();
    after.is_back_at(alone);
    assert_eq!((after.children, after.shared), (0, 0));
    println!("{alone:?}, then {after:?}");
}
