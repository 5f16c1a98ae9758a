//! What a wild store left in the words that parent and workers share.

use core::fmt;
use core::ops::Range;

use super::death::write_undefined;

/// Shared bookkeeping that some worker overwrote through a wild pointer, as far as it concerns the
/// work that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// What was overwritten.
    pub what: &'static str,
    /// What may stand there.
    pub wanted: &'static str,
    /// What was found there.
    pub found: String,
    /// Whether all workers were ended and replaced, and what they share was written anew, before
    /// this error was told. Otherwise the pool went on as it was.
    pub rebuilt: bool,
    /// The elements that are in an undefined state, because an in-place job is never run twice.
    /// Ascending and disjoint; empty for all other work.
    pub undefined: Vec<Range<u64>>,
}

impl Damage {
    /// Damage that concerns one piece of work alone.
    pub(crate) fn new(what: &'static str, wanted: &'static str, found: String) -> Self {
        Self {
            what,
            wanted,
            found,
            rebuilt: false,
            undefined: Vec::new(),
        }
    }
}

impl Damage {
    /// A block of a batch that cannot be read.
    pub(crate) fn of_batch(what: &'static str) -> Self {
        let wanted = "a block as its writer leaves it";
        Self::new(what, wanted, String::from("none"))
    }
}

impl core::error::Error for Damage {}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            wanted,
            found,
            rebuilt,
            undefined,
        } = self;
        write!(
            f,
            "a worker overwrote shared bookkeeping through a wild pointer: {what} was {found}; \
             wanted {wanted}"
        )?;
        if *rebuilt {
            f.write_str("; all workers have been replaced, and the pool goes on")?;
        }
        write_undefined(f, undefined)
    }
}
