//! The tasks of this worker that are futures: a thread of their own polls them.
//!
//! ```text
//! protocol thread: claim ─ call the task's function ─ begin ──▶ channel ──▶ runtime thread: poll
//!        ▲                                                                       │
//!        └── complete ◀─ write the result ◀─ roused ◀───────────── ended ◀───────┘
//! ```
//!
//! # Invariants
//! - The runtime thread runs user code and touches no word of the protocol: slots, arena and
//!   doorbell are the protocol thread's alone.
//! - A task's slot is completed after its future was dropped.

#![expect(unsafe_code, reason = "calls the function that the parent named")]

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};

use crate::memory::region::Region;
use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::protocol::control::{Control, Orders, WorkerRecord};
use crate::protocol::function::FunctionId;
use crate::protocol::future::{Answer, Begin, Course, FuturePlace, find_runtime};
use crate::protocol::gauge::Work;
use crate::protocol::life::Life;
use crate::protocol::panic::{self, PanicReport};
use crate::protocol::task::{Task, TaskFault};
use crate::ring::Claim;
use crate::sync::Parking;
use crate::sync::kernel::KernelFutex;
#[cfg(feature = "tracing")]
use crate::worker::echo;

/// The load of a worker that takes no task: it is at one, or does not serve.
pub(super) const BUSY: u32 = u32::MAX;

/// A future that has ended.
pub(super) struct Ended {
    pub(super) claim: Claim,
    pub(super) task: Task,
    pub(super) outcome: Outcome,
}

pub(super) type Outcome = Result<Result<Answer, TaskFault>, Box<PanicReport>>;

/// From the protocol thread to the runtime thread.
enum Message {
    Begin(Claim, Begin),
    /// The future in this slot is to be dropped.
    Drop(u32),
}

/// What both threads know.
struct Shared {
    ended: Mutex<Vec<(Claim, Outcome)>>,
    /// How many that are: looked at without the lock.
    count: AtomicU64,
    parking: Parking<'static>,
    me: u16,
}

impl Shared {
    fn end(&self, claim: Claim, outcome: Outcome) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.push((claim, outcome));
        // ORDERING: Relaxed; the lock publishes what is counted, `rouse` fences for a sleeper.
        self.count.fetch_add(1, Ordering::Relaxed);
        drop(ended);
        self.parking.rouse(self.me, &KernelFutex);
    }
}

/// A worker's futures, as its protocol thread sees them.
pub(crate) struct Futures {
    region: &'static Region,
    control: &'static Control,
    record: &'static WorkerRecord,
    orders: &'static Orders,
    shared: Arc<Shared>,
    limit: usize,
    runtime: Option<FunctionId>,
    /// What the task that is being called has left.
    begun: Option<Begin>,
    channel: Option<UnboundedSender<Message>>,
    flights: HashMap<u32, (Claim, Task)>,
    /// What the parent had asked when this worker looked last.
    heard: u32,
}

