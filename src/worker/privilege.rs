//! What a worker may write: its part of the control area, its arena, and the output of the job
//! that it works on.
//!
//! Everything else is mapped read-only, so a wild pointer faults instead of changing an input.
//!
//! # Invariants
//! - Before user code runs, `admit` or `revoke` was called for it: no right that an earlier job
//!   brought is left. Between jobs no user code runs, so rights are taken back only then; a job
//!   that recycles the output of the one before costs no system call.
//! - Outputs have their pages for themselves (`memory::span`), large ones their extents.

use core::ops::Range;

use crate::memory::heap::LARGE_BYTES;
use crate::memory::region::{EXTENT_BYTES, PAGE_BYTES, Region};
use crate::protocol::control::WRITABLE;
use crate::protocol::range::Span;
use crate::sys::failure::SysError;
use crate::sys::process;

/// Exit code of a worker from which the kernel did not take back a right to write.
pub(crate) const EXIT_UNPROTECTED: i32 = 74;

/// The rights of this worker beyond those that it always has.
#[derive(Debug)]
pub(crate) struct Privilege<'a> {
    region: &'a Region,
    /// The pages of the output that it may write.
    output: Range<u64>,
}

impl<'a> Privilege<'a> {
    /// Unlocks the workers' part of the control area; all else stays read-only.
    pub(crate) fn begin(region: &'a Region) -> Result<Self, SysError> {
        region.unprotect(WRITABLE)?;
        Ok(Self {
            region,
            output: 0..0,
        })
    }

    /// Allows the worker to write the output of a job, and no other.
    ///
    /// If the kernel refuses (too many mappings), the output stays locked: the first store to it
    /// faults and the death is reported, as with any other wild store.
    pub(crate) fn admit(&mut self, output: Span) {
        let pages = pages_of(output);
        if pages == self.output {
            return;
        }
        self.revoke();
        if pages.is_empty() {
            return;
        }
        // Noted before: a refusal may come half-way.
        self.output = pages.clone();
        let _ = self.region.unprotect(pages);
    }

    /// Allows no output at all.
    pub(crate) fn revoke(&mut self) {
        if !self.output.is_empty() {
            insist(self.region.protect(self.output.clone()));
            self.output = 0..0;
        }
    }
}

/// Ends this worker, which could change what it must not, if the kernel did not protect it.
pub(super) fn insist(protected: Result<(), SysError>) {
    if let Err(error) = protected {
        eprintln!("gristmill: a worker ends, for it cannot be kept from buffers: {error}");
        process::exit_now(EXIT_UNPROTECTED);
    }
}

/// The pages of an output. Those of a large one are extents, for a huge page that is writable in
/// part would be torn into small ones.
fn pages_of(output: Span) -> Range<u64> {
    if output.size == 0 {
        return 0..0;
    }
    let unit = match output.size < LARGE_BYTES as u64 {
        true => PAGE_BYTES,
        false => EXTENT_BYTES,
    };
    let end = output.offset.saturating_add(output.size);
    let end = end.checked_next_multiple_of(unit).unwrap_or(u64::MAX);
    output.offset / PAGE_BYTES * PAGE_BYTES..end
}
