//! A page of the arena cut into blocks of one size.

use offset_allocator::Allocation;

use super::{PAGE_SIZE, SMALLEST, Shelf};

/// A page cut into blocks of one size; a set bit is a free block.
pub(super) struct Slab {
    pub(super) allocation: Allocation,
    pub(super) shelf: Shelf,
    pub(super) class: usize,
    free: [u64; (PAGE_SIZE / SMALLEST / 64) as usize],
}

impl Slab {
    const fn blocks(class: usize) -> usize {
        (PAGE_SIZE / (SMALLEST << class)) as usize
    }

    pub(super) fn new(allocation: Allocation, shelf: Shelf, class: usize) -> Self {
        let mut free = [0; (PAGE_SIZE / SMALLEST / 64) as usize];
        for block in 0..Self::blocks(class) {
            free[block / 64] |= 1 << (block % 64);
        }
        Self {
            allocation,
            shelf,
            class,
            free,
        }
    }

    pub(super) fn take(&mut self) -> Option<usize> {
        let word = self.free.iter().position(|&word| word != 0)?;
        let bit = self.free[word].trailing_zeros() as usize;
        self.free[word] &= self.free[word] - 1;
        Some(word * 64 + bit)
    }

    /// Frees a block; `false` if it was free already or does not exist.
    pub(super) fn give(&mut self, block: usize) -> bool {
        let fresh =
            block < Self::blocks(self.class) && self.free[block / 64] >> (block % 64) & 1 == 0;
        if fresh {
            self.free[block / 64] |= 1 << (block % 64);
        }
        fresh
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.iter().all(|&word| word == 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        let free: u32 = self.free.iter().map(|word| word.count_ones()).sum();
        free as usize == Self::blocks(self.class)
    }
}
