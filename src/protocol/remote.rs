//! An error of a task's own, as it crosses to the parent.

use core::error::Error;
use core::fmt;
use core::panic::Location;
use std::backtrace::{Backtrace, BacktraceStatus};

use rkyv::result::ArchivedResult;

use crate::protocol::archive::{self, ArchiveError, Payload};

/// The longest chain of sources that crosses; a longer one may run in a circle.
const SOURCES: usize = 64;

/// An error on its way out of a worker; made of any other by `?`, which also notes the place.
///
/// What arrives at the caller is a [`RemoteError`](crate::RemoteError). Like other types that any
/// error converts to, it is not an error itself.
///
/// # Examples
///
/// ```
/// use gristmill::{Pool, TaskError, Thrown};
///
/// let pool = Pool::new()?;
/// let task = pool.spawn_result(String::from("12x"), |text| -> Result<i64, Thrown> {
///     let number: i64 = text.trim().parse()?;
///     if number < 0 {
///         return Err(Thrown::message(format!("{number} is negative")));
///     }
///     Ok(number)
/// })?;
/// let Err(TaskError::Failed(error)) = task.wait() else { panic!("it is no number") };
/// assert_eq!(error.message(), "invalid digit found in string");
/// assert_eq!(error.type_name(), "core::num::error::ParseIntError");
/// # Ok::<(), gristmill::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Thrown(pub(crate) Box<Account>);

/// What is told of an error.
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct Account {
    pub(crate) type_name: String,
    pub(crate) message: String,
    /// What the error's sources say, the nearest first.
    pub(crate) sources: Vec<String>,
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
    /// Empty unless `RUST_BACKTRACE` asks for it.
    pub(crate) backtrace: String,
}

impl Thrown {
    /// An error that is nothing but a sentence.
    #[track_caller]
    pub fn message(message: impl fmt::Display) -> Self {
        Self::at(Location::caller(), "", message.to_string(), None)
    }

    /// Makes one of a boxed error, whose own type is not known any more.
    #[track_caller]
    pub fn from_boxed(error: &(dyn Error + 'static)) -> Self {
        Self::at(Location::caller(), "", error.to_string(), error.source())
    }

    fn at(
        place: &Location<'_>,
        type_name: &str,
        message: String,
        source: Option<&(dyn Error + 'static)>,
    ) -> Self {
        let chain = core::iter::successors(source, |&error| error.source());
        let backtrace = Backtrace::capture();
        let backtrace = match backtrace.status() {
            BacktraceStatus::Captured => backtrace.to_string(),
            _ => String::new(),
        };
        Self(Box::new(Account {
            type_name: type_name.to_owned(),
            message,
            sources: chain.take(SOURCES).map(ToString::to_string).collect(),
            file: place.file().to_owned(),
            line: place.line(),
            column: place.column(),
            backtrace,
        }))
    }
}

impl Thrown {
    /// Without the place, where it is only that of the conversion.
    pub(crate) fn nowhere(mut self) -> Self {
        self.0.file.clear();
        self.0.line = 0;
        self
    }
}

impl<E: Error + 'static> From<E> for Thrown {
    #[track_caller]
    fn from(error: E) -> Self {
        let place = Location::caller();
        let name = core::any::type_name::<E>();
        Self::at(place, name, error.to_string(), error.source())
    }
}

/// What the archive of a `Result<T, Thrown>` holds, checked as a whole.
pub(crate) fn read<T: Payload>(bytes: &[u8]) -> Result<Result<&T::Archived, Thrown>, ArchiveError> {
    match archive::access::<Result<T, Thrown>>(bytes)? {
        ArchivedResult::Ok(value) => Ok(Ok(value)),
        ArchivedResult::Err(thrown) => archive::to_owned::<Thrown>(thrown).map(Err),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Circle;

    impl fmt::Display for Circle {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("round")
        }
    }

    impl Error for Circle {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&Self)
        }
    }

    #[test]
    fn a_chain_that_runs_in_a_circle_ends() {
        let thrown = Thrown::from(Circle);
        assert_eq!(thrown.0.sources, vec!["round"; SOURCES]);
    }

    #[test]
    fn the_place_is_that_of_the_question_mark() {
        fn fail() -> Result<(), Thrown> {
            Err(Circle)?
        }
        let line = line!() - 2;
        let thrown = fail().unwrap_err().0;
        assert_eq!((thrown.file.as_str(), thrown.line), (file!(), line));
        assert!(thrown.type_name.ends_with("::Circle"), "{thrown:?}");
    }
}
