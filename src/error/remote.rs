//! What went wrong in a worker, as the caller sees it.

use core::error::Error;
use core::fmt;

use super::Location;
use crate::protocol::panic::PanicReport;
use crate::protocol::remote::{Account, Thrown};

/// An error that a task returned, or a panic that an [error hook](crate::set_error_hook) is told.
///
/// The value itself stayed in the worker; what it said has crossed, with what its
/// [sources](Error::source) said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteError {
    type_name: String,
    message: String,
    location: Option<Location>,
    backtrace: Option<String>,
    source: Option<Box<RemoteCause>>,
}

/// What lies behind a [`RemoteError`].
#[derive(Clone, Debug, PartialEq, Eq)]
struct RemoteCause {
    message: String,
    source: Option<Box<RemoteCause>>,
}

impl RemoteError {
    /// The error's type, as the compiler names it; `panic` for a panic; empty where it was not
    /// known any more.
    #[must_use]
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// What the error says.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where it became a [`Thrown`], or where the panic was.
    #[must_use]
    pub fn location(&self) -> Option<&Location> {
        self.location.as_ref()
    }

    /// The worker's stack at that place, if `RUST_BACKTRACE` asks for it.
    #[must_use]
    pub fn backtrace(&self) -> Option<&str> {
        self.backtrace.as_deref()
    }
}

impl From<Thrown> for RemoteError {
    fn from(thrown: Thrown) -> Self {
        let Account {
            type_name,
            message,
            sources,
            file,
            line,
            column,
            backtrace,
        } = *thrown.0;
        let source = sources.into_iter().rev().fold(None, |source, message| {
            Some(Box::new(RemoteCause { message, source }))
        });
        Self {
            type_name,
            message,
            location: (line != 0).then_some(Location { file, line, column }),
            backtrace: Some(backtrace).filter(|stack| !stack.is_empty()),
            source,
        }
    }
}

impl From<PanicReport> for RemoteError {
    fn from(report: PanicReport) -> Self {
        let PanicReport {
            message,
            file,
            line,
            column,
            element: _,
            backtrace,
        } = report;
        Self {
            type_name: "panic".into(),
            message,
            location: (line != 0).then_some(Location { file, line, column }),
            backtrace: Some(backtrace).filter(|stack| !stack.is_empty()),
            source: None,
        }
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for RemoteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|cause| cause as &dyn Error)
    }
}

impl fmt::Display for RemoteCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for RemoteCause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|cause| cause as &dyn Error)
    }
}