impl Futures {
    pub(super) fn new(
        region: &'static Region,
        control: &'static Control,
        (record, orders): (&'static WorkerRecord, &'static Orders),
        me: u16,
        life: &Life,
    ) -> Self {
        Self {
            region,
            record,
            orders,
            shared: Arc::new(Shared {
                ended: Mutex::default(),
                count: AtomicU64::new(0),
                parking: control.parking(),
                me,
            }),
            control,
            limit: usize::try_from(life.concurrency)
                .unwrap_or(usize::MAX)
                .max(1),
            runtime: life.runtime,
            begun: None,
            channel: None,
            flights: HashMap::new(),
            heard: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.flights.len() < self.limit
    }

    /// Whether a future has ended whose task is not completed.
    pub(super) fn has_ended(&self) -> bool {
        // ORDERING: Relaxed; see `Shared::end`.
        self.shared.count.load(Ordering::Relaxed) > 0
    }

    pub(super) fn take_ended(&mut self) -> Option<Ended> {
        if !self.has_ended() {
            return None;
        }
        let ended = &self.shared.ended;
        let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
        let (claim, outcome) = ended.pop()?;
        // ORDERING: Relaxed; under the lock.
        self.shared.count.fetch_sub(1, Ordering::Relaxed);
        drop(ended);
        let (_, task) = self.flights.remove(&claim.slot)?;
        self.be_free();
        Some(Ended {
            claim,
            task,
            outcome,
        })
    }

    /// Has the future that the task left polled; a report of why there is no runtime for it.
    pub(super) fn launch(&mut self, claim: Claim, task: Task) -> Result<(), Box<PanicReport>> {
        let Some(begin) = self.begun.take() else {
            return Err(report("a task has promised a future and left none"));
        };
        self.flights.insert(claim.slot, (claim, task));
        // Before a runtime is started, which takes its time.
        self.be_free();
        let outcome = self.order(claim, begin);
        if outcome.is_err() {
            self.flights.remove(&claim.slot);
            self.be_free();
        }
        outcome
    }

    fn order(&mut self, claim: Claim, begin: Begin) -> Result<(), Box<PanicReport>> {
        let channel = match &mut self.channel {
            Some(channel) => channel,
            none => none.insert(Self::start(&self.shared, self.runtime)?),
        };
        let sent = channel.send(Message::Begin(claim, begin));
        sent.map_err(|_| report("the worker's runtime has ended"))
    }

    /// Whether somebody who could take a task has fewer futures than that: he is to go first. If
    /// he sleeps, he is woken.
    pub(super) fn defers_to_another(&self, least: usize) -> bool {
        let Shared { parking, me, .. } = *self.shared;
        let mut others = (0..parking.places()).filter(|&other| other != me);
        others.any(|other| {
            let load = self.control.record(other).map_or(BUSY, |record| {
                // ORDERING: Relaxed; a hint.
                record.load.load(Ordering::Relaxed)
            });
            let is_free = (load as usize) < least;
            if is_free && parking.is_asleep(other) {
                parking.rouse(other, &KernelFutex);
            }
            is_free
        })
    }

    /// Whether the parent has asked for something since this worker looked.
    pub(super) fn is_asked(&self) -> bool {
        // ORDERING: Acquire; pairs with the Release of the parent, which has written which future
        // it is about.
        self.orders.asked.load(Ordering::Acquire) != self.heard
    }

    /// Has the futures dropped that the parent wants dropped.
    pub(super) fn hear(&mut self) {
        if !self.is_asked() {
            return;
        }
        // ORDERING: Acquire; as above.
        self.heard = self.orders.asked.load(Ordering::Acquire);
        for &(claim, _) in self.flights.values() {
            if self
                .control
                .is_asked_to_cancel(claim.slot, claim.generation)
                && let Some(channel) = &self.channel
            {
                // A runtime that has ended has dropped them all.
                let _ = channel.send(Message::Drop(claim.slot));
            }
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Says that this worker could take a task, and how many futures it has.
    pub(super) fn be_free(&self) {
        self.say(self.flights.len() as u32);
    }

    /// Says that this worker takes no task for now.
    pub(super) fn be_busy(&self) {
        self.say(BUSY);
    }

    fn say(&self, load: u32) {
        // ORDERING: Relaxed; a hint.
        self.record.load.store(load, Ordering::Relaxed);
    }

    fn start(
        shared: &Arc<Shared>,
        runtime: Option<FunctionId>,
    ) -> Result<UnboundedSender<Message>, Box<PanicReport>> {
        let (orders, received) = unbounded_channel();
        let shared = Arc::clone(shared);
        let runtime = make_runtime(runtime)?;
        let thread = thread::Builder::new().name("gristmill-async".into());
        thread
            .spawn(move || serve(&runtime, received, &shared))
            .map_err(|error| report(&format!("no thread for futures: {error}")))?;
        Ok(orders)
    }
}

fn make_runtime(function: Option<FunctionId>) -> Result<Runtime, Box<PanicReport>> {
    if let Some(id) = function {
        // SAFETY: the parent named a `RuntimeFunction`, and the handshake has shown that it runs
        // the same image.
        let make = unsafe { find_runtime(id) };
        return panic::catch(|| match make {
            Ok(make) => make(),
            Err(error) => panic!("{error}"),
        });
    }
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| report(&format!("no runtime for futures: {error}")))
}

fn report(message: &str) -> Box<PanicReport> {
    Box::new(PanicReport {
        message: message.into(),
        ..PanicReport::default()
    })
}

impl FuturePlace for Futures {
    fn region(&self) -> &'static Region {
        self.region
    }

    fn defer(&mut self, begin: Begin) {
        self.begun = Some(begin);
    }
}

/// The life of the runtime thread.
fn serve(runtime: &Runtime, mut orders: UnboundedReceiver<Message>, shared: &Arc<Shared>) {
    LocalSet::new().block_on(runtime, async move {
        let mut running = HashMap::new();
        while let Some(message) = orders.recv().await {
            match message {
                Message::Begin(claim, begin) => {
                    let ending = Ending {
                        shared: Arc::clone(shared),
                        claim,
                        outcome: Some(Ok(Err(TaskFault::Cancelled))),
                    };
                    let task = spawn_local(live(begin, ending));
                    running.insert(claim.slot, task.abort_handle());
                }
                // The last one in that slot: if it has ended, nothing happens.
                Message::Drop(slot) => {
                    if let Some(task) = running.remove(&slot) {
                        task.abort();
                    }
                }
            }
        }
    });
}

/// From the first poll to the end.
async fn live(begin: Begin, mut ending: Ending) {
    let Claim { slot, generation } = ending.claim;
    let work = Work::Task { slot, generation };
    ending.outcome = Some(match during(work, || panic::catch(begin)) {
        Ok(course) => {
            let course = Some(course);
            let caught = Caught { course, work };
            caught.await
        }
        Err(report) => Err(report),
    });
}

/// Reports how a future ended when it is dropped, which is after the future was.
struct Ending {
    shared: Arc<Shared>,
    claim: Claim,
    /// Unless it comes to another end, it was dropped before.
    outcome: Option<Outcome>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome.take() {
            self.shared.end(self.claim, outcome);
        }
    }
}

/// Runs what a future consists of: what it says is said of it, though the worker may be at other
/// work meanwhile.
#[cfg(feature = "tracing")]
fn during<R>(work: Work, run: impl FnOnce() -> R) -> R {
    echo::during(work, run)
}

#[cfg(not(feature = "tracing"))]
fn during<R>(_: Work, run: impl FnOnce() -> R) -> R {
    run()
}

/// A future whose panics are its outcome. It is dropped as soon as it has one.
struct Caught {
    course: Option<Course>,
    work: Work,
}

impl Future for Caught {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let work = self.work;
        let Some(course) = &mut self.course else {
            return Poll::Pending;
        };
        let polled = during(work, || panic::catch(|| course.as_mut().poll(context)));
        let outcome = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(outcome)) => Ok(outcome),
            Err(report) => Err(report),
        };
        let course = self.course.take();
        Poll::Ready(match during(work, || panic::catch(|| drop(course))) {
            Ok(()) => outcome,
            Err(report) => Err(report),
        })
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        // One that was cancelled may say something, too.
        if let Some(course) = self.course.take() {
            during(self.work, || drop(course));
        }
    }
}
