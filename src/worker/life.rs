//! From attaching to the region to the last task.

#![expect(unsafe_code, reason = "takes over the event descriptor")]

use core::error::Error;

use crate::board::Seen;
use crate::memory::owner::Owner;
use crate::memory::region::Region;
use crate::primitive::atomic::Ordering;
use crate::protocol::control::{Control, Status};
use crate::protocol::gauge::{Gauge, Work};
use crate::protocol::image::ImageId;
use crate::protocol::token::Handover;
use crate::sys::eventfd;
use crate::worker::arena::Arena;
use crate::worker::bell::Bell;
use crate::worker::idle::Idle;
use crate::worker::privilege::Privilege;
use crate::worker::rounds::Rounds;
use crate::worker::settle::{self, Reason};
use crate::worker::{panic, run_range, run_task};
#[cfg(feature = "tracing")]
use crate::{sys::process, worker::echo};

/// Exit code of a worker that could not attach to the region.
pub(crate) const EXIT_CANNOT_ATTACH: i32 = 72;
/// Exit code of a worker that refused the handshake; the reason stands in its record.
pub(crate) const EXIT_REFUSED: i32 = 73;

/// What a worker works with.
pub(crate) struct Server<'a> {
    pub(crate) me: Owner,
    pub(crate) region: &'a Region,
    pub(crate) control: &'a Control,
    pub(crate) gauge: &'a Gauge,
    pub(crate) arena: Arena<'a>,
    pub(crate) bell: Bell<'a>,
    pub(crate) privilege: Privilege<'a>,
    pub(crate) seen: Seen,
    pub(crate) idle: Idle<'a>,
    pub(crate) rounds: Rounds,
}

/// Lives as a worker until the parent ends it; returns an exit code only when it cannot begin.
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
    let me = Owner::new(handover.index, handover.incarnation);
    let region = Region::attach(handover.region)?;
    // SAFETY: the parent passed its event descriptor, which it opened nonblocking.
    let event = unsafe { eventfd::Bell::from_owned(handover.event) };
    let privilege = Privilege::begin(&region)?;
    let control = Control::of(&region).ok_or("the region is smaller than its control area")?;
    let record = control
        .record(me.index())
        .ok_or("there is no such worker in the region")?;
    let gauge = control
        .gauge(me.index())
        .ok_or("there is no such worker in the region")?;
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
    let mut arena = Arena::attach(&region, place.get())?;
    panic::install_hook();
    let rounds = Rounds::new(control, me.index());
    // A confined worker has no files but its own.
    #[cfg(feature = "tracing")]
    let is_confined = handover.sandbox.is_some();
    let settled = settle::settle(&control.settings().load(), handover.setup).and_then(|()| {
        // Before the sandbox, for it reads files to learn how many cores there are.
        let idle = Idle::new(control, me.index(), rounds.group());
        match handover.sandbox {
            Some((ruleset, policy)) => settle::confine(ruleset, policy).map(|()| idle),
            None => Ok(idle),
        }
    });
    let idle = match settled {
        Ok(idle) => idle,
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
    say(Status::Ready);
    let mut server = Server {
        me,
        region: &region,
        control,
        gauge,
        arena,
        bell: Bell::new(control.doorbell(), &event),
        privilege,
        seen: Seen::new(),
        idle,
        rounds,
    };
    server.bell.ring_always();
    server.serve()
}

impl Server<'_> {
    /// Says what this worker is at from now on.
    pub(crate) fn begin(&self, work: Work) {
        self.gauge.set_now(work);
        #[cfg(feature = "tracing")]
        echo::begin(work);
    }

    fn serve(&mut self) -> ! {
        loop {
            if !self.work_once() {
                let Self {
                    idle,
                    control,
                    seen,
                    rounds,
                    ..
                } = self;
                idle.wait(|| rounds.see_tasks(control) || control.board().join(seen).is_some());
            }
        }
    }

    /// Runs one task, or chunks of one job; whether there was any.
    fn work_once(&mut self) -> bool {
        let board = self.control.board();
        if let Some(joined) = board.join(&self.seen)
            && run_range::run(self, joined)
        {
            return true;
        }
        if let Some(slot) = self.rounds.expect(self.control) {
            self.arena.expect_reply(slot);
        }
        if let Some(claim) = self.rounds.claim(self.control, self.me) {
            run_task::run(self, claim);
            return true;
        }
        false
    }
}
