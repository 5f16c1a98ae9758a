//! What flows through a map: items in, batches out to the workers, outcomes back.
//!
//! # Invariants
//! - Each item that was pulled and numbered is in exactly one place: the packer, a batch that is on
//!   its way, or a parcel; and it leaves as exactly one outcome.
//! - Items pulled and not yet yielded are at most the window's.

mod gather;

use core::task::{Context, Poll, ready};
use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, TaskError};
use crate::memory::block::Block;
use crate::memory::{AllocError, MemoryLimit, OutOfMemory};
use crate::pool::engine::Engine;
use crate::pool::flight::TaskHalf;
use crate::pool::submit::span_of;
use crate::pool::terms::TaskTerms;
use crate::protocol::archive::{ArchiveError, Fit, Payload};
use crate::protocol::batch::{Packer, block_size, write_one};
use crate::protocol::function::FunctionId;
use crate::protocol::range::Span;
use crate::protocol::task::Task;
use crate::sys::clock;
use crate::task::map::function::SLICE;
use crate::task::map::input::Source;
use crate::task::map::pace::{BATCHES, Pace};
use crate::task::map::parcel::Parcel;
use crate::task::map::signal::Signal;
use crate::task::output::{TaskOutput, TinyOutput};

/// In which order outcomes leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// As the items came.
    Input,
    /// As they are there.
    Completion,
}

/// What was asked for.
pub(super) struct Plan {
    pub(super) function: FunctionId,
    pub(super) context: Span,
    /// The context, which all batches read.
    pub(super) keep: Option<Arc<dyn Any + Send + Sync>>,
    pub(super) read_ahead: Option<usize>,
    pub(super) batch: Option<usize>,
    /// How many workers may try an item.
    pub(super) attempts: u32,
    /// How long an item may run.
    pub(super) timeout: Option<Duration>,
    /// Each item is a future, and a task of its own.
    pub(super) futures: bool,
}

/// An item's index and what became of it.
pub(super) type Outcome<R> = (u64, Result<TaskOutput<R>, TaskError>);

/// Some items, written.
struct Batch {
    block: Block,
    first: u64,
    count: usize,
}

/// A batch on its way.
struct InFlight {
    batch: Arc<Batch>,
    entry: TaskHalf,
    /// How many workers have died over it, as it is now.
    deaths: u32,
}

/// What became of an item that was offered to a batch.
enum Offer {
    Taken,
    /// The batch is full, or the item was a batch of its own.
    Closed,
    /// There is no memory until something comes back.
    Later,
}

pub(super) struct Flow<A> {
    engine: Arc<Engine>,
    plan: Plan,
    order: Order,
    pace: Pace,
    packer: Packer,
    /// An item that did not fit into the batch before it.
    held: Option<A>,
    signal: Arc<Signal>,
    flights: HashMap<u64, InFlight>,
    launched: u64,
    parcels: BTreeMap<u64, Parcel>,
    current: Option<Parcel>,
    /// Items numbered, and items yielded.
    pulled: u64,
    yielded: u64,
    input_ended: bool,
    /// Why nothing can be submitted any more.
    closed: Option<TaskError>,
}

impl<A> Flow<A> {
    /// `most`: how many items there will be at most, if the input knows.
    pub(super) fn new(engine: Arc<Engine>, plan: Plan, order: Order, most: Option<usize>) -> Self {
        let fixed = if plan.futures { Some(1) } else { plan.batch };
        let share = most.map_or(usize::MAX, |most| most.div_ceil(2 * engine.workers()));
        let known = engine.hub().paces.of_item(plan.function);
        Self {
            engine,
            pace: Pace::new(fixed, known, share),
            plan,
            order,
            packer: Packer::new(),
            held: None,
            signal: Arc::default(),
            flights: HashMap::new(),
            launched: 0,
            parcels: BTreeMap::new(),
            current: None,
            pulled: 0,
            yielded: 0,
            input_ended: false,
            closed: None,
        }
    }

