//! The one thread that starts, reaps and replaces workers.
//!
//! It is permanent for as long as the pool lives because the kernel ties a worker's death signal
//! to the *thread* that started it. It sleeps in epoll on every worker's pidfd, on a bell of its
//! own, and, while no other listener is there, on the bell that workers ring.

mod early;
mod ears;
mod hearing;
mod muster;
mod raise;
mod refusal;
mod succession;
mod watchdog;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use self::early::Charter;
pub(crate) use self::early::Upcoming;
use self::ears::Ears;
use self::muster::Muster;
use self::succession::{Role, Service};
use self::watchdog::Watchdog;
use crate::error::{Cause, Error, OomKill, TaskError, WorkerDeath};
use crate::memory::owner::Owner;
use crate::pool::deadline::NEVER;
use crate::pool::dispatch::Event;
use crate::pool::engine::Engine;
use crate::pool::life::Instructions;
use crate::pool::start::Starter;
use crate::primitive::atomic::Ordering;
use crate::protocol::control::Status;
use crate::sys::clock;
use crate::sys::oom::OomKills;
use crate::sys::pidfd::{Exit, PidFd, Poller};
use crate::sys::process::{CONTINUE, KILL};

const COMMANDS: u64 = u64::MAX;
const WORKERS_BELL: u64 = u64::MAX - 1;

/// The handle to the supervisor's thread.
#[derive(Debug)]
pub(crate) struct Supervisor {
    engine: Arc<Engine>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Starts the workers; returns when all are ready.
    pub(crate) fn start(
        upcoming: Upcoming,
        engine: Arc<Engine>,
        instructions: Instructions,
    ) -> Result<Self, Error> {
        let (report, outcome) = mpsc::sync_channel(1);
        let (tell, oom_kills) = mpsc::sync_channel(1);
        let thread = upcoming.begin(Charter {
            engine: Arc::clone(&engine),
            instructions,
            oom_kills,
            report,
        });
        // While it starts workers; one that was killed for memory before has none to be blamed for.
        let _ = tell.send(OomKills::now());
        let mut supervisor = Self { engine, thread };
        match outcome.recv() {
            Ok(Ok(())) => Ok(supervisor),
            Ok(Err(error)) => {
                supervisor.stop();
                Err(error)
            }
            Err(mpsc::RecvError) => Err(Error::PoolClosed),
        }
    }

    /// Kills the workers, fails what is pending and waits until all of it has happened.
    pub(crate) fn stop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        if self.engine.check_process().is_err() {
            // The thread and its workers are the parent's; there is nothing here to wait for.
            std::mem::forget(thread);
            return;
        }
        self.engine.hub().stopping = true;
        self.engine.nudge_supervisor();
        if thread.thread().id() == thread::current().id() {
            // A waker that this thread called held the pool's last handle: it ends soon after.
            return;
        }
        // A panic of the supervisor is a bug of ours; the workers die with its thread either way.
        let _ = thread.join();
    }
}

/// A worker process, as its supervisor sees it.
struct Charge {
    owner: Owner,
    process: Option<PidFd>,
    /// Deaths in a row before the worker was ready.
    stillbirths: u32,
    /// How the last one ended.
    last_death: Option<WorkerDeath>,
    /// When to start the next one.
    due: Option<Instant>,
    /// It has been sent SIGKILL by us.
    condemned: bool,
    /// Why the last one could not be started, or was never ready, if that is known.
    reason: Option<String>,
    service: Service,
}

struct Watch<'a> {
    engine: &'a Arc<Engine>,
    poller: Poller,
    charges: Vec<Charge>,
    hears_workers: bool,
    starter: Starter,
    ears: Ears,
    watchdog: Watchdog,
    muster: Muster,
    /// As counted last.
    oom_kills: OomKills,
    instructions: Instructions,
}

fn run(charter: Charter) {
    let Charter {
        ref engine,
        instructions,
        oom_kills,
        report,
    } = charter;
    let outcome = Watch::begin(engine, instructions).and_then(|mut watch| {
        match watch.raise_all(&oom_kills) {
            Ok(()) => Ok(watch),
            Err(error) => {
                watch.end(TaskError::PoolClosed);
                Err(error)
            }
        }
    });
    match outcome {
        Ok(mut watch) => {
            // The pool may be gone before it heard: then `stop` was called already.
            let _ = report.send(Ok(()));
            let end = watch.keep();
            watch.part();
            watch.end(end);
        }
        Err(error) => {
            // Nobody holds the pool yet, so nothing is pending in it.
            let _ = report.send(Err(error));
        }
    }
}

