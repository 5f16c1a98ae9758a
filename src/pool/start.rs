//! How workers are started: anew, by a server that forks them, or as forks of this process.

#![expect(unsafe_code, reason = "forks, where the caller has vouched for it")]

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::memory::region::Region;
use crate::protocol::function::FunctionId;
use crate::protocol::inherited::Inheritance;
use crate::protocol::start::{self, Answer, MESSAGE_BYTES, Request};
use crate::protocol::token::{self, Access, Handover, ServerToken, Token};
use crate::sys::environment::Variables;
use crate::sys::eventfd::wait_readable;
use crate::sys::fork;
use crate::sys::pidfd::PidFd;
use crate::sys::process::{self, KILL, Spawn};

/// How long a server may take for a worker before it is ended and another is asked. Nothing is
/// decided by it: what the server has done by then is found out.
const PATIENCE: Duration = Duration::from_secs(1);

/// How a pool's workers come into being; see
/// [`Builder::start_method`](crate::Builder::start_method).
///
/// | method | what a worker is | what it costs |
/// |---|---|---|
/// | `Spawn` | this executable, started again | `exec`, loader and constructors, each time |
/// | `ForkServer` | a fork of this executable, which was started again once | one process more |
///
/// A third one is [`Builder::fork`](crate::Builder::fork), which is unsafe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartMethod {
    /// Each worker is started anew, by `exec`. The default.
    #[default]
    Spawn,
    /// A server with one thread, in which constructors have run, and what
    /// [`Builder::preload`](crate::Builder::preload) asked for, forks each worker.
    ForkServer,
}

/// The pool's choice, complete.
#[derive(Clone, Debug, Default)]
pub(crate) enum Manner {
    #[default]
    Spawn,
    ForkServer {
        preload: Option<FunctionId>,
    },
    /// The builder's caller has vouched for it.
    Fork,
    /// Anew, through another program, which executes ours.
    Command(Vec<OsString>),
}

/// What a worker needs of its parent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ground<'a> {
    pub(super) region: &'a Arc<Region>,
    pub(super) event: BorrowedFd<'a>,
    pub(super) commands: BorrowedFd<'a>,
    /// Variables that it is to have; of no use to forks.
    pub(super) variables: &'a Variables,
    /// Regions that it is to have.
    pub(super) regions: &'a Inheritance,
    /// Of the sandbox, if there is to be one.
    pub(super) ruleset: Option<BorrowedFd<'a>>,
    /// What it is to find under certain numbers; of no use to forks.
    pub(super) placed: &'a [(BorrowedFd<'a>, RawFd)],
}

impl<'a> Ground<'a> {
    fn descriptors(&self) -> Vec<BorrowedFd<'a>> {
        let all = [self.region.fd(), self.event, self.commands];
        let all = all.into_iter().chain(self.ruleset);
        all.chain(self.regions.descriptors()).collect()
    }

    fn variables(&self) -> Vec<(OsString, OsString)> {
        let given = self.variables.iter().cloned();
        given.chain(self.regions.variable()).collect()
    }
}

/// Starts workers, on the thread that they are to die with.
#[derive(Debug)]
pub(super) struct Starter {
    manner: Manner,
    server: Option<Server>,
}

impl Manner {
    /// Whether workers begin with the descriptors that they are given: forks have those of what
    /// they are copies of.
    pub(crate) fn places_descriptors(&self) -> bool {
        matches!(self, Self::Spawn | Self::Command(_))
    }
}

impl Starter {
    pub(super) fn new(manner: &Manner) -> Self {
        Self {
            manner: manner.clone(),
            server: None,
        }
    }

    /// Starts a worker. Where a server or its forks cannot be had, it is started anew.
    pub(super) fn start(&mut self, ground: Ground<'_>, token: &Token) -> Result<PidFd, Error> {
        match &self.manner {
            Manner::Spawn => spawn(ground, token, &[]),
            Manner::Command(command) => spawn(ground, token, command),
            Manner::Fork => fork_self(ground, token),
            &Manner::ForkServer { preload } => match self.ask(ground, token, preload) {
                Some(pid) => Ok(PidFd::open_forked(pid)?),
                None => spawn(ground, token, &[]),
            },
        }
    }

    /// The number of a worker from the server; from another one if that has died.
    fn ask(
        &mut self,
        ground: Ground<'_>,
        token: &Token,
        preload: Option<FunctionId>,
    ) -> Option<i32> {
        let request = Request {
            index: token.index,
            incarnation: token.incarnation,
        };
        for _ in 0..2 {
            let mut server = match self.server.take() {
                Some(server) => server,
                None => Server::launch(ground, token, preload).ok()?,
            };
            let answer = match server.request(request) {
                Some(answer) => {
                    self.server = Some(server);
                    Some(answer)
                }
                None => server.give_up(),
            };
            if let Some(answer) = answer.filter(|answer| answer.request == request) {
                return answer.outcome.ok();
            }
        }
        None
    }
}

