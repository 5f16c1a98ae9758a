//! One task from claim to completion.

#![expect(
    unsafe_code,
    reason = "calls the function that the parent named; moves results that outgrow their block"
)]

use core::cell::RefCell;
use core::ptr::NonNull;

use crate::protocol::gauge::Work;
use crate::protocol::loan;
use crate::protocol::panic::{self, PanicReport};
use crate::protocol::range::Span;
use crate::protocol::reply::{REPLY_SIZE, Reply, ReplyBlock, Verdict};
use crate::protocol::task::{ReplyPlace, Task, TaskCall, TaskFault, find_function};
use crate::ring::{Claim, Outcome};
use crate::sys::clock;
use crate::worker::arena::Arena;
use crate::worker::error_hook;
use crate::worker::life::Server;

/// Runs the task that was claimed, writes its reply and completes it.
pub(crate) fn run(server: &mut Server<'_>, claim: Claim) {
    let ring = server.control.ring();
    let slot = ring.slot(claim.slot);
    let Server {
        idle,
        control,
        seen,
        rounds,
        ..
    } = &mut *server;
    idle.claimed(|| rounds.see_more(control, control.board().join(seen).is_some()));
    let Claim {
        slot: number,
        generation,
    } = claim;
    server.begin(Work::Task {
        slot: number,
        generation,
    });
    server.tenure.count();
    let task = Task::load(server.control.task(claim.slot));
    server.rounds.glance(server.control);
    server.privilege.revoke();
    server.arena.get_mut().seal();
    if task.timed {
        Task::start(slot, clock::now());
    }
    // SAFETY: the parent wrote an identity made by `function_id`, and the handshake has shown
    // that it runs the same image.
    let function = unsafe { find_function(task.function) };
    #[cfg(feature = "tokio")]
    server.futures.be_busy();
    let reply = match function {
        Ok(function) => perform(server, claim, task, |call| panic::catch(|| function(call))),
        Err(_) => Some(Reply::empty(Verdict::BadArguments)),
    };
    match reply {
        Some(reply) => {
            complete(server, claim, reply);
            #[cfg(feature = "tokio")]
            server.futures.be_free();
        }
        None => defer(server, claim, task),
    }
}

/// Has the future of a task polled; it is answered later.
#[cfg(feature = "tokio")]
fn defer(server: &mut Server<'_>, claim: Claim, task: Task) {
    if let Err(report) = server.futures.launch(claim, task)
        && let Some(reply) = perform(server, claim, task, |_| Err(report))
    {
        complete(server, claim, reply);
    }
}

#[cfg(not(feature = "tokio"))]
fn defer(_: &mut Server<'_>, _: Claim, _: Task) {
    unreachable!("without a runtime no task is a future")
}

/// Writes the replies of futures that have ended; whether there was any.
#[cfg(feature = "tokio")]
pub(crate) fn answer(server: &mut Server<'_>) -> bool {
    let mut any = false;
    while let Some(ended) = server.futures.take_ended() {
        any = true;
        let claim = ended.claim;
        // What is written out here is code of the program's own.
        server.privilege.revoke();
        server.arena.get_mut().seal();
        let reply = perform(server, claim, ended.task, |call| match ended.outcome {
            Ok(Ok(answer)) => panic::catch(|| answer(call)),
            Ok(Err(fault)) => Ok(Err(fault)),
            Err(report) => Err(report),
        });
        complete(
            server,
            claim,
            reply.unwrap_or(Reply::empty(Verdict::BadArguments)),
        );
    }
    any
}

fn complete(server: &mut Server<'_>, claim: Claim, reply: Reply) {
    let ring = server.control.ring();
    reply.store(server.arena.get_mut().reply(claim.slot), claim.generation);
    server.guard_from_futures();
    let outcome = match reply.verdict {
        Verdict::Value => Outcome::Done,
        _ => Outcome::Failed,
    };
    // Of small results the arena knows nothing.
    if reply.place.size > REPLY_SIZE as u64 {
        server.gauge.set_arena(server.arena.get_mut().usage());
    }
    server.gauge.count_task();
    server
        .idle
        .finishing(|| server.rounds.see_tasks(server.control));
    if ring.complete(server.me, claim, outcome) {
        let unread = server.control.done().set(claim.slot);
        server.idle.finished(unread);
        server.bell.ring();
    } else if reply.place.size > 0 && reply.verdict != Verdict::NoRoom {
        server.arena.get_mut().release(reply.place.offset);
    }
}

