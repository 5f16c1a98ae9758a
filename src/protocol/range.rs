//! A range job on the wire: its body in the control area, and the call that runs one chunk.

#![expect(unsafe_code, reason = "views ranges of the region as typed slices")]

pub(crate) mod elements;

use core::mem::{MaybeUninit, size_of, transmute};
use core::ops::Range;
use core::ptr::NonNull;
use core::slice;

use bytemuck::Pod;

use crate::memory::region::Region;
use crate::numeric::{At, Store};
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::primitive::prefetch;
use crate::protocol::context::{Context, ContextReader};
use crate::protocol::function::{BadFunction, FunctionId, NotInImage};

/// A range of bytes in the region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// Bytes from the start of the region.
    pub(crate) offset: u64,
    /// Bytes.
    pub(crate) size: u64,
}

/// Runs one chunk of a job; monomorphised for a verb, its types and the user's closure.
pub(crate) type Kernel = fn(&RangeCall<'_>);

/// What a kernel needs besides the chunk: the same for all chunks of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RangeJob {
    pub(crate) kernel: FunctionId,
    pub(crate) context: Span,
    pub(crate) inputs: [Span; 2],
    pub(crate) output: Span,
    /// Write the output past the caches.
    pub(crate) streaming: bool,
    /// On the first failure, the chunks that nobody began are cancelled.
    pub(crate) fail_fast: bool,
    /// One chunk that is thought to take no time: the worker says how long it took, and gives back
    /// what it has not begun when it takes long after all ([`Trial`]).
    pub(crate) trial: bool,
    /// Its caller runs chunks as well, and has a core for that.
    pub(crate) helped: bool,
    /// Nanoseconds that one element may take; 0: it may take any time. Otherwise the worker says
    /// where it is, in batches that take much less.
    pub(crate) element_limit: u64,
}

/// The same in the control area: 128 bytes, written by the parent before the job is posted.
///
/// ```text
/// 0        8        16       24 .. 56        56       64      72      80      88 .. 128
/// | kernel | context| context| inputs: two   | output | output| flags | element | reserved
/// |        | offset | size   | (offset, size)| offset | size  |       | limit   |
/// ```
/// A worker reads it only while it holds a chunk of the job, which pins the job (see `board`).
#[repr(C, align(64))]
pub(crate) struct JobBody([AtomicU64; 16]);

const _: () = assert!(size_of::<JobBody>() == 128);

const STREAMING: u64 = 1;
const FAIL_FAST: u64 = 2;
const TRIAL: u64 = 4;
const HELPED: u64 = 8;

