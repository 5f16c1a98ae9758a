//! What a pool consists of, shared by its handles, its futures and its supervisor.

use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
#[cfg(feature = "tracing")]
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

use crate::error::{Error, TaskError};
use crate::memory::MemoryLimit;
use crate::memory::heap::{Heap, HeapLimits};
use crate::memory::region::Region;
use crate::pool::aftermath::Aftermath;
use crate::pool::builder::Config;
use crate::pool::caller::Caller;
use crate::pool::dispatch::{Dispatch, Event, Placement};
use crate::pool::hub::Hub;
use crate::pool::output::Lines;
use crate::pool::reserve::Reserve;
use crate::primitive::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::protocol::control::{CONTROL_SIZE, Control};
use crate::protocol::image::ImageId;
use crate::protocol::lanes::{Shape, Takers};
use crate::sync::kernel::KernelFutex;
use crate::sync::{Group, Parking};
use crate::sys::clock::{self, Tempo};
use crate::sys::eventfd::Bell;
#[cfg(feature = "tracing")]
use crate::{pool::echo::Audience, protocol::settings::EchoPipe, sys::pipe::pipe};

/// Address space for one worker's results: as much as one rkyv archive can need, twice.
const ARENA_SIZE: u64 = 4 << 30;

/// The heart of a pool.
pub(crate) struct Engine {
    region: Arc<Region>,
    heap: Arc<Heap>,
    config: Config,
    /// Workers write it when the doorbell says that the parent sleeps.
    event: Arc<Bell>,
    /// Wakes the leader of the blocked threads, and nobody else.
    leader: Arc<Bell>,
    /// Wakes the supervisor.
    commands: Arc<Bell>,
    /// What workers print, if it is captured.
    output: Option<Arc<Lines>>,
    /// Who is told what workers say through `tracing`, and the number that their ends of the
    /// pipes have, kept free of other files by one that nobody uses.
    #[cfg(feature = "tracing")]
    audience: Option<(Audience, OwnedFd)>,
    /// How many sleeping workers this process has woken for work.
    wake_ups: AtomicU64,
    /// How many threads and listeners sleep until a worker rings.
    sleepers: AtomicU64,
    /// Whether the supervisor looks at the clock because somebody waits.
    watched: AtomicU32,
    hub: Mutex<Hub>,
    /// One bit a job on the board.
    live_jobs: Arc<AtomicU64>,
    /// Asked for each task, where there is a choice.
    dispatch: Option<Dispatch>,
    /// The processor's count and the time when the pool came to be, and what a tick is.
    born: (u64, u64),
    tempo: OnceLock<Tempo>,
}

/// This process was forked from the one that owns the pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forked;

impl From<Forked> for Error {
    fn from(_: Forked) -> Self {
        Self::Forked
    }
}

impl From<Forked> for TaskError {
    fn from(_: Forked) -> Self {
        Self::Forked
    }
}

/// The hub, locked. On drop the lock is released first; then workers are woken for what was
/// published, tasks for what was delivered, and the supervisor if it sleeps for too long.
pub(crate) struct HubGuard<'a> {
    engine: &'a Engine,
    hub: Option<MutexGuard<'a, Hub>>,
}

