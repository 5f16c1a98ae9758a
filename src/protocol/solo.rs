//! One function for one process: how it is named, and what it is called with.

#![expect(
    unsafe_code,
    reason = "turns an offset in our own image into a function"
)]

use core::mem::transmute;

use crate::protocol::archive::{self, ArchiveError, Payload};
use crate::protocol::envelope::{Opened, Verdict};
use crate::protocol::function::{BadFunction, FunctionId, NotInImage};

/// Reads the arguments, calls the user's closure and writes its result; monomorphised for them.
pub(crate) type SoloFunction = fn(&mut SoloCall<'_>) -> Verdict;

/// Names a function for the envelope.
pub(crate) fn function_id(function: SoloFunction) -> Result<FunctionId, NotInImage> {
    FunctionId::of(function as *const ())
}

/// Finds the function that the parent named.
///
/// # Safety
/// The identity came from [`function_id`] in a process that runs the same image.
pub(crate) unsafe fn find_function(id: FunctionId) -> Result<SoloFunction, BadFunction> {
    let pointer = id.resolve()?;
    // SAFETY: the offset was taken from a `SoloFunction` of this very image.
    Ok(unsafe { transmute::<*const (), SoloFunction>(pointer) })
}

/// One call, as its function sees it.
#[derive(Debug)]
pub(crate) struct SoloCall<'a> {
    envelope: &'a Opened,
}

impl<'a> SoloCall<'a> {
    pub(crate) fn new(envelope: &'a Opened) -> Self {
        Self { envelope }
    }

    /// The arguments, checked, in place.
    pub(crate) fn arguments<A: Payload>(&self) -> Result<&'a A::Archived, Verdict> {
        archive::access::<A>(self.envelope.arguments()).map_err(|_| Verdict::BadArguments)
    }

    /// Serialises the result straight to where the parent will read it.
    pub(crate) fn reply<R: Payload>(&self, result: &R) -> Verdict {
        self.envelope
            .write(result)
            .unwrap_or_else(|error| match error {
                ArchiveError::TooLarge { .. } => Verdict::TooLarge,
                ArchiveError::Refused { reason, .. } => Verdict::Unserialised(reason),
                other => Verdict::Unserialised(other.to_string()),
            })
    }

    /// What builds the runtime, if not the default.
    #[cfg(feature = "tokio")]
    pub(crate) fn runtime(&self) -> Option<FunctionId> {
        self.envelope.runtime()
    }
}
