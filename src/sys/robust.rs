//! A lock of the C library's in shared memory that outlives its holder: the kernel hands it on.

use std::ptr::NonNull;

use nix::errno::Errno;
use raw_sync::locks::{LockImpl, LockInit, Mutex};

use super::failure::SysError;

/// The memory that a lock takes, whatever the machine.
pub(crate) const BYTES: usize = 64;

const _: () = assert!(size_of::<libc::pthread_mutex_t>() <= BYTES);

/// Makes a lock that processes share, and that the kernel passes on when its holder dies.
///
/// # Safety
/// `at` is [`BYTES`] bytes of shared memory, aligned to 64, that nobody else uses yet.
pub(crate) unsafe fn init(at: NonNull<u8>) -> Result<(), SysError> {
    const WHAT: &str = "make a lock that processes share";
    let check = |code| match code {
        0 => Ok(()),
        code => Err(SysError::of(WHAT)(Errno::from_raw(code))),
    };
    let mut kind = std::mem::MaybeUninit::uninit();
    // SAFETY: the call fills what it is given.
    check(unsafe { libc::pthread_mutexattr_init(kind.as_mut_ptr()) })?;
    let shared = libc::PTHREAD_PROCESS_SHARED;
    // SAFETY: it was just filled.
    check(unsafe { libc::pthread_mutexattr_setpshared(kind.as_mut_ptr(), shared) })?;
    let robust = libc::PTHREAD_MUTEX_ROBUST;
    // SAFETY: as above.
    check(unsafe { libc::pthread_mutexattr_setrobust(kind.as_mut_ptr(), robust) })?;
    // SAFETY: the caller's memory, which has room for it and its alignment.
    check(unsafe { libc::pthread_mutex_init(at.as_ptr().cast(), kind.as_ptr()) })
}

/// The lock is held, by this thread, until this is dropped there.
pub(crate) struct Held {
    lock: Box<dyn LockImpl>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held")
    }
}

/// Takes the lock; blocks while a living thread has it. What its last holder left undone is for the
/// caller to find, who has to make sure of it anyway.
///
/// # Safety
/// At `at` is a lock that [`init`] has made, which stays there until the answer is dropped.
pub(crate) unsafe fn lock(at: NonNull<u8>) -> Result<Held, SysError> {
    let attempt = SysError::of("take a lock that processes share");
    // SAFETY: the caller's promise; the second pointer is what such a lock guards, and not used.
    let made = unsafe { Mutex::from_existing(at.as_ptr(), at.as_ptr()) };
    let Ok((lock, _)) = made else {
        return Err(attempt(Errno::EINVAL));
    };
    let locked = lock.lock().map(std::mem::forget).is_ok();
    if !locked {
        // The crate takes for a failure what means that we have it and its last holder has died.
        // Whatever else it was, the lock is not ours, and the library says so.
        // SAFETY: the lock is where the caller says.
        let code = unsafe { libc::pthread_mutex_consistent(lock.as_raw().cast()) };
        if code != 0 {
            return Err(attempt(Errno::from_raw(code)));
        }
    }
    Ok(Held { lock })
}

impl Drop for Held {
    fn drop(&mut self) {
        let released = self.lock.release();
        debug_assert!(released.is_ok(), "it was ours");
    }
}

#[cfg(test)]
mod tests {
    use super::super::map::{HUGE_PAGE_BYTES, Mapping, Protection};
    use super::super::memfd;
    use super::*;
    use nix::sys::wait::waitpid;
    use nix::unistd::{ForkResult, fork};
    use std::os::fd::AsFd;

    #[test]
    fn a_lock_outlives_its_holder() {
        let file = memfd::create(HUGE_PAGE_BYTES as u64).unwrap();
        let map = Mapping::shared(file.as_fd(), HUGE_PAGE_BYTES, Protection::ReadWrite).unwrap();
        // SAFETY: fresh memory that nobody else has.
        unsafe { init(map.base()) }.unwrap();
        // SAFETY: it was just made.
        drop(unsafe { lock(map.base()) }.unwrap());
        for _ in 0..3 {
            // SAFETY: the child takes the lock and ends at once.
            match unsafe { fork() }.unwrap() {
                ForkResult::Child => {
                    // SAFETY: as above.
                    let held = unsafe { lock(map.base()) };
                    let code = i32::from(held.is_err());
                    std::mem::forget(held);
                    // SAFETY: ends the child, which holds the lock.
                    unsafe { libc::_exit(code) }
                }
                ForkResult::Parent { child } => {
                    let status = waitpid(child, None).unwrap();
                    assert!(matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)));
                }
            }
            // SAFETY: as above.
            drop(unsafe { lock(map.base()) }.unwrap());
        }
    }
}