impl Engine {
    pub(crate) fn new(config: Config) -> Result<Arc<Self>, Error> {
        let commands = Arc::new(Bell::new()?);
        #[cfg(feature = "tracing")]
        let (config, audience) = Self::find_audience(config, &commands)?;
        let places = config.service.places(config.workers, config.queues);
        let arenas = 2 * places as u64 * arena_size(&config);
        let buffers = 2 * config.memory_budget;
        let size = (CONTROL_SIZE as u64 + arenas + buffers).next_multiple_of(2 << 20);
        let region = Arc::new(Region::create(size)?);
        let limits = HeapLimits {
            budget: config.memory_budget,
            keep_warm: config.keep_warm,
        };
        let heap = Heap::new(Arc::clone(&region), CONTROL_SIZE as u64..size, limits)?;
        let shape = Shape::new(places, config.queues);
        Control::create(&region, config.workers, shape, &ImageId::current())?;
        let mut hub = Hub::new(&region, shape);
        hub.reserve = Reserve::new(config.workers, config.worker_cores());
        let engine = Self {
            region,
            heap,
            event: Arc::new(Bell::new()?),
            leader: Arc::new(Bell::new()?),
            commands,
            #[cfg(feature = "tracing")]
            audience,
            output: config
                .captured_lines
                .map(|count| Arc::new(Lines::new(count))),
            wake_ups: AtomicU64::new(0),
            sleepers: AtomicU64::new(0),
            watched: AtomicU32::new(0),
            live_jobs: Arc::clone(hub.jobs.live()),
            hub: Mutex::new(hub),
            dispatch: Dispatch::new(&config),
            born: (clock::ticks(), clock::now()),
            tempo: OnceLock::new(),
            config,
        };
        Ok(Arc::new(engine))
    }

    #[cfg(feature = "tracing")]
    fn find_audience(
        mut config: Config,
        commands: &Arc<Bell>,
    ) -> Result<(Config, Option<(Audience, OwnedFd)>), Error> {
        let audience = Audience::current(commands).filter(|_| config.manner.places_descriptors());
        let Some(audience) = audience else {
            return Ok((config, None));
        };
        let (_, placeholder) = pipe(false)?;
        config.settings.echo = Some(EchoPipe {
            fd: placeholder.as_raw_fd(),
            level: audience.level,
        });
        Ok((config, Some((audience, placeholder))))
    }

    /// Who is told what workers say, and the number of their ends of the pipes.
    #[cfg(feature = "tracing")]
    pub(crate) fn audience(&self) -> Option<(&Audience, RawFd)> {
        let (audience, placeholder) = self.audience.as_ref()?;
        Some((audience, placeholder.as_raw_fd()))
    }

    /// The span that the calling thread is in, if what workers say is told to anybody.
    pub(crate) fn caller(&self) -> Option<Box<Caller>> {
        #[cfg(feature = "tracing")]
        return self.audience()?.0.caller().map(Box::new);
        #[cfg(not(feature = "tracing"))]
        None
    }

    pub(crate) fn control(&self) -> &Control {
        Control::of(&self.region).expect("the region was created larger than the control area")
    }

    /// Refuses to serve a child that the pool's process forked: it has no thread of the pool, its
    /// copy of the books is frozen, and what it wrote would reach workers that are not its own.
    pub(crate) fn check_process(&self) -> Result<(), Forked> {
        if self.heap.is_home() {
            Ok(())
        } else {
            Err(Forked)
        }
    }

    pub(crate) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    pub(crate) fn heap(&self) -> &Arc<Heap> {
        &self.heap
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The workers' parking places.
    pub(crate) fn parking(&self) -> Parking<'_> {
        self.control().parking_of(self.places())
    }

    /// What workers ring.
    pub(crate) fn event(&self) -> &Arc<Bell> {
        &self.event
    }

    /// What the leader of the blocked threads listens to besides.
    pub(crate) fn leader_bell(&self) -> &Arc<Bell> {
        &self.leader
    }

    /// Where lines that workers print are left, if they are captured.
    pub(crate) fn output(&self) -> Option<&Arc<Lines>> {
        self.output.as_ref()
    }

    /// What the supervisor listens to.
    pub(crate) fn commands(&self) -> &Bell {
        &self.commands
    }

    /// From now on results ring. Look for results once more, then sleep.
    pub(crate) fn arm_doorbell(&self) {
        // ORDERING: Relaxed; a count for `mend_doorbell`, and the bell itself fences.
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        self.control().doorbell().arm();
    }

    /// Awake again, after one `arm_doorbell`.
    pub(crate) fn disarm_doorbell(&self) {
        // ORDERING: Relaxed; as in `arm_doorbell`.
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
        self.control().doorbell().disarm();
    }

