//! What a worker may write: the control area, its arena, and the outputs it works on.
//!
//! Everything else is mapped read-only, so a wild pointer faults instead of changing an input.
//! Flips are lazy, by extents of 2 MiB: an output stays writable until the same memory serves as
//! a large input, because a pipeline recycles its outputs and a flip costs a system call.

use crate::memory::region::Region;
use crate::protocol::control::CONTROL_SIZE;
use crate::protocol::range::{RangeJob, Span};
use crate::sys::failure::SysError;

const EXTENT: u64 = 2 << 20;
/// Smaller buffers share extents with others, so locking one would lock its neighbours.
const OWN_EXTENTS: u64 = 1 << 20;

/// Which extents this worker has made writable.
#[derive(Debug)]
pub(crate) struct Privilege<'a> {
    region: &'a Region,
    writable: Vec<bool>,
}

impl<'a> Privilege<'a> {
    /// Unlocks the control area; all else stays read-only.
    pub(crate) fn begin(region: &'a Region) -> Result<Self, SysError> {
        let extents = region.size().div_ceil(EXTENT) as usize;
        region.unprotect(0..CONTROL_SIZE as u64)?;
        Ok(Self {
            region,
            writable: vec![false; extents],
        })
    }

    /// Unlocks the job's output and locks its inputs.
    ///
    /// A flip that the kernel refuses (too many mappings) leaves an output locked: the kernel's
    /// first store faults and the death is reported, as with any other wild store.
    pub(crate) fn admit(&mut self, job: &RangeJob) {
        for input in job.inputs {
            if input.size >= OWN_EXTENTS {
                self.flip(input, false);
            }
        }
        self.flip(job.output, true);
    }

    fn flip(&mut self, span: Span, writable: bool) {
        if span.size == 0 {
            return;
        }
        let first = (span.offset / EXTENT) as usize;
        let end = (span.offset.saturating_add(span.size)).div_ceil(EXTENT) as usize;
        let Some(extents) = self.writable.get_mut(first..end) else {
            return;
        };
        if extents.iter().all(|&state| state == writable) {
            return;
        }
        let range = first as u64 * EXTENT..(end as u64 * EXTENT).min(self.region.size());
        let flipped = match writable {
            true => self.region.unprotect(range),
            false => self.region.protect(range),
        };
        if flipped.is_ok() {
            extents.fill(writable);
        }
    }
}
