//! Tests of the hook and of what starts it: the test binary runs itself as a worker.

use std::{
    fs::{self, File},
    io::{Read, Write, pipe},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process::{Command, Stdio},
    sync::Mutex,
};

use super::*;
use crate::sys::pidfd::PidFd;
use crate::{
    protocol::image::ImageId,
    sys::{
        pidfd::{Exit, Poller},
        process::Spawn,
    },
};

/// The worker that is a test's: no pool in these tests is that large.
const PROBED: u16 = 4095;

/// What a probed worker does, told by its incarnation.
#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(u16)]
pub(super) enum Probe {
    Report,
    Abort,
    Overflow,
    Wait,
    Touch,
    Nest,
    Count,
    Measure,
    Last,
}

impl Probe {
    pub(super) fn of(handover: &Handover) -> Option<Self> {
        use Probe::{Abort, Count, Last, Measure, Nest, Overflow, Report, Touch, Wait};
        let all = [
            Report, Abort, Overflow, Wait, Touch, Nest, Count, Measure, Last,
        ];
        (handover.index == PROBED).then(|| all[usize::from(handover.incarnation)])
    }

    pub(super) fn run(self, handover: Handover) -> i32 {
        let Access::File(file) = handover.region else {
            unreachable!("it is started anew")
        };
        let mut answer = File::from(handover.event);
        match self {
            Self::Report => answer.write_all(report().as_bytes()).map_or(1, |()| 7),
            Self::Abort => std::process::abort(),
            Self::Overflow => descend(0),
            Self::Wait => {
                answer.write_all(b"here").unwrap();
                wait_for_end(file)
            }
            Self::Touch => {
                std::hint::black_box(vec![1_u8; TOUCHED]);
                0
            }
            Self::Nest => {
                let nested = Started::new(Self::Wait);
                write!(answer, "{}", nested.process.pid()).unwrap();
                wait_for_end(file)
            }
            // In a process of its own, where no other test opens anything or touches memory.
            Self::Count => {
                let open = || fs::read_dir("/proc/self/fd").unwrap().count();
                let before = open();
                for _ in 0..100 {
                    assert_eq!(Started::new(Self::Last).end().code, Some(0));
                }
                i32::from(open() != before)
            }
            Self::Measure => {
                let peak = |probe| Started::new(probe).end().peak_rss;
                let peaks = (peak(Self::Touch), peak(Self::Last));
                write!(answer, "{peaks:?}").map_or(1, |()| 0)
            }
            Self::Last => 0,
        }
    }
}

/// More than a worker has resident by itself, so that it shows in the peak.
const TOUCHED: usize = 64 << 20;

/// Blocks until the other end of the pipe is closed.
fn wait_for_end(pipe: OwnedFd) -> i32 {
    File::from(pipe)
        .read_to_end(&mut Vec::new())
        .map_or(1, |_| 0)
}

#[expect(unconditional_recursion, reason = "the stack must overflow")]
fn descend(depth: u64) -> i32 {
    let frame = std::hint::black_box([depth; 512]);
    descend(depth + 1) + i32::from(frame[depth as usize % 512] == 0)
}

/// What a worker sees of itself, a line each.
fn report() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = |name: &str| {
        status
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap()
            .to_owned()
    };
    let flag = *CONSTRUCTED.lock().unwrap();
    [
        format!("token {:?}", env::var_os(token::VARIABLE)),
        format!("stdin {:?}", fs::read_link("/proc/self/fd/0").unwrap()),
        format!("arguments {:?}", env::args_os().collect::<Vec<_>>()),
        format!("image {:?}", ImageId::current()),
        format!("constructed {flag}"),
        line("Name"),
        line("SigBlk"),
        line("SigIgn"),
        line("SigCgt"),
    ]
    .join("\n")
}

/// How many of the test's constructors have run.
static CONSTRUCTED: Mutex<u32> = Mutex::new(0);

#[used]
#[unsafe(link_section = ".init_array")]
static ANOTHER: [Constructor; 2] = [another, another];

unsafe extern "C" fn another(_: c_int, _: *const *const c_char, _: *const *const c_char) {
    *CONSTRUCTED.lock().unwrap() += 1;
}

/// A probed worker, with the pipes that stand for the region and the event.
struct Started {
    process: PidFd,
    answer: File,
    _alive: OwnedFd,
}

