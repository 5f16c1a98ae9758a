//! The two threads that a process has for a region: the one that is rung, and the one that watches.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;

use crate::commons::layout::MEMBERS;
use crate::commons::member::{Live, Member};
use crate::commons::region::Core;
use crate::error::Error;
use crate::primitive::atomic::Ordering;
use crate::sys::eventfd::Bell;
use crate::sys::pidfd::{PidFd, Poller};
use crate::sys::{clock, futex};

/// The watcher's own bell among what it waits for.
const OWN: u64 = u64::MAX;

/// How to reach them.
#[derive(Debug)]
pub(super) struct Threads {
    watcher: Arc<Bell>,
}

/// Moves a member's bell and wakes who sleeps on it.
pub(super) fn ring(member: &Member) {
    // ORDERING: SeqCst; what it is rung for stands before.
    member.bell.fetch_add(1, Ordering::SeqCst);
    futex::wake(&member.bell, 1);
}

impl Threads {
    pub(super) fn start(core: &Arc<Core>) -> Result<Self, Error> {
        let bell = Arc::new(Bell::new()?);
        let poller = Poller::new()?;
        poller.add(&*bell, OWN)?;
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let thread = thread::Builder::new().name(name.into());
            thread.spawn(run).map(drop).map_err(Error::Thread)
        };
        let (watched, own) = (Arc::clone(core), Arc::clone(&bell));
        spawn(
            "gristmill-watch",
            Box::new(move || watch(&watched, &own, &poller)),
        )?;
        let (rung, watcher) = (Arc::clone(core), Arc::clone(&bell));
        let started = spawn("gristmill-rung", Box::new(move || listen(&rung, &watcher)));
        let threads = Self { watcher: bell };
        if let Err(error) = started {
            threads.stop(core);
            return Err(error);
        }
        Ok(threads)
    }

    /// Has both end, and the watcher give up membership at last. Does not wait for them.
    pub(super) fn stop(&self, core: &Core) {
        // ORDERING: SeqCst; both look after they were woken.
        core.stopping.store(1, Ordering::SeqCst);
        ring(core.member(core.me));
        // A full counter has been rung.
        let _ = self.watcher.ring();
    }
}

fn is_stopping(core: &Core) -> bool {
    // ORDERING: SeqCst; see `stop`.
    core.stopping.load(Ordering::SeqCst) != 0
}

/// Sleeps until rung, then wakes the tasks whose objects have moved.
fn listen(core: &Core, watcher: &Bell) {
    let bell = &core.member(core.me).bell;
    let mut roll = None;
    loop {
        // ORDERING: SeqCst; what comes after this look rings again.
        let heard = bell.load(Ordering::SeqCst);
        if is_stopping(core) {
            return;
        }
        let now = core.tables().front.roll.load(Ordering::SeqCst);
        if roll.replace(now) != Some(now) {
            let _ = watcher.ring();
        }
        core.tell_tasks();
        let _ = futex::wait(bell, heard, None);
    }
}

/// A member that is watched.
struct Watched {
    live: Live,
    process: PidFd,
}

/// Sleeps until a member dies, then takes care of what it leaves.
fn watch(core: &Core, own: &Bell, poller: &Poller) {
    let mut watched: HashMap<usize, Watched> = HashMap::new();
    let mut ready = Vec::new();
    while !is_stopping(core) {
        let mut dead = look(core, poller, &mut watched);
        if dead.is_empty() {
            // A failed wait is one without events.
            let _ = poller.wait(None, &mut ready);
            for token in ready.drain(..) {
                match usize::try_from(token) {
                    _ if token == OWN => {
                        let _ = own.clear();
                    }
                    Ok(index) => {
                        if let Some(gone) = watched.remove(&index) {
                            let _ = poller.remove(&gone.process);
                            dead.push(gone.live);
                        }
                    }
                    Err(_) => {}
                }
            }
        }
        for live in dead {
            core.recover(live);
        }
    }
    core.leave();
    // Who waits for the allocator or for the dead no longer counts on this process.
    core.call_everybody();
}

/// Brings what is watched in line with who is there; gives those who are dead already.
fn look(core: &Core, poller: &Poller, watched: &mut HashMap<usize, Watched>) -> Vec<Live> {
    let mut dead = Vec::new();
    for (index, member) in core.tables().members.iter().enumerate().take(MEMBERS) {
        let live = member.live().filter(|live| live.owner != core.me);
        if let Some(old) = watched.get(&index) {
            if live.is_some_and(|live| live.owner == old.live.owner) {
                continue;
            }
            let _ = poller.remove(&old.process);
            watched.remove(&index);
        }
        let Some(live) = live else {
            continue;
        };
        match PidFd::open(live.pid) {
            Ok(process) if is_it(live) => {
                // One that cannot be watched is looked at again when somebody joins.
                if poller.add(&process, index as u64).is_ok() {
                    watched.insert(index, Watched { live, process });
                }
            }
            Err(error) if error.errno != Errno::ESRCH => {}
            Ok(_) | Err(_) => dead.push(live),
        }
    }
    dead
}

/// Whether the member's process has ended.
pub(super) fn is_gone(live: Live) -> bool {
    match PidFd::open(live.pid) {
        Ok(process) if is_it(live) => process.is_dead(false).unwrap_or(false),
        // Without a descriptor nothing is known of it.
        Err(error) if error.errno != Errno::ESRCH => false,
        Ok(_) | Err(_) => true,
    }
}

/// Whether the process of that number is still the member: it may have gone to another one before
/// it was opened.
fn is_it(live: Live) -> bool {
    let began = clock::started(live.pid.cast_unsigned());
    began.is_none_or(|began| live.started == 0 || began == live.started)
}

/// How many threads this process has: for tests.
#[cfg(test)]
pub(super) fn count() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}
