//! What processes wait at: an event, permits, a barrier, as words of shared memory.
//!
//! Each is a few words of which one is the truth, and transitions that are one exchange each. They
//! wait for nobody and wake nobody: a transition that others may wait for is a read-modify-write,
//! after which its caller wakes them.
//!
//! *Invariant:* whatever a process has here names it, so that `recover`, once it is dead, takes it
//! back; it may be done again at any point, beside the living.

mod barrier;
mod event;
#[cfg(all(test, gristmill_loom))]
mod model;
mod permits;
#[cfg(all(test, not(gristmill_loom)))]
mod tests;

#[cfg(not(gristmill_loom))]
pub(crate) use barrier::MOST_PARTIES;
pub(crate) use barrier::{Arrival, BarrierHead, Party, Rounds, Spot, Stand};
pub(crate) use event::{EventWord, Since};
#[cfg(not(gristmill_loom))]
pub(crate) use permits::MOST;
pub(crate) use permits::{Account, Change, Entered, Made, PermitHead, Permits};
