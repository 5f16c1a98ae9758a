//! The life of a process for one function: open the envelope, run it, leave the answer, end.

#![expect(unsafe_code, reason = "calls the function that the parent named")]

use std::io::Write;
use std::os::fd::OwnedFd;

use crate::protocol::envelope::{Opened, Verdict};
use crate::protocol::image::ImageId;
use crate::protocol::panic::{self, PanicReport};
use crate::protocol::solo::{SoloCall, find_function};
use crate::sys::failure::SysError;
use crate::sys::process::set_name;
use crate::worker::life::EXIT_REFUSED;

/// Exit code after a panic: what Rust's own programs end with.
const EXIT_PANICKED: i32 = 101;

/// Runs the function and ends the process as a program whose `main` has returned; gives an exit
/// code only if it cannot begin.
pub(super) fn run(envelope: OwnedFd, construct: impl FnOnce()) -> Result<i32, SysError> {
    let opened = match Opened::open(&envelope, &ImageId::current())? {
        Ok(opened) => opened,
        Err(refusal) => {
            eprintln!("gristmill: a process was started in vain: {refusal}");
            return Ok(EXIT_REFUSED);
        }
    };
    // Mapped is enough: the descriptor would be one more for the function's programs to inherit.
    drop(envelope);
    set_name(&opened.name());
    construct();
    panic::install_hook();
    // SAFETY: the parent named a function for this purpose, and the envelope was shown to come
    // from the same image.
    let Ok(function) = (unsafe { find_function(opened.function()) }) else {
        opened.conclude(&Verdict::BadArguments);
        return Ok(EXIT_REFUSED);
    };
    let mut call = SoloCall::new(&opened);
    let verdict =
        panic::catch(|| function(&mut call)).unwrap_or_else(|report| Verdict::Panicked(*report));
    opened.conclude(&verdict);
    std::process::exit(match verdict {
        Verdict::Returned { .. } => 0,
        Verdict::Panicked(report) => {
            tell(&opened.name(), &report);
            EXIT_PANICKED
        }
        _ => EXIT_REFUSED,
    })
}

/// As any Rust program: nobody may ever ask for the outcome.
fn tell(name: &str, report: &PanicReport) {
    let PanicReport {
        message,
        file,
        line,
        column,
        backtrace,
        ..
    } = report;
    let place = format!("{file}:{line}:{column}");
    let text = format!("process '{name}' panicked at {place}:\n{message}\n{backtrace}");
    // In one piece, so that it is not torn apart by what others print.
    let _ = std::io::stderr().write_all(format!("{}\n", text.trim_end()).as_bytes());
}
