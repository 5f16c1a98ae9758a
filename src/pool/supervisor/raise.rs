//! Starting workers: the first ones, and those that take the place of the dead.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::succession::Role;
use super::{Watch, death};
use crate::error::{Cause, Error, TaskError, WorkerDeath};
use crate::pool::arena::Arena;
use crate::pool::dispatch::Event;
use crate::pool::roster::Member;
use crate::pool::start::Ground;
use crate::primitive::atomic::Ordering;
use crate::protocol::control::{Order, Status};
use crate::protocol::token::{Confinement, Token};
use crate::sys::pidfd::PidFd;
use crate::sys::process::KILL;

/// Workers that may die in a row before their first breath until the pool gives up.
pub(super) const START_ATTEMPTS: u32 = 5;
/// The pause before a second, third … attempt to start a worker: this, doubled each time.
pub(super) const BACKOFF: Duration = Duration::from_millis(10);

impl Watch<'_> {
    /// Starts a worker in a fresh arena.
    pub(super) fn raise(&mut self, index: usize) -> Result<(), Error> {
        let engine = self.engine;
        let control = engine.control();
        let owner = self.charges[index].owner;
        let block = engine.heap().reserve(engine.arena_size() as usize)?;
        let arena = Arc::new(Arena::new(Arc::clone(engine.region()), block));
        let me = owner.index();
        let (Some(record), Some(place), Some(orders)) =
            (control.record(me), control.arena(me), control.orders(me))
        else {
            return Err(Error::PoolClosed);
        };
        place.set(arena.span());
        // ORDERING: Relaxed; the worker that reads these is created below.
        record.load.store(u32::MAX, Ordering::Relaxed);
        let starting = Status::Starting.to_bits(owner.incarnation());
        record.status.store(starting, Ordering::Relaxed);
        engine.parking().vacate(me);
        let waits = matches!(self.charges[index].service.role, Role::Reserve(_));
        orders.give(if waits { Order::Wait } else { Order::Serve });
        control.settings().store(&engine.config().settings);
        control.life().store(&self.instructions.life);
        let sandbox = engine.config().sandbox.as_ref();
        let token = Token {
            region: engine.region().fd().as_raw_fd(),
            event: engine.event().as_raw_fd(),
            commands: engine.commands().as_raw_fd(),
            index: owner.index(),
            incarnation: owner.incarnation(),
            parent: std::process::id() as i32,
            setup: engine.config().setup,
            sandbox: sandbox.map(|(ruleset, policy)| Confinement {
                ruleset: ruleset.as_raw_fd(),
                policy: *policy,
            }),
        };
        let ground = Ground {
            region: engine.region(),
            event: engine.event().as_fd(),
            commands: engine.commands().as_fd(),
            variables: &engine.config().variables,
            regions: &engine.config().regions,
            ruleset: sandbox.map(|(ruleset, _)| ruleset.as_fd()),
            placed: &[],
        };
        // Before it is started, for its first result may be there before this thread runs again.
        let member = Member {
            incarnation: owner.incarnation(),
            pid: None,
            arena,
            serves: !waits,
        };
        engine.hub().roster.enlist(owner.index(), member);
        let started = match self.ears.open(index, &self.poller) {
            Ok(mouths) => {
                let placed = mouths.placed();
                let ground = Ground {
                    placed: &placed,
                    ..ground
                };
                self.starter.start(ground, &token)
            }
            Err(error) => Err(error.into()),
        };
        let started = match started {
            Ok(process) => self.watch(index, process),
            Err(error) => {
                // One that was forked, and could not be held, may have claimed something.
                self.bury(index, &WorkerDeath::new(0, Cause::Unknown));
                Err(error)
            }
        };
        let mut hub = engine.hub();
        match started {
            Ok(pid) => {
                hub.roster.introduce(owner.index(), pid);
                self.ears.introduce(index, pid);
                drop(hub);
                if !waits {
                    engine.tell_scheduler(owner.index(), pid, Event::Started);
                }
            }
            Err(error) => {
                self.ears.close_all(index, &self.poller);
                hub.roster.dismiss(owner.index());
                return Err(error);
            }
        }
        let charge = &mut self.charges[index];
        charge.condemned = false;
        charge.reason = None;
        charge.service.limit = Instant::now().checked_add(engine.config().service.start_timeout);
        Ok(())
    }

    /// Takes charge of a process that was just started; its number.
    fn watch(&mut self, index: usize, process: PidFd) -> Result<u32, Error> {
        if let Err(error) = self.poller.add(&process, index as u64) {
            // Nobody would hear of its death: so it comes now.
            let _ = process.signal(KILL);
            let exit = process.reap(true).ok().flatten().unwrap_or_default();
            self.bury(index, &death(process.pid() as u32, &exit));
            return Err(error.into());
        }
        let pid = process.pid() as u32;
        self.charges[index].process = Some(process);
        Ok(pid)
    }

    /// Sets the time of the next attempt to start a worker.
    pub(super) fn plan(&mut self, index: usize) {
        let charge = &mut self.charges[index];
        let pause = match charge.stillbirths {
            0 => Duration::ZERO,
            again => BACKOFF * 2u32.pow(again - 1),
        };
        charge.due = Some(Instant::now() + pause);
    }

    /// Starts the workers whose time has come; an error when that has failed too often.
    pub(super) fn raise_due(&mut self) -> Option<TaskError> {
        let now = Instant::now();
        for index in 0..self.charges.len() {
            let charge = &mut self.charges[index];
            if charge.due.is_none_or(|due| due > now) {
                continue;
            }
            charge.due = None;
            if charge.stillbirths >= START_ATTEMPTS {
                let attempts = charge.stillbirths;
                return Some(TaskError::NoWorkers {
                    attempts,
                    last: charge.last_death.take().map(Box::new),
                    reason: charge.reason.take(),
                });
            }
            if let Err(error) = self.raise(index) {
                // The kernel refused a process or memory: it may have some later.
                let charge = &mut self.charges[index];
                charge.reason = Some(error.to_string());
                charge.stillbirths += 1;
                self.plan(index);
            }
        }
        None
    }
}
