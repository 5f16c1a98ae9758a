//! The two threads of a process that waits: one hears rings, one sees deaths. Both sleep in the
//! kernel when nothing happens, and neither is there before somebody waits.
//!
//! The *listener*, one a region, sleeps on the member's bell and wakes this process's tasks. The
//! *watcher*, one for all regions, sleeps on the descriptors of the other members. A process that
//! joins rings everybody; the listener then has the watcher look at the members again.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use crate::primitive::atomic::{AtomicU32, Ordering};
use crate::sys::eventfd::Bell;
use crate::sys::failure::SysError;
use crate::sys::pidfd::{PidFd, Poller};

use super::inner::{Inner, Watch};
use super::member::Seen;

const BELL: u64 = 0;

/// The watcher as others see it.
#[derive(Debug)]
struct Watcher {
    /// The process whose thread it is; one that was forked from it has none.
    pid: u32,
    bell: Bell,
    regions: Mutex<Vec<Weak<Inner>>>,
}

static WATCHER: Mutex<Option<Arc<Watcher>>> = Mutex::new(None);

impl Inner {
    /// Sees to it that somebody listens and watches for this process. Before a wait in the kernel.
    #[inline]
    pub(super) fn be_heard(self: &Arc<Self>) -> bool {
        self.is_heard.is_raised() || self.begin_to_hear()
    }

    #[cold]
    fn begin_to_hear(self: &Arc<Self>) -> bool {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if *heard {
            return true;
        }
        let Ok(watcher) = Watcher::get() else {
            return false;
        };
        let inner = Arc::clone(self);
        let ears = Arc::clone(&watcher);
        let listener = thread::Builder::new()
            .name("gristmill-hear".into())
            .spawn(move || listen(&inner, &ears));
        if listener.is_err() {
            return false;
        }
        *heard = true;
        watcher.look_after(Arc::downgrade(self));
        self.is_heard.raise();
        true
    }

    /// The last handle to the region is gone: ends the listener, and the membership.
    pub(super) fn close(&self) {
        if !self.is_here() {
            return;
        }
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        self.stop.raise();
        if *heard {
            // It leaves: until then the bell is its own.
            self.ring_myself();
        } else {
            self.leave();
        }
    }
}

fn listen(inner: &Inner, watcher: &Watcher) {
    let joins = &inner.header().joins;
    // Somebody may have joined before the watcher looked at this region.
    let mut known = None;
    let member = &inner.members()[inner.index as usize];
    while !inner.stop.is_raised() {
        member.listen();
        // ORDERING: Acquire; pairs with the Release in `Inner::announce`.
        let now = joins.load(Ordering::Acquire);
        if known.replace(now) != Some(now) {
            let _ = watcher.bell.ring();
        }
        let due = inner
            .locals
            .serve(inner.index, |offset| inner.set_at(offset));
        for waker in due.wakers {
            // A waker that panics is its executor's business, and no reason not to wake others.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
        for offset in due.unheard {
            inner.set_at(offset).wake(1, inner);
        }
        if !inner.stop.is_raised() {
            member.sleep(inner);
        }
    }
    inner.leave();
    let _ = watcher.bell.ring();
}

impl Watcher {
    /// This process's watcher; the first call starts its thread.
    fn get() -> Result<Arc<Self>, SysError> {
        let mut watcher = WATCHER.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = std::process::id();
        if let Some(watcher) = watcher.as_ref().filter(|watcher| watcher.pid == pid) {
            return Ok(Arc::clone(watcher));
        }
        let poller = Poller::new()?;
        let new = Arc::new(Self {
            pid,
            bell: Bell::new()?,
            regions: Mutex::default(),
        });
        poller.add(new.bell.as_fd(), BELL)?;
        let thread = Arc::clone(&new);
        thread::Builder::new()
            .name("gristmill-see".into())
            .spawn(move || watch(&thread, &poller))
            .map_err(crate::sys::process::refused("start a thread"))?;
        *watcher = Some(Arc::clone(&new));
        Ok(new)
    }

    fn look_after(&self, region: Weak<Inner>) {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.push(region);
        drop(regions);
        let _ = self.bell.ring();
    }

    /// The regions that this process still has.
    fn regions(&self) -> Vec<Arc<Inner>> {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.retain(|region| region.strong_count() > 0);
        regions.iter().filter_map(Weak::upgrade).collect()
    }
}

/// Who is watched: a process by the region, place and word that name it.
type Watched = HashMap<(usize, u16), (Seen, u64, PidFd)>;

fn watch(watcher: &Watcher, poller: &Poller) {
    static TOKENS: AtomicU32 = AtomicU32::new(1);
    let mut watched = Watched::new();
    let mut ready = Vec::new();
    loop {
        // Whatever ended the wait, everything is looked at.
        let _ = poller.wait(None, &mut ready);
        let _ = watcher.bell.clear();
        watched.retain(|_, (_, token, process)| {
            let died = ready.contains(token);
            if died {
                let _ = poller.remove(&*process);
            }
            !died
        });
        let regions = watcher.regions();
        watched.retain(|(region, index), (seen, _, process)| {
            let is_same = |inner: &&Arc<Inner>| Arc::as_ptr(inner).addr() == *region;
            let stays = regions.iter().find(is_same).is_some_and(|inner| {
                let now = inner.member(*index).map(super::member::Member::see);
                !inner.stop.is_raised() && now == Some(*seen)
            });
            if !stays {
                let _ = poller.remove(&*process);
            }
            stays
        });
        for inner in regions {
            if inner.stop.is_raised() {
                continue;
            }
            let region = Arc::as_ptr(&inner).addr();
            let is_watched = |index, seen| {
                let known = watched.get(&(region, index));
                known.is_some_and(|(known, ..)| *known == seen)
            };
            let mut unknown = false;
            for (index, seen, found) in inner.survey(is_watched) {
                // ORDERING: Relaxed; a number that differs from others.
                let token = u64::from(TOKENS.fetch_add(1, Ordering::Relaxed));
                match found {
                    Watch::Lives(process) if poller.add(&process, token).is_ok() => {
                        watched.insert((region, index), (seen, token, process));
                    }
                    _ => unknown = true,
                }
            }
            if unknown {
                // No descriptor, or a place that changed hands: again, with a pause.
                thread::sleep(RETRY);
                let _ = watcher.bell.ring();
            }
        }
    }
}

/// How long the watcher waits for a descriptor where there is none.
const RETRY: core::time::Duration = core::time::Duration::from_millis(20);
