//! The arguments of a batch in the making.

use core::cell::Cell;
use core::mem::take;

use bytemuck::Zeroable;

use super::{Line, PACK_BYTES, block_size, finish};
use crate::protocol::archive::{self, ArchiveError, Fit, Payload};

/// Small items on their way, not yet in shared memory, because nobody knows how many they will be.
pub(crate) struct Packer {
    room: Box<[Line]>,
    used: usize,
    ends: Vec<u32>,
}

/// The memory of a packer.
type Spare = (Box<[Line]>, Vec<u32>);

thread_local! {
    /// What this thread's last packer left: to get and clear so much memory takes as long as a
    /// hundred items. Of what is in it nothing is sent again, for gaps between items are filled.
    static SPARE: Cell<Option<Spare>> = const { Cell::new(None) };
}

impl Packer {
    pub(crate) fn new() -> Self {
        let fresh = || {
            let room = vec![Line::zeroed(); PACK_BYTES / size_of::<Line>()];
            (room.into(), Vec::new())
        };
        // A thread that ends has none.
        let spare = SPARE.try_with(Cell::take).ok().flatten();
        let (room, ends) = spare.unwrap_or_else(fresh);
        Self {
            room,
            used: 0,
            ends,
        }
    }

    /// How many items are in it.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Adds an item; one that does not fit says where it would end.
    #[inline]
    pub(crate) fn push<A: Payload>(&mut self, item: &A) -> Result<Fit, ArchiveError> {
        let room = bytemuck::cast_slice_mut(&mut self.room);
        let fit = match archive::append_copy(item, room, self.used) {
            Some(fit) => fit,
            None => archive::append(item, room, self.used)?,
        };
        if let Fit::Written(end) = fit {
            self.used = end;
            self.ends.push(end as u32);
        }
        Ok(fit)
    }

    /// How large the block for them must be.
    pub(crate) fn size(&self) -> usize {
        block_size(self.used, self.ends.len())
    }

    /// Moves the items into a block of that size.
    pub(crate) fn unload(&mut self, block: &mut [u8], whole: bool) {
        let archives: &[u8] = bytemuck::cast_slice(&self.room);
        block[..self.used].copy_from_slice(&archives[..self.used]);
        finish(block, &self.ends, whole);
        self.clear();
    }

    /// Forgets the items.
    pub(crate) fn clear(&mut self) {
        self.used = 0;
        self.ends.clear();
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        self.clear();
        let spare = (take(&mut self.room), take(&mut self.ends));
        // A thread that ends keeps nothing.
        let _ = SPARE.try_with(|place| place.set(Some(spare)));
    }
}
