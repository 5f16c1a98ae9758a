//! What the program wants done in the worker before an error travels.

use std::sync::{Mutex, PoisonError};

use crate::error::RemoteError;
use crate::protocol::panic;

type Hook = fn(&RemoteError);

static HOOK: Mutex<Option<Hook>> = Mutex::new(None);

/// Has `hook` called in this worker for every panic of user code and for every error that a task
/// of [`Pool::spawn_result`](crate::Pool::spawn_result) returns, before the caller learns of it: to
/// log it, or to leave a trace.
///
/// It is a setting of the process it is called in, so the place to call it is
/// [`Builder::worker_setup`](crate::Builder::worker_setup). The last one counts. A hook that panics
/// is ignored; its time is its task's time.
///
/// # Examples
///
/// ```
/// use gristmill::{Pool, set_error_hook};
///
/// let setup = || set_error_hook(|error| eprintln!("in worker {}: {error}", std::process::id()));
/// let pool = Pool::builder().worker_setup(setup).build()?;
/// let task: gristmill::TaskHandle<()> = pool.spawn((), |()| panic!("oh no"))?;
/// assert!(task.wait().is_err());
/// # Ok::<(), gristmill::Error>(())
/// ```
pub fn set_error_hook(hook: fn(&RemoteError)) {
    *HOOK.lock().unwrap_or_else(PoisonError::into_inner) = Some(hook);
}

/// Calls the hook, if there is one.
pub(crate) fn notify(error: impl FnOnce() -> RemoteError) {
    // Copied out, so that the hook may set another.
    let hook = *HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(hook) = hook {
        // Its own panic is no news for anybody.
        let _ = panic::catch(|| hook(&error()));
    }
}
