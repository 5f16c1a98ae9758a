//! A program under test, seen from outside, and its workers.

#![expect(unsafe_code, reason = "opens descriptors for processes")]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// What the environment calls the scenario.
pub(crate) const SCENARIO: &str = "PARENT_SCENARIO";

/// What is not over by then has hung; nothing is decided by it otherwise.
const LIMIT: Duration = Duration::from_secs(60);

/// A scenario that runs.
pub(crate) struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// The only directory for temporary files that it knows.
    temporary: PathBuf,
    shared_names: BTreeSet<PathBuf>,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
}

impl Program {
    pub(crate) fn start(scenario: &str) -> Self {
        let name = format!("parent-{}-{scenario}", std::process::id());
        let temporary = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&temporary);
        fs::create_dir_all(&temporary).expect("the target directory is writable");
        let shared_names = shared_names();
        let mut child = Command::new(env::current_exe().expect("a path"))
            .env(SCENARIO, scenario)
            .env("TMPDIR", &temporary)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("this executable can be started");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self {
            input: child.stdin.take(),
            output,
            child,
            temporary,
            shared_names,
        }
    }

    /// The next line that it prints.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        // A scenario that hangs ends itself by an alarm: then this is the end of its output.
        let read = self.output.read_line(&mut line).expect("a pipe");
        assert!(read > 0, "the program has ended: {:?}", self.child.wait());
        line.trim().to_owned()
    }

    /// The workers that it has told of.
    pub(crate) fn workers(&mut self) -> Vec<Worker> {
        let line = self.line();
        let pids = line
            .strip_prefix("workers")
            .expect("the pids")
            .split_whitespace();
        let workers: Vec<_> = pids
            .map(|pid| Worker::open(pid.parse().expect("a pid")))
            .collect();
        let workers: Vec<_> = workers
            .into_iter()
            .map(|worker| worker.expect("it lives"))
            .collect();
        assert!(!workers.is_empty());
        workers
    }

    /// Those of its children that can still be found.
    pub(crate) fn children(&self) -> Vec<Worker> {
        let pid = self.child.id();
        let began = Instant::now();
        let mut found = Vec::new();
        while began.elapsed() < LIMIT {
            let tasks = fs::read_dir(format!("/proc/{pid}/task"))
                .into_iter()
                .flatten()
                .flatten();
            let lists =
                tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
            let pids: Vec<u32> = lists
                .flat_map(|list| {
                    list.split_whitespace()
                        .filter_map(|pid| pid.parse().ok())
                        .collect::<Vec<_>>()
                })
                .collect();
            for pid in pids {
                if found.iter().all(|worker: &Worker| worker.pid != pid) {
                    found.extend(Worker::open(pid));
                }
            }
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat
                .rsplit(") ")
                .next()
                .is_none_or(|rest| rest.starts_with('Z'))
            {
                break;
            }
        }
        found
    }

    /// Tells it to go on.
    pub(crate) fn go_on(&mut self) {
        let input = self.input.as_mut().expect("open");
        input
            .write_all(b"\n")
            .and_then(|()| input.flush())
            .expect("it listens");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("not reaped yet");
    }

    /// As a terminal does.
    pub(crate) fn signal_group(&self, signal: Signal) {
        killpg(Pid::from_raw(self.child.id() as i32), signal).expect("not reaped yet");
    }

    pub(crate) fn end(&mut self) -> End {
        let status = self.child.wait().expect("our child");
        End {
            code: status.code(),
            signal: status.signal(),
        }
    }

    /// Processor time of all its threads.
    pub(crate) fn ticks(&self) -> u64 {
        ticks(self.child.id())
    }

    /// No file in shared memory, none among the temporary ones.
    #[track_caller]
    pub(crate) fn left_nothing(&self) {
        let left: Vec<_> = fs::read_dir(&self.temporary)
            .expect("ours")
            .flatten()
            .collect();
        assert!(left.is_empty(), "{left:?}");
        let left: Vec<_> = shared_names()
            .difference(&self.shared_names)
            .cloned()
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

/// Names in shared memory that this crate could have made.
fn shared_names() -> BTreeSet<PathBuf> {
    let entries = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let ours = entries.filter(|entry| {
        let name = entry.file_name().to_string_lossy().to_lowercase();
        name.contains("gristmill")
    });
    ours.map(|entry| entry.path()).collect()
}

/// One of its workers, held by a descriptor, so that no other process is taken for it.
pub(crate) struct Worker {
    pid: u32,
    fd: OwnedFd,
}

impl Worker {
    fn open(pid: u32) -> Option<Self> {
        // SAFETY: takes two integers and touches no memory.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            return None;
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        Some(Self { pid, fd })
    }

    fn is_dead_within(&self, limit: Duration) -> bool {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(limit).expect("a short time");
        poll(&mut fds, timeout).expect("a descriptor") > 0
    }

    #[track_caller]
    pub(crate) fn ends(self) {
        assert!(self.is_dead_within(LIMIT), "worker {} lives on", self.pid);
    }

    pub(crate) fn lives(&self) -> bool {
        !self.is_dead_within(Duration::ZERO)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid as i32), signal).expect("it lives");
    }

    /// Waits until it sleeps.
    #[track_caller]
    pub(crate) fn sleeps(&self) {
        let began = Instant::now();
        let asleep = || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).expect("it lives");
            stat.rsplit(") ").next().expect("fields").starts_with('S')
        };
        while !asleep() {
            assert!(began.elapsed() < LIMIT, "worker {} never sleeps", self.pid);
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn ticks(&self) -> u64 {
        ticks(self.pid)
    }
}

/// Processor time of a process, in the kernel's hundredths of a second.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .expect("fields")
        .split(' ')
        .collect();
    // The fields are numbered from 3 on behind the name: 14 is user time, 15 the kernel's.
    let field = |number: usize| fields[number - 3].parse::<u64>().expect("a number");
    field(14) + field(15)
}
