//! Where a worker begins: before `main`, in the same executable.
//!
//! The loader calls every function listed in `.init_array` before `main`. Ours does nothing but
//! look for the environment variable of a [`Token`]; with it this process is a worker, and `main`
//! never runs. So no program can forget to prepare itself for being started as a worker, and none
//! can start itself without end.
//!
//! `#[used]` keeps the entry through the optimiser and `.init_array` is a root for the linker's
//! garbage collection; should a build lose it nevertheless, [`Spawn`](crate::sys::process::Spawn)
//! finds no [registered hook](executable::register_hook) and starts nothing.

#![expect(
    unsafe_code,
    reason = "an entry of .init_array, and calls to those that follow it"
)]

use std::{
    env,
    error::Error,
    ffi::{OsStr, c_char, c_int},
    os::fd::OwnedFd,
};

use super::{life, server, solo};
use crate::{
    protocol::{
        inherited, start,
        token::{self, Access, Confinement, Handover, Role, ServerToken, SoloToken, Token},
    },
    sys::{
        executable::{self, Constructor, Executable},
        failure::SysError,
        process,
        sandbox::Policy,
    },
};

/// Exit code of a worker that could not be set up; standard error says why.
pub(crate) const REFUSED: i32 = 70;
/// Exit code of a worker whose parent was gone before it began. Nobody reads it but a test.
pub(crate) const ORPHANED: i32 = 71;

#[used]
#[unsafe(link_section = ".init_array")]
static HOOK: Constructor = hook;

/// What the loader passes to a constructor, to be handed on to the next.
#[derive(Clone, Copy)]
struct Arguments {
    count: c_int,
    values: *const *const c_char,
    environment: *const *const c_char,
}

unsafe extern "C" fn hook(
    count: c_int,
    values: *const *const c_char,
    environment: *const *const c_char,
) {
    executable::register_hook(&HOOK);
    start::register_worker(live);
    // From the C library's `environ`, not from the argument, which musl does not pass.
    let Some(token) = env::var_os(token::VARIABLE) else {
        return;
    };
    // Programs that a task starts must not become workers.
    // SAFETY: before `main` this is the only thread of the program's own.
    unsafe { env::remove_var(token::VARIABLE) };
    let code = begin(
        &token,
        Arguments {
            count,
            values,
            environment,
        },
    )
    .unwrap_or_else(|error| {
        eprintln!("gristmill: this process was started as a worker, but cannot be one: {error}");
        REFUSED
    });
    process::exit_now(code)
}

/// The whole life of a worker, or of a process for one function; gives its exit code.
fn begin(token: &OsStr, arguments: Arguments) -> Result<i32, Box<dyn Error>> {
    let role: Role = token
        .to_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("{} is {token:?}; {}", token::VARIABLE, token::BadToken))?;
    // SAFETY: before `main` this is the only thread; the parent opened what it names for us.
    unsafe { inherited::adopt() }?;
    match role {
        Role::Worker(token) => begin_worker(token, arguments),
        Role::Solo(token) => begin_solo(token, arguments),
        Role::Server(token) => begin_server(token, arguments),
    }
}

fn begin_worker(token: Token, arguments: Arguments) -> Result<i32, Box<dyn Error>> {
    if process::bind_to_parent(token.parent)?.is_none() {
        return Ok(ORPHANED);
    }
    process::settle_signals()?;
    process::set_name(&format!("gristmill-w{}", token.index));
    // SAFETY: the parent opened it in this process for us, and no code has run yet that could have
    // taken it for its own.
    let region = unsafe { process::adopt(token.region) }?;
    // SAFETY: as above; a token names three different descriptors.
    let event = unsafe { process::adopt(token.event) }?;
    // SAFETY: as above.
    let commands = unsafe { process::adopt(token.commands) }?;
    // SAFETY: as above; it is a fourth one.
    let sandbox = unsafe { adopt_sandbox(token.sandbox) }?;
    let later = Executable::current().constructors_after_hook()?;
    // SAFETY: these are the entries that follow ours, each called once, in order, with what the
    // loader would pass; it will not call them, as we never return to it.
    unsafe { construct(later, arguments) };
    let Token {
        index,
        incarnation,
        setup,
        ..
    } = token;
    Ok(live(Handover {
        region: Access::File(region),
        event,
        commands,
        index,
        incarnation,
        setup,
        sandbox,
    }))
}

