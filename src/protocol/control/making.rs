//! How the control area comes into being: what any pool needs at once, the rest when it is used.
//!
//! To clear and write all of it would take longer than to start two workers, and most pools never
//! use most of it. So only the first [`FIRST_SLOTS`] slots, and the first place for a job, are made
//! with the pool. The parent makes more of them before it uses them, under the lock of its books.
//!
//! # Invariants
//! - Memory is committed before anybody reads or writes it, for reading takes memory as well. So
//!   nobody looks at more slots than `Queues::slots` says, nor at the chunks of a place in which no
//!   job was ever posted.
//! - Every shared word is born through its own constructor; that some of them happen to be zero,
//!   as fresh memory is, is their business.

use core::mem::{offset_of, size_of};
use core::ops::Range;

use nix::errno::Errno;

use super::drawing::LAYOUT;
use super::{Control, MAGIC, Orders, Queues, SLOTS, WorkerRecord};
use crate::board::{CHUNKS, Chunk, ChunkRange, JOBS, JobCounts, JobFront};
use crate::memory::region::Region;
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::protocol::gauge::Gauge;
use crate::protocol::image::ImageId;
use crate::protocol::lanes::Shape;
use crate::protocol::task::TaskBody;
use crate::ring::{Cell, LaneRing, RingHeader, Slot};
use crate::sync::{Doorbell, ParkWord, SentryWord};
use crate::sys::failure::SysError;

/// Slots that every pool begins with.
pub(crate) const FIRST_SLOTS: usize = 128;

/// Offset of a field of one of the halves, or of one of its elements.
macro_rules! at {
    ($half:ident . $field:ident) => {
        offset_of!(Control, $half.$field)
    };
    ($half:ident . $field:ident [ $index:expr ]: $element:ty) => {
        offset_of!(Control, $half.$field) + $index * size_of::<$element>()
    };
}

impl Control {
    /// Brings the control area of a fresh region into being.
    ///
    /// Called once by the parent, before any worker exists. A full machine is an error here.
    pub(crate) fn create<'a>(
        region: &'a Region,
        workers: usize,
        shape: Shape,
        image: &ImageId,
    ) -> Result<&'a Self, SysError> {
        let (places, lanes) = (shape.places(), shape.lanes() - 1);
        for part in [
            0..at!(read_only.ranges),
            at!(read_only.queues)..at!(read_only.orders[places]: Orders),
            at!(writable.spinning)..at!(writable.parks[places]: ParkWord),
            at!(writable.records)..at!(writable.records[places]: WorkerRecord),
            at!(writable.ring)..at!(writable.slots),
            at!(writable.done)..at!(writable.chunks),
            at!(writable.gauges)..at!(writable.gauges[places]: Gauge),
            at!(writable.sentry)..at!(writable.lanes[lanes]: LaneRing),
        ] {
            commit(region, part)?;
        }
        write(region, at!(read_only.doorbell), 1, Doorbell::new)?;
        write(region, at!(read_only.fronts), JOBS, JobFront::new)?;
        write(region, at!(writable.parks), places, ParkWord::new)?;
        write(region, at!(writable.sentry), 1, SentryWord::new)?;
        write(region, at!(writable.ring), 1, RingHeader::new)?;
        write(region, at!(writable.cells), super::CELLS, Cell::new)?;
        write(region, at!(writable.counts), JOBS, JobCounts::new)?;
        write(region, at!(writable.lanes), lanes, LaneRing::new)?;
        Self::make_place(region, 0)?;
        let control = Self::of(region).ok_or_else(too_small)?;
        control.make_slots(region, 0..FIRST_SLOTS)?;
        // ORDERING: Relaxed throughout; the workers that read this are created afterwards, and
        // creating a process orders everything before it.
        let set = |word: &AtomicU64, value| word.store(value, Ordering::Relaxed);
        control.set_workers(workers, places);
        let Queues {
            count,
            lanes_in_use,
            ..
        } = &control.read_only.queues.0;
        set(count, shape.queues().into());
        set(lanes_in_use, u64::from(shape.queues() > 1));
        let identity = &control.read_only.identity;
        set(&identity.layout, LAYOUT);
        set(&identity.region_size, region.size());
        for (word, value) in identity.image.iter().zip(image.to_words()) {
            set(word, value);
        }
        set(&identity.magic, MAGIC);
        Ok(control)
    }

    /// Makes some more slots, those that follow the ones there are. By the parent, before it
    /// publishes a task in one of them. On an error there are no more than before.
    pub(crate) fn make_slots(&self, region: &Region, more: Range<usize>) -> Result<(), SysError> {
        let Range { start, end } = more;
        commit(
            region,
            at!(read_only.tasks[start]: TaskBody)..at!(read_only.tasks[end]: TaskBody),
        )?;
        let cancels = at!(read_only.cancels[start]: AtomicU64);
        commit(region, cancels..at!(read_only.cancels[end]: AtomicU64))?;
        let slots = at!(writable.slots[start]: Slot);
        commit(region, slots..at!(writable.slots[end]: Slot))?;
        write(region, slots, end - start, Slot::new)?;
        // ORDERING: Release; pairs with the Acquire in `Ring::used`.
        let Queues { slots, .. } = &self.read_only.queues.0;
        slots.store(end as u64, Ordering::Release);
        Ok(())
    }

    /// Makes the chunks of a place for jobs. By the parent, before it posts the first job there.
    pub(crate) fn make_place(region: &Region, job: u32) -> Result<(), SysError> {
        let first = job as usize * CHUNKS;
        let ranges = at!(read_only.ranges[first]: ChunkRange);
        commit(
            region,
            ranges..at!(read_only.ranges[first + CHUNKS]: ChunkRange),
        )?;
        let chunks = at!(writable.chunks[first]: Chunk);
        commit(region, chunks..at!(writable.chunks[first + CHUNKS]: Chunk))?;
        write(region, ranges, CHUNKS, ChunkRange::new)?;
        write(region, chunks, CHUNKS, Chunk::new)
    }
}

