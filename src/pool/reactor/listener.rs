//! The listener of one tokio runtime.

#![expect(
    unsafe_code,
    reason = "vouches for the descriptor that tokio registers"
)]

use core::future::poll_fn;
use core::hint;
use core::pin::pin;
use core::task::Poll;
use std::io;
use std::sync::{Arc, Weak};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;
use tokio::task;

use super::SPIN;
use crate::pool::engine::Engine;
use crate::pool::wait::Spell;
use crate::sys::cpu;
use crate::sys::eventfd::Bell;

/// Looks at shared memory between two looks at the hub and the clock.
const LOOKS: u32 = 32;

/// The runtimes that have a listener, hardly ever more than one, and how to have it look.
pub(crate) type Listeners = Vec<(Id, Arc<Notify>)>;

/// Whether the current runtime has a listener; `None` outside any runtime.
pub(super) fn is_heard(listeners: &Listeners) -> Option<bool> {
    let runtime = Handle::try_current().ok()?.id();
    Some(listeners.iter().any(|(other, _)| *other == runtime))
}

/// Has the current runtime's listener look; in a runtime of one thread once the others have had
/// their turn, and without a system call.
pub(super) fn call(engine: &Engine) {
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    let hub = engine.hub();
    let mut listeners = hub.reactors.listeners.iter();
    let own = listeners.find(|(other, _)| *other == runtime.id());
    let call = own.map(|(_, call)| Arc::clone(call));
    drop(hub);
    if let Some(call) = call {
        call.notify_one();
    }
}

/// Sees to it that the current runtime has a listener; `false` outside any runtime.
pub(super) fn ensure(engine: &Arc<Engine>) -> bool {
    let Ok(runtime) = Handle::try_current() else {
        return false;
    };
    let mut hub = engine.hub();
    let listeners = &mut hub.reactors.listeners;
    if listeners.iter().any(|(other, _)| *other == runtime.id()) {
        return true;
    }
    let call = Arc::new(Notify::new());
    listeners.push((runtime.id(), Arc::clone(&call)));
    drop(hub);
    let post = Post {
        engine: Arc::downgrade(engine),
        runtime: runtime.id(),
    };
    runtime.spawn(post.keep(Arc::clone(engine.event()), call));
    true
}

impl Engine {
    /// Spins for a while if there is work in flight; whether something has finished.
    ///
    /// Between a task that is awaited and its outcome there is less time than the kernel takes to
    /// put a thread to sleep and to wake it.
    fn expects_soon(&self) -> bool {
        let control = self.control();
        let mut is_noted = false;
        let mut spell = Spell::new(SPIN);
        let found = loop {
            if self.hub().pending() == 0 || !self.looks_on(&mut spell, Self::is_awaited) {
                break false;
            }
            if (0..LOOKS).any(|_| {
                hint::spin_loop();
                self.sees_completions()
            }) {
                break true;
            }
            if !is_noted {
                // A worker that looks for work on this core leaves it.
                is_noted = true;
                control.callers().note_waiter(cpu::current());
            }
        };
        if is_noted {
            control.callers().note_waiter(None);
        }
        found
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
            .retain(|(runtime, _)| *runtime != self.runtime);
        drop(hub);
        // Tasks of other runtimes do not depend on this listener, but a future that moved may:
        // the supervisor listens for all that are left.
        engine.let_supervisor_listen();
    }
}

impl Post {
    /// Listens for as long as the pool exists.
    async fn keep(self, event: Arc<Bell>, call: Arc<Notify>) {
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
            engine.call_for_any();
            let armed = Armed::new(&engine);
            // What finished before the doorbell was armed did not ring.
            if engine.harvest() > 0 {
                continue;
            }
            drop(engine);
            if wait(&event, &call).await.is_err() {
                return;
            }
            drop(armed);
        }
    }
}

/// Until a worker rings, or a future of this runtime wants us to look.
async fn wait(event: &AsyncFd<Arc<Bell>>, call: &Notify) -> io::Result<()> {
    let mut called = pin!(call.notified());
    let rung = poll_fn(|context| match called.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(Ok(None)),
        Poll::Pending => event.poll_read_ready(context).map_ok(Some),
    });
    if let Some(mut ready) = rung.await? {
        let _ = event.get_ref().clear();
        ready.clear_ready();
    }
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