    /// Puts a doorbell right that a worker overwrote.
    pub(super) fn mend_doorbell(&self) {
        let sleepers = || self.sleepers.load(Ordering::Relaxed);
        self.control().doorbell().mend(sleepers);
    }

    /// Has the supervisor look everything over should nothing be delivered for a while. For
    /// whoever is going to wait for longer than it can spin; one load if it does so already.
    pub(crate) fn keep_watch(&self) {
        // ORDERING: AcqRel; what the caller waits for was submitted before, and the supervisor
        // counts what is pending after it has lowered the flag (`stop_watch`).
        if self.watched.load(Ordering::Acquire) == 0
            && self.check_process().is_ok()
            && self.watched.swap(1, Ordering::AcqRel) == 0
        {
            self.nudge_supervisor();
        }
    }

    /// Whether the supervisor is to look at the clock.
    pub(crate) fn is_watched(&self) -> bool {
        // ORDERING: Acquire; pairs with the swap in `keep_watch`.
        self.watched.load(Ordering::Acquire) != 0
    }

    /// By the supervisor: sleeps without a time again, unless something is pending.
    ///
    /// Whoever found the flag raised had submitted its work under the hub's lock before. Either
    /// that came before our look under the lock, or it finds the flag lowered.
    pub(crate) fn stop_watch(&self) -> bool {
        // ORDERING: Release; seen by `keep_watch` after a later submission.
        self.watched.store(0, Ordering::Release);
        let idle = self.hub().pending() == 0;
        if !idle {
            // ORDERING: Release; as above.
            self.watched.store(1, Ordering::Release);
        }
        idle
    }

    /// Has the supervisor look for what has changed.
    pub(crate) fn nudge_supervisor(&self) {
        // A full counter, the only refusal, means that it has been nudged already.
        let _ = self.commands.ring();
    }

    /// Chunks' elements done and in all, of a job on the board.
    pub(crate) fn job_progress(&self, job: u32, generation: u32) -> Option<(u64, u64)> {
        self.hub().jobs.progress(self.control(), job, generation)
    }

    /// One bit a job on the board: a hint.
    pub(crate) fn live_jobs(&self) -> u64 {
        // ORDERING: Relaxed; a hint. Whoever sleeps on it has submitted, or taken the hub's lock.
        self.live_jobs.load(Ordering::Relaxed)
    }

    /// How many sleeping workers this process has woken for work.
    pub(crate) fn wake_ups(&self) -> u64 {
        // ORDERING: Relaxed; a count.
        self.wake_ups.load(Ordering::Relaxed)
    }

    pub(crate) fn workers(&self) -> usize {
        self.config.workers
    }

    /// How many workers there may be while some succeed others.
    pub(crate) fn places(&self) -> usize {
        self.config
            .service
            .places(self.config.workers, self.config.queues)
    }

    pub(crate) fn arena_size(&self) -> u64 {
        arena_size(&self.config)
    }

    pub(crate) fn shape(&self) -> Shape {
        Shape::new(self.places(), self.config.queues)
    }

    /// Who chooses the queues of tasks, where there is a choice.
    pub(crate) fn dispatch(&self) -> Option<&Dispatch> {
        self.dispatch.as_ref()
    }

    /// What a result met that a worker's arena did not take, `though` it had a block for it.
    pub(crate) fn arena_limit(&self, though: bool) -> MemoryLimit {
        match self.arena_size() {
            _ if though => MemoryLimit::Machine,
            ARENA_SIZE => MemoryLimit::AddressSpace,
            _ => MemoryLimit::Budget,
        }
    }

    /// How long a tick is, measured over the pool's life until it was asked first.
    pub(super) fn tempo(&self) -> Tempo {
        *self.tempo.get_or_init(|| Tempo::since(self.born))
    }