fn spawn(ground: Ground<'_>, token: &Token, command: &[OsString]) -> Result<PidFd, Error> {
    let spawn = Spawn {
        variable: token::VARIABLE,
        value: &token.to_string(),
        passed: &ground.descriptors(),
        placed: ground.placed,
    };
    let variables = ground.variables();
    let started = spawn.start_through(command, &variables);
    started.map_err(|error| Error::Spawn(error.to_string()))
}

/// A worker that is a copy of this process.
fn fork_self(ground: Ground<'_>, token: &Token) -> Result<PidFd, Error> {
    let live = start::worker().ok_or(Error::PoolClosed)?;
    // In this process, so that the copy need not ask for anything that may fail.
    let handover = Handover {
        region: Access::Mapped(Arc::clone(ground.region)),
        event: duplicate(ground.event)?,
        commands: duplicate(ground.commands)?,
        index: token.index,
        incarnation: token.incarnation,
        setup: token.setup,
        // The builder refuses a sandbox here: such a worker has all that the program has open.
        sandbox: None,
    };
    // SAFETY: whoever built the pool has promised what `Builder::fork` asks for.
    match unsafe { fork::child() }? {
        Some(pid) => Ok(PidFd::open_forked(pid)?),
        None => process::exit_at_once(live_on(ground.region, token, handover, live)),
    }
}

/// In the copy.
fn live_on(region: &Region, token: &Token, handover: Handover, live: start::Live) -> i32 {
    const CANNOT: i32 = 70;
    fork::reset_signals();
    let bound = process::bind_to_parent(token.parent);
    if !matches!(bound, Ok(Some(_))) || process::settle_signals().is_err() {
        return CANNOT;
    }
    // The parent's mapping, in which a wild pointer could write to anything: it becomes this
    // worker's own.
    if region.protect(0..region.size()).is_err() {
        return CANNOT;
    }
    process::set_name(&format!("gristmill-w{}", token.index));
    live(handover)
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<std::os::fd::OwnedFd, Error> {
    fd.try_clone_to_owned()
        .map_err(|error| process::refused("duplicate a descriptor")(error).into())
}

/// A server, and the socket on which it is asked.
#[derive(Debug)]
struct Server {
    process: PidFd,
    socket: UnixStream,
}

impl Server {
    fn launch(
        ground: Ground<'_>,
        worker: &Token,
        preload: Option<FunctionId>,
    ) -> Result<Self, Error> {
        let failed = |error| Error::from(process::refused("make a socket")(error));
        let (ours, its) = UnixStream::pair().map_err(failed)?;
        let token = ServerToken {
            region: ground.region.fd().as_raw_fd(),
            event: ground.event.as_raw_fd(),
            commands: ground.commands.as_raw_fd(),
            requests: its.as_raw_fd(),
            preload: preload.map_or(0, FunctionId::to_bits),
            parent: worker.parent,
            setup: worker.setup,
            sandbox: worker.sandbox,
        };
        let mut passed = ground.descriptors();
        passed.push(its.as_fd());
        let spawn = Spawn {
            variable: token::VARIABLE,
            value: &token.to_string(),
            passed: &passed,
            placed: &[],
        };
        let variables = ground.variables();
        let mut server = Self {
            process: spawn.start_in(&variables)?,
            socket: ours,
        };
        // What it has to load takes as long as it takes.
        let ready = server.answer(None).filter(|answer| *answer == start::READY);
        ready.ok_or_else(|| Error::Spawn("the server that forks workers has ended".into()))?;
        Ok(server)
    }

    /// What the server, or the worker, answers; `None` if nobody does.
    fn request(&mut self, request: Request) -> Option<Answer> {
        // The standard library sends without `SIGPIPE`.
        self.socket.write_all(&request.to_bytes()).ok()?;
        self.answer(Some(PATIENCE))
    }

    /// The next message; `None` once the server has ended or the time is over.
    ///
    /// That it has ended its own descriptor says, not the socket: a process that was forked from
    /// this one may hold the other side as well.
    fn answer(&mut self, patience: Option<Duration>) -> Option<Answer> {
        let deadline = patience.map(|patience| Instant::now() + patience);
        loop {
            let left = match deadline {
                Some(deadline) => Some(deadline.checked_duration_since(Instant::now())?),
                None => None,
            };
            match wait_readable([self.socket.as_fd(), self.process.as_fd()], left).ok()? {
                [true, _] => return self.read(),
                [false, true] => return None,
                [false, false] => {}
            }
        }
    }

    /// A message that is there, or the end.
    fn read(&mut self) -> Option<Answer> {
        let mut message = [0; MESSAGE_BYTES];
        self.socket.read_exact(&mut message).ok()?;
        Some(Answer::from_bytes(message))
    }

    /// Ends the server and finds out whether it has forked a worker nevertheless.
    ///
    /// 1. The server is reaped, so it forks nothing any more.
    /// 2. Our side is shut, so a worker that has not said that it is there cannot say so any more,
    ///    and ends.
    /// 3. What was said before can be read.
    fn give_up(mut self) -> Option<Answer> {
        self.end();
        let _ = self.socket.shutdown(Shutdown::Read);
        self.read()
    }

    fn end(&self) {
        // Dead already is as good.
        let _ = self.process.signal(KILL);
        let _ = self.process.reap(true);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
