//! The one thread that starts processes and hears of their ends.
//!
//! It begins with the program's first process and stays, because the kernel kills a daemon with
//! the *thread* that started it. It sleeps in epoll, for free, on the processes and on a bell.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, ThreadId};

use crate::error::{Error, OomKill};
use crate::process::record::Record;
use crate::protocol::envelope::Envelope;
use crate::protocol::inherited::Inheritance;
use crate::protocol::token::{self, SoloToken};
use crate::sys::environment::Variables;
use crate::sys::eventfd::Bell;
use crate::sys::map::ForkMark;
use crate::sys::oom::OomKills;
use crate::sys::pidfd::{PidFd, Poller};
use crate::sys::process::{KILL, Spawn};

const BELL: u64 = 0;

/// What its users see of the keeper.
#[derive(Debug)]
pub(super) struct Keeper {
    mark: ForkMark,
    bell: Bell,
    requests: Mutex<Vec<Request>>,
    thread: OnceLock<ThreadId>,
    /// As counted last.
    oom_kills: Mutex<OomKills>,
}

/// A process to be started.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) daemon: bool,
    pub(super) variables: Variables,
    pub(super) regions: Inheritance,
    pub(super) envelope: Envelope,
}

#[derive(Debug)]
struct Request {
    plan: Plan,
    answer: SyncSender<Result<Arc<Record>, Error>>,
}

static KEEPER: OnceLock<Keeper> = OnceLock::new();

impl Keeper {
    /// The program's keeper; its thread is started by the first call.
    pub(super) fn get() -> Result<&'static Self, Error> {
        static FIRST: Mutex<()> = Mutex::new(());
        if let Some(keeper) = KEEPER.get() {
            keeper.check()?;
            return Ok(keeper);
        }
        let _first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keeper) = KEEPER.get() {
            return Ok(keeper);
        }
        let poller = Poller::new()?;
        let keeper = Self {
            mark: ForkMark::new()?,
            bell: Bell::new()?,
            requests: Mutex::default(),
            thread: OnceLock::new(),
            oom_kills: Mutex::new(OomKills::now()),
        };
        poller.add(keeper.bell.as_fd(), BELL)?;
        // The thread waits for the keeper to be in its place: it may be there first.
        let (ready, begin) = mpsc::sync_channel::<&'static Self>(1);
        thread::Builder::new()
            .name("gristmill-keep".into())
            .spawn(move || {
                if let Ok(keeper) = begin.recv() {
                    keep(keeper, &poller);
                }
            })
            .map_err(Error::Thread)?;
        let keeper = KEEPER.get_or_init(|| keeper);
        // It can only be gone if the program is about to end.
        let _ = ready.send(keeper);
        Ok(keeper)
    }

    /// Refuses to work in a process that was forked from the keeper's.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.mark.is_here() {
            true => Ok(()),
            false => Err(Error::Forked),
        }
    }

    /// Starts a process; blocks until it is there.
    pub(super) fn start(&self, plan: Plan) -> Result<Arc<Record>, Error> {
        if self.thread.get() == Some(&thread::current().id()) {
            // It would wait for itself.
            return Err(Error::Spawn(
                "a waker that polls its future at once may not start a process".into(),
            ));
        }
        let (answer, outcome) = mpsc::sync_channel(1);
        let mut requests = self.lock();
        requests.push(Request { plan, answer });
        drop(requests);
        self.bell.ring()?;
        outcome.recv().unwrap_or(Err(Error::PoolClosed))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Request>> {
        // A push and a take leave no half-way state.
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the kernel has killed for memory since it was asked last.
    pub(super) fn was_oom(&self) -> OomKill {
        let now = OomKills::now();
        let mut last = self
            .oom_kills
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        OomKill::between(core::mem::replace(&mut *last, now), now)
    }
}

/// The thread's life.
fn keep(keeper: &'static Keeper, poller: &Poller) -> ! {
    keeper.thread.get_or_init(|| thread::current().id());
    let mut charges: HashMap<u64, (Arc<PidFd>, Arc<Record>)> = HashMap::new();
    let mut next = BELL + 1;
    let mut tokens = Vec::new();
    loop {
        // A failed wait is one without events; whatever is true is found by looking.
        let _ = poller.wait(None, &mut tokens);
        for token in &tokens {
            if *token == BELL {
                let _ = keeper.bell.clear();
                continue;
            }
            // Somebody who asked may have reaped it already; then this finds the outcome.
            let ended = charges
                .get(token)
                .is_some_and(|(_, record)| record.outcome().is_some());
            if ended && let Some((process, _)) = charges.remove(token) {
                let _ = poller.remove(&*process);
            }
        }
        let requests = core::mem::take(&mut *keeper.lock());
        for Request { plan, answer } in requests {
            let started = start(keeper, plan).and_then(|(process, record)| {
                watch(poller, next, &process)?;
                charges.insert(next, (process, Arc::clone(&record)));
                next += 1;
                Ok(record)
            });
            // Whoever asked waits for it.
            let _ = answer.send(started);
        }
    }
}

fn start(keeper: &'static Keeper, plan: Plan) -> Result<(Arc<PidFd>, Arc<Record>), Error> {
    let Plan {
        name,
        daemon,
        variables,
        regions,
        envelope,
    } = plan;
    let variables: Vec<_> = variables
        .iter()
        .cloned()
        .chain(regions.variable())
        .collect();
    let passed: Vec<_> = regions.descriptors().chain([envelope.fd()]).collect();
    let token = SoloToken {
        envelope: envelope.fd().as_raw_fd(),
        parent: daemon.then(|| std::process::id() as i32),
    };
    let spawn = Spawn {
        variable: token::VARIABLE,
        value: &token.to_string(),
        passed: &passed,
        placed: &[],
    };
    let process = Arc::new(spawn.start_in(&variables)?);
    let record = Record::new(name, daemon, keeper, Arc::clone(&process), envelope);
    Ok((process, Arc::new(record)))
}

fn watch(poller: &Poller, token: u64, process: &PidFd) -> Result<(), Error> {
    poller.add(process, token).map_err(|error| {
        // Nobody would hear of its end: so it comes now.
        let _ = process.signal(KILL);
        let _ = process.reap(true);
        error.into()
    })
}
