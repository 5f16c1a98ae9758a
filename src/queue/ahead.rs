//! Which places this process will come to next, and whether to ask for their lines already.
//!
//! A place ahead may be asked for only where the other side is far away: whoever asks for a line
//! that the other side is about to write takes it from there, and both wait longer. So each side
//! counts down from the last look at how far that is, and looks again when it has used it up.
//! All of this is private to the process, and nothing depends on it.

use crate::primitive::atomic::{AtomicU32, Ordering};

/// How many places ahead are asked for: what a line takes to come, in sends or receives.
pub(super) const AHEAD: u32 = 4;
/// Calls from one look to the next while the other side is near: each takes its line from it.
const PAUSE: u32 = 32;
/// The other side is far away beyond so many places.
const FAR: u32 = 16;

/// What one side of a queue has seen of the other.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Places that were its own at the last look, less those it has used since.
    left: AtomicU32,
    /// Calls until the next look.
    pause: AtomicU32,
}

impl Ahead {
    /// One more place is used: whether to ask for the one that is `AHEAD` of it. `look` counts the
    /// places on this side.
    #[inline]
    pub(super) fn step(&self, look: impl FnOnce() -> u32) -> bool {
        // Relaxed, all of them: hints, which other threads may spoil.
        let left = self.left.load(Ordering::Relaxed);
        if left > FAR {
            self.left.store(left - 1, Ordering::Relaxed);
            return true;
        }
        match self.pause.load(Ordering::Relaxed) {
            0 => {
                self.left.store(look(), Ordering::Relaxed);
                self.pause.store(PAUSE, Ordering::Relaxed);
            }
            pause => self.pause.store(pause - 1, Ordering::Relaxed),
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_only_while_the_other_side_is_far() {
        let ahead = Ahead::default();
        let mut looks = 0;
        let mut step = |found| {
            ahead.step(|| {
                looks += 1;
                found
            })
        };
        assert!(!step(FAR));
        assert!((0..PAUSE).all(|_| !step(100)));
        assert!(!step(FAR + 3));
        assert!((0..3).all(|_| step(0)));
        assert!((0..PAUSE).all(|_| !step(100)));
        assert_eq!(looks, 2);
    }
}
