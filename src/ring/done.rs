//! Done bits: which slots may have a finished task, so that the parent need not look at all.

use crate::primitive::atomic::{AtomicU64, Ordering};

/// One bit a slot, over borrowed words. A bit is a hint: the slot's word is the truth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DoneBits<'a>(pub(crate) &'a [AtomicU64]);

impl DoneBits<'_> {
    /// Says that `slot` may be finished; whether others near it were by then, which nobody has
    /// looked at yet. A slot without a bit is ignored.
    pub(crate) fn set(&self, slot: u32) -> bool {
        let Some(word) = self.0.get(slot as usize / 64) else {
            return false;
        };
        let bit = 1 << (slot % 64);
        // ORDERING: R3, Release; the slot's word was DONE before its bit is seen (`drain`).
        // Model: a_done_bit_means_a_done_slot.
        word.fetch_or(bit, Ordering::Release) & !bit != 0
    }

    /// Whether there is any bit: a hint, and cheap enough to spin on.
    pub(crate) fn any(&self) -> bool {
        // Relaxed: see `drain`.
        self.0.iter().any(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// Clears all bits and names their slots, each below 64 times the number of words.
    pub(crate) fn drain(&self, mut finished: impl FnMut(u32)) {
        for (index, word) in self.0.iter().enumerate() {
            // Relaxed: a guess that saves an exchange; who sleeps on it fences first (doorbell).
            if word.load(Ordering::Relaxed) == 0 {
                continue;
            }
            // ORDERING: R3, Acquire; the slot's word is seen DONE (`set`).
            // Model: a_done_bit_means_a_done_slot.
            let mut bits = word.swap(0, Ordering::Acquire);
            while bits != 0 {
                finished(index as u32 * 64 + bits.trailing_zeros());
                bits &= bits - 1;
            }
        }
    }
}
