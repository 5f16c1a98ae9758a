//! Attaching and the handshake: a real worker, started as the pool starts it, killed at each system
//! call of its way from `exec` to its first sleep; before the call and after it.
//!
//! Coarser than an instruction, because the way is long and mostly the loader's. What others can
//! see of it changes through system calls and one store, the worker's "ready".

#![expect(unsafe_code, reason = "prepares a child between fork and exec")]

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::audit::{Books, View, audit};
use super::sweep::say;
use super::tracee::{Call, Tracee};
use std::time::Duration;

use crate::memory::block::Block;
use crate::memory::owner::Owner;
use crate::pool::builder::Config;
use crate::pool::engine::Engine;
use crate::pool::life::Service;
use crate::pool::submit::span_of;
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::protocol::control::Status;
use crate::protocol::life::Life;
use crate::protocol::reply::ReplyBlock;
use crate::protocol::settings::Settings;
use crate::protocol::task::TaskBody;
use crate::protocol::token::{self, Token};
use crate::ring::Verdict;
use crate::sync::kernel::KernelFutex;
use crate::sys::eventfd::wait_readable;
use crate::sys::pidfd::PidFd;

/// The test fails when fewer stops were tried.
const FLOOR: usize = 100;
/// More than any start takes.
const LONGEST: usize = 100_000;
const WORKER: u16 = 0;

/// A pool without its supervisor, and one worker at a time.
struct Nursery {
    engine: Arc<Engine>,
    incarnation: u16,
}

impl Nursery {
    fn new() -> Self {
        let config = Config {
            workers: 3,
            queues: 1,
            scheduler: None,
            cores: 1,
            memory_budget: 16 << 20,
            keep_warm: 0,
            attempts: 1,
            cancel_grace: Duration::MAX,
            queue_depth: None,
            settings: Settings::default(),
            variables: crate::sys::environment::Variables::default(),
            regions: Default::default(),
            service: Service::default(),
            manner: Default::default(),
            captured_lines: None,
            setup: None,
            sandbox: None,
        };
        let engine = Engine::new(config).expect("memory");
        let settings = &engine.config().settings;
        engine.control().settings().store(settings);
        engine.control().life().store(&Life::default());
        Self {
            engine,
            incarnation: 0,
        }
    }

    fn owner(&self) -> Owner {
        Owner::new(WORKER, self.incarnation)
    }

    /// Starts the next worker in a fresh arena, stopped after `exec` if it is to be traced.
    fn raise(&mut self, traced: bool) -> Option<(Tracee, Block)> {
        self.incarnation += 1;
        let engine = &self.engine;
        let size = engine.arena_size() as usize;
        let arena = engine.heap().reserve(size).expect("address space");
        let record = engine.control().record(WORKER).expect("a record");
        let set = |word: &AtomicU64, value| {
            word.store(value, Ordering::Relaxed);
        };
        let place = engine.control().arena(WORKER).expect("an arena's place");
        place.set(span_of(&arena));
        set(&record.status, Status::Starting.to_bits(self.incarnation));
        let passed = [
            engine.region().fd(),
            engine.event().as_fd(),
            engine.commands().as_fd(),
        ];
        let passed = passed.map(|fd| fd.as_raw_fd());
        let token = Token {
            region: passed[0],
            event: passed[1],
            commands: passed[2],
            index: WORKER,
            incarnation: self.incarnation,
            parent: std::process::id() as i32,
            setup: None,
            sandbox: None,
        };
        let mut command = Command::new("/proc/self/exe");
        command
            .env(token::VARIABLE, token.to_string())
            .stdin(Stdio::null());
        let prepare = move || {
            for fd in passed {
                // SAFETY: a descriptor of this process, which is the child's own copy.
                if unsafe { libc::fcntl(fd, libc::F_SETFD, 0) } == -1 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            if traced { Tracee::ask() } else { Ok(()) }
        };
        // SAFETY: makes three system calls and allocates nothing.
        unsafe { command.pre_exec(prepare) };
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => return None,
            Err(error) => panic!("a worker: {error}"),
        };
        Some((Tracee::adopt(child.id() as libc::pid_t, traced), arena))
    }

    fn status(&self) -> Status {
        let record = self.engine.control().record(WORKER).expect("a record");
        Status::from_bits(record.status.load(Ordering::Acquire), self.incarnation)
    }

    /// A worker has died and is reaped: whatever it left, its successor is ready and all is well.
    fn audit(&mut self) -> Result<(), String> {
        let control = self.engine.control();
        let tasks: Vec<_> = (0..8).map(|_| TaskBody::new()).collect();
        let replies: Vec<_> = (0..3 * 8).map(|_| ReplyBlock::new()).collect();
        let view = View {
            ring: control.ring(),
            tasks: &tasks,
            replies: &replies,
            slots: 8,
            done: control.done(),
            board: control.board(),
            chunks: 8,
            parking: control.parking(),
        };
        let mut books = Books::new();
        books.submit(view, 1)?;
        books.post(view, 0, 4);
        books.recover(view, self.owner(), Verdict::Fail, &KernelFutex)?;
        audit(view, &mut books, self.owner(), Verdict::Fail, &KernelFutex)?;
        let (successor, _arena) = self.raise(false).ok_or("no successor")?;
        let process = PidFd::open(successor.pid()).map_err(|error| error.to_string())?;
        let commands = self.engine.commands();
        while self.status() != Status::Ready {
            let [_, dead] = wait_readable([commands.as_fd(), process.as_fd()], None)
                .map_err(|error| error.to_string())?;
            if dead {
                return Err(format!("the successor ended: {:?}", self.status()));
            }
            commands.clear().map_err(|error| error.to_string())?;
        }
        successor.kill();
        Ok(())
    }
}

#[test]
fn a_start_survives_death_at_every_system_call() {
    let mut nursery = Nursery::new();
    let mut ready = 0;
    for stops in 0..LONGEST {
        let Some((worker, arena)) = nursery.raise(true) else {
            say("sweep of the handshake: SKIPPED, ptrace is not permitted");
            return;
        };
        let reserved = nursery.engine.heap().stats().reserved;
        assert_eq!(
            reserved,
            arena.size() as u64,
            "stop {stops}: an arena is lost"
        );
        let mut last = Call::Other;
        for _ in 0..stops {
            last = worker.to_call();
            // Nobody would wake it; and how often it looks for work before, its clock decides.
            if last == Call::Futex && nursery.status() == Status::Ready {
                break;
            }
        }
        let status = nursery.status();
        worker.kill();
        ready += usize::from(status == Status::Ready);
        assert!(
            matches!(status, Status::Starting | Status::Ready),
            "stop {stops}: {status:?}"
        );
        if let Err(what) = nursery.audit() {
            panic!("stop {stops} of a start: {what}");
        }
        if status == Status::Ready && last == Call::Futex {
            say(&format!(
                "sweep of attach and handshake: killed at {stops} stops, {ready} of them ready"
            ));
            assert!(stops >= FLOOR && ready > 0, "{stops} stops, {ready} ready");
            return;
        }
    }
    panic!("a worker that never comes to rest");
}
