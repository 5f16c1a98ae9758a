//! How a worker's life begins and ends: what it runs first and last, and how long it serves.

#![expect(
    unsafe_code,
    reason = "turns an offset in our own image into a function"
)]

use core::any::Any;
use core::mem::transmute;

use crate::memory::region::Region;
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::protocol::context::Context;
use crate::protocol::function::{BadFunction, FunctionId};
use crate::protocol::range::{Span, view};

const WORDS: usize = 16;
const NONE: u64 = u64::MAX;

/// Runs the program's initializer, or makes the worker's state; monomorphised for its types.
pub(crate) type BirthFunction = fn(&BirthCall<'_>) -> Option<Box<dyn Any>>;

/// What such a function works with.
#[derive(Debug)]
pub(crate) struct BirthCall<'a> {
    pub(crate) region: &'a Region,
    pub(crate) context: Span,
}

impl<'a> BirthCall<'a> {
    /// The context, seen in place.
    ///
    /// # Panics
    /// When it cannot be read: it was overwritten.
    pub(crate) fn context<C: Context<M>, M>(&self) -> C::View<'a> {
        view::<C, M>(self.region, self.context)
    }
}

/// A function to be run at the beginning, and where its context lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Birth {
    pub(crate) function: FunctionId,
    pub(crate) context: Span,
}

/// All that the program asked for; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) initializer: Option<Birth>,
    /// Makes the state that tasks borrow.
    pub(crate) state: Option<Birth>,
    /// A `fn()` for the orderly end.
    pub(crate) exit: Option<FunctionId>,
    /// How many tasks a worker takes on.
    pub(crate) max_tasks: Option<u64>,
    /// Bytes of private memory past which it is replaced.
    pub(crate) max_memory: Option<u64>,
    /// How many futures a worker polls at a time.
    pub(crate) concurrency: u64,
    /// Makes the runtime that polls them.
    pub(crate) runtime: Option<FunctionId>,
}

/// The same in the control area: 128 bytes, written by the parent before it starts a worker.
///
/// ```text
/// 0             8          16        24         32         40        48     56     64
/// | initializer | context  | context | state's  | context  | context | exit | most | most
/// |             | offset   | size    | function | offset   | size    |      | tasks| bytes
/// ```
/// Then, at 72 and 80, how many futures a worker polls at a time, and the function that makes their
/// runtime. All ones in place of a function or a number mean none. The rest is reserved.
#[repr(C, align(64))]
pub(crate) struct LifePage([AtomicU64; WORDS]);

const _: () = assert!(size_of::<LifePage>() == 128);

impl LifePage {
    /// Writes what was asked for; by the parent.
    pub(crate) fn store(&self, life: &Life) {
        let birth = |birth: Option<Birth>| {
            birth.map_or([NONE, 0, 0], |Birth { function, context }| {
                [function.to_bits(), context.offset, context.size]
            })
        };
        let ends = [
            life.exit.map_or(NONE, FunctionId::to_bits),
            life.max_tasks.unwrap_or(NONE),
            life.max_memory.unwrap_or(NONE),
            life.concurrency,
            life.runtime.map_or(NONE, FunctionId::to_bits),
        ];
        let births = [birth(life.initializer), birth(life.state)];
        let words = births.into_iter().flatten().chain(ends);
        for (word, value) in self.0.iter().zip(words) {
            // ORDERING: Relaxed; the worker that reads it is created afterwards.
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Reads it; by a worker that starts.
    pub(crate) fn load(&self) -> Life {
        // ORDERING: Relaxed; written before this process was created.
        let word = |index: usize| self.0[index].load(Ordering::Relaxed);
        let some = |index| Some(word(index)).filter(|&value| value != NONE);
        let birth = |first: usize| {
            some(first).map(|bits| Birth {
                function: FunctionId::from_bits(bits),
                context: Span {
                    offset: word(first + 1),
                    size: word(first + 2),
                },
            })
        };
        Life {
            initializer: birth(0),
            state: birth(3),
            exit: some(6).map(FunctionId::from_bits),
            max_tasks: some(7),
            max_memory: some(8),
            concurrency: word(9),
            runtime: some(10).map(FunctionId::from_bits),
        }
    }
}

/// Finds the function that the parent named.
///
/// # Safety
/// The identity was made of a [`BirthFunction`] in a process that runs the same image.
pub(crate) unsafe fn find_birth(id: FunctionId) -> Result<BirthFunction, BadFunction> {
    let pointer = id.resolve()?;
    // SAFETY: the offset was taken from a `BirthFunction` of this very image, as the caller
    // vouches.
    Ok(unsafe { transmute::<*const (), BirthFunction>(pointer) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_survives_the_wire() {
        let page = LifePage([const { AtomicU64::new(7) }; WORDS]);
        page.store(&Life::default());
        assert_eq!(page.load(), Life::default());
        let birth = |bits| Birth {
            function: FunctionId::from_bits(bits),
            context: Span {
                offset: bits + 1,
                size: bits + 2,
            },
        };
        let life = Life {
            initializer: Some(birth(10)),
            state: Some(birth(20)),
            exit: Some(FunctionId::from_bits(30)),
            max_tasks: Some(1),
            max_memory: Some(2),
            concurrency: 3,
            runtime: Some(FunctionId::from_bits(40)),
        };
        page.store(&life);
        assert_eq!(page.load(), life);
    }
}
