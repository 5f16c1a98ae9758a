//! One task from claim to completion.

#![expect(unsafe_code, reason = "calls the function that the parent named")]

use core::ptr::NonNull;

use crate::protocol::control::{Control, INLINE_SIZE};
use crate::protocol::panic::PanicReport;
use crate::protocol::range::Span;
use crate::protocol::task::{Reply, ReplyPlace, Task, TaskCall, TaskFault, Verdict, find_function};
use crate::ring::{Claim, Outcome};
use crate::sys::clock;
use crate::worker::arena::Arena;
use crate::worker::error_hook;
use crate::worker::life::{Server, has_work};
use crate::worker::panic;

/// Runs the task that was claimed, writes its reply and completes it.
pub(crate) fn run(server: &mut Server<'_>, claim: Claim) {
    let ring = server.control.ring();
    let slot = ring.slot(claim.slot);
    server
        .idle
        .claimed(|| has_work(server.control, &server.seen));
    server.tenure.count();
    let task = Task::load(slot);
    if task.timed {
        Task::start(slot, clock::now());
    }
    let reply = perform(server, claim, task);
    reply.store(slot);
    let outcome = match reply.verdict {
        Verdict::Value => Outcome::Done,
        _ => Outcome::Failed,
    };
    server.idle.finishing();
    if ring.complete(server.me, claim, outcome) {
        server.control.done().set(claim.slot);
        server.bell.ring();
    } else if reply.place.size > 0 && reply.verdict != Verdict::NoRoom {
        server.arena.release(reply.place.offset);
    }
}

fn perform(server: &mut Server<'_>, claim: Claim, task: Task) -> Reply {
    // SAFETY: the parent wrote an identity made by `function_id`, and the handshake has shown
    // that it runs the same image.
    let Ok(function) = (unsafe { find_function(task.function) }) else {
        return Reply::empty(Verdict::BadArguments);
    };
    let mut place = Place {
        region_offset: Control::inline_offset(claim.slot),
        arena: &mut server.arena,
        inline: None,
        given: None,
        settled: Span::default(),
    };
    place.inline = server.region.pointer(place.region_offset, INLINE_SIZE);
    let mut call = TaskCall {
        region: server.region,
        task,
        place: &mut place,
        state: &mut server.state,
    };
    let caught = panic::catch(|| function(&mut call));
    server.state.end_loan(caught.is_err());
    let (settled, given) = (place.settled, place.given);
    let fault = match caught {
        Ok(Ok(())) => {
            return Reply {
                place: settled,
                verdict: Verdict::Value,
            };
        }
        Ok(Err(fault)) => match fault {
            TaskFault::BadArguments => Reply::empty(Verdict::BadArguments),
            TaskFault::TooLarge => Reply::empty(Verdict::TooLarge),
            TaskFault::NoRoom { wanted, available } => Reply {
                place: Span {
                    offset: available,
                    size: wanted,
                },
                verdict: Verdict::NoRoom,
            },
            TaskFault::Refused(message) => {
                let report = PanicReport {
                    message,
                    ..PanicReport::default()
                };
                Reply {
                    place: server.arena.write_report(&report).unwrap_or_default(),
                    verdict: Verdict::Refused,
                }
            }
        },
        Err(report) => {
            error_hook::notify(|| report.clone().into());
            Reply {
                place: server.arena.write_report(&report).unwrap_or_default(),
                verdict: Verdict::Panicked,
            }
        }
    };
    // Also a result that was complete, when dropping its value panicked. What lies beside the slot
    // is no block of the arena, which the arena knows.
    for offset in given.into_iter().chain([settled.offset]) {
        server.arena.release(offset);
    }
    fault
}

/// Where this task's result goes.
struct Place<'a, 'r> {
    region_offset: u64,
    arena: &'a mut Arena<'r>,
    inline: Option<NonNull<u8>>,
    given: Option<u64>,
    settled: Span,
}

impl ReplyPlace for Place<'_, '_> {
    fn inline(&mut self) -> (NonNull<u8>, usize) {
        match self.inline {
            Some(block) => (block, INLINE_SIZE),
            None => (NonNull::<u128>::dangling().cast(), 0),
        }
    }

    fn allocate(&mut self, size: usize) -> Result<NonNull<u8>, TaskFault> {
        let Some((offset, block)) = self.arena.allocate(size) else {
            return Err(TaskFault::NoRoom {
                wanted: size as u64,
                available: self.arena.available(),
            });
        };
        self.given = Some(offset);
        Ok(block)
    }

    fn settle(&mut self, size: usize) {
        let offset = self.given.take().unwrap_or(self.region_offset);
        self.settled = Span {
            offset,
            size: size as u64,
        };
    }
}
