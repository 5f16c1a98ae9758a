//! How long a worker serves: until it is told to retire, or has taken on as much as it may.

use std::time::{Duration, Instant};

use crate::memory::owner::Owner;
use crate::primitive::atomic::Ordering;
use crate::protocol::control::{Order, Orders, Status, WorkerRecord};
use crate::protocol::life::Life;
use crate::sync::Futex;
use crate::sync::kernel::KernelFutex;
use crate::sys::eventfd::Bell;
use crate::sys::private_memory::PrivateMemory;

/// A look at this process's memory costs 1 µs or two: at most one in this time.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// A successor is asked for when this is left, or several times what the worker's own start took.
const LEAD: Duration = Duration::from_millis(50);
const LEAD_STARTS: u32 = 8;

/// How much memory a worker may use, and where it reads how much it does.
pub(super) struct MemoryLimit {
    memory: PrivateMemory,
    most: u64,
}

impl MemoryLimit {
    /// `None` where it cannot be known.
    pub(super) fn open(most: u64) -> Option<Self> {
        let memory = PrivateMemory::open()?;
        Some(Self { memory, most })
    }

    fn is_exceeded(&self) -> bool {
        self.memory.bytes().is_some_and(|bytes| bytes > self.most)
    }
}

/// A worker's service.
pub(crate) struct Tenure<'a> {
    me: Owner,
    record: &'a WorkerRecord,
    orders: &'a Orders,
    supervisor: Bell,
    /// How long before its end a successor should be on its way.
    lead: Duration,
    began: Instant,
    taken: u64,
    most: Option<u64>,
    memory: Option<MemoryLimit>,
    looked: Option<Instant>,
    /// What it has said of itself.
    said: Status,
}

impl<'a> Tenure<'a> {
    /// Of a worker whose process began at `born`.
    pub(super) fn new(
        me: Owner,
        (record, orders): (&'a WorkerRecord, &'a Orders),
        supervisor: Bell,
        life: &Life,
        memory: Option<MemoryLimit>,
        born: Instant,
    ) -> Self {
        Self {
            me,
            record,
            orders,
            supervisor,
            lead: LEAD.max(born.elapsed() * LEAD_STARTS),
            began: Instant::now(),
            taken: 0,
            most: life.max_tasks,
            memory,
            looked: None,
            said: Status::Starting,
        }
    }

    /// Says what has become of this worker.
    pub(super) fn say(&mut self, status: Status) {
        self.said = status;
        // ORDERING: Release; pairs with the supervisor's Acquire load: whoever sees the status
        // sees all that this worker did before.
        self.record
            .status
            .store(status.to_bits(self.me.incarnation()), Ordering::Release);
    }

    /// As [`Tenure::say`], and wakes the supervisor.
    pub(super) fn report(&mut self, status: Status) {
        self.say(status);
        // A full counter means that a wake-up is pending already, which is all that is wanted.
        let _ = self.supervisor.ring();
    }

    /// Whether this worker is to wait until another has served.
    #[cfg(feature = "tokio")]
    pub(super) fn awaits_turn(&self) -> bool {
        self.orders.order() == Order::Wait
    }

    /// Sleeps until it is this worker's turn.
    pub(super) fn await_turn(&mut self) {
        while self.orders.order() == Order::Wait {
            KernelFutex.wait(&self.orders.order, Order::Wait as u32, None);
        }
        self.began = Instant::now();
    }

    /// A task, or a share in a job, was taken on.
    pub(super) fn count(&mut self) {
        self.taken += 1;
    }

    /// Whether the parent wants this worker to end.
    pub(super) fn is_dismissed(&self) -> bool {
        self.orders.order() == Order::Retire
    }

    /// Whether this worker takes on nothing more.
    pub(super) fn is_over(&self) -> bool {
        self.is_dismissed() || self.most.is_some_and(|most| self.taken >= most)
    }

    /// Lets another one take over, if this worker takes on nothing more.
    pub(super) fn hand_over(&mut self) {
        if self.said != Status::Spent && self.is_over() {
            self.report(Status::Spent);
        }
    }

    /// Between two pieces of work: tells the supervisor in time that somebody else will be needed.
    pub(super) fn take_stock(&mut self) {
        if self.said == Status::Ready && self.is_waning() {
            self.report(Status::Waning);
        }
        if matches!(self.said, Status::Ready | Status::Waning) && self.has_outgrown() {
            self.report(Status::Overgrown);
        }
    }

    fn is_waning(&self) -> bool {
        let Some(most) = self.most else {
            return false;
        };
        let left = most.saturating_sub(self.taken);
        // With nothing done yet there is no pace: only the very last task is near.
        let pace = self.began.elapsed().as_nanos() / u128::from(self.taken.max(1));
        left <= 1 || self.taken > 0 && u128::from(left) * pace <= self.lead.as_nanos()
    }

    fn has_outgrown(&mut self) -> bool {
        let Some(memory) = &self.memory else {
            return false;
        };
        if self
            .looked
            .is_some_and(|then| then.elapsed() < BETWEEN_LOOKS)
        {
            return false;
        }
        self.looked = Some(Instant::now());
        memory.is_exceeded()
    }

    /// Has the next look at memory not wait: there is time.
    pub(super) fn rest(&mut self) {
        self.looked = None;
        self.take_stock();
    }
}
