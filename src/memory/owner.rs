//! Who owns a claimable thing, packed with its state into the one word that is the truth.
//!
//! ```text
//! Word   63    60 59        48 47           32 31            0
//!        [ state ][   index   ][ incarnation  ][  generation  ]
//! Owner            27       16  15            0
//!                 [   index   ][ incarnation  ]
//! ```
//!
//! * `state` (4 bits) belongs to the room that declares the states: the ring's slots, the board's
//!   chunks and jobs.
//! * `index` (12 bits) is a worker's place in the pool, `incarnation` (16 bits) counts the
//!   processes that held that place: a claim by a dead process never looks like one by its
//!   successor.
//! * `generation` (32 bits) counts the uses of the thing claimed: a late compare-and-swap from an
//!   earlier use fails.
//!
//! Both are values. The atomics that hold them are private to the files that name their states.

/// One process: a worker's place in the pool and how often that place was filled before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Owner(u32);

const INDEX_BITS: u32 = 12;
const INCARNATION_BITS: u32 = 16;
const OWNER_BITS: u32 = INDEX_BITS + INCARNATION_BITS;
const OWNER_MASK: u32 = (1 << OWNER_BITS) - 1;
const GENERATION_BITS: u32 = 32;
const STATE_SHIFT: u32 = GENERATION_BITS + OWNER_BITS;

const _: () = assert!(STATE_SHIFT + 4 == u64::BITS);

impl Owner {
    /// How many places a pool can have; the last index stands for nobody.
    pub(crate) const LIMIT: u16 = (1 << INDEX_BITS) - 1;

    /// Nobody: what a word says that no worker has claimed.
    pub(crate) const NONE: Self = Self(OWNER_MASK);

    /// The `incarnation`-th process at place `index`, which is below [`Owner::LIMIT`].
    pub(crate) const fn new(index: u16, incarnation: u16) -> Self {
        debug_assert!(index < Self::LIMIT);
        Self((((index as u32) << INCARNATION_BITS) | incarnation as u32) & OWNER_MASK)
    }

    /// The process that takes the place of this one.
    pub(crate) const fn next(self) -> Self {
        Self::new(self.index(), self.incarnation().wrapping_add(1))
    }

    /// The place in the pool; any value below 4096 if the bits came from shared memory.
    pub(crate) const fn index(self) -> u16 {
        (self.0 >> INCARNATION_BITS) as u16
    }

    /// Which process at that place.
    pub(crate) const fn incarnation(self) -> u16 {
        self.0 as u16
    }
}

/// State, owner and generation of one claimable thing, as read at one instant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Word {
    /// Packs the three; only the low four bits of `state` count.
    pub(crate) const fn new(state: u8, owner: Owner, generation: u32) -> Self {
        Self(
            ((state as u64) << STATE_SHIFT)
                | ((owner.0 as u64) << GENERATION_BITS)
                | generation as u64,
        )
    }

    /// The state, below 16.
    pub(crate) const fn state(self) -> u8 {
        (self.0 >> STATE_SHIFT) as u8
    }

    /// The owner that the word names.
    pub(crate) const fn owner(self) -> Owner {
        Owner((self.0 >> GENERATION_BITS) as u32 & OWNER_MASK)
    }

    /// The use of the thing that the word speaks of.
    pub(crate) const fn generation(self) -> u32 {
        self.0 as u32
    }

    /// The word as it stands in shared memory.
    pub(crate) const fn to_bits(self) -> u64 {
        self.0
    }

    /// Any 64 bits are some word.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl core::fmt::Debug for Word {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            formatter,
            "Word(state {}, owner {}.{}, generation {})",
            self.state(),
            self.owner().index(),
            self.owner().incarnation(),
            self.generation()
        )
    }
}

#[cfg(all(test, not(gristmill_loom)))]
mod tests {
    use super::{Owner, Word};

    #[test]
    fn a_word_gives_back_what_was_packed() {
        for (state, index, incarnation, generation) in [
            (0, 0, 0, 0),
            (15, 4094, u16::MAX, u32::MAX),
            (3, 1, 2, 3),
            (8, 2048, 0x8000, 0x8000_0000),
        ] {
            let owner = Owner::new(index, incarnation);
            let word = Word::from_bits(Word::new(state, owner, generation).to_bits());
            assert_eq!(word.state(), state);
            assert_eq!(word.owner(), owner);
            assert_eq!(owner.index(), index);
            assert_eq!(owner.incarnation(), incarnation);
            assert_eq!(word.generation(), generation);
        }
    }

    #[test]
    fn nobody_is_no_worker() {
        assert_eq!(Owner::NONE.index(), Owner::LIMIT);
        assert_ne!(Owner::new(Owner::LIMIT - 1, u16::MAX), Owner::NONE);
    }
}