impl JobBody {
    /// Writes the job; by the parent, between the board's `begin` and `post`.
    pub(crate) fn store(&self, job: &RangeJob) {
        let [left, right] = job.inputs;
        let flags = u64::from(job.streaming) * STREAMING
            + u64::from(job.fail_fast) * FAIL_FAST
            + u64::from(job.trial) * TRIAL
            + u64::from(job.helped) * HELPED;
        let words = [
            job.kernel.to_bits(),
            job.context.offset,
            job.context.size,
            left.offset,
            left.size,
            right.offset,
            right.size,
            job.output.offset,
            job.output.size,
            flags,
            job.element_limit,
        ];
        for (word, value) in self.0.iter().zip(words) {
            // ORDERING: Relaxed; the board's `post` publishes the body with the job's word.
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Asks for its lines, for whoever is about to read it.
    pub(crate) fn prefetch(&self) {
        let (first, second) = self.0.split_at(8);
        prefetch::to_read(&first[0]);
        prefetch::to_read(&second[0]);
    }

    /// Reads the job; by a worker that holds one of its chunks.
    pub(crate) fn load(&self) -> RangeJob {
        // ORDERING: Relaxed; claiming the chunk acquired what `post` released.
        let word = |index: usize| self.0[index].load(Ordering::Relaxed);
        let span = |index| Span {
            offset: word(index),
            size: word(index + 1),
        };
        RangeJob {
            kernel: FunctionId::from_bits(word(0)),
            context: span(1),
            inputs: [span(3), span(5)],
            output: span(7),
            streaming: word(9) & STREAMING != 0,
            fail_fast: word(9) & FAIL_FAST != 0,
            trial: word(9) & TRIAL != 0,
            helped: word(9) & HELPED != 0,
            element_limit: word(10),
        }
    }
}

/// Where in its chunk a worker is, in the detail of the chunk: `offset:40 | len:24`.
///
/// A hint: the worker may have died or run wild at any time, and most never say where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beat(u64);

impl Beat {
    /// The longest batch that can be told.
    pub(crate) const LONGEST: u64 = (1 << 24) - 2;

    /// At `len` elements from `offset` of the chunk on.
    pub(crate) fn new(offset: u64, len: u64) -> Self {
        match offset < 1 << 40 && len <= Self::LONGEST {
            true => Self(offset << 24 | len),
            false => Self(u64::MAX),
        }
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn to_bits(self) -> u64 {
        self.0
    }

    /// The elements that it speaks of, if they are some of the chunk's.
    pub(crate) fn within(self, chunk: &Range<u64>) -> Option<Range<u64>> {
        let start = chunk.start.checked_add(self.0 >> 24)?;
        let end = start.checked_add(self.0 & (Self::LONGEST + 1))?;
        (start < end && end <= chunk.end).then_some(start..end)
    }
}

/// What came of a chunk on trial, in the detail of the chunk: `done:32 | nanoseconds:32`.
///
/// A worker that says that it did less than all of the chunk gives the rest back. It could as well
/// do nothing and say nothing, so this is believed as far as its output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trial {
    /// Elements done, from the first on.
    pub(crate) done: u32,
    /// How long that took.
    pub(crate) nanoseconds: u32,
}

impl Trial {
    /// What it says; `None` if the worker said nothing.
    pub(crate) const fn from_bits(bits: u64) -> Option<Self> {
        match bits {
            u64::MAX => None,
            _ => Some(Self {
                done: (bits >> 32) as u32,
                nanoseconds: bits as u32,
            }),
        }
    }

    pub(crate) const fn to_bits(self) -> u64 {
        (self.done as u64) << 32 | self.nanoseconds as u64
    }
}

/// Names a kernel for the wire.
pub(crate) fn kernel_id(kernel: Kernel) -> Result<FunctionId, NotInImage> {
    FunctionId::of(kernel as *const ())
}

/// Finds the kernel that the parent named.
///
/// # Safety
/// The identity came from [`kernel_id`] in a process that runs the same image.
pub(crate) unsafe fn find_kernel(id: FunctionId) -> Result<Kernel, BadFunction> {
    let pointer = id.resolve()?;
    // SAFETY: the offset was taken from a `Kernel` of this very image, as the caller vouches.
    Ok(unsafe { transmute::<*const (), Kernel>(pointer) })
}

/// One chunk of a job, as its kernel sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RangeCall<'a> {
    pub(crate) region: &'a Region,
    pub(crate) job: &'a RangeJob,
    /// Which chunk of the job this is.
    pub(crate) chunk: usize,
    /// The chunk's first element.
    pub(crate) start: usize,
    /// The chunk's number of elements.
    pub(crate) len: usize,
    /// Where the kernel stands, for the report of a panic.
    pub(crate) at: &'a At,
}

impl<'a> RangeCall<'a> {
    /// How outputs should be stored.
    pub(crate) fn store(&self) -> Store {
        if self.job.streaming {
            Store::Streaming
        } else {
            Store::Cached
        }
    }

    /// This chunk's part of an input.
    ///
    /// # Panics
    /// When the job's span does not hold the chunk: the parent wrote nonsense.
    pub(crate) fn input<T: Pod>(&self, which: usize) -> &'a [T] {
        let first = self.elements::<T>(self.job.inputs[which], self.start, self.len);
        // SAFETY: `elements` checked bounds and alignment; every bit pattern is a `T`; the job
        // holds a `SharedSlice` over the range, so nobody writes it while a chunk is claimed.
        unsafe { slice::from_raw_parts(first.as_ptr(), self.len) }
    }

