//! A single task on the wire: what the words of its slot mean, and the call that runs it.

#![expect(
    unsafe_code,
    reason = "turns an offset in our own image into a function; writes results in place"
)]

use core::any::{Any, type_name};
use core::mem::transmute;
use core::ptr::NonNull;

use crate::memory::region::Region;
use crate::primitive::atomic::Ordering;
use crate::protocol::archive::{self, ArchiveError, Fit, Payload};
use crate::protocol::context::Context;
use crate::protocol::function::{BadFunction, FunctionId, NotInImage};
use crate::protocol::range::{Span, bytes_of, view};
use crate::ring::Slot;

/// Runs one task; monomorphised for its types and the user's closure.
pub(crate) type TaskFunction = fn(&mut TaskCall<'_>) -> Result<(), TaskFault>;

/// What a worker needs to run a task.
///
/// In the slot's body:
///
/// ```text
/// word 0          1           2                   3        4       5       6
/// | function    | arguments | arguments size:32 | context| reply | reply | verdict |
/// |             | offset    | context size:32   | offset | offset| size  |         |
/// ```
/// Words 0–3 are the parent's, written before READY; words 4–6 the worker's, before DONE. Until
/// then word 6 is the parent's too, and not zero if the worker is to write the time when it began
/// to word 4, where the parent wrote zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) function: FunctionId,
    pub(crate) arguments: Span,
    pub(crate) context: Span,
    /// The worker is to say when it begins.
    pub(crate) timed: bool,
}

/// How a task ended, by its worker's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) place: Span,
    pub(crate) verdict: Verdict,
}

/// What the bytes of a reply are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The archived result.
    Value,
    /// The report of a panic.
    Panicked,
    /// Nothing: the arguments were no valid archive.
    BadArguments,
    /// Nothing: the result's archive would be larger than the format can hold.
    TooLarge,
    /// The report of what the result's own `Serialize` had to say.
    Refused,
    /// Nothing: it was a future, and was dropped because the parent asked for it.
    Cancelled,
    /// Nothing: the worker's arena had no room for the result. The place is none: its offset says
    /// how many bytes there were, its size how many were wanted.
    NoRoom,
}

const STARTED: usize = 4;
const TIMED: usize = 6;

impl Task {
    /// Writes the task into its slot; by the submitter that is filling it.
    pub(crate) fn store(&self, slot: &Slot) {
        let sizes = self.arguments.size | self.context.size << 32;
        let words = [
            self.function.to_bits(),
            self.arguments.offset,
            sizes,
            self.context.offset,
        ];
        for (index, value) in words.into_iter().enumerate() {
            // ORDERING: Relaxed; the ring's `publish` releases them with READY.
            slot.body(index).store(value, Ordering::Relaxed);
        }
        Self::renew(slot, self.timed);
    }

    /// Writes what a worker that died over the task may have overwritten.
    pub(crate) fn renew(slot: &Slot, timed: bool) {
        // ORDERING: Relaxed; the ring releases them with READY.
        slot.body(STARTED).store(0, Ordering::Relaxed);
        // ORDERING: Relaxed; as above.
        slot.body(TIMED).store(u64::from(timed), Ordering::Relaxed);
    }

    /// Says that the task begins at this time; by the worker that claimed it.
    pub(crate) fn start(slot: &Slot, time: u64) {
        // ORDERING: Relaxed; a number for the supervisor, who may as well miss it.
        slot.body(STARTED).store(time, Ordering::Relaxed);
    }

    /// When a timed task that is running began, if its worker has said so.
    pub(crate) fn started(slot: &Slot) -> Option<u64> {
        // ORDERING: Relaxed; see `start`.
        let time = slot.body(STARTED).load(Ordering::Relaxed);
        (time != 0).then_some(time)
    }

    /// Reads the task from a slot that the caller has claimed.
    pub(crate) fn load(slot: &Slot) -> Self {
        // ORDERING: Relaxed; the claim acquired what `publish` released.
        let word = |index| slot.body(index).load(Ordering::Relaxed);
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
            timed: word(TIMED) != 0,
        }
    }
}

impl Reply {
    /// A reply without bytes.
    pub(crate) const fn empty(verdict: Verdict) -> Self {
        Self {
            place: Span { offset: 0, size: 0 },
            verdict,
        }
    }

    /// Writes the reply into the slot; by the worker that runs the task.
    pub(crate) fn store(&self, slot: &Slot) {
        let verdict = match self.verdict {
            Verdict::Value => 0,
            Verdict::Panicked => 1,
            Verdict::BadArguments => 2,
            Verdict::TooLarge => 3,
            Verdict::NoRoom => 4,
            Verdict::Refused => 5,
            Verdict::Cancelled => 6,
        };
        let words = [self.place.offset, self.place.size, verdict];
        for (index, value) in words.into_iter().enumerate() {
            // ORDERING: Relaxed; the ring's `complete` releases them with DONE or FAILED.
            slot.body(4 + index).store(value, Ordering::Relaxed);
        }
    }

    /// Reads the reply of a finished task; `None` for a verdict that does not exist.
    pub(crate) fn load(slot: &Slot) -> Option<Self> {
        // ORDERING: Relaxed; the harvest acquired what `complete` released.
        let word = |index| slot.body(index).load(Ordering::Relaxed);
        let verdict = match word(6) {
            0 => Verdict::Value,
            1 => Verdict::Panicked,
            2 => Verdict::BadArguments,
            3 => Verdict::TooLarge,
            4 => Verdict::NoRoom,
            5 => Verdict::Refused,
            6 => Verdict::Cancelled,
            _ => return None,
        };
        Some(Self {
            place: Span {
                offset: word(4),
                size: word(5),
            },
            verdict,
        })
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

/// Where a worker puts a result: the block beside the slot if it fits, else its arena.
pub(crate) trait ReplyPlace {
    /// The small block that is there already, 64-byte aligned, and its size.
    fn inline(&mut self) -> (NonNull<u8>, usize);
    /// A 64-byte aligned block of the arena, or the fault that there is no room.
    fn allocate(&mut self, size: usize) -> Result<NonNull<u8>, TaskFault>;
    /// The first `size` bytes of the block given last are the reply.
    fn settle(&mut self, size: usize);
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
        // SAFETY: the block beside the slot is this task's until it completes; its arguments, if
        // they lay there, are not read any more, because the result does not borrow from them.
        let size = match unsafe { archive::write(result, inline, capacity) }? {
            Fit::Written(size) => {
                self.place.settle(size);
                return Ok(());
            }
            Fit::Needs(size) => size,
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