impl Started {
    fn new(probe: Probe) -> Self {
        Self::with_parent(probe, std::process::id() as i32)
    }

    fn with_parent(probe: Probe, parent: i32) -> Self {
        let (region, alive) = pipe().unwrap();
        let (answer, event) = pipe().unwrap();
        let (_nobody, commands) = pipe().unwrap();
        let token = Token {
            region: region.as_raw_fd(),
            event: event.as_raw_fd(),
            commands: commands.as_raw_fd(),
            index: PROBED,
            incarnation: probe as u16,
            parent,
            setup: None,
            sandbox: None,
        };
        let passed = [region.as_fd(), event.as_fd(), commands.as_fd()];
        let value = token.to_string();
        let spawn = Spawn {
            variable: token::VARIABLE,
            value: &value,
            passed: &passed,
            placed: &[],
        };
        let process = spawn.start_in(&[]).expect("a process");
        Self {
            process,
            answer: OwnedFd::from(answer).into(),
            _alive: alive.into(),
        }
    }

    /// All that it says until it ends.
    fn said(&mut self) -> String {
        let mut text = String::new();
        self.answer.read_to_string(&mut text).unwrap();
        text
    }

    fn end(&self) -> Exit {
        self.process.reap(true).unwrap().expect("reap waited")
    }
}

#[test]
fn a_worker_finds_itself_prepared() {
    let mut worker = Started::new(Probe::Report);
    let said = worker.said();
    let lines: Vec<&str> = said.lines().collect();
    let arguments: Vec<_> = env::args_os().take(1).collect();
    assert_eq!(lines[0], "token None");
    assert_eq!(lines[1], "stdin \"/dev/null\"");
    assert_eq!(lines[2], format!("arguments {arguments:?}"));
    assert_eq!(lines[3], format!("image {:?}", ImageId::current()));
    assert_eq!(lines[4], "constructed 2");
    assert_eq!(lines[5], "Name:\tgristmill-w4095");
    assert_eq!(lines[6], "SigBlk:\t0000000000000000");
    // SIGHUP 1, SIGINT 2, SIGQUIT 3, SIGPIPE 13, a bit each from the lowest; job control (20 to 22)
    // as inherited; from 32 on the C library keeps its own.
    let ignored = lines[7].strip_prefix("SigIgn:\t").unwrap();
    let ignored = u64::from_str_radix(ignored, 16).unwrap();
    assert_eq!(ignored & 0x7fff_ffff & !(0b111 << 19), 0x1007);
    assert_eq!(lines[8], "SigCgt:\t0000000000000000");
    // And the test harness, which exits with 0 or 101, has not run.
    assert_eq!(worker.end().code, Some(7));
}

#[test]
fn later_constructors_run_once_and_in_order() {
    static CALLED: Mutex<Vec<(u8, c_int)>> = Mutex::new(Vec::new());
    unsafe extern "C" fn first(count: c_int, _: *const *const c_char, _: *const *const c_char) {
        CALLED.lock().unwrap().push((1, count));
    }
    unsafe extern "C" fn second(count: c_int, _: *const *const c_char, _: *const *const c_char) {
        CALLED.lock().unwrap().push((2, count));
    }
    let nothing = std::ptr::null();
    let arguments = Arguments {
        count: 5,
        values: nothing,
        environment: nothing,
    };
    // SAFETY: both only note that they were called.
    unsafe { construct(&[Some(first), None, Some(second)], arguments) };
    assert_eq!(*CALLED.lock().unwrap(), [(1, 5), (2, 5)]);
}

#[test]
fn the_end_is_told_as_it_was() {
    let aborted = Started::new(Probe::Abort).end();
    assert_eq!((aborted.code, aborted.signal), (None, Some(libc::SIGABRT)));
    let overflowed = Started::new(Probe::Overflow).end();
    assert_eq!(
        (overflowed.code, overflowed.signal),
        (None, Some(libc::SIGSEGV))
    );

    let waiting = Started::new(Probe::Wait);
    assert_eq!(waiting.process.reap(false), Ok(None));
    waiting.process.signal(libc::SIGKILL).unwrap();
    let killed = waiting.end();
    assert_eq!(
        (killed.code, killed.signal, killed.core_dumped),
        (None, Some(9), false)
    );
    // What is gone can be signalled and reaped again without harm.
    waiting.process.signal(libc::SIGKILL).unwrap();
    assert_eq!(waiting.end(), Exit::default());
    assert_eq!(waiting.process.reap(false), Ok(Some(Exit::default())));
}

