//! Blocks of any size, one after another: the heads of the blocks are the truth.
//!
//! ```text
//! head    63  62 61      53 52        24 23           0
//!         [state][ member  ][ granules  ][ generation  ]
//! ```
//! A block begins with its head, on a granule of 64 bytes, and ends where the next begins. Each
//! change is one store to one head, so there is no moment at which the chain does not lead from the
//! first block to the end: a part that is cut off has its head before the block it is cut from is
//! made smaller, and blocks are joined by making the first one larger.
//!
//! Who hands blocks out holds the allocator's word, which names it. Giving back is one exchange,
//! and needs no such thing. Whoever allocates next after a holder died finds the chain in order.

#![expect(unsafe_code, reason = "heads of blocks lie in the mapping")]

use core::ops::Range;
use core::ptr::NonNull;

use crate::commons::layout::{DATA_AT, Front, MEMBERS};
use crate::memory::owner::{Owner, Word};
use crate::memory::region::{EXTENT_BYTES, Region as Memory};
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::sys::failure::SysError;

/// The unit of size, the size of a head, and the alignment of what is in a block.
pub(super) const GRANULE: u64 = 64;

const FREE: u64 = 0;
const USED: u64 = 1;

const GENERATION_BITS: u32 = 24;
const GRANULE_BITS: u32 = 29;
const MEMBER_BITS: u32 = 9;
const STATE_SHIFT: u32 = GENERATION_BITS + GRANULE_BITS + MEMBER_BITS;
const NOBODY: u16 = (1 << MEMBER_BITS) - 1;

/// The most bytes that heads can count.
pub(crate) const MOST_BYTES: u64 = GRANULE * ((1 << GRANULE_BITS) - 1);

const _: () = assert!(STATE_SHIFT + 2 == u64::BITS && (MEMBERS as u64) < NOBODY as u64);

/// The allocator is held.
const HELD: u8 = 1;

/// The size of blocks that are worth a look for memory that was used before.
const LARGE: u64 = 64 << 10;
/// How many blocks are looked at for that.
const LOOKS: u32 = 64;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Head(u64);

impl Head {
    const fn new(state: u64, member: u16, granules: u64, generation: u32) -> Self {
        Self(
            state << STATE_SHIFT
                | (member as u64) << (GENERATION_BITS + GRANULE_BITS)
                | granules << GENERATION_BITS
                | generation as u64,
        )
    }

    const fn is_free(self) -> bool {
        self.0 >> STATE_SHIFT == FREE
    }

    const fn member(self) -> u16 {
        (self.0 >> (GENERATION_BITS + GRANULE_BITS)) as u16 & NOBODY
    }

    const fn granules(self) -> u64 {
        self.0 >> GENERATION_BITS & ((1 << GRANULE_BITS) - 1)
    }

    const fn generation(self) -> u32 {
        self.0 as u32 & ((1 << GENERATION_BITS) - 1)
    }
}

/// The name of a block, as it stands in shared memory: of one use of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct BlockName {
    /// Where its bytes begin.
    offset: u64,
    generation: u32,
    unused: u32,
}

/// Why there is no block.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refused {
    /// The region has not as many bytes free in one piece; how many it has at most.
    Room(u64),
    /// The machine has no memory.
    Memory(SysError),
}

/// The blocks of one region.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space<'a> {
    pub(super) memory: &'a Memory,
    pub(super) front: &'a Front,
}

impl BlockName {
    /// Where its bytes begin.
    pub(super) const fn offset(self) -> u64 {
        self.offset
    }
}

