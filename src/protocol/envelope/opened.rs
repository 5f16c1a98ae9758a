//! The envelope in the hands of the process that it is for.

use core::slice;
use std::os::fd::{AsFd, OwnedFd};

use super::{
    ARGUMENTS, AT_ONCE, ENDING, LAYOUT, MAGIC, PAGE, REPORT, ROOM, Verdict, at, ending, head,
};
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::protocol::archive::{self, ArchiveError, Fit, Payload};
use crate::protocol::control::Refusal;
use crate::protocol::function::FunctionId;
use crate::protocol::image::ImageId;
use crate::protocol::panic::{PanicReport, REPORT_BYTES};
use crate::sys::failure::SysError;
use crate::sys::map::{HUGE_PAGE_BYTES, Mapping, Protection};
use crate::sys::memfd;

/// The process's end.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(super) mapping: Mapping,
    result_offset: usize,
    arguments_size: usize,
}

impl Opened {
    /// Maps the file read-only but for the ending and the room for the result. A file that is none
    /// of ours, or another program's, is refused, which is said in the file if possible.
    pub(crate) fn open(file: &OwnedFd, image: &ImageId) -> Result<Result<Self, Refusal>, SysError> {
        let size = memfd::size(file.as_fd())? as usize;
        let sound = size > ARGUMENTS && size.is_multiple_of(HUGE_PAGE_BYTES);
        if !sound || !memfd::is_sealed(file.as_fd())? {
            return Ok(Err(Refusal::Magic));
        }
        let mapping = Mapping::shared(file.as_fd(), size, Protection::Read)?;
        mapping.protect(ENDING..ENDING + PAGE, Protection::ReadWrite)?;
        let mut opened = Self {
            mapping,
            result_offset: size,
            arguments_size: 0,
        };
        if let Err(refusal) = opened.verify(size, image) {
            opened.conclude(&Verdict::Refused(refusal));
            return Ok(Err(refusal));
        }
        let room = opened.result_offset..size;
        opened.mapping.protect(room, Protection::ReadWrite)?;
        Ok(Ok(opened))
    }

    fn verify(&mut self, size: usize, image: &ImageId) -> Result<(), Refusal> {
        let head = head(&self.mapping);
        // ORDERING: Relaxed; written before this process was created.
        let get = |word: &AtomicU64| word.load(Ordering::Relaxed);
        if get(&head.magic) != MAGIC {
            return Err(Refusal::Magic);
        }
        let [arguments, result] =
            [&head.arguments_size, &head.result_offset].map(|word| get(word) as usize);
        let sound = get(&head.layout) == LAYOUT
            && get(&head.file_size) == size as u64
            && arguments <= archive::LIMIT
            && result == (ARGUMENTS + arguments).next_multiple_of(HUGE_PAGE_BYTES)
            && result + ROOM == size;
        if !sound {
            return Err(Refusal::Layout);
        }
        let mut same = head.image.iter().zip(image.to_words());
        if same.any(|(word, value)| get(word) != value) {
            return Err(Refusal::Image);
        }
        self.arguments_size = arguments;
        self.result_offset = result;
        Ok(())
    }

    /// What is to be run.
    pub(crate) fn function(&self) -> FunctionId {
        // ORDERING: Relaxed; written before this process was created.
        FunctionId::from_bits(head(&self.mapping).function.load(Ordering::Relaxed))
    }

    /// What builds the runtime of an async function, if not the default.
    #[cfg(feature = "tokio")]
    pub(crate) fn runtime(&self) -> Option<FunctionId> {
        // ORDERING: Relaxed; written before this process was created.
        let bits = head(&self.mapping).runtime.load(Ordering::Relaxed);
        (bits != 0).then(|| FunctionId::from_bits(bits))
    }

    /// What the process is called.
    pub(crate) fn name(&self) -> String {
        let words = head(&self.mapping).name.each_ref();
        // ORDERING: Relaxed; written before this process was created.
        let bytes = words.map(|word| word.load(Ordering::Relaxed).to_le_bytes());
        let bytes = bytes.as_flattened();
        let end = bytes.iter().position(|&byte| byte == 0);
        String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
    }