impl<'a> Watch<'a> {
    fn begin(engine: &'a Arc<Engine>, instructions: Instructions) -> Result<Self, Error> {
        let poller = Poller::new()?;
        poller.add(engine.commands().as_fd(), COMMANDS)?;
        let charges = (0..engine.places()).map(|index| Charge {
            owner: Owner::new(index as u16, 0),
            process: None,
            stillbirths: 0,
            last_death: None,
            due: None,
            condemned: false,
            reason: None,
            service: Service::new(match index < engine.workers() {
                true => Role::Serving,
                false => Role::Vacant,
            }),
        });
        Ok(Self {
            engine,
            poller,
            charges: charges.collect(),
            hears_workers: false,
            starter: Starter::new(&engine.config().manner),
            ears: Ears::new(engine)?,
            watchdog: Watchdog::default(),
            muster: Muster::default(),
            oom_kills: OomKills::default(),
            instructions,
        })
    }

    /// Starts every worker and waits until each has said that it is ready.
    fn raise_all(&mut self, oom_kills: &Receiver<OomKills>) -> Result<(), Error> {
        for index in 0..self.charges.len() {
            self.engine.parking().vacate(index as u16);
        }
        for index in 0..self.engine.workers() {
            self.raise(index)?;
        }
        self.oom_kills = oom_kills.recv().unwrap_or_else(|_| OomKills::now());
        let mut tokens = Vec::new();
        while !self.all_ready() {
            self.poller.wait(self.patience(), &mut tokens)?;
            for &token in &tokens {
                match usize::try_from(token) {
                    _ if Ears::are_meant(token) => self.ears.hear(token, &self.poller),
                    Ok(index) if index < self.charges.len() => {
                        if let Some(death) = self.reap(index) {
                            return Err(self.refusal(index, death));
                        }
                    }
                    _ => {
                        self.engine.commands().clear()?;
                    }
                }
            }
            if self.engine.hub().stopping {
                return Err(Error::PoolClosed);
            }
            self.end_slow();
        }
        Ok(())
    }

    fn all_ready(&self) -> bool {
        (0..self.engine.workers()).all(|index| self.status(index).has_begun())
    }

    fn status(&self, index: usize) -> Status {
        let owner = self.charges[index].owner;
        match self.engine.control().record(owner.index()) {
            // ORDERING: Acquire; pairs with the Release of the worker's last word on starting.
            Some(record) => {
                Status::from_bits(record.status.load(Ordering::Acquire), owner.incarnation())
            }
            None => Status::Starting,
        }
    }

    /// Watches over the workers until the pool is dropped or cannot go on; why it ends.
    fn keep(&mut self) -> TaskError {
        let mut tokens = Vec::new();
        self.tend();
        loop {
            // A failed wait is one without events; whatever is true is found by looking.
            let _ = self.poller.wait(self.patience(), &mut tokens);
            if self.engine.hub().stopping {
                return TaskError::PoolClosed;
            }
            for &token in &tokens {
                match token {
                    COMMANDS => {
                        let _ = self.engine.commands().clear();
                        self.hear_workers_if_asked();
                    }
                    WORKERS_BELL => self.deliver(),
                    pipe if Ears::are_meant(pipe) => self.ears.hear(pipe, &self.poller),
                    index => self.check(index as usize),
                }
            }
            #[cfg(feature = "tracing")]
            self.ears.let_go(&self.poller);
            self.end_overdue();
            self.call_reserve();
            self.engine.hub().ring_due(clock::now());
            // What is heard of results says nothing about workers.
            if tokens.iter().any(|&token| token != WORKERS_BELL) || tokens.is_empty() {
                self.end_slow();
                self.tend();
            }
            if self.engine.hub().is_due_to_end() {
                return TaskError::PoolClosed;
            }
            if let Some(end) = self.look_over_if_due().or_else(|| self.raise_due()) {
                return end;
            }
        }
    }

    /// Kills and reaps everybody, then fails what is pending.
    fn end(&mut self, reason: TaskError) {
        for (index, charge) in self.charges.iter_mut().enumerate() {
            if let Some(process) = charge.process.take() {
                // Dead already is as good.
                let _ = process.signal(KILL);
                let _ = process.reap(true);
            }
            self.ears.close_all(index, &self.poller);
        }
        self.ears.end();
        let mut hub = self.engine.hub();
        hub.harvest_thoroughly(self.engine.control(), self.engine);
        let abandoned = hub.pending();
        hub.close(reason);
        for index in 0..self.charges.len() {
            hub.roster.dismiss(index as u16);
        }
        hub.conclude(abandoned);
        drop(hub);
        #[cfg(feature = "tracing")]
        if let Some((audience, _)) = self.engine.audience() {
            audience.callers.end();
        }
        // Listeners of runtimes learn that there is nothing to listen to any more.
        let _ = self.engine.event().ring();
    }

