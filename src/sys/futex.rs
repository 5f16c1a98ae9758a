//! Futexes on words of shared memory: never private, so that they work between processes.

use std::ptr;
use std::time::Duration;

use nix::errno::Errno;

use crate::primitive::atomic::AtomicU32;

/// Why a wait ended. None of these proves anything about the word: look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Wake {
    /// Somebody called [`wake`], or the kernel woke us for no reason.
    Woken,
    /// The word was not the expected one, so there was no sleep.
    Changed,
    /// The time was over.
    TimedOut,
    /// A signal handler ran.
    Interrupted,
}

/// Sleeps while `word` is `expected`, for at most `timeout` (of monotonic time).
///
/// The kernel compares and goes to sleep in one step with respect to [`wake`], across processes.
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> Wake {
    let limit = timeout.map(|time| libc::timespec {
        tv_sec: time.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    });
    // SAFETY: the word is valid while borrowed, the timespec lives to the end of the call, and the
    // operation only reads both.
    let code = unsafe {
        libc::syscall(
            libc::SYS_futex,
            ptr::from_ref(word),
            libc::FUTEX_WAIT,
            expected,
            limit.as_ref().map_or(ptr::null(), ptr::from_ref),
        )
    };
    match code {
        0 => Wake::Woken,
        _ => match Errno::last() {
            Errno::EAGAIN => Wake::Changed,
            Errno::ETIMEDOUT => Wake::TimedOut,
            Errno::EINTR => Wake::Interrupted,
            // A valid aligned word and a normalised time leave no other error; a caller that looks
            // again spins rather than sleeps for ever.
            errno => {
                debug_assert!(false, "futex wait: {errno}");
                Wake::Woken
            }
        },
    }
}

/// Wakes at most `count` sleepers on `word`, in whichever process; says how many were woken.
pub(crate) fn wake(word: &AtomicU32, count: u32) -> u32 {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    // SAFETY: the word is valid while borrowed, and only its address matters.
    let code = unsafe {
        libc::syscall(
            libc::SYS_futex,
            ptr::from_ref(word),
            libc::FUTEX_WAKE,
            count,
        )
    };
    u32::try_from(code).unwrap_or(0)
}

#[cfg(all(test, not(gristmill_loom)))]
mod tests {
    use super::*;
    use crate::primitive::atomic::Ordering;

    #[test]
    fn a_wait_ends_as_it_should() {
        let word = AtomicU32::new(1);
        assert_eq!(wait(&word, 0, None), Wake::Changed);
        assert_eq!(
            wait(&word, 1, Some(Duration::from_micros(1))),
            Wake::TimedOut
        );
        assert_eq!(wake(&word, 1), 0);
    }

    #[test]
    fn a_sleeper_is_woken() {
        let word = AtomicU32::new(0);
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| wait(&word, 0, None));
            // The sleeper is asleep once a wake has found somebody.
            while wake(&word, 1) == 0 && !sleeper.is_finished() {
                std::thread::yield_now();
            }
            assert!(matches!(
                sleeper.join().unwrap(),
                Wake::Woken | Wake::Interrupted
            ));
            // ORDERING: Relaxed; the word never changes and publishes nothing.
            assert_eq!(word.load(Ordering::Relaxed), 0);
        });
    }
}
