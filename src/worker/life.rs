//! From attaching to the region to the last task.

use std::sync::Arc;
use std::time::Instant;

use crate::board::Seen;
use crate::memory::owner::Owner;
use crate::memory::region::Region;
use crate::primitive::atomic::Ordering;
use crate::protocol::control::{Control, Refusal, Status};
use crate::protocol::image::ImageId;
use crate::sys::eventfd::EventFd;
use crate::worker::arena::Arena;
use crate::worker::bell::Bell;
use crate::worker::entry::Handover;
use crate::worker::idle::Idle;
use crate::worker::privilege::Privilege;
use crate::worker::{panic, run_range, run_task};

/// Exit code of a worker that could not attach to the region.
pub(crate) const EXIT_CANNOT_ATTACH: i32 = 71;
/// Exit code of a worker that refused the handshake; the reason stands in its record.
pub(crate) const EXIT_REFUSED: i32 = 72;

/// What a worker works with.
pub(crate) struct Server<'a> {
    pub(crate) me: Owner,
    pub(crate) region: &'a Region,
    pub(crate) control: &'a Control,
    pub(crate) arena: Arena<'a>,
    pub(crate) bell: Bell<'a>,
    pub(crate) privilege: Privilege<'a>,
    pub(crate) seen: Seen,
}

/// Lives as a worker until the parent ends it; returns an exit code only when it cannot begin.
pub(crate) fn run(handover: Handover) -> i32 {
    let region = match Region::attach(handover.region) {
        Ok(region) => Arc::new(region),
        Err(error) => {
            eprintln!("gristmill: a worker could not map the region: {error}");
            return EXIT_CANNOT_ATTACH;
        }
    };
    let event = EventFd::from_owned(handover.event);
    let me = handover.owner;
    let privilege = match Privilege::begin(&region) {
        Ok(privilege) => privilege,
        Err(error) => {
            eprintln!("gristmill: a worker could not unlock the control area: {error}");
            return EXIT_CANNOT_ATTACH;
        }
    };
    let Some((control, record)) =
        Control::of(&region).and_then(|control| Some((control, control.record(me.index())?)))
    else {
        return EXIT_CANNOT_ATTACH;
    };
    if let Err(refusal) = verify(control, &region) {
        // ORDERING: Release; the parent's Acquire load of the status finds a final word.
        record
            .status
            .store(Status::Refused(refusal).to_bits(me.incarnation()), Ordering::Release);
        return EXIT_REFUSED;
    }
    let arena = match Arena::attach(&region, record) {
        Ok(arena) => arena,
        Err(error) => {
            eprintln!("gristmill: a worker could not unlock its result arena: {error}");
            return EXIT_CANNOT_ATTACH;
        }
    };
    panic::install_hook();
    // ORDERING: Release; pairs with the supervisor's Acquire load: whoever sees Ready sees a
    // worker that has nothing left to refuse.
    record.status.store(Status::Ready.to_bits(me.incarnation()), Ordering::Release);
    let mut server = Server {
        me,
        region: &region,
        control,
        arena,
        bell: Bell::new(control.doorbell(), &event),
        privilege,
        seen: Seen::default(),
    };
    server.bell.ring_always();
    server.serve()
}

fn verify(control: &Control, region: &Region) -> Result<(), Refusal> {
    let image = ImageId::current().map_err(|_| Refusal::Image)?;
    control.verify(region.size() as u64, &image)
}

impl Server<'_> {
    fn serve(&mut self) -> ! {
        let mut idle = Idle::new(self.control, self.me);
        loop {
            if self.work_once() {
                idle.worked();
                continue;
            }
            let Self { control, me, seen, .. } = self;
            idle.wait(|| has_work(control, *me, seen));
        }
    }

    /// Runs one task, or chunks of one job; whether there was any.
    fn work_once(&mut self) -> bool {
        let began = Instant::now();
        let board = self.control.board();
        if let Some(joined) = board.join(&mut self.seen)
            && run_range::run(self, joined, began)
        {
            return true;
        }
        if let Some(claim) = self.control.ring().claim(self.me) {
            run_task::run(self, claim);
            return true;
        }
        false
    }
}

fn has_work(control: &Control, _me: Owner, seen: &mut Seen) -> bool {
    !control.ring().looks_empty() || control.board().peek(seen)
}
