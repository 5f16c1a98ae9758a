//! Elements of a chunk, from the call of the kernel to the report of the one that panicked.

use core::ops::Range;

use crate::memory::region::Region;
use crate::numeric::At;
use crate::protocol::panic::{self, PanicReport};

use super::{RangeCall, RangeJob};

/// Runs the kernel on some of a chunk's elements.
///
/// Of several elements that panic the first is told. A kernel that streams passes over some pages'
/// worth of elements at a time; those before a panic are called again, in order.
pub(crate) fn run(
    kernel: impl Fn(&RangeCall<'_>) + Copy,
    region: &Region,
    job: &RangeJob,
    chunk: u32,
    elements: Range<u64>,
) -> Result<(), Box<PanicReport>> {
    let at = At::new();
    let start = elements.start;
    let report = match call(kernel, region, job, chunk, elements, &at) {
        Ok(()) => return Ok(()),
        Err(report) => report,
    };
    let passed_over = at.passed_over();
    if passed_over.is_empty() {
        return Err(report);
    }
    let in_order = RangeJob {
        streaming: false,
        ..*job
    };
    let elements = start + passed_over.start as u64..start + passed_over.end as u64;
    let before = call(kernel, region, &in_order, chunk, elements, &At::new());
    Err(before.err().unwrap_or(report))
}

fn call(
    kernel: impl Fn(&RangeCall<'_>),
    region: &Region,
    job: &RangeJob,
    chunk: u32,
    elements: Range<u64>,
    at: &At,
) -> Result<(), Box<PanicReport>> {
    let start = elements.start;
    let call = RangeCall {
        region,
        job,
        chunk: chunk as usize,
        start: start as usize,
        len: (elements.end - start) as usize,
        at,
    };
    panic::catch(|| kernel(&call)).map_err(|report| match at.get() {
        Some(element) => Box::new(report.with_element(start + element as u64)),
        None => report,
    })
}
