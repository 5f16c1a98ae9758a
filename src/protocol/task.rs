//! A single task on the wire: its body in the control area, and the call that runs it.

#![expect(
    unsafe_code,
    reason = "turns an offset in our own image into a function; writes results in place"
)]

use core::any::{Any, type_name};
use core::cell::UnsafeCell;
use core::mem::{offset_of, transmute};
use core::ptr::NonNull;

use crate::memory::region::Region;
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::primitive::prefetch;
use crate::protocol::archive::{self, ArchiveError, Fit, Payload};
use crate::protocol::context::Context;
use crate::protocol::function::{BadFunction, FunctionId, NotInImage};
use crate::protocol::range::{Span, bytes_of, view};
use crate::ring::Slot;

/// Runs one task; monomorphised for its types and the user's closure.
pub(crate) type TaskFunction = fn(&mut TaskCall<'_>) -> Result<(), TaskFault>;

/// What a worker needs to run a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) function: FunctionId,
    pub(crate) arguments: Span,
    pub(crate) context: Span,
    /// The worker is to say when it begins.
    pub(crate) timed: bool,
}

/// The same in the control area: one for each slot, written by the parent before READY, on pages
/// that workers map read-only.
///
/// ```text
/// 0         8          16         20        24       32      40     48 .. 64 64 .. 192
/// | function| arguments| arguments| context | context| timed | -    | arguments, if they fit  |
/// |         | offset   | size     | size    | offset |       |      | tiny     | small        |
/// ```
///
/// Tiny ones share the line of the words, so that they cost no line of their own.
#[repr(C, align(64))]
pub(crate) struct TaskBody {
    words: [AtomicU64; 6],
    tiny: UnsafeCell<[u8; TINY_SIZE]>,
    inline: UnsafeCell<[u8; INLINE_SIZE]>,
}

/// Bytes in a body for arguments that fit.
pub(crate) const INLINE_SIZE: usize = 128;
/// Bytes beside the words, aligned to as many: an archive that is no larger than this is aligned to
/// no more.
const TINY_SIZE: usize = 16;

const _: () = {
    assert!(size_of::<TaskBody>() == 192);
    assert!(offset_of!(TaskBody, tiny).is_multiple_of(TINY_SIZE));
    assert!(offset_of!(TaskBody, tiny) + TINY_SIZE == 64);
};

impl TaskBody {
    /// Where arguments of this size are that fit.
    pub(crate) const fn arguments_offset(size: usize) -> usize {
        match size <= TINY_SIZE {
            true => offset_of!(Self, tiny),
            false => offset_of!(Self, inline),
        }
    }

    /// Asks for the lines of a small task, to read them.
    pub(crate) fn expect(&self) {
        prefetch::to_read(&self.words);
        prefetch::to_read(&self.inline);
    }

    /// Asks for the line of the words, to write them.
    pub(crate) fn expect_store(&self) {
        prefetch::to_write(&self.words);
    }

    /// Asks for the line of arguments of this size, to write them.
    pub(crate) fn expect_arguments(&self, size: usize) {
        if size > TINY_SIZE {
            prefetch::to_write(&self.inline);
        }
    }
}

impl TaskBody {
    /// No task.
    #[cfg(test)]
    pub(crate) fn new() -> Self {
        Self {
            words: Default::default(),
            tiny: UnsafeCell::new([0; TINY_SIZE]),
            inline: UnsafeCell::new([0; INLINE_SIZE]),
        }
    }
}

impl Task {
    /// Writes the task into the body of its slot; by the submitter that is filling it.
    pub(crate) fn store(&self, body: &TaskBody, slot: &Slot) {
        let words = [
            self.function.to_bits(),
            self.arguments.offset,
            self.arguments.size | self.context.size << 32,
            self.context.offset,
            u64::from(self.timed),
        ];
        for (word, value) in body.words.iter().zip(words) {
            // ORDERING: Relaxed; the ring's `publish` releases them with READY.
            word.store(value, Ordering::Relaxed);
        }
        Self::renew(slot);
    }

    /// Forgets when an attempt began; before the slot is READY.
    pub(crate) fn renew(slot: &Slot) {
        // ORDERING: Relaxed; the ring releases it with READY.
        slot.note().store(0, Ordering::Relaxed);
    }

    /// Says that the task begins at this time; by the worker that claimed it.
    pub(crate) fn start(slot: &Slot, time: u64) {
        // ORDERING: Relaxed; a number for the supervisor, who may as well miss it.
        slot.note().store(time, Ordering::Relaxed);
    }

    /// When a timed task that is running began, if its worker has said so.
    pub(crate) fn started(slot: &Slot) -> Option<u64> {
        // ORDERING: Relaxed; see `start`.
        let time = slot.note().load(Ordering::Relaxed);
        (time != 0).then_some(time)
    }

    /// Reads the task of a slot that the caller has claimed.
    pub(crate) fn load(body: &TaskBody) -> Self {
        // ORDERING: Relaxed; the claim acquired what `publish` released.
        let word = |index: usize| body.words[index].load(Ordering::Relaxed);
        Self {
            function: FunctionId::from_bits(word(0)),
            arguments: Span {
                offset: word(1),
                size: word(2) & u64::from(u32::MAX),
            },
            context: Span {
                offset: word(3),
                size: word(2) >> 32,
            },
            timed: word(4) != 0,
        }
    }
}

