//! From attaching to the region to the last task.

#![expect(
    unsafe_code,
    reason = "takes over descriptors, and calls the function that the parent named"
)]

use core::cell::RefCell;
use core::error::Error;
#[cfg(feature = "tokio")]
use std::time::Duration;
use std::time::Instant;

use crate::board::Seen;
use crate::memory::owner::Owner;
use crate::memory::region::Region;
use crate::primitive::atomic::Ordering;
use crate::protocol::control::{Control, Status};
use crate::protocol::function::FunctionId;
use crate::protocol::gauge::{Gauge, Work};
use crate::protocol::image::ImageId;
use crate::protocol::panic;
use crate::protocol::settings::find_setup;
use crate::protocol::token::{Access, Handover};
use crate::sys::clock::{self, Tempo};
#[cfg(feature = "tokio")]
use crate::sys::cpu;
use crate::sys::eventfd;
use crate::worker::arena::Arena;
use crate::worker::bell::Bell;
#[cfg(feature = "tokio")]
use crate::worker::futures::{self, Futures};
use crate::worker::idle::Idle;
use crate::worker::privilege::Privilege;
use crate::worker::rounds::Rounds;
use crate::worker::settle::{self, Reason};
use crate::worker::state::State;
use crate::worker::tenure::{MemoryLimit, Tenure};
use crate::worker::{run_range, run_task};
#[cfg(feature = "tracing")]
use crate::{sys::process, worker::echo};

/// Exit code of a worker that could not attach to the region.
pub(crate) const EXIT_CANNOT_ATTACH: i32 = 72;
/// Exit code of a worker that refused the handshake; the reason stands in its record.
pub(crate) const EXIT_REFUSED: i32 = 73;

/// How long a worker with futures leaves a task to one that is idle.
#[cfg(feature = "tokio")]
const PATIENCE: Duration = Duration::from_millis(10);

/// What a worker works with.
pub(crate) struct Server<'a> {
    pub(crate) me: Owner,
    pub(crate) region: &'a Region,
    pub(crate) control: &'a Control,
    pub(crate) gauge: &'a Gauge,
    /// In a cell, for user code borrows of it while a task runs.
    pub(crate) arena: RefCell<Arena<'a>>,
    pub(crate) bell: Bell<'a>,
    pub(crate) privilege: Privilege<'a>,
    pub(crate) seen: Seen,
    pub(crate) idle: Idle<'a>,
    /// For guesses at how long work takes.
    pub(crate) tempo: Tempo,
    pub(crate) rounds: Rounds,
    pub(crate) state: State<'a>,
    pub(crate) tenure: Tenure<'a>,
    #[cfg(feature = "tokio")]
    pub(crate) futures: Futures,
    exit: Option<FunctionId>,
}

/// Lives as a worker until it has served, or the parent ends it; returns the exit code.
pub(crate) fn run(handover: Handover) -> i32 {
    match attach(handover) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gristmill: a worker could not attach to its pool's memory: {error}");
            EXIT_CANNOT_ATTACH
        }
    }
}

