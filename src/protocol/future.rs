//! A task that is a future: what crosses between a worker's two threads.

#![expect(
    unsafe_code,
    reason = "turns an offset in our own image into a function"
)]

use core::future::Future;
use core::mem::transmute;
use core::pin::Pin;

use tokio::runtime::Runtime;

use crate::memory::region::Region;
use crate::protocol::function::{BadFunction, FunctionId};
use crate::protocol::task::{TaskCall, TaskFault};

/// Writes the result; once the future is gone, so that its arguments may be overwritten.
pub(crate) type Answer = Box<dyn FnOnce(&mut TaskCall<'_>) -> Result<(), TaskFault> + Send>;

/// The future of a task.
pub(crate) type Course = Pin<Box<dyn Future<Output = Result<Answer, TaskFault>>>>;

/// Makes the future, on the thread that will poll it.
pub(crate) type Begin = Box<dyn FnOnce() -> Course + Send>;

/// Makes the runtime; monomorphised for the program's own.
pub(crate) type RuntimeFunction = fn() -> Runtime;

/// Where a task leaves its future.
pub(crate) trait FuturePlace {
    /// The memory that arguments lie in, mapped for as long as the process lives.
    fn region(&self) -> &'static Region;
    /// Has the future begun once the task's function has returned [`TaskFault::Deferred`].
    fn defer(&mut self, begin: Begin);
}

/// Finds the function that the parent named.
///
/// # Safety
/// The identity was made of a [`RuntimeFunction`] in a process that runs the same image.
pub(crate) unsafe fn find_runtime(id: FunctionId) -> Result<RuntimeFunction, BadFunction> {
    let pointer = id.resolve()?;
    // SAFETY: the offset was taken from a `RuntimeFunction` of this very image, as the caller
    // vouches.
    Ok(unsafe { transmute::<*const (), RuntimeFunction>(pointer) })
}