#[test]
fn the_terminal_ends_no_worker() {
    let mut waiting = Started::new(Probe::Wait);
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
        // The first may well arrive before the hook runs, which must not matter.
        waiting.process.signal(signal).unwrap();
    }
    let mut here = [0; 4];
    waiting.answer.read_exact(&mut here).unwrap();
    waiting.process.signal(libc::SIGTERM).unwrap();
    assert_eq!(waiting.end().signal, Some(libc::SIGTERM));
}

#[test]
fn the_peak_is_the_workers_own() {
    // What this process has resident is not for its workers to answer for.
    let ballast = std::hint::black_box(vec![1_u8; 4 * TOUCHED]);
    let mut parent = Started::new(Probe::Measure);
    let said = parent.said();
    drop(ballast);
    let peak = said
        .strip_prefix("(Some(")
        .and_then(|rest| rest.strip_suffix("), None)"));
    let peak: usize = peak.and_then(|peak| peak.parse().ok()).expect(&said);
    assert!((TOUCHED..2 * TOUCHED).contains(&peak), "{peak}");
}

#[test]
fn a_worker_of_another_parent_ends_at_once() {
    let mut orphan = Started::with_parent(Probe::Report, 1);
    assert_eq!(orphan.said(), "");
    assert_eq!(orphan.end().code, Some(ORPHANED));
}

#[test]
fn a_worker_dies_with_its_parent() {
    let mut parent = Started::new(Probe::Nest);
    let mut pid = [0; 16];
    let bytes = parent.answer.read(&mut pid).unwrap();
    let pid = std::str::from_utf8(&pid[..bytes]).unwrap().parse().unwrap();
    let nested = PidFd::open(pid).unwrap();
    assert!(!nested.is_dead(false).unwrap());
    parent.process.signal(libc::SIGKILL).unwrap();
    parent.end();
    // A test that fails here hangs here: nobody else would end that process.
    assert!(nested.is_dead(true).unwrap());
}

#[test]
fn the_poller_names_the_dead() {
    let (first, second) = (Started::new(Probe::Wait), Started::new(Probe::Wait));
    let poller = Poller::new().unwrap();
    poller.add(&first.process, 1).unwrap();
    poller.add(&second.process, 2).unwrap();
    let mut ready = vec![9];
    poller
        .wait(Some(std::time::Duration::ZERO), &mut ready)
        .unwrap();
    assert!(ready.is_empty());
    second.process.signal(libc::SIGKILL).unwrap();
    while ready.is_empty() {
        poller.wait(None, &mut ready).unwrap();
    }
    assert_eq!(ready, [2]);
    poller.remove(&second.process).unwrap();
    poller
        .wait(Some(std::time::Duration::ZERO), &mut ready)
        .unwrap();
    assert!(ready.is_empty());
}

#[test]
fn no_descriptor_is_left_behind() {
    assert_eq!(Started::new(Probe::Count).end().code, Some(0));
}

#[test]
fn a_standard_stream_is_not_passed() {
    let stdout = std::io::stdout();
    let spawn = Spawn {
        variable: token::VARIABLE,
        value: "",
        passed: &[stdout.as_fd()],
        placed: &[],
    };
    assert!(spawn.start_in(&[]).is_err());
}

#[test]
fn a_bad_token_is_refused_with_a_sentence() {
    let closed = format!("1000:1001:1002:0:0:{}:-:-:-", std::process::id());
    let parent = std::process::id();
    for (token, reason) in [
        ("yes", "expected nine fields"),
        ("3:4:5:4096:0:1:-:-:-", "expected nine fields"),
        (&closed, "take over a descriptor: EBADF"),
        (
            &format!("99999999999:4:5:0:0:{parent}:-:-:-"),
            "expected nine fields",
        ),
    ] {
        let child = Command::new("/proc/self/exe")
            .env(token::VARIABLE, token)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let output = child.unwrap().wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(REFUSED), "{token}: {error}");
        assert!(
            error.contains(reason) && error.lines().count() == 1,
            "{token}: {error}"
        );
        assert!(output.stdout.is_empty());
    }
}