    pub(super) fn yielded(&self) -> u64 {
        self.yielded
    }

    /// Items that were pulled and whose outcome was not taken.
    pub(super) fn in_flight(&self) -> usize {
        let held = usize::from(self.held.is_some());
        usize::try_from(self.pulled - self.yielded).unwrap_or(usize::MAX) + held
    }

    /// Whether the input is at its end or will not be asked any more.
    pub(super) fn is_drained(&self) -> bool {
        self.input_ended || self.closed.is_some()
    }

    /// How many items may be in flight, and how many of them in one batch.
    fn window(&self) -> (usize, usize) {
        let workers = self.engine.workers();
        let size = self.pace.size();
        let limit = self.plan.read_ahead;
        let limit = limit.unwrap_or_else(|| size.saturating_mul(self.most_batches()));
        // No worker is to wait because another has all there is.
        let most = match self.pace.is_fixed() {
            true => limit,
            false => limit / (2 * workers),
        };
        (limit, size.min(most).max(1))
    }

    /// How many batches may be on their way unless a read-ahead was asked for.
    fn most_batches(&self) -> usize {
        let of_a_worker = match self.plan.futures {
            // As many as it holds, and the next one for each that ends.
            true => usize::try_from(self.engine.config().service.concurrency)
                .unwrap_or(usize::MAX)
                .saturating_mul(2),
            false => BATCHES,
        };
        self.engine.workers().saturating_mul(of_a_worker)
    }

    /// Batches on their way, or waiting to be handed out.
    fn batches(&self) -> usize {
        self.flights.len() + self.parcels.len()
    }

    /// Hands a batch to the workers.
    fn launch(&mut self, batch: Arc<Batch>, deaths: u32) {
        let task = Task {
            function: self.plan.function,
            arguments: span_of(&batch.block),
            context: self.plan.context,
            timed: self.plan.timeout.is_some(),
        };
        let keep = Box::new((Arc::clone(&batch), self.plan.keep.clone()));
        let batched = !self.plan.futures;
        match self.engine.submit_placed(task, keep, self.terms(), batched) {
            Ok(entry) => {
                let number = self.launched;
                self.launched += 1;
                self.signal.listen(number, &entry);
                let flight = InFlight {
                    batch,
                    entry,
                    deaths,
                };
                self.flights.insert(number, flight);
            }
            Err(error) => {
                let error = task_error(error, batch.block.size());
                self.fail(batch.first, batch.count, error.clone());
                self.closed = Some(error);
            }
        }
    }

    /// A batch is handed over after a slice of time, or at the end of the item that it is at then:
    /// one that takes longer by an item's limit is over an item for longer than that.
    fn terms(&self) -> Option<Box<TaskTerms>> {
        if self.plan.futures {
            return Some(Box::new(TaskTerms {
                attempts: self.plan.attempts,
                timeout: self.plan.timeout,
                grace: Some(self.engine.config().cancel_grace),
                ..TaskTerms::PLAIN
            }));
        }
        let slice = Duration::from_nanos(SLICE);
        let timeout = self.plan.timeout?.saturating_add(slice);
        Some(Box::new(TaskTerms {
            timeout: Some(timeout),
            ..TaskTerms::PLAIN
        }))
    }

    fn fail(&mut self, first: u64, count: usize, error: TaskError) {
        if count > 0 {
            let parcel = Parcel::of_failures(first, count, error);
            self.parcels.insert(first, parcel);
        }
    }

    /// Sends off what is in the packer; `false` when there is no memory until something comes back.
    fn flush(&mut self) -> bool {
        let count = self.packer.len();
        if count == 0 {
            return true;
        }
        let first = self.pulled - count as u64;
        // With a limit for items a batch must not be at several for long.
        let whole = self.pace.is_fixed() && self.plan.timeout.is_none();
        let size = self.packer.size();
        let packer = &mut self.packer;
        let block = self.engine.place_bytes(size, |place| {
            packer.unload(place, whole);
            Ok::<_, AllocError>(())
        });
        match block {
            Ok(block) => self.launch(
                Arc::new(Batch {
                    block,
                    first,
                    count,
                }),
                0,
            ),
            Err(_) if !self.flights.is_empty() => return false,
            Err(error) => {
                self.packer.clear();
                self.fail(first, count, task_error(error.into(), size));
            }
        }
        true
    }

