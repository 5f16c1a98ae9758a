//! Hostile bytes and hostile sequences: what the parent must survive whatever it is given.
//!
//! Each function is the body of a fuzz target in `fuzz/`: it takes any bytes and panics when it
//! finds a fault. The same bodies run under `cargo test`, over the inputs in `fuzz/seeds/` and over
//! pseudo-random ones. The product does not contain this room.

#![cfg_attr(
    not(fuzzing),
    expect(unreachable_pub, reason = "the fuzz targets call them")
)]

mod archive;
mod hands;
mod heap;
mod helping;
mod oracle;
mod report;
#[cfg(test)]
mod scribble;
mod source;
mod stage;
#[cfg(test)]
mod tests;
mod wild;

pub use archive::archive;
pub use heap::heap;
pub use report::report;

use stage::{Manners, play};

/// A pool without processes whose workers write anything anywhere in the control area and in their
/// arenas: every task and job has one outcome in the end, and no memory is lost.
pub fn control(data: &[u8]) {
    play(data, Manners::Hostile);
}

/// The same pool with honest workers that die between any two operations: what has begun is never
/// begun again unless it may, what was done is delivered, and nothing waits for ever.
pub fn ring_board(data: &[u8]) {
    play(data, Manners::Honest);
}
