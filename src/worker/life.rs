//! life.

use super::entry::Handover;

/// Works until the parent says that it is enough; the answer is the exit code.
pub(crate) fn run(handover: Handover) -> i32 {
    drop(handover);
    0
}