/// The reply to a task, or none if it is a future now.
fn perform(
    server: &mut Server<'_>,
    claim: Claim,
    task: Task,
    body: impl FnOnce(&mut TaskCall<'_>) -> Result<Result<(), TaskFault>, Box<PanicReport>>,
) -> Option<Reply> {
    let arena = &server.arena;
    let block = arena.borrow_mut().reply(claim.slot);
    let mut place = Place {
        region_offset: ReplyBlock::inline_offset(arena.borrow().span(), claim.slot),
        arena,
        block,
        generation: claim.generation,
        inline: None,
        given: None,
        settled: Span::default(),
        loan: None,
    };
    place.inline = server.region.pointer(place.region_offset, REPLY_SIZE);
    let mut call = TaskCall {
        region: server.region,
        task,
        place: &mut place,
        state: &mut server.state,
        #[cfg(feature = "tokio")]
        futures: &mut server.futures,
    };
    let caught = loan::with(arena, || body(&mut call));
    loan::with(arena, || server.state.end_loan(caught.is_err()));
    let outcome = match caught {
        Ok(Ok(())) => place.land().map(|()| place.settled).map_err(Ok),
        Ok(Err(fault)) => Err(Ok(fault)),
        Err(report) => Err(Err(report)),
    };
    if outcome.is_err() {
        // Also a result that was complete, when dropping its value panicked. What lies in the
        // slot's block is none of these, which the arena knows.
        place.give_up();
    }
    let mut arena = arena.borrow_mut();
    arena.unpin();
    let mut report = |report: &PanicReport| arena.write_report(report).unwrap_or_default();
    Some(match outcome {
        Ok(settled) => Reply {
            place: settled,
            verdict: Verdict::Value,
        },
        Err(Ok(fault)) => match fault {
            #[cfg(feature = "tokio")]
            TaskFault::Deferred => return None,
            #[cfg(feature = "tokio")]
            TaskFault::Cancelled => Reply::empty(Verdict::Cancelled),
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
                let told = PanicReport {
                    message,
                    ..PanicReport::default()
                };
                Reply {
                    place: report(&told),
                    verdict: Verdict::Refused,
                }
            }
        },
        Err(Err(told)) => {
            error_hook::notify(|| (*told).clone().into());
            Reply {
                place: report(&told),
                verdict: Verdict::Panicked,
            }
        }
    })
}

/// Where this task's result goes.
struct Place<'a, 'r> {
    region_offset: u64,
    arena: &'a RefCell<Arena<'r>>,
    block: &'a ReplyBlock,
    generation: u32,
    inline: Option<NonNull<u8>>,
    given: Option<(u64, NonNull<u8>)>,
    settled: Span,
    /// The result lies in what was lent to it.
    loan: Option<u64>,
}

impl Place<'_, '_> {
    /// A result that lies in what was lent to it has it for itself now, or moves, if the task kept
    /// that.
    fn land(&mut self) -> Result<(), TaskFault> {
        let Some(ticket) = self.loan.take() else {
            return Ok(());
        };
        let size = self.settled.size as usize;
        let pinned = self.arena.borrow_mut().take_pinned(ticket);
        match pinned.ok_or_else(|| TaskFault::Refused("its memory was not lent to it".into()))? {
            Ok(offset) => self.settled.offset = offset,
            Err(kept) => {
                self.settled = Span::default();
                let block = self.allocate(size)?;
                // SAFETY: the archive lies in what was lent, so that is at least as large; whoever
                // has it reads it at most, as it is pinned. The other block was just allocated with
                // this size.
                unsafe { block.copy_from_nonoverlapping(kept, size) };
                self.settle(size);
            }
        }
        Ok(())
    }

    /// There is no result after all.
    fn give_up(&mut self) {
        let loan = self.loan.take();
        let mut arena = self.arena.borrow_mut();
        let lent = loan.and_then(|ticket| arena.take_pinned(ticket)?.ok());
        let given = self.given.take().map(|(offset, _)| offset);
        for offset in lent.into_iter().chain(given).chain([self.settled.offset]) {
            arena.release(offset);
        }
    }
}

impl ReplyPlace for Place<'_, '_> {
    fn inline(&mut self) -> (NonNull<u8>, usize) {
        match self.inline {
            Some(block) => (block, REPLY_SIZE),
            None => (NonNull::<u128>::dangling().cast(), 0),
        }
    }

    fn allocate(&mut self, size: usize) -> Result<NonNull<u8>, TaskFault> {
        let mut arena = self.arena.borrow_mut();
        let Some((offset, block)) = arena.allocate(size) else {
            return Err(TaskFault::NoRoom {
                wanted: size as u64,
                available: arena.available(),
            });
        };
        self.given = Some((offset, block));
        Ok(block)
    }

    fn grow(&mut self, used: usize, size: usize) -> Result<NonNull<u8>, TaskFault> {
        let old = self.given;
        let block = self.allocate(size)?;
        if let Some((offset, bytes)) = old {
            // SAFETY: both blocks are this task's, committed, distinct, and at least so large.
            unsafe { block.copy_from_nonoverlapping(bytes, used.min(size)) };
            // Before the old block goes: there is never a moment without one to be found.
            self.announce();
            self.arena.borrow_mut().release(offset);
        }
        Ok(block)
    }

    fn announce(&mut self) {
        if let Some((offset, _)) = self.given {
            let inside = offset.saturating_sub(self.arena.borrow().span().offset);
            self.block.announce(self.generation, inside);
        }
    }

    fn settle(&mut self, size: usize) {
        let given = self.given.take();
        let offset = given.map_or(self.region_offset, |(offset, _)| offset);
        self.settled = Span {
            offset,
            size: size as u64,
        };
    }

    fn settle_loan(&mut self, ticket: u64, size: usize) {
        self.loan = Some(ticket);
        // Where it is turns out when whoever has it goes.
        self.settled = Span {
            offset: 0,
            size: size as u64,
        };
    }
}
