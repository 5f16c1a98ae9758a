//! What the tests of events, semaphores and barriers share.

#![allow(dead_code, reason = "not every test file uses all of it")]

use std::time::Duration;

use gristmill::{Handle, Object, Region};

/// Far more than any of this takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const MOMENT: Duration = Duration::from_millis(20);

pub(crate) fn region() -> Region {
    Region::new(4 << 20).unwrap()
}

pub(crate) fn open<T: Object>(words: &rkyv::Archived<[u64; 2]>) -> T {
    let words = [words[0].into(), words[1].into()];
    Handle::from_words(words).open().unwrap()
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let builder = tokio::runtime::Builder::new_current_thread().build();
    builder.unwrap()
}

/// What the threads of a process do, and have done, as the kernel counts it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Threads {
    /// Which of them sleep on a word of memory, until somebody wakes them; `None` where that may
    /// not be seen.
    pub(crate) on_words: Option<usize>,
    pub(crate) all: usize,
    /// Whether one of them is running, or would like to.
    pub(crate) any_runs: bool,
    /// Nanoseconds that each has run, how long it has waited for that, and how often it ran.
    pub(crate) runs: Vec<String>,
}

pub(crate) fn threads_of(pid: u32) -> Threads {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let tasks: Vec<_> = tasks.map(|task| task.unwrap().path()).collect();
    let call = |task: &std::path::PathBuf| std::fs::read_to_string(task.join("syscall"));
    let calls: Result<Vec<_>, _> = tasks.iter().map(call).collect();
    let is_futex = |call: &&String| {
        let mut words = call.split_whitespace();
        words.next().and_then(|number| number.parse().ok()) == Some(libc::SYS_futex)
    };
    let runs = tasks
        .iter()
        .map(|task| std::fs::read_to_string(task.join("schedstat")).unwrap_or_default());
    let calls = calls.ok();
    let runs_now = |calls: &Vec<String>| calls.iter().any(|call| call.starts_with("running"));
    Threads {
        any_runs: calls.as_ref().is_some_and(runs_now),
        on_words: calls.map(|calls| calls.iter().filter(is_futex).count()),
        all: tasks.len(),
        runs: runs.collect(),
    }
}

/// The threads once they rest: none of them has run between two looks.
pub(crate) fn at_rest(pid: u32) -> Threads {
    const LOOKS: usize = 100;
    let mut before = threads_of(pid);
    for _ in 0..LOOKS {
        // How long nobody is to run; a clock that ticks or polls is seen in it.
        std::thread::sleep(Duration::from_millis(200));
        let now = threads_of(pid);
        if now == before && !now.any_runs {
            return now;
        }
        before = now;
    }
    panic!("they never rest: {before:?}");
}