fn attach(handover: Handover) -> Result<i32, Box<dyn Error>> {
    let born = Instant::now();
    let began = (clock::ticks(), clock::now());
    let me = Owner::new(handover.index, handover.incarnation);
    // For good: futures borrow from it, and nothing outlives the process.
    let region: &'static Region = match handover.region {
        Access::File(file) => Box::leak(Box::new(Region::attach(file)?)),
        // Read-only already.
        Access::Mapped(region) => Box::leak(Box::new(region)),
    };
    // SAFETY: the parent passed its event descriptor, which it opened nonblocking.
    let event = unsafe { eventfd::Bell::from_owned(handover.event) };
    // SAFETY: as above.
    let supervisor = unsafe { eventfd::Bell::from_owned(handover.commands) };
    let privilege = Privilege::begin(region)?;
    let control = Control::of(region).ok_or("the region is smaller than its control area")?;
    let record = control
        .record(me.index())
        .ok_or("there is no such worker in the region")?;
    let gauge = control
        .gauge(me.index())
        .ok_or("there is no such worker in the region")?;
    let orders = control
        .orders(me.index())
        .ok_or("there are no orders for such a worker")?;
    let say = |status: Status| {
        // ORDERING: Release; pairs with the supervisor's Acquire load: whoever sees the status
        // sees all that this worker did before.
        record
            .status
            .store(status.to_bits(me.incarnation()), Ordering::Release);
    };
    if let Err(refusal) = control.verify(region.size(), &ImageId::current()) {
        say(Status::Refused(refusal));
        return Ok(EXIT_REFUSED);
    }
    gauge.begin();
    let place = control.arena(me.index()).ok_or("there is no such arena")?;
    let mut arena = Arena::attach(region, place.get())?;
    panic::install_hook();
    let rounds = Rounds::new(control, me.index());
    // A confined worker has no files but its own.
    #[cfg(feature = "tracing")]
    let is_confined = handover.sandbox.is_some();
    let life = control.life().load();
    let settings = control.settings().load();
    let settled = settle::settle(&settings, handover.setup).and_then(|()| {
        // Before the sandbox, for it opens a file to learn how much memory is used.
        let idle = Idle::new(control, me.index(), rounds.group(), &settings);
        let memory = life.max_memory.and_then(MemoryLimit::open);
        if let Some((ruleset, policy)) = handover.sandbox {
            settle::confine(ruleset, policy)?;
        }
        // Within the sandbox: what is run here stands in shared memory.
        let state = State::begin(region, &life)
            .map_err(|(setting, report)| (setting, Reason::Panic(report)))?;
        Ok((idle, memory, state))
    });
    let (idle, memory, state) = match settled {
        Ok(settled) => settled,
        Err((setting, Reason::Kernel(error))) => {
            say(Status::Unsettled(setting, error.errno as u16));
            return Ok(EXIT_REFUSED);
        }
        Err((setting, Reason::Panic(report))) => {
            let place = arena.write_report(&report).unwrap_or_default();
            // ORDERING: Relaxed; released with the status.
            record.report.store(place.offset, Ordering::Relaxed);
            say(Status::Unsettled(setting, 0));
            return Ok(EXIT_REFUSED);
        }
    };
    #[cfg(feature = "tracing")]
    if let Some(pipe) = control.settings().load().echo.filter(|_| !is_confined) {
        // SAFETY: the parent opened it in this process for us, and nobody else knows of it.
        let fd = unsafe { process::adopt(pipe.fd) }?;
        echo::install(fd, pipe.level);
    }
    let mut server = Server {
        me,
        region,
        control,
        gauge,
        arena: RefCell::new(arena),
        bell: Bell::new(control.doorbell(), &event),
        privilege,
        seen: Seen::new(),
        idle,
        tempo: Tempo::since(began),
        rounds,
        state,
        tenure: Tenure::new(me, (record, orders), supervisor, &life, memory, born),
        #[cfg(feature = "tokio")]
        futures: Futures::new(region, control, (record, orders), me.index(), &life),
        exit: life.exit,
    };
    #[cfg(feature = "tokio")]
    if !server.tenure.awaits_turn() {
        // Before the first task is there: one of two that start together may be much ahead.
        server.futures.be_free();
    }
    server.tenure.report(Status::Ready);
    server.serve();
    server.leave();
    Ok(0)
}

