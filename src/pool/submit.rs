//! Into shared memory: arguments, contexts and fresh buffers.

#![expect(
    unsafe_code,
    reason = "serialises into blocks that it has just been given"
)]

use core::ptr::NonNull;
use std::sync::Arc;

use bytemuck::Pod;

use crate::error::{Error, TaskError};
use crate::memory::block::Block;
use crate::memory::heap::Contents;
use crate::memory::region::Region;
use crate::pool::engine::Engine;
use crate::pool::entry::Entry;
use crate::pool::hub::{Filling, Flight, Keep, TaskEntry};
use crate::pool::job::JobEntry;
use crate::protocol::archive::{self, Fit, Payload};
use crate::protocol::context::{self, Context};
use crate::protocol::control::{Control, INLINE_SIZE};
use crate::protocol::function::FunctionId;
use crate::protocol::range::Span;
use crate::protocol::task::Task;
use crate::shared::SharedVec;

/// Archives begin at multiples of this.
const ALIGN: usize = 64;

impl Engine {
    /// A fresh buffer of `len` elements.
    pub(crate) fn allocate<T: Pod>(
        &self,
        len: usize,
        contents: Contents,
    ) -> Result<SharedVec<T>, Error> {
        let size = len
            .checked_mul(size_of::<T>())
            .ok_or_else(|| Error::InvalidArgument {
                what: "length of a buffer",
                found: format!("{len} elements of {} bytes", size_of::<T>()),
                wanted: "fewer bytes than the address space has".into(),
            })?;
        let block = self.heap().allocate(size, align_of::<T>(), contents)?;
        Ok(SharedVec::from_block(block, len))
    }

    /// Refuses memory of another pool, which these workers do not map.
    pub(crate) fn check_home(&self, region: Option<&Arc<Region>>) -> Result<(), Error> {
        match region {
            Some(region) if !Arc::ptr_eq(region, self.region()) => Err(Error::ForeignBuffer),
            _ => Ok(()),
        }
    }

    /// Writes a context to shared memory; `None` when it has no bytes.
    pub(crate) fn place_context<C: Context<M>, M>(
        &self,
        context: &C,
    ) -> Result<Option<Block>, Error> {
        let region = self.region().addresses();
        let size = context::measure(context, region.clone())?;
        if size == 0 {
            return Ok(None);
        }
        let block = self.heap().allocate(size, ALIGN, Contents::Any)?;
        // SAFETY: the block was just allocated with this size, and nobody else knows it.
        let fit = unsafe { context::write(context, region, block.as_ptr(), size) }?;
        match fit {
            Fit::Written(_) => Ok(Some(block)),
            Fit::Needs(now) => Err(changed_size(size, now)),
        }
    }

    /// Submits a task: into the ring if a slot is free, else into the backlog.
    pub(crate) fn submit<C, M, A>(
        &self,
        function: FunctionId,
        context: C,
        arguments: &A,
    ) -> Result<Arc<TaskEntry>, Error>
    where
        C: Context<M> + Send + 'static,
        A: Payload + 'static,
    {
        self.check_process()?;
        let block = self.place_context(&context)?;
        let context_span = block.as_ref().map_or(Span::default(), span_of);
        let context = block.map(|block| -> (Block, Keep) { (block, Box::new(context)) });
        let reserved = Reserved::new(self)?;
        let (arguments_span, arguments) = self.place_arguments(&reserved, arguments)?;
        let task = Task {
            function,
            arguments: arguments_span,
            context: context_span,
        };
        let entry = Arc::new(Entry::new());
        reserved.submit(
            task,
            Flight {
                entry: Arc::clone(&entry),
                arguments,
                context,
            },
        );
        Ok(entry)
    }

    /// Serialises arguments beside their slot if they fit, else into a block of their own.
    fn place_arguments<A: Payload>(
        &self,
        reserved: &Reserved<'_>,
        arguments: &A,
    ) -> Result<(Span, Option<Block>), Error> {
        let (inline, capacity) = reserved.inline();
        // SAFETY: the slot is reserved, so the block beside it is this call's alone; without a
        // slot nothing is written.
        let fit = unsafe { archive::write(arguments, inline, capacity) }?;
        let size = match fit {
            Fit::Written(size) => {
                let offset = reserved
                    .filling
                    .map_or(0, |filling| Control::inline_offset(filling.slot));
                return Ok((
                    Span {
                        offset,
                        size: size as u64,
                    },
                    None,
                ));
            }
            Fit::Needs(size) => size,
        };
        let block = self.heap().allocate(size, ALIGN, Contents::Any)?;
        // SAFETY: the block was just allocated with this size, and nobody else knows it.
        match unsafe { archive::write(arguments, block.as_ptr(), size) }? {
            Fit::Written(size) => {
                let span = Span {
                    offset: block.offset(),
                    size: size as u64,
                };
                Ok((span, Some(block)))
            }
            Fit::Needs(now) => Err(changed_size(size, now)),
        }
    }

    /// Cancels a task; whether no worker had begun it.
    pub(crate) fn cancel_task(&self, entry: &Arc<TaskEntry>) -> bool {
        self.check_process().is_ok()
            && self
                .hub()
                .cancel_task(self.control(), entry, TaskError::Cancelled)
    }

    /// Cancels a job.
    pub(crate) fn cancel_job(&self, entry: &JobEntry, error: TaskError) {
        if self.check_process().is_err() {
            return;
        }
        self.hub().cancel_job(self.control(), entry, error);
    }
}

/// Where a block lies.
pub(crate) fn span_of(block: &Block) -> Span {
    Span {
        offset: block.offset(),
        size: block.size() as u64,
    }
}

/// A `Serialize` that writes more the second time breaks its contract.
fn changed_size(before: usize, now: usize) -> Error {
    Error::InvalidArgument {
        what: "archive of a value",
        found: format!("{now} bytes long"),
        wanted: format!("{before}, as many as when it was measured"),
    }
}

/// A slot kept for a submission, or none when the ring is full; given back if it comes to nothing.
struct Reserved<'a> {
    engine: &'a Engine,
    filling: Option<Filling>,
}

impl<'a> Reserved<'a> {
    fn new(engine: &'a Engine) -> Result<Self, Error> {
        let mut hub = engine.hub();
        if hub.closed.is_some() {
            return Err(Error::PoolClosed);
        }
        let filling = hub.begin(engine.control());
        Ok(Self { engine, filling })
    }

    /// The block beside the slot and its size; no bytes without a slot.
    fn inline(&self) -> (NonNull<u8>, usize) {
        let inline = self.filling.and_then(|filling| {
            self.engine
                .region()
                .pointer(Control::inline_offset(filling.slot), INLINE_SIZE)
        });
        inline.map_or((NonNull::dangling(), 0), |block| (block, INLINE_SIZE))
    }

    fn submit(mut self, task: Task, flight: Flight) {
        let control = self.engine.control();
        let mut hub = self.engine.hub();
        // Closed since the slot was reserved: whoever asks gets the reason.
        if let Some(error) = hub.closed.clone() {
            hub.settle(&flight.entry, Err(error));
            return;
        }
        let filling = self.filling.take();
        match filling {
            Some(filling) => {
                task.store(control.ring().slot(filling.slot));
                hub.publish(control, filling, flight);
            }
            None => hub.queue(task, flight),
        }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if let Some(filling) = self.filling.take() {
            self.engine.hub().abandon(self.engine.control(), filling);
        }
    }
}