/// Names a task function for the wire.
pub(crate) fn function_id(function: TaskFunction) -> Result<FunctionId, NotInImage> {
    FunctionId::of(function as *const ())
}

/// Finds the function that the parent named.
///
/// # Safety
/// The identity came from [`function_id`] in a process that runs the same image.
pub(crate) unsafe fn find_function(id: FunctionId) -> Result<TaskFunction, BadFunction> {
    let pointer = id.resolve()?;
    // SAFETY: the offset was taken from a `TaskFunction` of this very image.
    Ok(unsafe { transmute::<*const (), TaskFunction>(pointer) })
}

/// Where a worker puts a result: into its block for the slot if it fits, else its arena.
pub(crate) trait ReplyPlace {
    /// The small place that is there already, aligned or not, and its size.
    fn inline(&mut self) -> (NonNull<u8>, usize);
    /// A 64-byte aligned block of the arena, or the fault that there is no room.
    fn allocate(&mut self, size: usize) -> Result<NonNull<u8>, TaskFault>;
    /// A larger block instead of the one given last, with its first `used` bytes; at a fault that
    /// one stays.
    fn grow(&mut self, used: usize, size: usize) -> Result<NonNull<u8>, TaskFault>;
    /// Tells the parent where the block given last lies, so that it can look there if this worker
    /// dies.
    fn announce(&mut self);
    /// The first `size` bytes of the block given last are the reply.
    fn settle(&mut self, size: usize);
    /// The first `size` bytes of the block that was lent under this ticket are the reply, once
    /// whoever had it has gone.
    fn settle_loan(&mut self, ticket: u64, size: usize);
}

/// Where a task finds what its worker keeps for tasks.
pub(crate) trait StatePlace {
    /// The worker's state, made anew if the last task that had it panicked; `None` when there is
    /// none. May panic, as the program's function that makes it may.
    fn borrow(&mut self) -> Option<&mut dyn Any>;
}

/// Why a task could not be run, or its result not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TaskFault {
    /// None: the task is a future, which will end later.
    #[cfg(feature = "tokio")]
    Deferred,
    /// The future was dropped, as the parent asked.
    #[cfg(feature = "tokio")]
    Cancelled,
    /// The arguments are no valid archive of their type.
    BadArguments,
    /// The result's archive exceeds what the format can hold.
    TooLarge,
    /// The result's `Serialize` reported an error, or wrote more the second time.
    Refused(String),
    /// The arena has no room for the result.
    NoRoom {
        /// The result's size.
        wanted: u64,
        /// The largest block that there is.
        available: u64,
    },
}

impl From<ArchiveError> for TaskFault {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::TooLarge { .. } => Self::TooLarge,
            ArchiveError::Refused { reason, .. } => Self::Refused(reason),
            other => Self::Refused(other.to_string()),
        }
    }
}

/// One task, as its function sees it.
pub(crate) struct TaskCall<'a> {
    pub(crate) region: &'a Region,
    pub(crate) task: Task,
    pub(crate) place: &'a mut dyn ReplyPlace,
    pub(crate) state: &'a mut dyn StatePlace,
    #[cfg(feature = "tokio")]
    pub(crate) futures: &'a mut dyn super::future::FuturePlace,
}

impl<'a> TaskCall<'a> {
    /// The arguments, checked, in place.
    pub(crate) fn arguments<A: Payload>(&self) -> Result<&'a A::Archived, TaskFault> {
        let bytes = bytes_of(self.region, self.task.arguments);
        archive::access::<A>(bytes).map_err(|_| TaskFault::BadArguments)
    }

    /// The context, seen in place.
    ///
    /// # Panics
    /// When it cannot be read: the parent wrote nonsense, or it was overwritten.
    pub(crate) fn context<C: Context<M>, M>(&self) -> C::View<'a> {
        view::<C, M>(self.region, self.task.context)
    }

    /// The worker's state. The parent has checked its type before it sent the task, so another one
    /// means that the task was overwritten.
    pub(crate) fn state<S: 'static>(&mut self) -> Result<&mut S, TaskFault> {
        let state = self.state.borrow().and_then(<dyn Any>::downcast_mut);
        state.ok_or(TaskFault::BadArguments)
    }

    /// Serialises the result straight to where the parent will read it.
    pub(crate) fn reply<R: Payload>(&mut self, result: &R) -> Result<(), TaskFault> {
        let (inline, capacity) = self.place.inline();
        // SAFETY: the worker's block for this slot is this task's until it completes.
        let size = match unsafe { archive::write_or_move(result, inline, capacity) }? {
            (Fit::Written(size), None) => {
                self.place.settle(size);
                return Ok(());
            }
            (Fit::Written(size), Some(ticket)) => {
                self.place.settle_loan(ticket, size);
                return Ok(());
            }
            (Fit::Needs(size), _) => size,
        };
        let block = self.place.allocate(size)?;
        // SAFETY: the block was just allocated with this size, in memory that is ours to write.
        match unsafe { archive::write(result, block, size) }? {
            Fit::Written(size) => {
                self.place.settle(size);
                Ok(())
            }
            Fit::Needs(found) => Err(ArchiveError::Unstable {
                type_name: type_name::<R>(),
                measured: size,
                found,
            }
            .into()),
        }
    }
}
