//! Panics of user code, caught and put into words for whoever asked for the work.

use core::any::Any;
use core::cell::Cell;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use super::PanicReport;

thread_local! {
    /// How many [`catch`]es this thread is inside of.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// What the hook saw since the outermost [`catch`] had its last panic.
    static SEEN: Cell<Option<Box<Seen>>> = const { Cell::new(None) };
}

/// Panics of one thread. User code may catch some itself, so that what comes to a [`catch`] may be
/// any of them: the first if others were caught by destructors on its way, else the last.
struct Seen {
    first: PanicReport,
    last: Option<PanicReport>,
}

/// Makes panics inside [`catch`] quiet and remembered. Others are reported as they were before: on
/// threads that user code started, and any after the first on the way out, which abort.
///
/// With `panic = "abort"` there is no way out at all, so that nothing is kept quiet.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if DEPTH.get() == 0 || cfg!(panic = "abort") {
                return previous(info);
            }
            match SEEN.take() {
                None => {
                    let (first, last) = (report(info), None);
                    SEEN.set(Some(Box::new(Seen { first, last })));
                }
                Some(mut seen) => {
                    seen.last = Some(report(info));
                    SEEN.set(Some(seen));
                    previous(info);
                }
            }
        }));
    });
}

fn report(info: &PanicHookInfo<'_>) -> PanicReport {
    let backtrace = Backtrace::capture();
    let backtrace = match backtrace.status() {
        BacktraceStatus::Captured => backtrace.to_string(),
        _ => String::new(),
    };
    let (file, line, column) = info
        .location()
        .map(|location| {
            (
                location.file().to_owned(),
                location.line(),
                location.column(),
            )
        })
        .unwrap_or_default();
    PanicReport {
        message: message(info.payload()),
        file,
        line,
        column,
        element: None,
        backtrace,
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(a panic whose payload is no text)".into())
}

/// Runs `body`; a panic in it comes back as a report.
///
/// Whatever `body` was changing is in an unknown state afterwards; the caller discards it. The
/// report is boxed because what went well is moved as well, and would be as large.
pub(crate) fn catch<R>(body: impl FnOnce() -> R) -> Result<R, Box<PanicReport>> {
    let depth = DEPTH.replace(DEPTH.get() + 1);
    // In a destructor that runs because of a panic further out, whose report must not be ours.
    let outer = if depth > 0 { SEEN.take() } else { None };
    let result = panic::catch_unwind(AssertUnwindSafe(body)).map_err(caught);
    if outer.is_some() {
        SEEN.set(outer);
    }
    DEPTH.set(depth);
    result
}

#[cold]
fn caught(payload: Box<dyn Any + Send>) -> Box<PanicReport> {
    // User code may have replaced the hook, or raised its payload past it with `resume_unwind`.
    let message = message(&*payload);
    let seen = SEEN.take().into_iter();
    let mut seen = seen
        .flat_map(|seen| [seen.last, Some(seen.first)])
        .flatten();
    let report = seen.find(|report| report.message == message);
    let report = report.unwrap_or_else(|| PanicReport {
        message,
        ..PanicReport::default()
    });
    // A payload can panic when it is dropped, and so can the payload of that panic: the first gets
    // its chance, the second is leaked.
    if let Err(another) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        core::mem::forget(another);
        SEEN.set(None);
    }
    Box::new(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caught<R>(body: impl FnOnce() -> R) -> Box<PanicReport> {
        install_hook();
        catch(body).err().expect("a panic was expected")
    }

    #[test]
    fn a_panic_comes_back_with_message_and_place() {
        let line = line!() + 1;
        let report = caught(|| panic!("no {}", 7));
        assert_eq!(report.message, "no 7");
        assert_eq!((report.file.as_str(), report.line), (file!(), line));
        assert!(report.column > 0);
    }

    #[test]
    fn what_went_well_comes_back() {
        install_hook();
        assert_eq!(catch(|| 5), Ok(5));
        assert_eq!(DEPTH.get(), 0);
    }

    #[test]
    fn a_caught_panic_inside_does_not_speak_for_a_later_one() {
        let report = caught(|| {
            assert!(catch(|| panic!("inner")).is_err());
            panic!("outer");
        });
        assert_eq!(report.message, "outer");
    }

    #[test]
    fn a_panic_that_user_code_caught_does_not_speak_for_a_later_one() {
        let own = || panic::catch_unwind(|| panic!("its own business")).is_err();
        install_hook();
        assert_eq!(catch(own), Ok(true));
        assert_eq!(caught(|| panic!("later")).message, "later");
        let report = caught(|| {
            assert!(own());
            panic!("{}", "at once")
        });
        assert_eq!(
            (report.message.as_str(), report.file.as_str()),
            ("at once", file!())
        );
    }

    #[test]
    fn a_destructor_that_catches_leaves_the_first_report_alone() {
        struct Catcher;
        impl Drop for Catcher {
            fn drop(&mut self) {
                assert_eq!(caught(|| panic!("inner")).message, "inner");
            }
        }
        let report = caught(|| {
            let _catcher = Catcher;
            panic!("outer");
        });
        assert_eq!(report.message, "outer");
        assert!(report.line > 0);
    }

    #[test]
    fn other_payloads_and_hookless_panics_are_reported() {
        assert_eq!(
            caught(|| panic::panic_any(7)).message,
            "(a panic whose payload is no text)"
        );
        let report = caught(|| panic::resume_unwind(Box::new("past the hook")));
        assert_eq!((report.message.as_str(), report.line), ("past the hook", 0));
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_survived() {
        struct Grenade;
        impl Drop for Grenade {
            fn drop(&mut self) {
                panic::panic_any(Self);
            }
        }
        assert!(caught(|| panic::panic_any(Grenade)).line > 0);
        assert_eq!(caught(|| panic!("next")).message, "next");
    }
}