    /// Goes on to the next parcel, if its turn has come.
    fn open_parcel(&mut self) -> bool {
        let next = match self.order {
            Order::Input => self.parcels.remove(&self.yielded),
            Order::Completion => self.parcels.pop_first().map(|(_, parcel)| parcel),
        };
        let found = next.is_some();
        self.current = next;
        found
    }

    fn is_over(&self) -> bool {
        self.is_drained() && self.flights.is_empty() && self.in_flight() == 0
    }

    /// Whether there is something before the deadline.
    fn wait(&self, deadline: Option<Instant>) -> bool {
        let round = self.signal.round();
        round.is_none_or(|round| self.engine.wait(&round, deadline))
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        match self.signal.round() {
            Some(round) => self.engine.poll(&round, context),
            None => Poll::Ready(()),
        }
    }
}

impl<A: Payload> Flow<A> {
    /// The next outcome, if it is a tiny result and there already.
    #[inline(always)]
    pub(super) fn next_tiny<R: Payload>(&mut self) -> Option<(u64, TinyOutput<'_, R>)> {
        let next = self.current.as_mut()?.next_tiny()?;
        self.yielded += 1;
        Some(next)
    }

    /// The next outcome; without a context, blocks until it is there or it is too late.
    pub(super) fn advance<S: Source<Item = A>, R: Payload>(
        &mut self,
        input: &mut S,
        mut context: Option<&mut Context<'_>>,
        deadline: Option<Instant>,
    ) -> Poll<Option<Outcome<R>>> {
        loop {
            let current = self.current.as_mut();
            if let Some(outcome) = current.and_then(|parcel| parcel.next(&self.engine)) {
                self.yielded += 1;
                return Poll::Ready(Some(outcome));
            }
            if let Err(forked) = self.engine.check_process() {
                return Poll::Ready(self.abandon(forked.into()));
            }
            self.gather();
            self.fill(input, context.as_deref_mut());
            if self.open_parcel() {
                continue;
            }
            if self.is_over() {
                return Poll::Ready(None);
            }
            match context.as_deref_mut() {
                // The input has the task's waker.
                Some(_) if self.flights.is_empty() => return Poll::Pending,
                Some(context) => ready!(self.poll(context)),
                None if self.wait(deadline) => {}
                None => return Poll::Pending,
            }
        }
    }

    /// Tells once that there is nothing to be had in this process.
    fn abandon<R: Payload>(&mut self, error: TaskError) -> Option<Outcome<R>> {
        let first = self.closed.replace(error.clone()).is_none();
        first.then_some((self.yielded, Err(error)))
    }