    /// More threads than cores would run: spinning steals from whoever has work.
    pub(crate) fn is_oversubscribed(&self) -> bool {
        self.config.workers >= self.config.cores
    }

    pub(crate) fn hub(&self) -> HubGuard<'_> {
        // The hub's methods call no user code, so a poisoned lock guards a sound state.
        self.guard(self.hub.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Wakes workers for so many new chunks and tasks.
    fn wake(&self, chunks: u32, tasks: u32) {
        let parking = self.parking();
        self.count_wake_ups(match (chunks, tasks) {
            (0, 0) => 0,
            // This thread has a core as well.
            (0, _) => {
                let others = u32::try_from(self.config.cores).map_or(u32::MAX, |cores| cores - 1);
                parking.wake_unless_enough(tasks, others.max(1), &KernelFutex)
            }
            _ => parking.wake(chunks.saturating_add(tasks), &KernelFutex),
        });
    }

    pub(super) fn count_wake_ups(&self, woken: u32) {
        if woken > 0 {
            // ORDERING: Relaxed; a count. It costs nothing beside the system call it counts.
            self.wake_ups.fetch_add(u64::from(woken), Ordering::Relaxed);
        }
    }

    fn guard<'a>(&'a self, hub: MutexGuard<'a, Hub>) -> HubGuard<'a> {
        HubGuard {
            engine: self,
            hub: Some(hub),
        }
    }

    /// The hub, unless somebody else is at work in it.
    pub(crate) fn try_hub(&self) -> Option<HubGuard<'_>> {
        match self.hub.try_lock() {
            Ok(hub) => Some(self.guard(hub)),
            Err(TryLockError::Poisoned(poisoned)) => Some(self.guard(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

fn arena_size(config: &Config) -> u64 {
    ARENA_SIZE.min(config.memory_budget.next_multiple_of(2 << 20))
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Deref for HubGuard<'_> {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        self.hub.as_ref().expect("present until drop")
    }
}

impl DerefMut for HubGuard<'_> {
    fn deref_mut(&mut self) -> &mut Hub {
        self.hub.as_mut().expect("present until drop")
    }
}

impl Drop for HubGuard<'_> {
    fn drop(&mut self) {
        if let (Some(depth), false) = (self.engine.config.queue_depth, self.line.is_empty()) {
            self.call_line(depth);
        }
        self.note_drained();
        if self.aftermath.is_waking() {
            // All that most submissions leave.
            let workers = mem::take(&mut self.aftermath.workers);
            let tasks = mem::take(&mut self.aftermath.tasks);
            self.hub = None;
            self.engine.wake(workers, tasks);
            return;
        }
        let Aftermath {
            workers,
            tasks,
            needs_one,
            wakers,
            asked,
            nudge,
            discarded,
            ended,
            takers,
            completed,
        } = mem::take(&mut self.aftermath);
        self.hub = None;
        if nudge {
            self.engine.nudge_supervisor();
        }
        let parking = self.engine.parking();
        let mut woken = 0;
        for takers in takers {
            woken += match takers {
                Takers::Worker(worker) => u32::from(parking.wake_worker(worker, &KernelFutex)),
                Takers::Queue(queue) => {
                    let group = Group::new(queue, self.engine.shape().queues());
                    parking.wake_among(group, 1, &KernelFutex)
                }
            };
        }
        if workers > 0 || tasks > 0 {
            self.engine.wake(workers, tasks);
        } else if needs_one {
            woken += u32::from(parking.wake_if_all_sleep(&KernelFutex));
        }
        self.engine.count_wake_ups(woken);
        for worker in asked {
            parking.rouse(worker, &KernelFutex);
        }
        for waker in wakers {
            waker.wake();
        }
        drop((discarded, ended));
        if let (Some(dispatch), false) = (&self.engine.dispatch, completed.is_empty()) {
            let event = |placement: Placement| Event::Completed(placement.task, placement.queue);
            dispatch.notify(completed.into_iter().map(event));
        }
    }
}
