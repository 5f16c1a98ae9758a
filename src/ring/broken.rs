//! The ring's steps in wrong orders, for the tests that must catch them.

use crate::memory::owner::Owner;

use super::hints::Peek;
use super::slot::Recovered;
use super::{Claim, DoneBits, Ring, Verdict};

impl Ring<'_> {
    /// A claim that takes the hint out before it has the slot.
    pub(crate) fn claim_hint_first(&self, me: Owner) -> Option<Claim> {
        let Peek::Hint(hint) = self.hints.peek() else {
            return None;
        };
        self.hints.pass(hint);
        let slot = hint.slot();
        let generation = self.slot(slot).ready(self.lane)?;
        let claimed = self.slot(slot).claim(self.lane, me, generation);
        claimed.then_some(Claim { slot, generation })
    }

    /// A publication that hints at the slot before it is READY.
    pub(crate) fn publish_hint_first(&self, slot: u32, generation: u32) -> bool {
        self.hints.push(slot, generation, self.slots, self.lane);
        self.slot(slot).publish(self.lane, generation)
    }

    /// A recovery that leaves finished slots to the done bits of the dead.
    pub(crate) fn recover_claimed_only(
        &self,
        dead: Owner,
        done: DoneBits<'_>,
        mut decide: impl FnMut(u32, u32) -> Verdict,
    ) {
        for (index, slot) in (0..).zip(self.slots) {
            let mut was_claimed = false;
            let recovered = slot.recover(dead, self.lane, |generation| {
                was_claimed = true;
                decide(index, generation)
            });
            match recovered {
                Recovered::Ready(generation) => {
                    self.hints.push(index, generation, self.slots, self.lane);
                }
                Recovered::Finished if was_claimed => _ = done.set(index),
                Recovered::Finished | Recovered::Untouched | Recovered::Diverted => {}
            }
        }
    }
}