    /// The archived arguments.
    pub(crate) fn arguments(&self) -> &[u8] {
        let first = at(&self.mapping, ARGUMENTS).as_ptr();
        // SAFETY: inside of the mapping, as was verified; read-only here, and the parent writes
        // nothing once this process exists.
        unsafe { slice::from_raw_parts(first, self.arguments_size) }
    }

    /// Serialises the result to where the parent will read it.
    pub(crate) fn write<R: Payload>(&self, result: &R) -> Result<Verdict, ArchiveError> {
        let no_room = |wanted| Verdict::NoRoom {
            wanted: wanted as u64,
            available: 0,
        };
        if self.commit(AT_ONCE).is_err() {
            return Ok(no_room(AT_ONCE));
        }
        let place = at(&self.mapping, self.result_offset);
        let mut capacity = AT_ONCE;
        loop {
            // SAFETY: the room is committed for `capacity` bytes and this process's alone.
            match unsafe { archive::write(result, place, capacity) }? {
                Fit::Written(size) => return Ok(Verdict::Returned { size: size as u64 }),
                Fit::Needs(size) if capacity > AT_ONCE => {
                    return Err(ArchiveError::Unstable {
                        type_name: core::any::type_name::<R>(),
                        measured: capacity,
                        found: size,
                    });
                }
                Fit::Needs(size) if self.commit(size).is_err() => return Ok(no_room(size)),
                Fit::Needs(size) => capacity = size,
            }
        }
    }

    /// Has the kernel provide memory for a result of `size` bytes.
    fn commit(&self, size: usize) -> Result<(), SysError> {
        let start = self.result_offset;
        if size >= HUGE_PAGE_BYTES {
            let whole = start..start + size.next_multiple_of(HUGE_PAGE_BYTES);
            for extent in whole.clone().step_by(HUGE_PAGE_BYTES) {
                // A page in each is what makes the kernel look at it at all.
                self.mapping.populate(extent..extent + PAGE)?;
            }
            // For speed alone: where there are no huge pages, small ones serve.
            let _ = self.mapping.collapse(whole);
        }
        let end = (start + size).next_multiple_of(PAGE);
        self.mapping.populate(start..end)
    }

    /// Leaves the last word.
    pub(crate) fn conclude(&self, verdict: &Verdict) {
        let ending = ending(&self.mapping);
        let (code, size, available) = match verdict {
            Verdict::Silent | Verdict::Nonsense => return,
            Verdict::Returned { size } => (1, *size, 0),
            Verdict::Panicked(report) => {
                self.report(report);
                (2, 0, 0)
            }
            Verdict::BadArguments => (3, 0, 0),
            Verdict::TooLarge => (4, 0, 0),
            Verdict::Unserialised(message) => {
                self.report(&PanicReport {
                    message: message.clone(),
                    ..PanicReport::default()
                });
                (5, 0, 0)
            }
            Verdict::NoRoom { wanted, available } => (6, *wanted, *available),
            Verdict::Refused(Refusal::Magic) => (7, 0, 0),
            Verdict::Refused(Refusal::Layout) => (8, 0, 0),
            Verdict::Refused(Refusal::Image) => (9, 0, 0),
        };
        // ORDERING: Relaxed; read after this process was reaped.
        ending.size.store(size, Ordering::Relaxed);
        ending.available.store(available, Ordering::Relaxed);
        // ORDERING: Release; keeps the store behind those above and behind the result, so that a
        // death in between leaves no word rather than an early one. Its partner is the reaping.
        ending.verdict.store(code, Ordering::Release);
    }

    fn report(&self, report: &PanicReport) {
        let first = at(&self.mapping, REPORT).as_ptr();
        // SAFETY: mapped for writing, committed by the parent, and used by nobody else.
        report.encode(unsafe { slice::from_raw_parts_mut(first, REPORT_BYTES) });
    }
}