impl Server<'_> {
    /// Says what this worker is at from now on.
    pub(crate) fn begin(&self, work: Work) {
        self.gauge.set_now(work);
        #[cfg(feature = "tracing")]
        echo::begin(work);
    }

    fn serve(&mut self) {
        self.tenure.await_turn();
        self.idle.arrive();
        #[cfg(feature = "tokio")]
        self.futures.be_free();
        self.tenure.take_stock();
        while !self.tenure.is_over() || self.has_futures() {
            self.tenure.hand_over();
            if self.work_once() {
                self.tenure.take_stock();
            } else {
                self.tenure.rest();
                self.idle();
            }
        }
    }

    /// Waits until there seems to be something to do for this worker.
    fn idle(&mut self) {
        let (is_open, has_room) = (!self.tenure.is_over(), self.has_room());
        if !is_open && !self.has_futures() {
            // It was told to end since it looked last, and nobody wakes it for that again.
            return;
        }
        let Self {
            idle,
            control,
            seen,
            tenure,
            rounds,
            ..
        } = self;
        let takes_tasks = is_open && has_room;
        let claimed = || takes_tasks.then(|| rounds.passed(control)).flatten();
        let is_called = || {
            let tasks = takes_tasks && rounds.see_tasks(control);
            tasks || is_open && (control.board().join(seen).is_some() || tenure.is_dismissed())
        };
        #[cfg(feature = "tokio")]
        {
            let futures = &self.futures;
            let pass_on = || {
                // What this worker must not take, though it may have been woken for it.
                if !takes_tasks && rounds.see_shared_tasks(control) {
                    futures.defers_to_another(futures.limit());
                }
                if !is_open && control.board().join(seen).is_some() {
                    futures.defers_to_another(futures::BUSY as usize);
                }
            };
            let is_roused = || futures.has_ended() || futures.is_asked();
            idle.wait(|| is_called() || is_roused(), pass_on, claimed);
        }
        #[cfg(not(feature = "tokio"))]
        idle.wait(is_called, || (), claimed);
    }

    /// While there are futures, whose code may run at any time: nothing that this thread has just
    /// written stays writable.
    pub(crate) fn guard_from_futures(&mut self) {
        if self.has_futures() {
            self.privilege.revoke();
            self.arena.get_mut().seal();
        }
    }

    fn has_futures(&self) -> bool {
        #[cfg(feature = "tokio")]
        return !self.futures.is_empty();
        #[cfg(not(feature = "tokio"))]
        false
    }

    fn has_room(&self) -> bool {
        #[cfg(feature = "tokio")]
        return self.futures.has_room();
        #[cfg(not(feature = "tokio"))]
        true
    }

    /// Lets an idle worker with fewer futures go first, for a while.
    #[cfg(feature = "tokio")]
    fn let_others_go_first(&self) {
        let load = self.futures.in_flight();
        if load == 0 {
            return;
        }
        let began = Instant::now();
        while self.rounds.see_shared_tasks(self.control)
            && !self.rounds.see_own_tasks(self.control)
            && began.elapsed() < PATIENCE
            && !self.futures.has_ended()
            && self.futures.defers_to_another(load)
        {
            cpu::yield_now();
        }
    }

    /// The orderly end: somebody else takes over, and the program has its last word here.
    fn leave(&mut self) {
        let Self {
            idle,
            control,
            seen,
            rounds,
            ..
        } = self;
        #[cfg(feature = "tokio")]
        self.futures.be_busy();
        idle.leave(|| rounds.see_more(control, control.board().join(seen).is_some()));
        self.tenure.report(Status::Ending);
        self.privilege.revoke();
        self.arena.get_mut().seal();
        self.state.discard();
        if let Some(exit) = self.exit {
            // SAFETY: the parent named a `fn()`, and the handshake has shown that it runs the same
            // image.
            if let Ok(exit) = unsafe { find_setup(exit) } {
                // If it panics, nobody is left to hear of it.
                let _ = panic::catch(exit);
            }
        }
    }

    /// Runs one task, or chunks of one job, or answers for futures; whether there was any.
    fn work_once(&mut self) -> bool {
        #[cfg(feature = "tokio")]
        self.futures.hear();
        #[cfg(feature = "tokio")]
        if run_task::answer(self) {
            return true;
        }
        if self.tenure.is_over() {
            return false;
        }
        let board = self.control.board();
        if let Some(joined) = board.join(&self.seen)
            && run_range::run(self, joined)
        {
            return true;
        }
        if !self.has_room() {
            return false;
        }
        #[cfg(feature = "tokio")]
        self.let_others_go_first();
        if let Some(slot) = self.rounds.expect(self.control) {
            self.arena.borrow().expect_reply(slot);
        }
        if let Some(claim) = self.rounds.claim(self.control, self.me) {
            run_task::run(self, claim);
            return true;
        }
        false
    }
}
