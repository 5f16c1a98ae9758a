//! Where an outcome is left for whoever waits for it.

use core::mem;
use core::task::{Context, Poll, Waker};
use std::sync::{Mutex, PoisonError};

use crate::primitive::atomic::{AtomicU64, Ordering};
use crate::primitive::flag::Flag;
use crate::sys::clock;

/// Places that no slot number reaches.
const NOWHERE: u64 = u64::MAX;
const BACKLOG: u64 = u64::MAX - 1;
/// Set in the place of a job, where no slot number reaches either.
const JOB: u64 = 1 << 63;

/// The meeting point of one pending outcome and its one waiter.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    /// Set once the outcome is there, so that a spinning waiter need not lock.
    ready: Flag,
    /// Set once a future has been polled in vain.
    awaited: Flag,
    /// Set once its job is worth a second worker, if one has only this thread's core to run on.
    shared: Flag,
    state: Mutex<State<T>>,
    /// Where the work is, for whoever wants to take it back, under the hub's lock; and, as a hint,
    /// for whoever waits for it.
    place: AtomicU64,
    /// The kernel's tick at which it came to its slot, if it did.
    tick: AtomicU64,
}

/// Where pending work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Not submitted, or ended.
    Nowhere,
    /// Waiting in the parent.
    Backlog,
    /// In this slot of the ring.
    Slot { slot: u32, generation: u32 },
    /// In this job of the board.
    Job { job: u32, generation: u32 },
}

#[derive(Debug)]
enum State<T> {
    Pending(Option<Waker>),
    Ready(T),
    Taken,
}

impl<T> State<T> {
    /// Keeps a waker while the outcome is pending; `false` when it is not.
    fn accept(&mut self, waker: &Waker) -> bool {
        match self {
            Self::Pending(Some(old)) => old.clone_from(waker),
            Self::Pending(none) => *none = Some(waker.clone()),
            Self::Ready(_) | Self::Taken => return false,
        }
        true
    }
}

impl<T> Entry<T> {
    pub(crate) fn new() -> Self {
        Self {
            ready: Flag::new(),
            awaited: Flag::new(),
            shared: Flag::new(),
            state: Mutex::new(State::Pending(None)),
            place: AtomicU64::new(NOWHERE),
            tick: AtomicU64::new(0),
        }
    }

    /// Makes it one without an outcome again; gives the one that was in it.
    pub(crate) fn renew(&mut self) -> Option<T> {
        self.ready = Flag::new();
        self.awaited = Flag::new();
        self.shared = Flag::new();
        self.place = AtomicU64::new(NOWHERE);
        self.tick = AtomicU64::new(0);
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        match mem::replace(state, State::Pending(None)) {
            State::Ready(outcome) => Some(outcome),
            State::Pending(_) | State::Taken => None,
        }
    }

    pub(crate) fn set_place(&self, place: Place) {
        let bits = match place {
            Place::Nowhere => NOWHERE,
            Place::Backlog => BACKLOG,
            Place::Slot { slot, generation } => u64::from(slot) << 32 | u64::from(generation),
            Place::Job { job, generation } => JOB | u64::from(job) << 32 | u64::from(generation),
        };
        // ORDERING: Relaxed; the hub's lock orders it.
        self.place.store(bits, Ordering::Relaxed);
    }

    /// The job is worth the core of whoever waits for it.
    pub(crate) fn share(&self) {
        self.shared.raise();
    }

    /// Whether it is.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.is_raised()
    }

    pub(crate) fn place(&self) -> Place {
        // ORDERING: Relaxed; the hub's lock orders it.
        match self.place.load(Ordering::Relaxed) {
            NOWHERE => Place::Nowhere,
            BACKLOG => Place::Backlog,
            bits if bits & JOB != 0 => Place::Job {
                job: ((bits & !JOB) >> 32) as u32,
                generation: bits as u32,
            },
            bits => Place::Slot {
                slot: (bits >> 32) as u32,
                generation: bits as u32,
            },
        }
    }

    /// Leaves the outcome; the waker of whoever waits must be called once no lock is held.
    ///
    /// A second outcome is dropped: the first one stands.
    pub(crate) fn deliver(&self, outcome: T) -> Option<Waker> {
        let mut state = self.lock();
        let State::Pending(waker) = &mut *state else {
            return None;
        };
        let waker = waker.take();
        *state = State::Ready(outcome);
        self.ready.raise();
        waker
    }

    /// Whether an outcome was delivered (it may have been taken since).
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.is_raised()
    }

    /// What `look` sees in the outcome; `None` if it is not there, or was taken.
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        match &*self.lock() {
            State::Ready(outcome) => Some(look(outcome)),
            State::Pending(_) | State::Taken => None,
        }
    }

    /// Takes the outcome, if it is there and was not taken before.
    pub(crate) fn take(&self) -> Option<T> {
        // Without the lock, and without moving what is there: most futures are polled too early.
        if !self.is_ready() {
            return None;
        }
        let mut state = self.lock();
        match mem::replace(&mut *state, State::Taken) {
            State::Ready(outcome) => Some(outcome),
            other => {
                *state = other;
                None
            }
        }
    }

    /// It comes to its slot now.
    pub(crate) fn begin(&self) {
        // ORDERING: Relaxed; a hint.
        self.tick.store(clock::last_tick(), Ordering::Relaxed);
    }

    /// Whether this is its first poll, and no more than some milliseconds after it came to its
    /// slot: a hint.
    pub(crate) fn is_fresh(&self) -> bool {
        // ORDERING: Relaxed; a hint.
        !self.awaited.is_raised() && self.tick.load(Ordering::Relaxed) == clock::last_tick()
    }

    /// Takes the outcome or leaves the waker that is to be called when it comes.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<T> {
        let mut state = self.lock();
        if state.accept(context.waker()) {
            self.awaited.raise();
            return Poll::Pending;
        }
        match mem::replace(&mut *state, State::Taken) {
            State::Ready(outcome) => Poll::Ready(outcome),
            // Polled after it was ready: nothing will come any more.
            State::Pending(_) | State::Taken => Poll::Pending,
        }
    }

    /// Leaves a waker; `false` when the outcome is there already and nobody will call it.
    pub(crate) fn register(&self, waker: &Waker) -> bool {
        self.lock().accept(waker)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<T>> {
        // Nothing in here panics half-way, so a poisoned lock guards a sound state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
