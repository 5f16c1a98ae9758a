//! In which order the tiles of a large output are written.
//!
//! ```text
//! tiles of a block   |  lane 0  |  lane 1  |  lane 2  |  lane 3  |   a lane is a page long
//! written            0 4 8 …    1 5 9 …    2 6 10 …   3 7 11 …
//! ```
//! A core's own prefetcher follows one stream in each page and stops at its end. Where that is what
//! bounds the core, it reads a fifth to a third faster in four pages at a time, each tile asked for
//! one block ahead. Elsewhere one row is as fast and simpler to foresee.

use super::isa;

/// Pages read and written at a time.
const LANES: usize = 4;

/// About how many bytes are read, or written, in a lane.
const LANE_BYTES: usize = 4096;

/// The order of some tiles.
#[derive(Clone, Copy)]
pub(super) struct Lanes {
    /// Tiles of a lane; 0 if all tiles are one row.
    lane: usize,
    /// Tiles in whole blocks. Behind them there is one row.
    whole: usize,
}

impl Lanes {
    /// One row.
    #[inline(always)]
    pub(super) const fn one() -> Self {
        Self { lane: 0, whole: 0 }
    }

    /// The better order on this machine for `tiles` tiles that move `bytes` each.
    #[inline(always)]
    pub(super) fn over(tiles: usize, bytes: usize) -> Self {
        let lane = LANE_BYTES / bytes.max(1);
        match lane > 1 && tiles >= LANES * lane && isa::likes_lanes() {
            true => Self::of(lane, tiles),
            false => Self::one(),
        }
    }

    /// `tiles` tiles in lanes of `lane` > 0 each.
    const fn of(lane: usize, tiles: usize) -> Self {
        let block = LANES * lane;
        Self {
            lane,
            whole: tiles / block * block,
        }
    }

    /// Tiles of a block, if there are blocks.
    #[inline(always)]
    pub(super) const fn block(self) -> Option<usize> {
        match self.lane {
            0 => None,
            lane => Some(LANES * lane),
        }
    }

    /// Which tile is the one to write after `turn` others.
    #[inline(always)]
    pub(super) const fn place(self, turn: usize) -> usize {
        if turn >= self.whole {
            return turn;
        }
        let within = turn % (LANES * self.lane);
        turn - within + within % LANES * self.lane + within / LANES
    }

    /// The first tile of the block in which the one is that has this turn; `None` where tiles are
    /// written in order.
    #[inline(always)]
    pub(super) const fn block_of(self, turn: usize) -> Option<usize> {
        match turn < self.whole {
            true => Some(turn - turn % (LANES * self.lane)),
            false => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_has_its_turn() {
        for lane in 1..9 {
            for tiles in 0..150 {
                let lanes = Lanes::of(lane, tiles);
                let mut places: Vec<usize> = (0..tiles).map(|turn| lanes.place(turn)).collect();
                places.sort_unstable();
                assert!(
                    places.into_iter().eq(0..tiles),
                    "{tiles} in lanes of {lane}"
                );
            }
        }
        assert!((0..9).all(|turn| Lanes::one().place(turn) == turn));
    }

    #[test]
    fn what_is_before_a_block_was_written_before_it() {
        for lane in 1..9 {
            let lanes = Lanes::of(lane, 150);
            for turn in 0..150 {
                let first = lanes.block_of(turn).unwrap_or(turn);
                let before: Vec<usize> = (0..turn).map(|turn| lanes.place(turn)).collect();
                assert!(
                    (0..first).all(|tile| before.contains(&tile)),
                    "{lane}, {turn}"
                );
            }
        }
        assert!((0..9).all(|turn| Lanes::one().block_of(turn).is_none()));
    }

    #[test]
    fn neighbours_in_time_are_a_lane_apart() {
        let lanes = Lanes::of(8, 70);
        let first: Vec<usize> = (0..6).map(|turn| lanes.place(turn)).collect();
        assert_eq!(first, [0, 8, 16, 24, 1, 9]);
        assert_eq!(
            (lanes.place(63), lanes.place(64), lanes.place(69)),
            (63, 64, 69)
        );
    }
}