fn begin_solo(token: SoloToken, arguments: Arguments) -> Result<i32, Box<dyn Error>> {
    if let Some(parent) = token.parent
        && process::bind_to_parent(parent)?.is_none()
    {
        return Ok(ORPHANED);
    }
    process::settle_signals()?;
    // SAFETY: the parent opened it in this process for us, and no code has run yet that could have
    // taken it for its own.
    let envelope = unsafe { process::adopt(token.envelope) }?;
    let later = Executable::current().constructors_after_hook()?;
    let construct = || {
        // SAFETY: as for a worker.
        unsafe { construct(later, arguments) }
    };
    solo::run(envelope, construct).map_err(Into::into)
}

fn begin_server(token: ServerToken, arguments: Arguments) -> Result<i32, Box<dyn Error>> {
    if process::bind_to_parent(token.parent)?.is_none() {
        return Ok(ORPHANED);
    }
    process::settle_signals()?;
    process::set_name("gristmill-fork");
    let passed = [token.region, token.event, token.commands, token.requests];
    let [region, event, commands, requests] = passed.map(|fd| {
        // SAFETY: as for a worker; a token names four different descriptors.
        unsafe { process::adopt(fd) }
    });
    let (region, event, commands, requests) = (region?, event?, commands?, requests?);
    // SAFETY: as above; it is a fifth one. What is closed here is not there in workers either.
    let sandbox = unsafe { adopt_sandbox(token.sandbox) }?;
    let later = Executable::current().constructors_after_hook()?;
    // SAFETY: as for a worker.
    unsafe { construct(later, arguments) };
    server::preload(&region, token.preload)?;
    // From here on in the copies, once each.
    let Some(start::Request { index, incarnation }) = server::serve(requests)? else {
        return Ok(0);
    };
    if process::bind_to_parent(token.parent)?.is_none() {
        return Ok(ORPHANED);
    }
    process::set_name(&format!("gristmill-w{index}"));
    Ok(live(Handover {
        region: Access::File(region),
        event,
        commands,
        index,
        incarnation,
        setup: token.setup,
        sandbox,
    }))
}

/// Takes over the ruleset of a sandbox, if there is to be one, and closes what else was inherited.
///
/// # Safety
///
/// Nobody else in this process owns the ruleset; all else that was passed is adopted.
unsafe fn adopt_sandbox(
    sandbox: Option<Confinement>,
) -> Result<Option<(OwnedFd, Policy)>, SysError> {
    let Some(Confinement { ruleset, policy }) = sandbox else {
        return Ok(None);
    };
    // SAFETY: the caller vouches for it.
    let ruleset = unsafe { process::adopt(ruleset) }?;
    process::close_inherited()?;
    Ok(Some((ruleset, policy)))
}

/// Does what the loader would do after us: C++ statics and the like must exist when tasks run.
///
/// # Safety
///
/// The constructors have not run yet, and may run now with these arguments.
unsafe fn construct(constructors: &[Option<Constructor>], arguments: Arguments) {
    let Arguments {
        count,
        values,
        environment,
    } = arguments;
    for constructor in constructors.iter().flatten() {
        // SAFETY: the caller vouches for it.
        unsafe { constructor(count, values, environment) };
    }
}

#[cfg(not(test))]
fn live(handover: Handover) -> i32 {
    life::run(handover)
}

#[cfg(test)]
fn live(handover: Handover) -> i32 {
    match tests::Probe::of(&handover) {
        Some(probe) => probe.run(handover),
        None => life::run(handover),
    }
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