    /// Pulls items and sends them off, as far as the window goes.
    fn fill<S: Source<Item = A>>(&mut self, input: &mut S, mut context: Option<&mut Context<'_>>) {
        if let Some(error) = self.closed.clone() {
            if self.held.take().is_some() {
                self.fail(self.pulled, 1, error);
                self.pulled += 1;
            }
            return;
        }
        // Of large items, each a batch of its own, the window would let in too many.
        let most_batches = match self.plan.read_ahead {
            None => self.most_batches(),
            Some(_) => usize::MAX,
        };
        let mut more = self.flush();
        while more && self.closed.is_none() && self.batches() < most_batches {
            let (limit, size) = self.window();
            let room = limit.saturating_sub(self.in_flight() - usize::from(self.held.is_some()));
            if room < size && limit - room > limit / 2 {
                return;
            }
            let began = clock::now();
            let tick = self.pace.is_untried().then(clock::last_tick);
            while more && self.packer.len() < size.min(room) {
                let item = match self.held.take() {
                    Some(item) => item,
                    None if self.input_ended => {
                        self.flush();
                        return;
                    }
                    None => match input.poll_item(context.as_deref_mut()) {
                        Poll::Ready(Some(item)) => item,
                        Poll::Ready(None) => {
                            self.input_ended = true;
                            continue;
                        }
                        Poll::Pending => {
                            self.flush();
                            return;
                        }
                    },
                };
                match self.offer(item) {
                    Offer::Taken => {}
                    Offer::Closed => break,
                    Offer::Later => more = false,
                }
                if tick.is_some_and(|tick| tick != clock::last_tick()) {
                    // Nobody knew how slow this input is.
                    break;
                }
            }
            self.pace.sent(self.packer.len(), clock::now() - began);
            more = self.flush() && more;
        }
    }

    /// Adds an item to the batch in the making, or makes one of it alone.
    fn offer(&mut self, item: A) -> Offer {
        let found = self.packer.push(&item);
        match found {
            Ok(Fit::Written(_)) => {
                self.pulled += 1;
                return Offer::Taken;
            }
            // First what came before it.
            _ if self.packer.len() > 0 => {
                self.held = Some(item);
                return Offer::Closed;
            }
            Ok(Fit::Needs(size)) => match self.place_alone(&item, size) {
                Ok(block) => {
                    let (first, count) = (self.pulled, 1);
                    self.pulled += 1;
                    let batch = Batch {
                        block,
                        first,
                        count,
                    };
                    self.launch(Arc::new(batch), 0);
                }
                Err(Error::OutOfMemory(_) | Error::System(_)) if !self.flights.is_empty() => {
                    self.held = Some(item);
                    return Offer::Later;
                }
                Err(error) => self.refuse(task_error(error, size)),
            },
            Err(error) => self.refuse(TaskError::Archive(error)),
        }
        Offer::Closed
    }

    fn place_alone(&self, item: &A, size: usize) -> Result<Block, Error> {
        self.engine.place_bytes(block_size(size, 1), |place| {
            match write_one(item, size, place)? {
                Fit::Written(found) if found == size => Ok(()),
                Fit::Written(found) | Fit::Needs(found) => Err(ArchiveError::Unstable {
                    type_name: core::any::type_name::<A>(),
                    measured: size,
                    found,
                }
                .into()),
            }
        })
    }

    /// The item just pulled will never reach a worker.
    fn refuse(&mut self, error: TaskError) {
        self.fail(self.pulled, 1, error);
        self.pulled += 1;
    }
}

impl<A> Drop for Flow<A> {
    fn drop(&mut self) {
        if let Some(item) = self.pace.learnt()
            && self.engine.check_process().is_ok()
        {
            self.engine.hub().paces.note(self.plan.function, 1, item);
        }
        let mut pending = false;
        // A batch comes to its end soon; a future may wait for ever.
        let grace = self
            .plan
            .futures
            .then_some(self.engine.config().cancel_grace);
        for flight in self.flights.values() {
            pending |= !flight.entry.is_ready() && !self.engine.cancel_task(&flight.entry, grace);
        }
        if pending {
            // Arguments and results are freed when they end.
            self.engine.let_supervisor_listen();
        }
    }
}

/// The same error as one of a piece of work.
fn task_error(error: Error, size: usize) -> TaskError {
    match error {
        Error::Task(error) => error,
        Error::OutOfMemory(error) => TaskError::OutOfMemory(error),
        Error::Archive(error) => TaskError::Archive(error),
        Error::Forked => TaskError::Forked,
        Error::PoolClosed => TaskError::PoolClosed,
        // What is left is the kernel's refusal to provide memory.
        _ => TaskError::OutOfMemory(OutOfMemory {
            wanted: size as u64,
            available: 0,
            limit: MemoryLimit::Machine,
        }),
    }
}