impl Space<'_> {
    /// The name of the block whose bytes begin at `offset`, if it is in use.
    pub(super) fn name_at(&self, offset: u64) -> Option<BlockName> {
        let head = self.head(offset.checked_sub(GRANULE)?)?;
        // ORDERING: Acquire; as in `used`.
        let found = Head(head.load(Ordering::Acquire));
        (!found.is_free()).then(|| BlockName {
            offset,
            generation: found.generation(),
            unused: 0,
        })
    }

    /// Makes one free block of everything; once, by who creates the region.
    pub(super) fn create(&self) {
        let granules = (self.memory.size() - DATA_AT) / GRANULE;
        // ORDERING: Relaxed throughout; nobody else has the region yet.
        if let Some(head) = self.head(DATA_AT) {
            head.store(Head::new(FREE, NOBODY, granules, 0).0, Ordering::Relaxed);
        }
        self.front.committed.store(EXTENT_BYTES, Ordering::Relaxed);
        self.front.cursor.store(DATA_AT, Ordering::Relaxed);
    }

    fn head(&self, at: u64) -> Option<&AtomicU64> {
        if at < DATA_AT || !at.is_multiple_of(GRANULE) {
            return None;
        }
        let place: NonNull<AtomicU64> = self.memory.pointer(at, GRANULE as usize)?.cast();
        // SAFETY: in the mapping, aligned, and any bytes are a value of an atomic.
        Some(unsafe { place.as_ref() })
    }

    /// Takes the allocator, if nobody has it.
    pub(super) fn try_lock(&self, me: Owner) -> bool {
        // ORDERING: Acquire; pairs with the Release in `unlock`, or that of who took it from a
        // dead holder.
        self.front
            .allocator
            .compare_exchange(
                0,
                Word::new(HELD, me, 0).to_bits(),
                Ordering::Acquire,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    pub(super) fn unlock(&self, me: Owner) {
        // ORDERING: AcqRel; pairs with `try_lock`; a read-modify-write, so that waking may follow.
        let _ = self.front.allocator.compare_exchange(
            Word::new(HELD, me, 0).to_bits(),
            0,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }

    /// A block for `size` bytes, in the name of `me`, who holds the allocator.
    ///
    /// A large one comes from the beginning, if there is room among the first blocks: that memory
    /// was used before, and is perhaps still in a cache. All others come from where the last one
    /// was, without a look at what lives long.
    pub(super) fn allocate(&self, me: Owner, size: u64) -> Result<BlockName, Refused> {
        let needed = 1 + size.div_ceil(GRANULE).max(1);
        let end = self.memory.size();
        let mut largest = 0;
        if size >= LARGE
            && let Some(found) = self.search(me, needed, DATA_AT..end, LOOKS, &mut largest)
        {
            return found;
        }
        // Read now: the search may have joined the block that it was at.
        // ORDERING: Relaxed throughout but for heads; the allocator's word orders its holders.
        let start = self.front.cursor.load(Ordering::Relaxed);
        let start = if self.head(start).is_some() {
            start
        } else {
            DATA_AT
        };
        for range in [start..end, DATA_AT..start] {
            if let Some(found) = self.search(me, needed, range, u32::MAX, &mut largest) {
                return found;
            }
        }
        Err(Refused::Room(largest.saturating_sub(1) * GRANULE))
    }

    /// Cuts the first that is large enough of so many blocks that begin in this range.
    fn search(
        &self,
        me: Owner,
        needed: u64,
        range: Range<u64>,
        looks: u32,
        largest: &mut u64,
    ) -> Option<Result<BlockName, Refused>> {
        let mut at = range.start;
        for _ in 0..looks {
            if at >= range.end {
                break;
            }
            let (head, granules) = self.grow(at, needed)?;
            if head.is_free() && granules >= needed {
                return Some(self.cut(me, at, granules, needed));
            }
            if head.is_free() {
                *largest = (*largest).max(granules);
            }
            at += granules * GRANULE;
        }
        None
    }

    /// The block at `at`, joined with free ones that follow as far as it needs; `None` if it is no
    /// block, and so the end.
    fn grow(&self, at: u64, needed: u64) -> Option<(Head, u64)> {
        let head = self.head(at)?;
        // ORDERING: Acquire; what was in a block was read before it was given back.
        let mut found = Head(head.load(Ordering::Acquire));
        let end = self.memory.size();
        let fits = |granules: u64| granules > 0 && at + granules * GRANULE <= end;
        if !fits(found.granules()) {
            return None;
        }
        while found.is_free() && found.granules() < needed {
            let next_at = at + found.granules() * GRANULE;
            let Some(next) = self.head(next_at) else {
                break;
            };
            // ORDERING: Acquire; as above.
            let next = Head(next.load(Ordering::Acquire));
            let joined = found.granules() + next.granules();
            if !next.is_free() || next.granules() == 0 || !fits(joined) {
                break;
            }
            // Before the other head is one no more.
            if self.front.cursor.load(Ordering::Relaxed) == next_at {
                self.front.cursor.store(at, Ordering::Relaxed);
            }
            found = Head::new(FREE, NOBODY, joined, 0);
            // ORDERING: Release; the cursor has moved before.
            head.store(found.0, Ordering::Release);
        }
        Some((found, found.granules()))
    }

    fn cut(&self, me: Owner, at: u64, granules: u64, needed: u64) -> Result<BlockName, Refused> {
        let left = granules - needed;
        let needed = if left < 2 { granules } else { needed };
        let end = at + needed * GRANULE;
        self.commit(end + GRANULE)?;
        if needed < granules
            && let Some(rest) = self.head(end)
        {
            let rest_head = Head::new(FREE, NOBODY, granules - needed, 0);
            // ORDERING: Release; there before the block that it is cut from is made smaller.
            rest.store(rest_head.0, Ordering::Release);
        }
        let generation = self.front.generation.fetch_add(1, Ordering::Relaxed) as u32;
        let used = Head::new(
            USED,
            me.index(),
            needed,
            generation & ((1 << GENERATION_BITS) - 1),
        );
        if let Some(head) = self.head(at) {
            // ORDERING: Release; see above.
            head.store(used.0, Ordering::Release);
        }
        let next = if end < self.memory.size() {
            end
        } else {
            DATA_AT
        };
        self.front.cursor.store(next, Ordering::Relaxed);
        Ok(BlockName {
            offset: at + GRANULE,
            generation: used.generation(),
            unused: 0,
        })
    }

    fn commit(&self, end: u64) -> Result<(), Refused> {
        let end = end.min(self.memory.size()).next_multiple_of(EXTENT_BYTES);
        let committed = self.front.committed.load(Ordering::Relaxed);
        if end <= committed {
            return Ok(());
        }
        self.memory
            .populate(committed..end)
            .map_err(Refused::Memory)?;
        self.front.committed.store(end, Ordering::Relaxed);
        Ok(())
    }

    /// The bytes of a block, if it is one that is in use by this name and has so many.
    pub(super) fn bytes(&self, name: BlockName, size: usize) -> Option<NonNull<u8>> {
        let head = self.used(name)?;
        let most = (head.granules() - 1) * GRANULE;
        (size as u64 <= most).then_some(())?;
        self.memory.pointer(name.offset, size)
    }

    fn used(&self, name: BlockName) -> Option<Head> {
        let head = self.head(name.offset.checked_sub(GRANULE)?)?;
        // ORDERING: Acquire; pairs with the Release of who made it.
        let found = Head(head.load(Ordering::Acquire));
        let is_it = !found.is_free() && found.generation() == name.generation;
        (is_it && found.granules() > 1).then_some(found)
    }

    /// USED -> USED by somebody else, or nobody.
    pub(super) fn hand_over(&self, name: BlockName, to: Option<Owner>) {
        if let (Some(found), Some(head)) = (self.used(name), self.head(name.offset - GRANULE)) {
            let member = to.map_or(NOBODY, |owner| owner.index());
            let next = Head::new(USED, member, found.granules(), found.generation());
            // ORDERING: Relaxed; publishes nothing. If it fails, it was given back meanwhile.
            let _ = head.compare_exchange(found.0, next.0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// USED -> FREE. A name of an earlier use does nothing.
    pub(super) fn free(&self, name: BlockName) {
        while let (Some(found), Some(head)) = (self.used(name), self.head(name.offset - GRANULE)) {
            let free = Head::new(FREE, NOBODY, found.granules(), 0);
            // ORDERING: Release; pairs with the Acquire in `grow`. If it fails its owner changed.
            if head
                .compare_exchange(found.0, free.0, Ordering::Release, Ordering::Relaxed)
                .is_ok()
            {
                return;
            }
        }
    }

    /// The blocks that a member had taken and not handed over. The caller holds the allocator.
    pub(super) fn of(&self, member: Owner) -> Vec<BlockName> {
        let mut found = Vec::new();
        let mut at = DATA_AT;
        // A chain that goes on for ever would be one of empty blocks, where it ends.
        while let Some(head) = self.head(at).map(|head| Head(head.load(Ordering::Acquire))) {
            if head.granules() == 0 {
                break;
            }
            if !head.is_free() && head.member() == member.index() {
                found.push(BlockName {
                    offset: at + GRANULE,
                    generation: head.generation(),
                    unused: 0,
                });
            }
            at = at.saturating_add(head.granules() * GRANULE);
        }
        found
    }

    /// Takes the allocator from a dead member, if that had it.
    pub(super) fn unlock_for(&self, dead: Owner) {
        self.unlock(dead);
    }
}
