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
    let mut slice = Slice::begin();
    let mut results = Results::new(call.place, items.len(), size_of::<R::Archived>())?;
    // Once for as many items as go well one after another, not for each.
    let call = |item: &A::Archived| f(context, item);
    while let Err(report) =
        panic::catch(|| go_on::<A, R, _>(&call, &items, &mut results, &mut slice))
    {
        error_hook::notify(|| report.clone().into());
        results.panicked(&report);
        if !items.is_whole() && slice.is_over(&results) {
            break;
        }
    }
    results.finish(slice.time());
    Ok(())
}

/// Runs items until there is none left, or the time is over. A panic is that of the item begun
/// last, which has no result then.
#[inline]
fn go_on<A: Payload, R: Payload, F: Fn(&A::Archived) -> R>(
    call: &F,
    items: &Items<'_>,
    results: &mut Results<'_>,
    slice: &mut Slice,
) {
    while results.len() < items.len() {
        results.begin();
        match items.archive(results.len()).and_then(archive::find::<A>) {
            Some(arguments) => {
                // Dropping the result may panic as well.
                let written = results.write(&call(arguments));
                match written {
                    Ok(end) => results.accept(end),
                    Err(fault) => results.fail(fault),
                }
            }
            None => results.fail(TaskFault::BadArguments),
        }
        if !items.is_whole() && slice.is_over(results) {
            break;
        }
    }
}

/// How long a batch has taken so far.
struct Slice {
    began: u64,
    looked: u64,
}

impl Slice {
    fn begin() -> Self {
        Self {
            began: clock::now(),
            looked: clock::ticks(),
        }
    }

    /// Whether it is time to hand over what there is.
    #[inline]
    fn is_over(&mut self, results: &Results<'_>) -> bool {
        let ticks = clock::ticks();
        if results.is_enough() {
            return true;
        }
        if ticks.wrapping_sub(self.looked) < LOOK {
            return false;
        }
        self.looked = ticks;
        self.time() >= SLICE
    }

    fn time(&self) -> u64 {
        clock::now() - self.began
    }
}
