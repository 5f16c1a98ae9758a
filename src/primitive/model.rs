//! Running a loom model, and refusing one that tested nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Explores every interleaving of `body`, up to the preemption bound of LOOM_MAX_PREEMPTIONS.
///
/// # Panics
/// If `body` does in any of them, or if there is only one.
pub(crate) fn explore(body: impl Fn() + Send + Sync + 'static) {
    explore_bounded(None, body);
}

/// The same, with at most `preemptions` forced switches where there are too many interleavings.
pub(crate) fn explore_bounded(preemptions: Option<usize>, body: impl Fn() + Send + Sync + 'static) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        body();
    });
    let runs = runs.load(Ordering::Relaxed);
    assert!(runs > 1, "a model with one interleaving proves nothing");
    println!("{runs} interleavings");
}

/// Lets the other threads run first, at the start of an observation.
///
/// Loom looks for other interleavings where an access meets a conflicting one before it, but it
/// remembers only the last access to each atomic: a load of ours that is followed by another
/// thread's load is forgotten when that thread writes. Coming last, our load meets the write. (But
/// a value seen before a yield is not seen again once there is a newer one: an observer that must
/// see old values of what it wrote itself needs a thread of its own.)
pub(crate) fn others_first() {
    loom::thread::yield_now();
}
