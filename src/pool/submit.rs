//! Into shared memory: arguments, contexts and fresh buffers.

#![expect(
    unsafe_code,
    reason = "serialises into blocks that it has just been given"
)]

use core::num::{NonZeroU32, NonZeroU64};
use core::slice;
use std::sync::Arc;
use std::time::Duration;

use bytemuck::Pod;

use crate::error::{Error, TaskError};
use crate::memory::AllocError;
use crate::memory::block::Block;
use crate::memory::heap::{Contents, Heap};
use crate::memory::region::Region;
use crate::pool::dispatch::{Event, Placement};
use crate::pool::draft::Draft;
use crate::pool::engine::Engine;
use crate::pool::entry::Entry;
use crate::pool::flight::{Extras, Flight, Keep, TaskEntry, TaskHalf};
use crate::pool::hub::{Filling, Hub};
use crate::pool::lanes::Route;
use crate::pool::launch::{JobEntry, Launch};
use crate::pool::spare::Spare;
use crate::pool::terms::TaskTerms;
use crate::protocol::archive::{self, Fit, Payload};
use crate::protocol::context::{self, Context};
use crate::protocol::control::Control;
use crate::protocol::function::FunctionId;
use crate::protocol::lanes::Priority;
use crate::protocol::range::Span;
use crate::protocol::task::Task;
use crate::ring::Lane;
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
        let block = self.allocate_block(|heap| heap.allocate(size, align_of::<T>(), contents))?;
        Ok(SharedVec::from_block(block, len))
    }

    /// A block of the heap; before it is refused, what has finished gives back its own.
    fn allocate_block(
        &self,
        allocate: impl Fn(&Arc<Heap>) -> Result<Block, AllocError>,
    ) -> Result<Block, AllocError> {
        match allocate(self.heap()) {
            Err(AllocError::OutOfMemory(_)) if self.harvest() > 0 => allocate(self.heap()),
            outcome => outcome,
        }
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
        let block = self.allocate_block(|heap| heap.allocate_packed(size, ALIGN))?;
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
        terms: Option<Box<TaskTerms>>,
    ) -> Result<TaskHalf, Error>
    where
        C: Context<M> + Send + 'static,
        A: Payload + 'static,
    {
        self.check_process()?;
        let reserved = Reserved::later(self, self.route(terms.as_deref())?);
        self.submit_reserved(reserved, function, context, arguments, terms)
    }

    /// As [`Engine::submit`], unless so many tasks are pending as the queue may hold: then `None`,
    /// and `waiter`, if there is one, is told when it is worth trying again.
    pub(crate) fn try_submit<A: Payload + 'static>(
        &self,
        function: FunctionId,
        arguments: &A,
        waiter: Option<&Arc<Entry<()>>>,
    ) -> Result<Option<TaskHalf>, Error> {
        self.check_process()?;
        match Reserved::within_depth(self, waiter)? {
            Some(reserved) => self
                .submit_reserved(reserved, function, (), arguments, None)
                .map(Some),
            None => Ok(None),
        }
    }

    fn submit_reserved<C, M, A>(
        &self,
        reserved: Reserved<'_>,
        function: FunctionId,
        context: C,
        arguments: &A,
        terms: Option<Box<TaskTerms>>,
    ) -> Result<TaskHalf, Error>
    where
        C: Context<M> + Send + 'static,
        A: Payload + 'static,
    {
        let mut task = Task {
            function,
            arguments: Span::default(),
            context: Span::default(),
            timed: terms.as_ref().is_some_and(|terms| terms.timeout.is_some()),
        };
        let mut extras = Extras::of(terms, self.caller());
        if let Some(block) = self.place_context(&context)? {
            task.context = span_of(&block);
            if u32::try_from(task.context.size).is_err() {
                return Err(Error::InvalidArgument {
                    what: "context of a task",
                    found: format!("{} bytes", task.context.size),
                    wanted: "less than 4 GiB of values and archives; slices count 16 bytes each"
                        .into(),
                });
            }
            extras.get_or_insert_default().keep = Some(Box::new((block, context)));
        }
        let mut draft = Draft::new();
        if let Fit::Needs(size) = draft.write(arguments)? {
            let block = self.place_arguments(arguments, size)?;
            task.arguments = span_of(&block);
            extras.get_or_insert_default().arguments = Some(block);
        }
        let (entry, other) = Spare::entry();
        let flight = Flight::new(other, extras);
        reserved.submit(task, &draft, flight)?;
        Ok(entry)
    }

    /// Where a task of these terms goes; where there is a choice, the scheduler makes it.
    #[inline]
    fn route(&self, terms: Option<&TaskTerms>) -> Result<Route, Error> {
        match (terms, self.dispatch()) {
            (None, None) => Ok(Route::PLAIN),
            (terms, _) => self.route_by(terms.unwrap_or(&TaskTerms::PLAIN)),
        }
    }

    fn route_by(&self, terms: &TaskTerms) -> Result<Route, Error> {
        if terms.bucket.is_some() {
            if terms.priority != Priority::Normal {
                return Err(Error::InvalidArgument {
                    what: "priority of a sticky task",
                    found: format!("{:?}", terms.priority),
                    wanted: "none, for such tasks wait for their worker in the order they came"
                        .into(),
                });
            }
            let bucket = terms.bucket;
            return Ok(Route {
                bucket,
                ..Route::PLAIN
            });
        }
        let placement = match self.dispatch() {
            Some(dispatch) => Some(dispatch.place(terms.priority)?),
            None => None,
        };
        let queue = placement.map_or(0, |placement| placement.queue.index() as u16);
        Ok(Route {
            lane: self.shape().queue_lane(queue, terms.priority),
            bucket: None,
            placed: placement.and_then(|placement| NonZeroU64::new(placement.task.id + 1)),
        })
    }

    /// Submits a task, or a batch of items, whose arguments and context are in place already and
    /// are kept alive.
    pub(crate) fn submit_placed(
        &self,
        task: Task,
        keep: Keep,
        terms: Option<Box<TaskTerms>>,
        batched: bool,
    ) -> Result<TaskHalf, Error> {
        self.check_process()?;
        let reserved = Reserved::later(self, self.route(None)?);
        let (entry, other) = Spare::entry();
        let extras = Extras {
            arguments: None,
            keep: Some(keep),
            batched,
            terms,
            caller: self.caller(),
        };
        let flight = Flight::new(other, Some(Box::new(extras)));
        reserved.submit(task, &Draft::new(), flight)?;
        Ok(entry)
    }

    /// A block that `fill` writes.
    pub(crate) fn place_bytes<E: From<AllocError>>(
        &self,
        size: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Block, E> {
        let block = self.allocate_block(|heap| heap.allocate_packed(size, ALIGN))?;
        // SAFETY: the block was just allocated with this size, and nobody else knows it; its bytes
        // are initialised, by whoever used them before or by the kernel.
        let place = unsafe { slice::from_raw_parts_mut(block.as_ptr().as_ptr(), size) };
        fill(place)?;
        Ok(block)
    }

    /// Serialises arguments of this size into a block of their own.
    fn place_arguments<A: Payload>(&self, arguments: &A, size: usize) -> Result<Block, Error> {
        let block = self.allocate_block(|heap| heap.allocate_packed(size, ALIGN))?;
        // SAFETY: the block was just allocated with this size, and nobody else knows it.
        match unsafe { archive::write(arguments, block.as_ptr(), size) }? {
            Fit::Written(_) => Ok(block),
            Fit::Needs(now) => Err(changed_size(size, now)),
        }
    }

    /// Moves a draft, if there is one, to where the task in a slot has its small arguments.
    fn copy_draft(&self, draft: &Draft, slot: u32) -> Option<Span> {
        let offset = Control::arguments_offset(slot, draft.nook);
        let place = self.region().pointer(offset, draft.size)?;
        (draft.size > 0).then(|| {
            draft.copy_to(place);
            Span {
                offset,
                size: draft.size as u64,
            }
        })
    }

    /// Cancels a task; whether no worker had begun it. With a grace, one that has is killed.
    pub(crate) fn cancel_task(&self, entry: &TaskEntry, grace: Option<Duration>) -> bool {
        let control = self.control();
        self.check_process().is_ok()
            && self
                .hub()
                .cancel_task(control, entry, TaskError::Cancelled, grace)
    }

    /// Hands a job to the workers, or lets it wait for a place on the board.
    pub(crate) fn launch(&self, mut launch: Launch, entry: &Arc<JobEntry>) {
        let attempts = NonZeroU32::new(self.config().attempts);
        launch.terms.attempts = launch.terms.attempts.or(attempts);
        launch.caller = self.caller();
        let mut hub = self.hub();
        hub.launch(self.control(), launch, entry);
        if hub.has_backlog() {
            drop(hub);
            self.let_supervisor_listen();
        }
    }

    /// Cancels a job. With a grace, workers that still run it then are killed.
    pub(crate) fn cancel_job(&self, entry: &JobEntry, grace: Option<Duration>) {
        if self.check_process().is_err() {
            return;
        }
        let control = self.control();
        self.hub()
            .cancel_job(control, entry, TaskError::Cancelled, grace);
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

/// A slot for a submission, kept beforehand or taken in the end, or none when the ring is full;
/// given back if it comes to nothing.
struct Reserved<'a> {
    engine: &'a Engine,
    filling: Option<Filling>,
    /// Until the task has it.
    route: Option<Route>,
}

impl<'a> Reserved<'a> {
    /// Takes a slot in the end.
    const fn later(engine: &'a Engine, route: Route) -> Self {
        Self {
            engine,
            filling: None,
            route: Some(route),
        }
    }

    /// Keeps a slot, if there is one.
    fn now(engine: &'a Engine, route: Route) -> Result<Self, Error> {
        // First, so that the scheduler is told of an end if this comes to nothing.
        let mut reserved = Self::later(engine, route);
        let mut hub = engine.hub();
        reserved.take_slot(&mut hub)?;
        let filling = reserved.filling.take();
        reserved.filling = filling.and_then(|filling| hub.keep(engine.control(), filling));
        Ok(reserved)
    }

    fn take_slot(&mut self, hub: &mut Hub) -> Result<(), Error> {
        if !hub.accepts() {
            return Err(Error::PoolClosed);
        }
        let control = self.engine.control();
        let lane = self
            .route
            .as_ref()
            .map_or(Lane::MAIN, |route| hub.lane_of(route));
        self.filling = hub.begin(control, lane);
        if self.filling.is_none() {
            hub.harvest(control, self.engine);
            self.filling = hub.begin(control, lane);
        }
        Ok(())
    }

    /// `None` when the queue is as deep as it may be; then the waiter is in line.
    fn within_depth(
        engine: &'a Engine,
        waiter: Option<&Arc<Entry<()>>>,
    ) -> Result<Option<Self>, Error> {
        if let Some(depth) = engine.config().queue_depth {
            let mut hub = engine.hub();
            if hub.tasks() >= depth {
                hub.harvest(engine.control(), engine);
            }
            if hub.accepts() && hub.tasks() >= depth {
                hub.line.extend(waiter.cloned());
                return Ok(None);
            }
        }
        // Not before: a task that is not submitted is not placed.
        Self::now(engine, engine.route(None)?).map(Some)
    }

    fn submit(mut self, mut task: Task, draft: &Draft, mut flight: Flight) -> Result<(), Error> {
        let control = self.engine.control();
        let mut hub = self.engine.hub();
        if self.filling.is_none() {
            self.take_slot(&mut hub)?;
            if let Some(filling) = &self.filling {
                control.task(filling.slot).expect_arguments(draft.nook);
            }
        }
        if self.filling.is_none() && draft.size > 0 && !flight.keeps_arguments() {
            // What waits in the parent has its arguments in a block.
            drop(hub);
            let block = self
                .engine
                .allocate_block(|heap| heap.allocate_packed(draft.size, ALIGN))?;
            draft.copy_to(block.as_ptr());
            task.arguments = span_of(&block);
            flight.keep_arguments(block);
            return self.submit(task, &Draft::new(), flight);
        }
        // Closed since the slot was reserved: whoever asks gets the reason.
        if let Some(error) = hub.closed.clone() {
            hub.settle(&flight.entry, Err(error));
            if let Some(filling) = self.filling.take() {
                hub.abandon(control, filling);
            }
            return Ok(());
        }
        if let Some(route) = self.route.take() {
            // Not before: its worker may have died since the slot was reserved.
            let lane = hub.lane_of(&route);
            flight.route = Route { lane, ..route };
        }
        let filling = self.filling.take();
        match filling {
            Some(filling) => {
                if let Some(arguments) = self.engine.copy_draft(draft, filling.slot) {
                    task.arguments = arguments;
                }
                task.store(
                    control.task(filling.slot),
                    control.ring().slot(filling.slot),
                );
                hub.publish(control, filling, flight);
            }
            None => {
                hub.queue(task, flight);
                // There may be room by now, that there was not for the last ones.
                hub.feed(control);
                drop(hub);
                self.engine.let_supervisor_listen();
            }
        }
        Ok(())
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if let Some(filling) = self.filling.take() {
            self.engine.hub().abandon(self.engine.control(), filling);
        }
        let shape = self.engine.shape();
        let placement = self.route.take().and_then(|route| route.placement(shape));
        if let (Some(dispatch), Some(Placement { task, queue })) =
            (self.engine.dispatch(), placement)
        {
            dispatch.notify([Event::Completed(task, queue)]);
        }
    }
}

#[cfg(test)]
#[path = "submit_tests.rs"]
mod tests;
