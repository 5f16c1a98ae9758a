//! The listener of one tokio runtime.

#![expect(
    unsafe_code,
    reason = "vouches for the descriptor that tokio registers"
)]

use core::hint;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Handle, Id};
use tokio::task;

use super::SPIN;
use crate::pool::engine::Engine;
use crate::sys::eventfd::Bell;

/// Looks at shared memory between two looks at the hub and the clock.
const LOOKS: u32 = 32;

/// The runtimes that have a listener: hardly ever more than one.
pub(crate) type Listeners = Vec<Id>;

/// Whether the current runtime has a listener; `None` outside any runtime.
pub(super) fn is_heard(listeners: &Listeners) -> Option<bool> {
    let runtime = Handle::try_current().ok()?.id();
    Some(listeners.contains(&runtime))
}

/// Sees to it that the current runtime has a listener; `false` outside any runtime.
pub(super) fn ensure(engine: &Arc<Engine>) -> bool {
    let Ok(runtime) = Handle::try_current() else {
        return false;
    };
    let mut hub = engine.hub();
    if hub.reactors.listeners.contains(&runtime.id()) {
        return true;
    }
    hub.reactors.listeners.push(runtime.id());
    drop(hub);
    let post = Post {
        engine: Arc::downgrade(engine),
        runtime: runtime.id(),
    };
    runtime.spawn(post.keep(Arc::clone(engine.event())));
    true
}

impl Engine {
    /// Spins for a while if there is work in flight; whether something has finished.
    ///
    /// Between a task that is awaited and its outcome there is less time than the kernel takes to
    /// put a thread to sleep and to wake it.
    fn expects_soon(&self) -> bool {
        let began = Instant::now();
        while self.hub().pending() > 0 && began.elapsed() < SPIN {
            for _ in 0..LOOKS {
                if self.sees_completions() {
                    return true;
                }
                hint::spin_loop();
            }
        }
        false
    }
}

/// A listener's place; given up when its task ends, also with its runtime.
struct Post {
    engine: Weak<Engine>,
    runtime: Id,
}

impl Drop for Post {
    fn drop(&mut self) {
        let Some(engine) = self.engine.upgrade() else {
            return;
        };
        let mut hub = engine.hub();
        hub.reactors
            .listeners
            .retain(|runtime| *runtime != self.runtime);
        drop(hub);
        // Tasks of other runtimes do not depend on this listener, but a future that moved may:
        // the supervisor listens for all that are left.
        engine.let_supervisor_listen();
    }
}

impl Post {
    /// Listens for as long as the pool exists.
    async fn keep(self, event: Arc<Bell>) {
        // Without the runtime's I/O driver this panics inside the task; `Drop` then hands over to
        // the supervisor.
        // SAFETY: the descriptor is the bell's own, the same one until the bell is closed, and
        // `AsyncFd` keeps the bell.
        let registered = unsafe { AsyncFd::register_with_interest(event, Interest::READABLE) };
        let Ok(event) = registered else { return };
        while let Some(engine) = self.engine.upgrade() {
            if engine.harvest() > 0 {
                // Those who were woken may submit more before this task looks again.
                drop(engine);
                task::yield_now().await;
                continue;
            }
            if engine.expects_soon() {
                continue;
            }
            let armed = Armed::new(&engine);
            // What finished before the doorbell was armed did not ring.
            if engine.harvest() > 0 {
                continue;
            }
            drop(engine);
            if wait(&event).await.is_err() {
                return;
            }
            drop(armed);
        }
    }
}

async fn wait(event: &AsyncFd<Arc<Bell>>) -> io::Result<()> {
    let mut ready = event.readable().await?;
    let _ = event.get_ref().clear();
    ready.clear_ready();
    Ok(())
}

/// The doorbell is armed for this listener; disarmed on drop, also when the runtime goes away.
///
/// It does not keep the pool alive: a listener sleeps for as long as its runtime lives.
struct Armed(Weak<Engine>);

impl Armed {
    fn new(engine: &Arc<Engine>) -> Self {
        engine.arm_doorbell();
        Self(Arc::downgrade(engine))
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        if let Some(engine) = self.0.upgrade() {
            engine.disarm_doorbell();
        }
    }
}
