//! What a worker does with a batch.

use crate::protocol::archive::{self, Payload};
use crate::protocol::batch::{Items, Results};
use crate::protocol::closure::summon;
use crate::protocol::context::Context;
use crate::protocol::loan;
use crate::protocol::range::bytes_of;
use crate::protocol::task::{TaskCall, TaskFault};
use crate::sys::clock;
use crate::worker::error_hook;
use crate::worker::panic;

/// After so many nanoseconds a worker hands over what it has and leaves the rest to all: so no item
/// waits for longer behind slow ones of its batch, besides the one that is running.
pub(super) const SLICE: u64 = 1_000_000;

/// Ticks from one look at the clock to the next, some microseconds: what items take of it together
/// does not matter, and of one that takes longer it is known at its end.
const LOOK: u64 = 10_000;

/// Runs the items of a batch, one after another.
pub(super) fn run<C, M, A, R, F>(call: &mut TaskCall<'_>) -> Result<(), TaskFault>
where
    C: Context<M>,
    A: Payload + 'static,
    R: Payload + 'static,
    F: Fn(C::View<'_>, &A::Archived) -> R + Copy + Sync,
{
    // SAFETY: the parent holds the closure whose type this function was made for.
    let f = unsafe { summon::<F>() };
    let block = bytes_of(call.region, call.task.arguments);
    let items = Items::read(block).ok_or(TaskFault::BadArguments)?;
    let context = call.context::<C, M>();
    // Results are copied into the batch's block, which has the arena for itself.
    let _none = loan::none();
    let began = clock::now();
    let mut looked = clock::ticks();
    let mut results = Results::new(call.place, items.len(), size_of::<R::Archived>())?;
    for index in 0..items.len() {
        results.begin();
        match items.archive(index).map(archive::access::<A>) {
            Some(Ok(arguments)) => {
                let outcome = panic::catch(|| {
                    let result = f(context, arguments);
                    results.write(&result)
                });
                match outcome {
                    Ok(Ok(end)) => results.accept(end),
                    Ok(Err(fault)) => results.fail(fault),
                    Err(report) => {
                        error_hook::notify(|| report.clone().into());
                        results.panicked(&report);
                    }
                }
            }
            _ => results.fail(TaskFault::BadArguments),
        }
        if items.is_whole() {
            continue;
        }
        let ticks = clock::ticks();
        if results.is_enough() {
            break;
        }
        if ticks.wrapping_sub(looked) >= LOOK {
            looked = ticks;
            if clock::now() - began >= SLICE {
                break;
            }
        }
    }
    results.finish(clock::now() - began);
    Ok(())
}