    /// Reaps a worker if it has died.
    fn reap(&mut self, index: usize) -> Option<WorkerDeath> {
        let process = self.charges[index].process.as_ref()?;
        let exit = process.reap(false).ok().flatten()?;
        let mut death = death(process.pid() as u32, &exit);
        let _ = self.poller.remove(process);
        self.ears.close_all(index, &self.poller);
        let charge = &mut self.charges[index];
        charge.process = None;
        if exit.signal == Some(KILL) && !charge.condemned {
            death.oom_kill = self.was_oom();
        }
        Some(death)
    }

    /// Whether the kernel has killed for memory since it was asked last.
    fn was_oom(&mut self) -> OomKill {
        let now = OomKills::now();
        OomKill::between(std::mem::replace(&mut self.oom_kills, now), now)
    }

    /// After a pidfd became readable: reap, recover, replace.
    fn check(&mut self, index: usize) {
        if index >= self.charges.len() {
            return;
        }
        let was_ready = self.status(index).has_begun();
        let Some(death) = self.reap(index) else {
            return;
        };
        if let Some(complaint) = self.complaint(index) {
            self.charges[index].reason = Some(complaint);
        }
        // Before it is buried, for its keys are its heir's.
        self.inherit(index);
        self.bury(index, &death);
        self.watchdog.note(&death);
        self.fill(index, was_ready, death);
    }

    /// Takes back what a reaped worker had; the next in its place has another name.
    fn bury(&mut self, index: usize, death: &WorkerDeath) {
        // It was recycled, and no place was free for a successor to take over before.
        let is_succeeded_there = self.charges[index].service.awaits_successor_in_place()
            && matches!(self.status(index), Status::Spent | Status::Ending);
        let charge = &mut self.charges[index];
        let dead = charge.owner;
        charge.owner = dead.next();
        let served = self.engine.hub().roster.serves(dead.index());
        self.engine.recover(dead, death, is_succeeded_there);
        if served {
            self.engine
                .tell_scheduler(dead.index(), death.pid, Event::Ended);
        }
    }

    /// How long nothing will have to be done unasked.
    fn patience(&self) -> Option<Duration> {
        let due = self.charges.iter().filter_map(|charge| charge.due).min();
        let due = due.into_iter().chain(self.next_look()).min();
        let start = due.map(|due| due.saturating_duration_since(Instant::now()));
        let mut hub = self.engine.hub();
        let look = hub.next_look().min(hub.end_limit());
        let look = look.min(hub.reserve.next_look());
        let look = match look.min(hub.next_alarm()) {
            NEVER => None,
            time => Some(Duration::from_nanos(time.saturating_sub(clock::now()))),
        };
        let over = self.watchdog.patience();
        start.into_iter().chain(look).chain(over).min()
    }

    /// Kills the workers that hold work for too long.
    fn end_overdue(&mut self) {
        let engine = self.engine;
        let overdue = match engine.hub().overdue(engine.control()) {
            Some(overdue) => overdue,
            None => return,
        };
        for overdue in overdue {
            let charge = self.charges.get_mut(usize::from(overdue.owner.index()));
            let Some(charge) = charge.filter(|charge| charge.owner == overdue.owner) else {
                continue;
            };
            let Some(process) = charge.process.as_ref().filter(|_| !charge.condemned) else {
                continue;
            };
            // A worker that cannot be stopped is looked at while it runs: better than never.
            let _ = process.hold();
            charge.condemned = engine.hub().condemn(engine.control(), overdue);
            // One that has ended by itself is reaped like any other.
            let _ = process.signal(if charge.condemned { KILL } else { CONTINUE });
        }
    }
}

fn death(pid: u32, exit: &Exit) -> WorkerDeath {
    let cause = match (exit.signal, exit.code) {
        (Some(signal), _) => Cause::Signal(signal),
        (None, Some(code)) => Cause::Exit(code),
        (None, None) => Cause::Unknown,
    };
    WorkerDeath {
        peak_memory: exit.peak_rss,
        ..WorkerDeath::new(pid, cause)
    }
}
