//! What a process calls: the user's closure, made again from its type.

use crate::protocol::archive::Payload;
use crate::protocol::closure::summon;
use crate::protocol::envelope::Verdict;
use crate::protocol::solo::SoloCall;

/// For a [`Process`](crate::Process): what the closure returns is dropped.
pub(super) fn plain<A, R, F>(call: &mut SoloCall<'_>) -> Verdict
where
    A: Payload + 'static,
    F: Fn(&A::Archived) -> R + Copy + Sync,
{
    // SAFETY: the parent holds the closure whose type this function was made for.
    let f = unsafe { summon::<F>() };
    match call.arguments::<A>() {
        Ok(arguments) => {
            drop(f(arguments));
            Verdict::Returned { size: 0 }
        }
        Err(verdict) => verdict,
    }
}

/// For a [`Worker`](crate::Worker).
pub(super) fn replying<A, R, F>(call: &mut SoloCall<'_>) -> Verdict
where
    A: Payload + 'static,
    R: Payload + 'static,
    F: Fn(&A::Archived) -> R + Copy + Sync,
{
    // SAFETY: as in `plain`.
    let f = unsafe { summon::<F>() };
    match call.arguments::<A>() {
        Ok(arguments) => call.reply(&f(arguments)),
        Err(verdict) => verdict,
    }
}

#[cfg(feature = "tokio")]
pub(super) use asynchronous::{Runtime, plain_async, replying_async, runtime, runtime_id};

#[cfg(feature = "tokio")]
mod asynchronous {
    use core::mem::transmute;
    use std::io;

    use super::*;
    use crate::protocol::function::{FunctionId, NotInImage};

    /// Builds the runtime that an async function runs on.
    pub(in crate::process) type Runtime = fn() -> io::Result<tokio::runtime::Runtime>;

    /// As a function for the envelope.
    pub(in crate::process) fn runtime<F>() -> io::Result<tokio::runtime::Runtime>
    where
        F: Fn() -> io::Result<tokio::runtime::Runtime> + Copy + Sync,
    {
        // SAFETY: the parent holds the closure whose type this function was made for.
        let f = unsafe { summon::<F>() };
        f()
    }

    pub(in crate::process) fn runtime_id(runtime: Runtime) -> Result<FunctionId, NotInImage> {
        FunctionId::of(runtime as *const ())
    }

    /// The runtime that the parent asked for, or the default.
    fn build(call: &SoloCall<'_>) -> tokio::runtime::Runtime {
        let built = match call.runtime() {
            None => tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build(),
            Some(id) => {
                let pointer = id.resolve().unwrap_or_else(|error| panic!("{error}"));
                // SAFETY: the offset was taken from a `Runtime` in this very image.
                let build = unsafe { transmute::<*const (), Runtime>(pointer) };
                build()
            }
        };
        built.unwrap_or_else(|error| panic!("the runtime could not be built: {error}"))
    }

    pub(in crate::process) fn plain_async<A, R, F>(call: &mut SoloCall<'_>) -> Verdict
    where
        A: Payload + 'static,
        F: AsyncFn(&A::Archived) -> R + Copy + Sync,
    {
        // SAFETY: as in `plain`.
        let f = unsafe { summon::<F>() };
        match call.arguments::<A>() {
            Ok(arguments) => {
                drop(build(call).block_on(f(arguments)));
                Verdict::Returned { size: 0 }
            }
            Err(verdict) => verdict,
        }
    }

    pub(in crate::process) fn replying_async<A, R, F>(call: &mut SoloCall<'_>) -> Verdict
    where
        A: Payload + 'static,
        R: Payload + 'static,
        F: AsyncFn(&A::Archived) -> R + Copy + Sync,
    {
        // SAFETY: as in `plain`.
        let f = unsafe { summon::<F>() };
        match call.arguments::<A>() {
            Ok(arguments) => call.reply(&build(call).block_on(f(arguments))),
            Err(verdict) => verdict,
        }
    }
}