const _: () = assert!(FIRST_SLOTS.is_power_of_two() && FIRST_SLOTS <= SLOTS);

#[cfg(test)]
impl Control {
    /// Whole pages of what is made later: chunks of places, and tasks.
    pub(crate) fn made_later() -> [Range<u64>; 2] {
        use crate::memory::region::PAGE_BYTES;
        let ranges = at!(read_only.ranges[CHUNKS]: ChunkRange)..at!(read_only.tasks);
        let tasks = at!(read_only.tasks[FIRST_SLOTS]: TaskBody)..at!(read_only.queues);
        [ranges, tasks].map(|Range { start, end }| {
            let end = end as u64 / PAGE_BYTES * PAGE_BYTES;
            (start as u64).next_multiple_of(PAGE_BYTES)..end
        })
    }
}

fn too_small() -> SysError {
    SysError::of("find the control area in the region")(Errno::EINVAL)
}

fn commit(region: &Region, part: Range<usize>) -> Result<(), SysError> {
    region.populate(part.start as u64..part.end as u64)
}

/// Writes `count` fresh values from `offset` on, where a field lies that has as many.
fn write<T>(region: &Region, offset: usize, count: usize, new: fn() -> T) -> Result<(), SysError> {
    let place = region.pointer(offset as u64, count * size_of::<T>());
    let first = place.ok_or_else(too_small)?.cast::<T>();
    for index in 0..count {
        // SAFETY: `index < count`, and that many fit the range (checked above).
        let place = unsafe { first.add(index) };
        // SAFETY: in the mapping, aligned because the region begins on a 2 MiB boundary and the
        // offset is that of a field, writable in the process that created the region, and nobody
        // looks at it yet.
        unsafe { place.write(new()) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::region::{EXTENT_BYTES, PAGE_BYTES};
    use crate::protocol::control::{CONTROL_SIZE, WORKERS};

    #[test]
    fn a_small_pool_takes_a_tenth_of_the_area() {
        let region = Region::create(CONTROL_SIZE as u64).unwrap();
        Control::create(&region, 2, Shape::new(2, 1), &ImageId::current()).unwrap();
        let small = region.resident().unwrap();
        // Unless the kernel gives out huge pages unasked.
        assert!(
            small <= (400 << 10).max(12 * PAGE_BYTES) || small.is_multiple_of(EXTENT_BYTES),
            "{small}"
        );
    }

    #[test]
    fn everything_fits() {
        let region = Region::create(CONTROL_SIZE as u64).unwrap();
        let shape = Shape::new(WORKERS, 64);
        let control = Control::create(&region, WORKERS, shape, &ImageId::current()).unwrap();
        control.make_slots(&region, FIRST_SLOTS..SLOTS).unwrap();
        for job in 0..JOBS as u32 {
            Control::make_place(&region, job).unwrap();
        }
        assert!(region.resident().unwrap() <= CONTROL_SIZE as u64);
    }
}
