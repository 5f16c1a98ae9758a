//! A worker's own limits, and what the program wants done before the first task.

#![expect(unsafe_code, reason = "calls the function that the parent named")]

use std::backtrace::Backtrace;
use std::os::fd::OwnedFd;

use crate::protocol::function::FunctionId;
use crate::protocol::panic::{self, PanicReport};
use crate::protocol::settings::{Setting, Settings, find_setup};
use crate::sys::failure::SysError;
use crate::sys::limit;
use crate::sys::sandbox::{self, Policy};

/// Why a setting could not be made true.
pub(super) enum Reason {
    Kernel(SysError),
    Panic(Box<PanicReport>),
}

/// Applies all settings, the program's own last.
pub(super) fn settle(
    settings: &Settings,
    setup: Option<FunctionId>,
) -> Result<(), (Setting, Reason)> {
    let kernel = |setting| move |error| (setting, Reason::Kernel(error));
    if let Some(nice) = settings.nice {
        limit::nice(nice).map_err(kernel(Setting::Nice))?;
    }
    if let Some(cores) = &settings.cores {
        limit::cores(cores).map_err(kernel(Setting::Cores))?;
    }
    if let Some(count) = settings.open_files {
        limit::open_files(count).map_err(kernel(Setting::OpenFiles))?;
    }
    if let Some(seconds) = settings.cpu_seconds {
        limit::cpu_seconds(seconds).map_err(kernel(Setting::CpuTime))?;
    }
    if let Some(size) = settings.memory {
        limit::memory(size).map_err(kernel(Setting::Memory))?;
    }
    let Some(setup) = setup else {
        return Ok(());
    };
    // SAFETY: the parent named a `fn()`, and the handshake has shown that it runs the same image.
    let setup = unsafe { find_setup(setup) };
    panic::catch(|| match setup {
        Ok(setup) => setup(),
        Err(error) => panic!("{error}"),
    })
    .map_err(|report| (Setting::Setup, Reason::Panic(report)))
}

/// Gives up what the sandbox forbids, for ever.
pub(super) fn confine(ruleset: OwnedFd, policy: Policy) -> Result<(), (Setting, Reason)> {
    // Where backtraces are wanted, the symbols that they need are in files. They are read now and
    // kept, so that the report of a panic is the same inside as outside.
    drop(Backtrace::capture().to_string());
    sandbox::confine(ruleset, policy).map_err(|error| (Setting::Sandbox, Reason::Kernel(error)))
}
