//! What a worker does with a batch.

use crate::protocol::archive::{self, Payload};
use crate::protocol::batch::{Items, Results};
use crate::protocol::closure::summon;
use crate::protocol::context::Context;
use crate::protocol::loan;
use crate::protocol::panic;
use crate::protocol::range::bytes_of;
use crate::protocol::task::{TaskCall, TaskFault};
use crate::sys::clock;
use crate::worker::error_hook;

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
    let mut slice = Slice::begin(call.task.timed);
    let mut results = Results::new(call.place, items.len(), size_of::<R::Archived>())?;
    // Once for as many items as go well one after another, not for each.
    let call = |item: &A::Archived| f(context, item);
    while let Err(report) =
        panic::catch(|| go_on::<A, R, _>(&call, &items, &mut results, &mut slice))
    {
        error_hook::notify(|| (*report).clone().into());
        results.panicked(&report);
        if !items.is_whole() && (results.is_enough() || slice.is_over()) {
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
        if !items.is_whole() && (results.is_enough() || slice.is_over()) {
            break;
        }
    }
}

/// How long a batch has taken so far.
///
/// A look at the processor's counter takes longer than a small item does, 20 ns in some virtual
/// machines. While items are quick there is one in [`TRUST`] items; from one to the next it is seen
/// by the kernel's tick, which costs less, when one of them took its time after all.
struct Slice {
    began: u64,
    /// The counter when the clock was read last, and when the counter was.
    looked: u64,
    counted: u64,
    tick: u64,
    /// Items until the counter is read again.
    trusted: u32,
    /// Whether the end of each item is to be noticed at once.
    strict: bool,
}

/// Quick items from one look at the counter to the next.
const TRUST: u32 = 16;
/// Ticks of the counter that a quick item takes, at most: far less than a slice for all of them.
const QUICK: u64 = 4_000;

impl Slice {
    fn begin(strict: bool) -> Self {
        let ticks = clock::ticks();
        Self {
            began: clock::now(),
            looked: ticks,
            counted: ticks,
            tick: clock::last_tick(),
            trusted: 0,
            strict,
        }
    }

    /// After an item: whether it is time to hand over what there is.
    #[inline]
    fn is_over(&mut self) -> bool {
        if self.trusted > 0 && clock::last_tick() == self.tick {
            self.trusted -= 1;
            return false;
        }
        self.is_over_by_counter()
    }

    fn is_over_by_counter(&mut self) -> bool {
        let ticks = clock::ticks();
        let taken = ticks.wrapping_sub(self.counted);
        self.counted = ticks;
        // Also of as many as were trusted, or of one.
        self.trusted = match taken < QUICK && !self.strict {
            true => TRUST - 1,
            false => 0,
        };
        let tick = clock::last_tick();
        let has_ticked = core::mem::replace(&mut self.tick, tick) != tick;
        if ticks.wrapping_sub(self.looked) < LOOK && !has_ticked {
            return false;
        }
        self.looked = ticks;
        self.time() >= SLICE
    }

    fn time(&self) -> u64 {
        clock::now() - self.began
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_quick_items_a_slow_one_is_noticed_at_its_end() {
        for strict in [false, true] {
            let mut slice = Slice::begin(strict);
            for _ in 0..100 {
                if slice.is_over() {
                    // Somebody else had the processor.
                    slice = Slice::begin(strict);
                }
            }
            let (began, tick) = (slice.began, clock::last_tick());
            while clock::now() - began < SLICE || clock::last_tick() == tick {
                std::hint::spin_loop();
            }
            assert!(slice.is_over(), "strict: {strict}");
        }
    }

    #[test]
    fn a_strict_slice_looks_after_each_item() {
        let mut slice = Slice::begin(true);
        while clock::now() - slice.began < SLICE {
            std::hint::spin_loop();
        }
        assert!(slice.is_over());
        assert_eq!(slice.trusted, 0);
    }
}