    /// This chunk's part of the output.
    ///
    /// # Safety
    /// Called at most once a call, and chunks of one job do not overlap: the slice is unique.
    ///
    /// # Panics
    /// As [`RangeCall::input`].
    pub(crate) unsafe fn output<R: Pod>(&self) -> &'a mut [MaybeUninit<R>] {
        let first = self.elements::<R>(self.job.output, self.start, self.len);
        // SAFETY: `elements` checked bounds and alignment; the job owns the output and this
        // chunk's part of it is handed out once, as the caller vouches.
        unsafe { slice::from_raw_parts_mut(first.as_ptr().cast(), self.len) }
    }

    /// The place for this chunk's one result (a partial of a reduction).
    ///
    /// # Safety
    /// As [`RangeCall::output`].
    ///
    /// # Panics
    /// As [`RangeCall::input`].
    pub(crate) unsafe fn partial<R: Pod>(&self) -> &'a mut MaybeUninit<R> {
        let place = self.elements::<R>(self.job.output, self.chunk, 1);
        // SAFETY: `elements` checked bounds and alignment; the place is this chunk's alone.
        unsafe { place.cast().as_mut() }
    }

    /// This chunk's part of a buffer that is changed in place, or whose old contents do not
    /// matter.
    ///
    /// # Safety
    /// As [`RangeCall::output`].
    ///
    /// # Panics
    /// As [`RangeCall::input`].
    pub(crate) unsafe fn data<T: Pod>(&self) -> &'a mut [T] {
        let first = self.elements::<T>(self.job.output, self.start, self.len);
        // SAFETY: as for `output`; besides, the bytes are initialised, by whoever wrote them last
        // or by the kernel, and every bit pattern is a `T`.
        unsafe { slice::from_raw_parts_mut(first.as_ptr(), self.len) }
    }

    /// The whole of an input, whatever the chunk.
    ///
    /// # Panics
    /// As [`RangeCall::input`].
    pub(crate) fn whole_input<T: Pod>(&self, which: usize) -> &'a [T] {
        let span = self.job.inputs[which];
        let len = (span.size as usize)
            .checked_div(size_of::<T>())
            .unwrap_or(0);
        let first = self.elements::<T>(span, 0, len);
        // SAFETY: as for `input`.
        unsafe { slice::from_raw_parts(first.as_ptr(), len) }
    }

    /// The job's context, seen in place.
    ///
    /// # Panics
    /// When it cannot be read: the parent wrote nonsense, or it was overwritten.
    pub(crate) fn context<C: Context<M>, M>(&self) -> C::View<'a> {
        view::<C, M>(self.region, self.job.context)
    }

    fn elements<T>(&self, span: Span, start: usize, len: usize) -> NonNull<T> {
        let size = size_of::<T>();
        let inside = start.checked_add(len).and_then(|end| end.checked_mul(size));
        let offset = (start as u64).checked_mul(size as u64);
        let pointer = match (inside, offset) {
            (Some(end), Some(offset)) if end as u64 <= span.size => span
                .offset
                .checked_add(offset)
                .and_then(|at| self.region.pointer(at, len * size)),
            _ => None,
        };
        match pointer.map(NonNull::cast::<T>) {
            Some(pointer) if pointer.is_aligned() => pointer,
            _ => panic!("elements {start}..{start}+{len} are not in {span:?} of the region"),
        }
    }
}

/// Sees a context in place.
///
/// # Panics
/// When it cannot be read.
pub(crate) fn view<C: Context<M>, M>(region: &Region, span: Span) -> C::View<'_> {
    let bytes = bytes_of(region, span);
    // SAFETY: the region is mapped for the borrow's lifetime, and the context is kept by the
    // parent until the task or job has ended: its slices do not change until then.
    let mut reader = unsafe { ContextReader::new(bytes, region.base(), region.size()) };
    match C::view(&mut reader) {
        Ok(view) => view,
        Err(error) => panic!("{error}"),
    }
}

/// The bytes of a span that nobody writes while the borrow lives.
///
/// # Panics
/// When the span is not in the region.
pub(crate) fn bytes_of(region: &Region, span: Span) -> &[u8] {
    if span.size == 0 {
        return &[];
    }
    let size = usize::try_from(span.size).expect("a span fits the address space");
    let first = region
        .pointer(span.offset, size)
        .expect("a span lies in the region");
    // SAFETY: in bounds (checked); the parent wrote these bytes before it published the task or
    // job that names them, and frees them only after it was harvested.
    unsafe { slice::from_raw_parts(first.as_ptr(), size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(_: &RangeCall<'_>) {}

    #[test]
    fn a_job_survives_the_wire() {
        let span = |offset| Span {
            offset,
            size: offset + 1,
        };
        for flags in 0..16_u32 {
            let job = RangeJob {
                kernel: kernel_id(kernel).unwrap(),
                context: span(64),
                inputs: [span(128), span(256)],
                output: span(512),
                streaming: flags & 1 != 0,
                fail_fast: flags & 2 != 0,
                trial: flags & 4 != 0,
                helped: flags & 8 != 0,
                element_limit: u64::MAX,
            };
            let body = JobBody(Default::default());
            body.store(&job);
            assert_eq!(body.load(), job);
        }
    }

    #[test]
    fn a_beat_speaks_of_its_chunk_or_of_nothing() {
        let chunk = 100..200;
        assert_eq!(Beat::new(5, 10).within(&chunk), Some(105..115));
        assert_eq!(Beat::new(99, 1).within(&chunk), Some(199..200));
        for beat in [
            Beat::new(99, 2),
            Beat::new(0, 0),
            Beat::new(1 << 40, 1),
            Beat::new(0, 1 << 24),
            Beat::from_bits(u64::MAX),
        ] {
            assert_eq!(beat.within(&chunk), None);
            assert_eq!(beat.within(&(u64::MAX - 1..u64::MAX)), None);
        }
    }

    #[test]
    fn a_trial_survives_the_word() {
        let trial = Trial {
            done: 4096,
            nanoseconds: 7,
        };
        assert_eq!(Trial::from_bits(trial.to_bits()), Some(trial));
        assert_eq!(Trial::from_bits(u64::MAX), None);
    }

    #[test]
    fn a_kernel_is_found_again() {
        let id = kernel_id(kernel).unwrap();
        // SAFETY: the identity was made by `kernel_id` in this process.
        let found = unsafe { find_kernel(id) }.unwrap();
        assert_eq!(found as usize, kernel as *const () as usize);
    }
}
